//! Flags of operating the API, under kube-apiserver's names, and the file that may hold any flag.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use apiserver::{
    ServerOptions,
    options::{AuditMode, AuditOptions, Batching, Rotation, Truncation, go_duration},
};
use clap::Args;

fn duration(text: &str) -> Result<Duration, String> {
    go_duration(text).ok_or_else(|| format!("time: invalid duration {text:?}"))
}

fn chance(text: &str) -> Result<f64, String> {
    let chance: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.0..=0.02).contains(&chance) {
        Ok(chance)
    } else {
        Err("--goaway-chance can not be less than 0 or greater than 0.02".to_owned())
    }
}

fn audit_mode(name: &str) -> AuditMode {
    match name {
        "batch" => AuditMode::Batch,
        "blocking-strict" => AuditMode::BlockingStrict,
        _ => AuditMode::Blocking,
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct OperationFlags {
    /// File of further flags: YAML, a name and its value or values a line; what is said on the command line counts more
    #[arg(long)]
    config: Option<PathBuf>,
    /// How log lines look: text or json; by default text on a terminal and json elsewhere
    #[arg(long, value_parser = ["text", "json"])]
    pub(crate) logging_format: Option<String>,
    /// How much is logged: 0 to 3 is what happens, 4 and 5 also why, more is everything. TIPHYS_LOG counts more
    #[arg(long, short = 'v')]
    pub(crate) v: Option<u8>,
    /// Metrics that are not served, by name
    #[arg(long, value_delimiter = ',')]
    pub(crate) disabled_metrics: Vec<String>,
    /// How long a request may take
    #[arg(long, value_parser = duration, default_value = "1m0s")]
    request_timeout: Duration,
    /// Seconds that a watch which names no timeout lasts at least
    #[arg(long, default_value_t = 1800)]
    min_request_timeout: u64,
    /// Reading requests served at the same time; together with the next one, what priority levels share
    #[arg(long, default_value_t = 400)]
    max_requests_inflight: u32,
    /// Writing requests served at the same time
    #[arg(long, default_value_t = 200)]
    max_mutating_requests_inflight: u32,
    /// Serve requests in the order of their priority levels, fairly
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    enable_priority_and_fairness: bool,
    /// How long everything is still served after the end was asked for, while /readyz says no
    #[arg(long, value_parser = duration, default_value = "0s")]
    shutdown_delay_duration: Duration,
    /// Tell who comes at the end to come again, for as long as others are being answered
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    shutdown_send_retry_after: bool,
    /// How likely an HTTP/2 client is sent to another connection with a request, so that several servers share them; at
    /// most 0.02
    #[arg(long, default_value_t = 0.0, value_parser = chance)]
    goaway_chance: f64,
    /// Directives of the header Strict-Transport-Security
    #[arg(long, value_delimiter = ',')]
    strict_transport_security_directives: Vec<String>,
    /// How long requests under way may take at the end
    #[arg(long, value_parser = duration, default_value = "10s")]
    shutdown_watch_termination_grace_period: Duration,
    /// Requests at the same time over one HTTP/2 connection; 0 is 250
    #[arg(long, default_value_t = 0)]
    http2_max_streams_per_connection: u32,
    /// Serve HTTP/1.1 only
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) disable_http2_serving: bool,
    /// Let other processes listen on the same port
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) permit_port_sharing: bool,
    /// Listen though others of the same port are still ending; they always may
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    permit_address_sharing: bool,
    /// Least version of TLS: VersionTLS12 or VersionTLS13
    #[arg(long, value_parser = ["", "VersionTLS12", "VersionTLS13"], default_value = "")]
    pub(crate) tls_min_version: String,
    /// Cipher suites of TLS 1.2, by their IANA names; those of 1.3 are always there
    #[arg(long, value_delimiter = ',')]
    pub(crate) tls_cipher_suites: Vec<String>,
    /// Serve /debug/pprof
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    profiling: bool,
    /// How long events are kept
    #[arg(long, value_parser = duration, default_value = "1h0m0s")]
    pub(crate) event_ttl: Duration,
    /// Certificate of the API, instead of one by the cluster's own authority; replaced files are taken up
    #[arg(long, requires = "tls_private_key_file")]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, requires = "tls_cert_file")]
    pub(crate) tls_private_key_file: Option<PathBuf>,
    /// Certificate and key for some names: cert,key or cert,key:name,name; may be given several times
    #[arg(long)]
    pub(crate) tls_sni_cert_key: Vec<String>,
    /// Which collector of traces is told of requests, and of how many
    #[arg(long)]
    tracing_config_file: Option<PathBuf>,
    /// What of which request is told to the audit log
    #[arg(long)]
    audit_policy_file: Option<PathBuf>,
    /// Where audit events go as lines; - is standard output
    #[arg(long)]
    audit_log_path: Option<String>,
    /// Days that rotated audit logs are kept; 0 for ever
    #[arg(long, default_value_t = 0)]
    audit_log_maxage: u64,
    /// Rotated audit logs that are kept; 0 all
    #[arg(long, default_value_t = 0)]
    audit_log_maxbackup: usize,
    /// Megabytes of an audit log before it is rotated; 0 never
    #[arg(long, default_value_t = 0)]
    audit_log_maxsize: u64,
    /// Compress rotated audit logs
    #[arg(long)]
    audit_log_compress: bool,
    /// Form of audit lines
    #[arg(long, default_value = "json", value_parser = ["json", "legacy"])]
    audit_log_format: String,
    /// Audit lines that may wait to be written, in mode batch
    #[arg(long, default_value_t = 10_000)]
    audit_log_batch_buffer_size: usize,
    /// Audit lines that are written together, in mode batch
    #[arg(long, default_value_t = 1)]
    audit_log_batch_max_size: usize,
    /// How long audit lines wait for others, in mode batch
    #[arg(long, value_parser = duration, default_value = "0s")]
    audit_log_batch_max_wait: Duration,
    /// When audit lines are written
    #[arg(long, default_value = "blocking", value_parser = ["batch", "blocking", "blocking-strict"])]
    audit_log_mode: String,
    /// Take the bodies out of audit events that are too large
    #[arg(long)]
    audit_log_truncate_enabled: bool,
    /// Largest audit event in bytes
    #[arg(long, default_value_t = 102_400)]
    audit_log_truncate_max_event_size: usize,
    /// Most bytes of audit events that are written together
    #[arg(long, default_value_t = 10_485_760)]
    audit_log_truncate_max_batch_size: usize,
    /// Kubeconfig of the server that audit events are sent to
    #[arg(long)]
    audit_webhook_config_file: Option<PathBuf>,
    /// When audit events are sent: together, or before the request goes on
    #[arg(long, default_value = "batch", value_parser = ["batch", "blocking", "blocking-strict"])]
    audit_webhook_mode: String,
    /// How long to wait before audit events are sent for the second time
    #[arg(long, value_parser = duration, default_value = "10s")]
    audit_webhook_initial_backoff: Duration,
    /// Take the bodies out of audit events that are too large to be sent
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    audit_webhook_truncate_enabled: bool,
    /// Largest audit event in bytes that is sent
    #[arg(long, default_value_t = 102_400)]
    audit_webhook_truncate_max_event_size: usize,
    /// Most bytes of audit events that are sent together
    #[arg(long, default_value_t = 10_485_760)]
    audit_webhook_truncate_max_batch_size: usize,
    /// Audit events that may wait to be sent
    #[arg(long, default_value_t = 10_000)]
    audit_webhook_batch_buffer_size: usize,
    /// Audit events that are sent together
    #[arg(long, default_value_t = 400)]
    audit_webhook_batch_max_size: usize,
    /// How long audit events wait for others
    #[arg(long, value_parser = duration, default_value = "30s")]
    audit_webhook_batch_max_wait: Duration,
}

