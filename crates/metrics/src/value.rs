//! The three kinds of values.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// What a family has one of for each set of labels.
pub trait Metric: Send + Sync + 'static {
    /// As Prometheus calls it.
    const KIND: &'static str;

    fn new(bounds: &'static [f64]) -> Self;

    /// Appends sample lines. `labels` is empty or `a="b",c="d"`.
    fn render(&self, name: &str, labels: &str, out: &mut String);
}

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// Goes up and down; whole numbers.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

/// Counts values by size.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds: what is larger than all.
    counts: Box<[AtomicU64]>,
    /// In millionths.
    sum: AtomicU64,
}

impl Counter {
    pub fn inc(&self) {
        self.add(1);
    }

    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metric for Counter {
    const KIND: &'static str = "counter";

    fn new(_bounds: &'static [f64]) -> Self {
        Self::default()
    }

    fn render(&self, name: &str, labels: &str, out: &mut String) {
        line(name, "", labels, self.get(), out);
    }
}

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn add(&self, difference: i64) {
        self.0.fetch_add(difference, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metric for Gauge {
    const KIND: &'static str = "gauge";

    fn new(_bounds: &'static [f64]) -> Self {
        Self::default()
    }

    fn render(&self, name: &str, labels: &str, out: &mut String) {
        line(name, "", labels, self.get(), out);
    }
}

impl Histogram {
    /// In the family's unit.
    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "what is observed is not negative"
        )]
        self.sum.fetch_add((value.max(0.0) * 1e6) as u64, Ordering::Relaxed);
    }

    /// In seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Metric for Histogram {
    const KIND: &'static str = "histogram";

    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    fn render(&self, name: &str, labels: &str, out: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (index, count) in self.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let bound = self.bounds.get(index).map_or_else(|| "+Inf".to_owned(), ToString::to_string);
            line(name, "_bucket", &format!("{labels}{comma}le=\"{bound}\""), total, out);
        }
        #[expect(clippy::cast_precision_loss, reason = "a sum of seconds for people")]
        let sum = self.sum.load(Ordering::Relaxed) as f64 / 1e6;
        line(name, "_sum", labels, sum, out);
        line(name, "_count", labels, total, out);
    }
}

fn line(name: &str, suffix: &str, labels: &str, value: impl std::fmt::Display, out: &mut String) {
    let written = if labels.is_empty() {
        writeln!(out, "{name}{suffix} {value}")
    } else {
        writeln!(out, "{name}{suffix}{{{labels}}} {value}")
    };
    debug_assert!(written.is_ok(), "a String takes everything");
}

/// Bounds that grow by a factor: `prometheus.ExponentialBuckets`.
pub const fn exponential<const N: usize>(start: f64, factor: f64) -> [f64; N] {
    let mut bounds = [start; N];
    let mut index = 1;
    while index < N {
        bounds[index] = bounds[index - 1] * factor;
        index += 1;
    }
    bounds
}
