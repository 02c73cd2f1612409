//! Figures, as a table for people and as JSON for programs.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what: `ms`, `us`, `MB`, `s`, `1/s`.
    pub unit: &'static str,
}

/// All figures of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// In the order in which they were measured.
    pub figures: Vec<Figure>,
}

/// Latencies of one kind of operation.
pub(crate) struct Latencies(Histogram<u64>);

impl Report {
    /// Adds a figure.
    pub fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { name: name.into(), value, unit });
    }

    /// Adds median and tail of latencies.
    pub(crate) fn add_latencies(&mut self, name: &str, latencies: &Latencies) {
        for (label, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            self.add(format!("{name}, {label}"), milliseconds(latencies.0.value_at_quantile(quantile)), "ms");
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.figures.iter().map(|figure| figure.name.len()).max().unwrap_or(0);
        for Figure { name, value, unit } in &self.figures {
            let digits = if *value < 10.0 {
                2
            } else if *value < 1000.0 {
                1
            } else {
                0
            };
            writeln!(f, "{name:width$}  {value:>10.digits$} {unit}")?;
        }
        Ok(())
    }
}

impl Latencies {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, 600_000_000, 3)?))
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds that fit a float with room to spare")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up() {
        let mut report = Report::default();
        report.add("a", 1.234, "ms");
        report.add("longer", 1234.0, "1/s");
        assert_eq!(report.to_string(), "a             1.23 ms\nlonger        1234 1/s\n");
    }
}
