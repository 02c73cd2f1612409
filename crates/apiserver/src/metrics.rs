//! What is counted of requests, in the names that upstream's dashboards know. Upstream: `endpoints/metrics`.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use metrics::{Counter, Family, Gauge, Histogram, Stability, exponential};
use parking_lot::Mutex;
use registry::{
    UserInfo,
    auth::{AuthenticationError, Decision},
};

use crate::{server::ApiServer, version};

const DURATIONS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
const SLI_DURATIONS: [f64; 21] =
    [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];
const WATCH_LIST_DURATIONS: [f64; 25] = [
    0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
    90.0, 120.0, 180.0, 300.0,
];
const AUTH_DURATIONS: [f64; 15] = exponential(0.001, 2.0);
const SIZES: [f64; 7] = exponential(1000.0, 10.0);
const EVENT_SIZES: [f64; 8] = exponential(1024.0, 2.0);

static REQUESTS: Family<Counter, 9> = Family::new(
    "apiserver_request_total",
    Stability::Stable,
    "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
    ["code", "component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"],
);
static LATENCIES: Family<Histogram, 8> = Family::with_bounds(
    "apiserver_request_duration_seconds",
    Stability::Stable,
    "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
    ["component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"],
    &DURATIONS,
);
static SLI_LATENCIES: Family<Histogram, 7> = Family::with_bounds(
    "apiserver_request_sli_duration_seconds",
    Stability::Alpha,
    "Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.",
    ["component", "group", "resource", "scope", "subresource", "verb", "version"],
    &SLI_DURATIONS,
);
static RESPONSE_SIZES: Family<Histogram, 7> = Family::with_bounds(
    "apiserver_response_sizes",
    Stability::Stable,
    "Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.",
    ["component", "group", "resource", "scope", "subresource", "verb", "version"],
    &SIZES,
);
static LONG_RUNNING: Family<Gauge, 7> = Family::new(
    "apiserver_longrunning_requests",
    Stability::Stable,
    "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
    ["component", "group", "resource", "scope", "subresource", "verb", "version"],
);
static IN_FLIGHT: Family<Gauge, 1> = Family::new(
    "apiserver_current_inflight_requests",
    Stability::Stable,
    "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
    ["request_kind"],
);
static TERMINATIONS: Family<Counter, 8> = Family::new(
    "apiserver_request_terminations_total",
    Stability::Alpha,
    "Number of requests which apiserver terminated in self-defense.",
    ["code", "component", "group", "resource", "scope", "subresource", "verb", "version"],
);
static WATCH_EVENTS: Family<Counter, 3> = Family::new(
    "apiserver_watch_events_total",
    Stability::Beta,
    "Number of events sent in watch clients",
    ["group", "version", "resource"],
);
static WATCH_EVENT_SIZES: Family<Histogram, 3> = Family::with_bounds(
    "apiserver_watch_events_sizes",
    Stability::Beta,
    "Watch event size distribution in bytes",
    ["group", "version", "resource"],
    &EVENT_SIZES,
);
pub(crate) static TLS_ERRORS: Family<Counter, 0> = Family::new(
    "apiserver_tls_handshake_errors_total",
    Stability::Alpha,
    "Number of requests dropped with 'TLS handshake error from' error",
    [],
);
static AUTHENTICATIONS: Family<Counter, 1> =
    Family::new("authentication_attempts", Stability::Alpha, "Counter of authenticated attempts.", ["result"]);