impl OperationFlags {
    /// `shown` is what `/flagz` says.
    pub(crate) fn options(&self, shown: Vec<(String, String)>) -> ServerOptions {
        ServerOptions {
            request_timeout: self.request_timeout,
            min_request_timeout: Duration::from_secs(self.min_request_timeout),
            max_requests_inflight: self.max_requests_inflight,
            max_mutating_requests_inflight: self.max_mutating_requests_inflight,
            priority_and_fairness: self.enable_priority_and_fairness,
            shutdown_delay: self.shutdown_delay_duration,
            shutdown_grace: self.shutdown_watch_termination_grace_period,
            shutdown_send_retry_after: self.shutdown_send_retry_after,
            goaway_chance: self.goaway_chance,
            strict_transport_security: self.strict_transport_security_directives.join("; "),
            max_streams: self.http2_max_streams_per_connection,
            profiling: self.profiling,
            flags: shown,
            storage_size: None,
            tracing_config: self.tracing_config_file.clone(),
            audit: AuditOptions {
                policy_file: self.audit_policy_file.clone(),
                log_path: self.audit_log_path.clone(),
                log_rotation: Rotation {
                    size: self.audit_log_maxsize * 1024 * 1024,
                    age: Duration::from_secs(self.audit_log_maxage * 86_400),
                    backups: self.audit_log_maxbackup,
                    compress: self.audit_log_compress,
                },
                log_legacy: self.audit_log_format == "legacy",
                log_mode: audit_mode(&self.audit_log_mode),
                log_batch: Batching {
                    buffer: self.audit_log_batch_buffer_size,
                    most: self.audit_log_batch_max_size,
                    longest: self.audit_log_batch_max_wait,
                },
                log_truncation: self.audit_log_truncate_enabled.then_some(Truncation {
                    event: self.audit_log_truncate_max_event_size,
                    batch: self.audit_log_truncate_max_batch_size,
                }),
                webhook_config: self.audit_webhook_config_file.clone(),
                webhook_mode: audit_mode(&self.audit_webhook_mode),
                webhook_backoff: self.audit_webhook_initial_backoff,
                webhook_truncation: self.audit_webhook_truncate_enabled.then_some(Truncation {
                    event: self.audit_webhook_truncate_max_event_size,
                    batch: self.audit_webhook_truncate_max_batch_size,
                }),
                webhook_batch: Batching {
                    buffer: self.audit_webhook_batch_buffer_size,
                    most: self.audit_webhook_batch_max_size,
                    longest: self.audit_webhook_batch_max_wait,
                },
            },
            ..ServerOptions::default()
        }
    }
}

