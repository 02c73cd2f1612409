//! Flags of kube-apiserver that this server knows and has no setting for: with the values that say what it does anyway
//! they are taken, otherwise they are refused with the reason. Nobody's wish is dropped silently.
//!
//! Flags that are honoured are not here, but among the arguments. Upstream: `kube-apiserver --help` of v1.36.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};

use super::operations::is_role;

/// What is done with a flag.
enum Rule {
    /// Taken with these values.
    Only(&'static [&'static str]),
    /// Taken with any value: it is about something that is not there to be set.
    Any,
    /// Never taken.
    Never,
    /// Checked by its own grammar.
    Check(fn(&str) -> Result<(), String>),
}

struct Known {
    name: &'static str,
    /// Upstream has it as a flag that may stand without a value.
    is_bool: bool,
    rule: Rule,
    why: &'static str,
}

const fn any(name: &'static str, why: &'static str) -> Known {
    Known { name, is_bool: false, rule: Rule::Any, why }
}

const fn any_bool(name: &'static str, why: &'static str) -> Known {
    Known { name, is_bool: true, rule: Rule::Any, why }
}

const fn only(name: &'static str, values: &'static [&'static str], why: &'static str) -> Known {
    Known { name, is_bool: false, rule: Rule::Only(values), why }
}

const fn only_bool(name: &'static str, value: &'static [&'static str], why: &'static str) -> Known {
    Known { name, is_bool: true, rule: Rule::Only(value), why }
}

const fn never(name: &'static str, why: &'static str) -> Known {
    Known { name, is_bool: false, rule: Rule::Never, why }
}

const CACHE: &str = "every object is in memory, there is no cache to size";
const PEERS: &str = "servers of another version are not asked for what this one does not know";
const SERIES: &str = "labels of metrics are bounded by what is registered";
const LEADERSHIP: &str = "coordinated leader election is off";
const AUDIT_THROTTLE: &str = "audit events are told as fast as their place takes them";

/// In the order of their names.
static KNOWN: &[Known] = &[
    never(
        "admission-control",
        "it has long been replaced: use --enable-admission-plugins and --disable-admission-plugins",
    ),
    only_bool("aggregator-reject-forwarding-redirect", &["true"], "redirects are never passed on"),
    any("allow-metric-labels", SERIES),
    any("allow-metric-labels-manifest", SERIES),
    only_bool("allow-privileged", &["true"], "who may run privileged pods is said by Pod Security, per namespace"),
    any("audit-log-batch-throttle-burst", AUDIT_THROTTLE),
    any_bool("audit-log-batch-throttle-enable", AUDIT_THROTTLE),
    any("audit-log-batch-throttle-qps", AUDIT_THROTTLE),
    only("audit-log-version", &["audit.k8s.io/v1"], "there is no other version"),
    any("audit-webhook-batch-throttle-burst", AUDIT_THROTTLE),
    any_bool("audit-webhook-batch-throttle-enable", AUDIT_THROTTLE),
    any("audit-webhook-batch-throttle-qps", AUDIT_THROTTLE),
    only("audit-webhook-version", &["audit.k8s.io/v1"], "there is no other version"),
    any("cert-dir", "certificates are in the data directory, or where --tls-cert-file says"),
    any_bool("contention-profiling", "there is no profile of locks"),
    any("coordinated-leadership-lease-duration", LEADERSHIP),
    any("coordinated-leadership-renew-deadline", LEADERSHIP),
    any("coordinated-leadership-retry-period", LEADERSHIP),
    never("cors-allowed-origins", "answers carry no CORS headers; a proxy in front of the API can add them"),
    never("debug-socket-path", "profiles are served at /debug/pprof to who is authorized"),
    any("default-watch-cache-size", CACHE),
    any("delete-collection-workers", "collections are deleted without workers"),
    never("egress-selector-config-file", "connections go out directly"),
    only("emulated-version", &["1.36", "kube=1.36"], "the API is that of v1.36"),
    only_bool("emulation-forward-compatible", &["false"], "the API is that of v1.36"),
    any_bool("enable-aggregator-routing", "extension servers are called at the addresses of their endpoints"),
    only_bool("enable-garbage-collector", &["true"], "the garbage collector needs what is written for it"),
    only_bool("enable-logs-handler", &["false"], "logs of the host are not served"),
    only("endpoint-reconciler-type", &["lease"], "servers of one cluster know of each other by leases"),
    any("etcd-count-metric-poll-period", "objects are counted as they are stored"),
    any("etcd-db-metric-poll-interval", "the size of the store is known without asking"),
    any("etcd-healthcheck-timeout", "the connection to etcd is watched"),
    any("etcd-readycheck-timeout", "the connection to etcd is watched"),
    never("etcd-servers-overrides", "all resources are in one etcd"),
    Known { name: "feature-gates", is_bool: false, rule: Rule::Check(apiserver::gates::check), why: "" },
    any("kubelet-port", "nodes say in their status where their kubelets listen"),
    only("kubelet-read-only-port", &["0"], "there is no port without TLS"),
    any("kubelet-timeout", "requests to nodes last as long as the request they are made for"),
    only("kubernetes-service-node-port", &["0"], "the API's own Service has no node port"),
    any("lease-reuse-duration-seconds", "what expires is removed by the server itself"),
    any("livez-grace-period", "what starts late does not count for /livez"),
    any("log-flush-frequency", "log lines are written as they come"),
    any("log-json-info-buffer-size", "log lines are written as they come"),
    only_bool("log-json-split-stream", &["false"], "all log lines go to standard error"),
    any("log-text-info-buffer-size", "log lines are written as they come"),
    only_bool("log-text-split-stream", &["false"], "all log lines go to standard error"),
    only("max-connection-bytes-per-sec", &["0"], "connections are not slowed down"),
    only("min-compatibility-version", &["1.35", "kube=1.35"], "the API is that of v1.36"),
    never("peer-advertise-ip", PEERS),
    never("peer-advertise-port", PEERS),
    never("peer-ca-file", PEERS),
    Known { name: "runtime-config", is_bool: false, rule: Rule::Check(runtime_config), why: "" },
    only_bool("runtime-config-emulation-forward-compatible", &["false"], "the API is that of v1.36"),
    only_bool("service-account-lookup", &["true"], "tokens end with what they are bound to"),
    never("service-account-signing-endpoint", "tokens are signed by the server itself"),
    only("service-node-port-range", &["30000-32767"], "node ports are of the range 30000-32767"),
    any("show-hidden-metrics-for-version", "no metric is hidden"),
    any("storage-initialization-timeout", "the store is opened before anything else"),
    any("storage-media-type", "objects are kept in a form of the store's own"),
    any("vmodule", "log levels are chosen by TIPHYS_LOG, by crate"),
    only_bool("watch-cache", &["true"], CACHE),
    any("watch-cache-sizes", CACHE),
];

/// `group/version=true|false`: what is served may be said to be, and `api/all`, `api/ga`, `api/beta`.
fn runtime_config(value: &str) -> Result<(), String> {
    for pair in value.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, wanted) = pair.split_once('=').unwrap_or((pair, "true"));
        let is_served = match name {
            "api/all" | "api/ga" | "api/legacy" | "v1" => true,
            "api/beta" | "api/alpha" => false,
            _ => super::serves(name),
        };
        if wanted != if is_served { "true" } else { "false" } {
            let does = if is_served { "is always served" } else { "is not served" };
            return Err(format!("invalid value {pair:?}: {name} {does}"));
        }
    }
    Ok(())
}

