//! Counters of requests, in the names that upstream's dashboards know. Upstream: `endpoints/metrics`.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

/// Upper bounds of the duration histogram, in seconds.
const BUCKETS: [f64; 17] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0];
/// Distinct label sets are bounded: what comes from the URL is only used for registered resources.
const MAX_SERIES: usize = 8 * 1024;

/// Labels of one series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    pub(crate) verb: &'static str,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) scope: &'static str,
    pub(crate) code: u16,
}

#[derive(Default)]
struct Series {
    count: AtomicU64,
    nanoseconds: AtomicU64,
    buckets: [AtomicU64; BUCKETS.len()],
}

#[derive(Default)]
pub(crate) struct Metrics {
    series: ArcSwap<HashMap<Labels, Arc<Series>>>,
    pub(crate) in_flight: AtomicI64,
    pub(crate) watches: AtomicI64,
}

impl Metrics {
    pub(crate) fn record(&self, labels: Labels, duration: Duration) {
        let series = match self.series.load().get(&labels) {
            Some(series) => Arc::clone(series),
            None => self.add(labels),
        };
        let seconds = duration.as_secs_f64();
        series.count.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        series.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            series.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn add(&self, labels: Labels) -> Arc<Series> {
        let series = Arc::new(Series::default());
        self.series.rcu(|all| {
            let mut all = HashMap::clone(all);
            if all.len() < MAX_SERIES {
                all.entry(labels.clone()).or_insert_with(|| Arc::clone(&series));
            }
            all
        });
        self.series.load().get(&labels).map_or(series, Arc::clone)
    }

    /// Prometheus text.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let all = self.series.load();
        let mut sorted: Vec<_> = all.iter().collect();
        sorted.sort_by_key(|(labels, _)| {
            (labels.group.clone(), labels.resource.clone(), labels.subresource.clone(), labels.verb, labels.code)
        });
        out.push_str("# HELP apiserver_request_total [STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.\n# TYPE apiserver_request_total counter\n");
        for (labels, series) in &sorted {
            let _ = writeln!(
                out,
                "apiserver_request_total{{code=\"{}\",component=\"apiserver\",dry_run=\"\",{}}} {}",
                labels.code,
                labels.common(),
                series.count.load(Ordering::Relaxed)
            );
        }
        out.push_str("# HELP apiserver_request_duration_seconds [STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.\n# TYPE apiserver_request_duration_seconds histogram\n");
        for (labels, series) in sorted.iter().filter(|(labels, _)| labels.code < 300) {
            let common = labels.common();
            let mut sum = 0;
            for (bound, bucket) in BUCKETS.iter().zip(&series.buckets) {
                sum += bucket.load(Ordering::Relaxed);
                let _ = writeln!(
                    out,
                    "apiserver_request_duration_seconds_bucket{{component=\"apiserver\",dry_run=\"\",{common},le=\"{bound}\"}} {sum}"
                );
            }
            let count = series.count.load(Ordering::Relaxed);
            let seconds = Duration::from_nanos(series.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
            let _ = writeln!(
                out,
                "apiserver_request_duration_seconds_bucket{{component=\"apiserver\",dry_run=\"\",{common},le=\"+Inf\"}} {count}\n\
                 apiserver_request_duration_seconds_sum{{component=\"apiserver\",dry_run=\"\",{common}}} {seconds}\n\
                 apiserver_request_duration_seconds_count{{component=\"apiserver\",dry_run=\"\",{common}}} {count}"
            );
        }
        let _ = writeln!(
            out,
            "# HELP apiserver_current_inflight_requests [STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.\n# TYPE apiserver_current_inflight_requests gauge\napiserver_current_inflight_requests {}\n# HELP apiserver_longrunning_requests [STABLE] Gauge of all active long-running apiserver requests.\n# TYPE apiserver_longrunning_requests gauge\napiserver_longrunning_requests{{component=\"apiserver\",verb=\"WATCH\"}} {}",
            self.in_flight.load(Ordering::Relaxed),
            self.watches.load(Ordering::Relaxed)
        );
        out
    }
}

impl Labels {
    fn common(&self) -> String {
        format!(
            "group=\"{}\",resource=\"{}\",scope=\"{}\",subresource=\"{}\",verb=\"{}\",version=\"{}\"",
            self.group, self.resource, self.scope, self.subresource, self.verb, self.version
        )
    }
}