/// Puts the flags of the file that `--config` names in front of those of the command line, which so count more.
pub(crate) fn with_config_file(arguments: Vec<String>) -> anyhow::Result<Vec<String>> {
    let Some(server) = arguments.iter().position(|argument| is_role(argument)) else { return Ok(arguments) };
    let named = arguments.iter().enumerate().find_map(|(index, argument)| match argument.strip_prefix("--config") {
        Some("") => arguments.get(index + 1).cloned(),
        Some(rest) => rest.strip_prefix('=').map(str::to_owned),
        None => None,
    });
    let Some(path) = named else { return Ok(arguments) };
    let text = std::fs::read_to_string(&path).with_context(|| format!("read the configuration {path}"))?;
    let flags = flags(&text).with_context(|| format!("configuration {path}"))?;
    let mut all = arguments[..=server].to_vec();
    all.extend(flags);
    all.extend_from_slice(&arguments[server + 1..]);
    Ok(all)
}

/// `name: value` and `name: [values]` as `--name=value`.
fn flags(text: &str) -> anyhow::Result<Vec<String>> {
    let value: serde_json::Value = serde_saphyr::from_str(text)
        .map_err(|error| anyhow::anyhow!("{}", error.to_string().lines().next().unwrap_or_default()))?;
    if value.is_null() {
        return Ok(Vec::new());
    }
    let fields = value.as_object().context("it is no list of names and values")?;
    let mut flags = Vec::new();
    for (name, value) in fields {
        ensure!(name != "config", "a configuration cannot name another");
        let mut push = |value: &serde_json::Value| -> anyhow::Result<()> {
            match value {
                serde_json::Value::String(text) => flags.push(format!("--{name}={text}")),
                serde_json::Value::Number(number) => flags.push(format!("--{name}={number}")),
                // A flag without a value is there or not.
                serde_json::Value::Bool(on) if FLAGS.contains(&name.as_str()) => {
                    if *on {
                        flags.push(format!("--{name}"));
                    }
                }
                serde_json::Value::Bool(on) => flags.push(format!("--{name}={on}")),
                serde_json::Value::Null => {}
                _ => anyhow::bail!("{name} has a value that is no text, number or truth"),
            }
            Ok(())
        };
        match value {
            serde_json::Value::Array(values) => values.iter().try_for_each(&mut push)?,
            value => push(value)?,
        }
    }
    Ok(flags)
}

/// Flags that never have a value.
const FLAGS: [&str; 4] = [
    "audit-log-compress",
    "audit-log-truncate-enabled",
    "disable-agent",
    "encryption-provider-config-automatic-reload",
];

/// Subcommands that take these flags.
pub(crate) fn is_role(argument: &str) -> bool {
    matches!(argument, "server" | "apiserver")
}

/// The flags of a command line, for `/flagz`. Secrets are never given as flags, only files that hold them.
pub(crate) fn shown(arguments: &[String]) -> Vec<(String, String)> {
    let mut flags = Vec::new();
    let mut rest = arguments.iter().skip_while(|argument| !is_role(argument)).skip(1).peekable();
    while let Some(argument) = rest.next() {
        let Some(name) = argument.strip_prefix("--") else { continue };
        match name.split_once('=') {
            Some((name, value)) => flags.push((name.to_owned(), value.to_owned())),
            None => {
                let value = rest.next_if(|next| !next.starts_with("--"));
                flags.push((name.to_owned(), value.map_or("true", String::as_str).to_owned()));
            }
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_file_comes_before_the_command_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        std::fs::write(&path, "secure-port: 7443\ntls-san: [a, b]\ndisable-agent: true\nprofiling: false\n").unwrap();
        let line = format!("tiphys server --config {} --secure-port 8443", path.display());
        let all = with_config_file(words(&line)).unwrap();
        assert_eq!(&all[..2], ["tiphys", "server"]);
        for flag in ["--secure-port=7443", "--tls-san=a", "--tls-san=b", "--disable-agent", "--profiling=false"] {
            assert!(all.contains(&flag.to_owned()), "{flag} {all:?}");
        }
        assert_eq!(&all[all.len() - 2..], ["--secure-port", "8443"]);
        assert!(flags("config: x").is_err() && flags("a: {b: c}").is_err() && flags("- a").is_err());
        assert!(flags("").unwrap().is_empty());
    }

    #[test]
    fn flags_are_shown_as_they_were_given() {
        let flags = shown(&words("tiphys server --a=1 --b 2 --c --d"));
        let text: Vec<String> = flags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(text, ["a=1", "b=2", "c=true", "d=true"]);
    }
}