/// Takes what is known and without effect out of the command line of a server; the rest, and everything that its
/// subcommand of the program has a setting for, is for its own parser.
pub(crate) fn take(arguments: Vec<String>, program: &clap::Command) -> anyhow::Result<Vec<String>> {
    let Some(server) = arguments.iter().position(|argument| is_role(argument)) else { return Ok(arguments) };
    let own = program.find_subcommand(&arguments[server]).map(own_flags).unwrap_or_default();
    let mut rest = arguments;
    let mut flags = rest.split_off(server + 1).into_iter().peekable();
    while let Some(argument) = flags.next() {
        let named = argument.strip_prefix("--").map(|flag| flag.split_once('=').unwrap_or((flag, "")));
        let known = named.and_then(|(name, _)| KNOWN.iter().find(|known| known.name == name && !own.contains(name)));
        let (Some(known), Some((name, value))) = (known, named) else {
            rest.push(argument);
            continue;
        };
        let value = match (argument.contains('='), known.is_bool) {
            (true, _) => value.to_owned(),
            (false, true) => "true".to_owned(),
            (false, false) => flags.next().with_context(|| format!("flag needs an argument: --{name}"))?,
        };
        known.judge(&value)?;
    }
    Ok(rest)
}

/// The flags that a subcommand honours.
fn own_flags(subcommand: &clap::Command) -> BTreeSet<&str> {
    let shown = subcommand.get_arguments().filter_map(clap::Arg::get_long_and_visible_aliases);
    let others = subcommand.get_arguments().filter_map(clap::Arg::get_all_aliases);
    shown.chain(others).flatten().collect()
}