static AUTHENTICATED_USERS: Family<Counter, 1> = Family::new(
    "authenticated_user_requests",
    Stability::Alpha,
    "Counter of authenticated requests broken out by username.",
    ["username"],
);
static AUTHENTICATION_TIMES: Family<Histogram, 1> = Family::with_bounds(
    "authentication_duration_seconds",
    Stability::Alpha,
    "Authentication duration in seconds broken out by result.",
    ["result"],
    &AUTH_DURATIONS,
);
static AUTHORIZATIONS: Family<Counter, 1> = Family::new(
    "authorization_attempts_total",
    Stability::Alpha,
    "Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'.",
    ["result"],
);
static AUTHORIZATION_TIMES: Family<Histogram, 1> = Family::with_bounds(
    "authorization_duration_seconds",
    Stability::Alpha,
    "Authorization duration in seconds broken out by result.",
    ["result"],
    &AUTH_DURATIONS,
);
static DEPRECATED: Family<Gauge, 5> = Family::new(
    "apiserver_requested_deprecated_apis",
    Stability::Stable,
    "Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, and removed_release.",
    ["group", "removed_release", "resource", "subresource", "version"],
);
static WATCH_LISTS: Family<Histogram, 4> = Family::with_bounds(
    "apiserver_watch_list_duration_seconds",
    Stability::Beta,
    "Response latency distribution in seconds for watch list requests broken by group, version, resource and scope.",
    ["group", "resource", "scope", "version"],
    &WATCH_LIST_DURATIONS,
);

/// What a request is counted under. Only names of registered kinds, so that no URL makes a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    pub(crate) verb: &'static str,
    pub(crate) dry_run: &'static str,
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) subresource: &'static str,
    pub(crate) scope: &'static str,
}

/// Counters of one kind of request with one outcome, found by one look.
struct Series {
    total: Arc<Counter>,
    latency: Arc<Histogram>,
    sli: Arc<Histogram>,
    sizes: Arc<Histogram>,
}

#[derive(Default)]
pub(crate) struct Metrics {
    series: ArcSwap<HashMap<(Labels, u16), Arc<Series>>>,
    pub(crate) watches: AtomicI64,
    /// Requests under way: reading and writing.
    pub(crate) reading: AtomicI64,
    pub(crate) writing: AtomicI64,
}

/// Events of one kind, for its watches.
#[derive(Clone)]
pub(crate) struct WatchCounters {
    events: Arc<Counter>,
    sizes: Arc<Histogram>,
}

/// A request that may go on for hours.
pub(crate) struct LongRunning(Arc<Gauge>);

impl Labels {
    fn seven(&self) -> [&'static str; 7] {
        ["apiserver", self.group, self.resource, self.scope, self.subresource, self.verb, self.version]
    }
}

impl Metrics {
    /// `size` is nothing for what is streamed.
    pub(crate) fn record(&self, labels: Labels, code: u16, duration: Duration, waited: Duration, size: Option<usize>) {
        let key = (labels, code);
        let series = match self.series.load().get(&key) {
            Some(series) => Arc::clone(series),
            None => self.add(labels, code),
        };
        series.total.inc();
        if labels.verb == "WATCH" || labels.verb == "CONNECT" {
            return;
        }
        series.latency.observe_duration(duration);
        series.sli.observe_duration(duration.saturating_sub(waited));
        // What is written is answered with itself.
        if let Some(size) = size.filter(|_| matches!(labels.verb, "GET" | "LIST")) {
            #[expect(clippy::cast_precision_loss, reason = "a size for people")]
            series.sizes.observe(size as f64);
        }
    }

    fn add(&self, labels: Labels, code: u16) -> Arc<Series> {
        let Labels { verb, dry_run, group, version, resource, subresource, scope } = labels;
        let text = code.to_string();
        let series = Arc::new(Series {
            total: REQUESTS.with([&text, "apiserver", dry_run, group, resource, scope, subresource, verb, version]),
            latency: LATENCIES.with(["apiserver", dry_run, group, resource, scope, subresource, verb, version]),
            sli: SLI_LATENCIES.with(labels.seven()),
            sizes: RESPONSE_SIZES.with(labels.seven()),
        });
        self.series.rcu(|all| {
            let mut all = HashMap::clone(all);
            all.insert((labels, code), Arc::clone(&series));
            all
        });
        series
    }

    /// Requests that are being answered, but for what lasts.
    pub(crate) fn under_way(&self) -> i64 {
        self.reading.load(Ordering::Relaxed) + self.writing.load(Ordering::Relaxed)
    }

    /// A request that the server ends for its own good.
    pub(crate) fn terminated(&self, labels: Option<Labels>, code: u16) {
        if let Some(labels) = labels {
            let [component, group, resource, scope, subresource, verb, version] = labels.seven();
            let code = code.to_string();
            TERMINATIONS.with([&code, component, group, resource, scope, subresource, verb, version]).inc();
        }
    }

