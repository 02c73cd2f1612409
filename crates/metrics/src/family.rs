//! Families of values, found by their labels.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::value::Metric;

/// Series of one family; what comes beyond is counted nowhere.
const MAX_SERIES: usize = 10_000;

/// How much one may rely on a name. Upstream: `StabilityLevel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    Alpha,
    Beta,
    Stable,
}

/// Values of one name, one for each set of labels.
pub struct Family<M: 'static, const N: usize> {
    name: &'static str,
    stability: Stability,
    help: &'static str,
    labels: [&'static str; N],
    bounds: &'static [f64],
    series: OnceLock<ArcSwap<Series<M, N>>>,
}

type Series<M, const N: usize> = HashMap<u64, Vec<([Box<str>; N], Arc<M>)>>;

trait Rendered: Sync {
    fn render(&self, out: &mut String);
}

/// By name, which is also the order in which they are shown.
static KNOWN: Mutex<BTreeMap<&'static str, &'static dyn Rendered>> = Mutex::new(BTreeMap::new());

/// Names that are not shown.
static DISABLED: OnceLock<Vec<String>> = OnceLock::new();

/// Leaves these out of what is shown from now on. Said once, at the start. Upstream: `--disabled-metrics`.
pub fn disable(names: &[String]) {
    DISABLED.get_or_init(|| names.to_vec());
}

fn is_disabled(name: &str) -> bool {
    DISABLED.get().is_some_and(|names| names.iter().any(|disabled| disabled == name))
}

/// Prometheus text of all families in which something was counted.
pub fn render() -> String {
    let mut out = String::with_capacity(64 * 1024);
    let known = KNOWN.lock();
    let known: Vec<&'static dyn Rendered> =
        known.iter().filter(|(name, _)| !is_disabled(name)).map(|(_, family)| *family).collect();
    for family in known {
        family.render(&mut out);
    }
    out
}

/// Prometheus text of one value that is only known when it is asked for. `samples` are labels (`a="b"`) and values.
pub fn render_value(
    name: &str,
    stability: Stability,
    kind: &str,
    help: &str,
    samples: impl IntoIterator<Item = (String, f64)>,
    out: &mut String,
) {
    if is_disabled(name) {
        return;
    }
    let mut lines = String::new();
    for (labels, value) in samples {
        let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        lines.push_str(&format!("{name}{labels} {value}\n"));
    }
    if !lines.is_empty() {
        head(name, stability, kind, help, out);
        out.push_str(&lines);
    }
}

impl<M: Metric, const N: usize> Family<M, N> {
    pub const fn new(name: &'static str, stability: Stability, help: &'static str, labels: [&'static str; N]) -> Self {
        Self::with_bounds(name, stability, help, labels, &[])
    }

    /// Of histograms: the upper bounds of their buckets, ascending.
    pub const fn with_bounds(
        name: &'static str,
        stability: Stability,
        help: &'static str,
        labels: [&'static str; N],
        bounds: &'static [f64],
    ) -> Self {
        Self { name, stability, help, labels, bounds, series: OnceLock::new() }
    }

    /// The value of these labels; made when it is not there.
    pub fn with(&'static self, values: [&str; N]) -> Arc<M> {
        let series = self.series.get_or_init(|| {
            KNOWN.lock().insert(self.name, self);
            ArcSwap::default()
        });
        let hash = hash(&values);
        let is_it = |known: &[Box<str>; N]| known.iter().zip(values).all(|(known, value)| **known == *value);
        let find = |series: &Series<M, N>| {
            series.get(&hash)?.iter().find(|(known, _)| is_it(known)).map(|(_, metric)| Arc::clone(metric))
        };
        if let Some(metric) = find(&series.load()) {
            return metric;
        }
        let made = Arc::new(M::new(self.bounds));
        series.rcu(|known| {
            let mut known = HashMap::clone(known);
            if find(&known).is_none() && known.len() < MAX_SERIES {
                known.entry(hash).or_default().push((values.map(Box::from), Arc::clone(&made)));
            }
            known
        });
        find(&series.load()).unwrap_or(made)
    }

    /// Forgets all series whose label has this value: what it was about has gone.
    pub fn forget(&'static self, label: &str, value: &str) {
        let (Some(series), Some(at)) = (self.series.get(), self.labels.iter().position(|known| *known == label)) else {
            return;
        };
        series.rcu(|known| {
            let mut known = HashMap::clone(known);
            for same in known.values_mut() {
                same.retain(|(values, _)| &*values[at] != value);
            }
            known.retain(|_, same| !same.is_empty());
            known
        });
    }
}

impl<M: Metric, const N: usize> Rendered for Family<M, N> {
    fn render(&self, out: &mut String) {
        let Some(series) = self.series.get() else { return };
        let series = series.load();
        let mut sorted: Vec<_> = series.values().flatten().collect();
        if sorted.is_empty() {
            return;
        }
        sorted.sort_by(|(left, _), (right, _)| left.cmp(right));
        head(self.name, self.stability, M::KIND, self.help, out);
        for (values, metric) in sorted {
            let mut labels = String::new();
            for (name, value) in self.labels.iter().zip(values) {
                let comma = if labels.is_empty() { "" } else { "," };
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let written = write!(labels, "{comma}{name}=\"{value}\"");
                debug_assert!(written.is_ok(), "a String takes everything");
            }
            metric.render(self.name, &labels, out);
        }
    }
}

fn head(name: &str, stability: Stability, kind: &str, help: &str, out: &mut String) {
    let stability = match stability {
        Stability::Alpha => "ALPHA",
        Stability::Beta => "BETA",
        Stability::Stable => "STABLE",
    };
    out.push_str(&format!("# HELP {name} [{stability}] {help}\n# TYPE {name} {kind}\n"));
}

fn hash(values: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.hash(&mut hasher);
    hasher.finish()
}