impl Known {
    fn judge(&self, value: &str) -> anyhow::Result<()> {
        let Self { name, why, .. } = self;
        match &self.rule {
            Rule::Any => Ok(()),
            Rule::Only(values) if values.contains(&value) => Ok(()),
            Rule::Only(values) => bail!("--{name}={value} is not possible: {why}; only {} is", values.join(" or ")),
            Rule::Never => bail!("--{name} is not possible: {why}"),
            Rule::Check(check) => check(value).map_err(|error| anyhow::anyhow!("--{name}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// All flags of kube-apiserver v1.36.
    const ALL: &str = include_str!("upstream-flags.txt");

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn every_flag_of_upstream_is_known() {
        let command = crate::Arguments::command();
        for role in ["server", "apiserver"] {
            let own = own_flags(command.find_subcommand(role).unwrap());
            let mut unknown = Vec::new();
            for name in ALL.lines().map(str::trim).filter(|name| !name.is_empty()) {
                let here = KNOWN.iter().any(|known| known.name == name);
                // The server's own flag of this name is about the kubelet of its own process.
                let is_another = name == "kubelet-port";
                let twice = role == "server" && here && own.contains(name) && !is_another;
                assert!(!twice, "{name} is honoured and in the table");
                if !here && !own.contains(name) {
                    unknown.push(name);
                }
            }
            assert_eq!(unknown, [""; 0], "{role}");
        }
        assert!(KNOWN.is_sorted_by_key(|known| known.name));
        for known in KNOWN {
            assert!(ALL.lines().any(|name| name.trim() == known.name), "{} is no flag of upstream", known.name);
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_the_reason() {
        let take = |arguments| take(arguments, &crate::Arguments::command());
        let line = "tiphys server --watch-cache --kubelet-timeout 5s --allow-privileged=true --v=2 --feature-gates=WatchList=true";
        assert_eq!(take(words(line)).unwrap(), words("tiphys server --v=2"));
        for (line, why) in [
            ("--cors-allowed-origins=.*", "--cors-allowed-origins is not possible: answers carry no CORS headers"),
            ("--allow-privileged=false", "--allow-privileged=false is not possible: who may run privileged pods"),
            ("--feature-gates=WatchList=false", "--feature-gates: cannot set feature gate WatchList to false"),
            ("--runtime-config=batch/v2alpha1=true", "batch/v2alpha1 is not served"),
            ("--kubelet-timeout", "flag needs an argument: --kubelet-timeout"),
        ] {
            let error = take(words(&format!("tiphys server {line}"))).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(take(words("tiphys server --runtime-config=apps/v1=true,api/alpha=false")).unwrap().len(), 2);
        assert_eq!(take(words("tiphys image --watch-cache")).unwrap().len(), 3, "of other commands nothing is taken");
        let line = "tiphys apiserver --cert-dir=/certificates --allow-privileged=false";
        assert_eq!(take(words(&format!("{line} --watch-cache"))).unwrap(), words(line), "it has settings of its own");
    }
}