    /// Prometheus text of everything that is counted in the process.
    pub(crate) fn render(&self, server: &ApiServer) -> String {
        IN_FLIGHT.with(["readOnly"]).set(self.reading.load(Ordering::Relaxed));
        IN_FLIGHT.with(["mutating"]).set(self.writing.load(Ordering::Relaxed));
        let mut out = metrics::render();
        let mut kinds = server.registry().kinds();
        kinds.sort_by_key(|kind| kind.info().group_resource());
        kinds.dedup_by_key(|kind| kind.info().group_resource());
        let stored =
            kinds.iter().filter(|kind| kind.resource.create_action().is_none() && kind.resource.hub().is_none());
        #[expect(clippy::cast_precision_loss, reason = "counts for people")]
        let counts: Vec<(String, f64)> = stored
            .map(|kind| (format!("resource=\"{}\"", kind.info().group_resource()), kind.count() as f64))
            .collect();
        metrics::render_value(
            "apiserver_storage_objects",
            Stability::Stable,
            "gauge",
            "[DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
            counts.clone(),
            &mut out,
        );
        metrics::render_value(
            "apiserver_resource_objects",
            Stability::Alpha,
            "gauge",
            "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
            kinds
                .iter()
                .filter(|kind| kind.resource.create_action().is_none() && kind.resource.hub().is_none())
                .zip(&counts)
                .map(|(kind, (_, count))| {
                    let info = kind.info();
                    (format!("group=\"{}\",resource=\"{}\"", info.group, info.plural), *count)
                }),
            &mut out,
        );
        #[expect(clippy::cast_precision_loss, reason = "a size for people")]
        let size = server.inner.options.storage_size.as_ref().and_then(|size| size.0()).map(|bytes| bytes as f64);
        metrics::render_value(
            "apiserver_storage_size_bytes",
            Stability::Stable,
            "gauge",
            "Size of the storage database file physically allocated in bytes.",
            size.map(|bytes| ("storage_cluster_id=\"storage-cluster-0\"".to_owned(), bytes)),
            &mut out,
        );
        crate::gates::render(&mut out);
        let info = serde_json::to_value(version::info()).unwrap_or_default();
        let text = |name: &str| info[name].as_str().unwrap_or_default().to_owned();
        let labels = format!(
            "build_date=\"{}\",compiler=\"{}\",git_commit=\"{}\",git_tree_state=\"{}\",git_version=\"{}\",go_version=\"{}\",major=\"{}\",minor=\"{}\",platform=\"{}\"",
            text("buildDate"),
            text("compiler"),
            text("gitCommit"),
            text("gitTreeState"),
            text("gitVersion"),
            text("goVersion"),
            text("major"),
            text("minor"),
            text("platform"),
        );
        metrics::render_value(
            "kubernetes_build_info",
            Stability::Beta,
            "gauge",
            "A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
            [(labels, 1.0)],
            &mut out,
        );
        process(&mut out);
        out
    }
}

impl WatchCounters {
    pub(crate) fn of(group: &str, version: &str, resource: &str) -> Self {
        let labels = [group, version, resource];
        Self { events: WATCH_EVENTS.with(labels), sizes: WATCH_EVENT_SIZES.with(labels) }
    }

    pub(crate) fn sent(&self, size: usize) {
        self.events.inc();
        #[expect(clippy::cast_precision_loss, reason = "a size for people")]
        self.sizes.observe(size as f64);
    }
}

impl LongRunning {
    pub(crate) fn begin(labels: &Labels) -> Self {
        let gauge = LONG_RUNNING.with(labels.seven());
        gauge.add(1);
        Self(gauge)
    }
}

