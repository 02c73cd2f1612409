//! `/livez`, `/readyz` and `/healthz`, whole and check by check. Upstream: `server/healthz`.

use std::{sync::atomic::Ordering, time::Duration};

use http::{HeaderValue, header};

use crate::{
    respond::{self, Answer},
    server::{ApiServer, Call},
};

/// One check and its outcome; what is wrong goes to the log only, because everybody may ask.
struct Outcome {
    name: String,
    result: Result<(), String>,
}

/// What is done before the server answers anybody, by upstream's names for the parts that do it there.
const HOOKS: [&str; 16] = [
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-kube-apiserver-identity-lease-controller",
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
    "poststarthook/aggregator-reload-proxy-client-cert",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
];
/// What is done once, and not yet when the server begins to answer.
const LATE_HOOKS: [&str; 9] = [
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
];

/// How long a shared store may take to say how far it is. Upstream: `--etcd-healthcheck-timeout`.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the store answers. One that others write to is asked: it may be out of reach although its watch is silent.
async fn store_answers(server: &ApiServer) -> Result<(), String> {
    let store = server.registry().store();
    if store.is_closed() {
        return Err("the store is closed".to_owned());
    }
    if !store.is_shared() {
        return Ok(());
    }
    match tokio::time::timeout(PATIENCE, store.refresh()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the store does not answer in time".to_owned()),
    }
}

fn outcomes(server: &ApiServer, endpoint: &str, store: &Result<(), String>) -> Vec<Outcome> {
    let is_ready = server.inner.ready.load(Ordering::Acquire);
    let is_ending = server.inner.shutdown.is_cancelled();
    let started = |name: &str| if is_ready || is_ending { Ok(()) } else { Err(format!("{name} has not finished")) };
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut add = |name: &str, result| outcomes.push(Outcome { name: name.to_owned(), result });
    add("ping", Ok(()));
    add("log", Ok(()));
    add("etcd", store.clone());
    if endpoint == "readyz" {
        add("etcd-readiness", store.clone());
        add("informer-sync", started("informer sync"));
    }
    for hook in HOOKS {
        add(hook, Ok(()));
    }
    for hook in LATE_HOOKS {
        // Whoever restarts what is not alive is not to do it while it starts.
        add(hook, if endpoint == "livez" { Ok(()) } else { started(hook) });
    }
    for check in server.inner.checks.iter().filter(|check| endpoint != "livez" || check.is_for_liveness()) {
        add(check.name(), check.check());
    }
    if endpoint == "readyz" {
        add(
            "shutdown",
            if is_ending || server.is_leaving() { Err("process is shutting down".to_owned()) } else { Ok(()) },
        );
    }
    outcomes
}

/// Every path under which something is checked.
pub(super) fn paths(server: &ApiServer) -> Vec<String> {
    ["healthz", "livez", "readyz"]
        .into_iter()
        .flat_map(|endpoint| {
            let checks =
                outcomes(server, endpoint, &Ok(())).into_iter().map(move |check| format!("/{endpoint}/{}", check.name));
            std::iter::once(format!("/{endpoint}")).chain(checks)
        })
        .collect()
}

pub(super) async fn serve(server: &ApiServer, call: &Call, endpoint: &'static str, single: &str) -> Answer {
    let needs_store = single.is_empty() || single.starts_with("etcd");
    let store = if needs_store { store_answers(server).await } else { Ok(()) };
    let outcomes = outcomes(server, endpoint, &store);
    if !single.is_empty() {
        return match outcomes.into_iter().find(|check| check.name == single).map(|check| check.result) {
            Some(Ok(())) => said(200, "ok"),
            Some(Err(why)) => said(500, format!("internal server error: {why}\n")),
            None => respond::not_found(),
        };
    }
    for outcome in &outcomes {
        server.inner.probes.observe(&outcome.name, endpoint, outcome.result.is_ok());
    }
    let mut unknown: Vec<&str> =
        call.query.iter().filter(|(key, _)| key == "exclude").map(|(_, value)| value.as_str()).collect();
    unknown.sort_unstable();
    unknown.dedup();
    let excluded = unknown.clone();
    let (mut lines, mut failed) = (String::new(), Vec::new());
    for Outcome { name, result } in outcomes {
        if excluded.contains(&name.as_str()) {
            unknown.retain(|known| *known != name);
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match result {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(why) => {
                tracing::info!(check = name, endpoint, why, "health check failed");
                lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
                failed.push(name);
            }
        }
    }
    if !unknown.is_empty() {
        let quoted: Vec<String> = unknown.iter().map(|name| format!("{name:?}")).collect();
        let names = quoted.join(",");
        lines.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
    }
    if !failed.is_empty() {
        return said(500, format!("{lines}{endpoint} check failed\n"));
    }
    if call.query.iter().any(|(key, _)| key == "verbose") {
        said(200, format!("{lines}{endpoint} check passed\n"))
    } else {
        said(200, "ok")
    }
}

fn said(code: u16, text: impl Into<String>) -> Answer {
    let mut answer = respond::text(code, text);
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