impl Drop for LongRunning {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Somebody has asked for a kind that is going to go.
pub(crate) fn asked_for_deprecated(group: &str, version: &str, resource: &str, subresource: &str) {
    DEPRECATED.with([group, "", resource, subresource, version]).set(1);
}

/// A streaming list was sent whole.
pub(crate) fn watch_list_sent(group: &str, version: &str, resource: &str, scope: &str, duration: Duration) {
    WATCH_LISTS.with([group, resource, scope, version]).observe_duration(duration);
}

/// Upstream: `recordAuthenticationMetrics`.
pub(crate) fn authenticated(outcome: &Result<Option<Arc<UserInfo>>, AuthenticationError>, start: Instant) {
    let result = match outcome {
        Ok(Some(user)) => {
            AUTHENTICATED_USERS.with([compressed(&user.name)]).inc();
            "success"
        }
        Ok(None) => "failure",
        Err(_) => "error",
    };
    AUTHENTICATIONS.with([result]).inc();
    AUTHENTICATION_TIMES.with([result]).observe_duration(start.elapsed());
}

/// No name makes a series. Upstream: `compressUsername`.
fn compressed(name: &str) -> &'static str {
    match name {
        "admin" => "admin",
        "client" => "client",
        "kube_proxy" => "kube_proxy",
        "kubelet" => "kubelet",
        "system:serviceaccount:kube-system:default" => "system:serviceaccount:kube-system:default",
        other if other.contains('@') => "email_id",
        _ => "other",
    }
}

/// Upstream: `recordAuthorizationMetrics`.
pub(crate) fn authorized(decision: &Decision, start: Instant) {
    let result = match decision {
        Decision::Allow { .. } => "allowed",
        Decision::Deny { .. } => "denied",
        Decision::NoOpinion { .. } => "no-opinion",
    };
    AUTHORIZATIONS.with([result]).inc();
    AUTHORIZATION_TIMES.with([result]).observe_duration(start.elapsed());
}

/// What health checks came to, for `/metrics/slis`. Upstream: `component-base/metrics/prometheus/slis`.
#[derive(Default)]
pub(crate) struct Probes(Mutex<BTreeMap<(String, &'static str), Probed>>);

#[derive(Default)]
struct Probed {
    is_well: bool,
    successes: u64,
    errors: u64,
}

impl Probes {
    /// `endpoint`: `livez`, `readyz` or `healthz`.
    pub(crate) fn observe(&self, check: &str, endpoint: &'static str, is_well: bool) {
        let mut all = self.0.lock();
        let probed = all.entry((check.to_owned(), endpoint)).or_default();
        probed.is_well = is_well;
        *(if is_well { &mut probed.successes } else { &mut probed.errors }) += 1;
    }

    pub(crate) fn render(&self) -> String {
        let all = self.0.lock();
        let mut out = String::new();
        let labels = |(check, endpoint): &(String, &str)| format!("name=\"{check}\",type=\"{endpoint}\"");
        metrics::render_value(
            "kubernetes_healthcheck",
            Stability::Stable,
            "gauge",
            "This metric records the result of a single healthcheck.",
            all.iter().map(|(key, probed)| (labels(key), f64::from(u8::from(probed.is_well)))),
            &mut out,
        );
        #[expect(clippy::cast_precision_loss, reason = "counts for people")]
        let counts = all.iter().flat_map(|((check, endpoint), probed)| {
            let line = |status: &str| format!("name=\"{check}\",status=\"{status}\",type=\"{endpoint}\"");
            [(line("error"), probed.errors as f64), (line("success"), probed.successes as f64)]
        });
        metrics::render_value(
            "kubernetes_healthchecks_total",
            Stability::Stable,
            "counter",
            "This metric records the results of all healthcheck.",
            counts.filter(|(_, count)| *count > 0.0),
            &mut out,
        );
        out
    }
}

/// What Prometheus's client libraries say of every process.
fn process(out: &mut String) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    let descriptors = std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or_default();
    // Ticks of a hundredth of a second and pages of 4 KiB: what Linux shows to users.
    let values: [(&str, &str, &str, f64); 5] = [
        (
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time spent in seconds.",
            (number(11) + number(12)) / 100.0,
        ),
        ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", number(21) * 4096.0),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", number(20)),
        #[expect(clippy::cast_precision_loss, reason = "a count for people")]
        ("process_open_fds", "gauge", "Number of open file descriptors.", descriptors as f64),
        ("process_threads", "gauge", "Number of threads.", number(17)),
    ];
    for (name, kind, help, value) in values {
        let written = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        debug_assert!(written.is_ok(), "a String takes everything");
    }
}
