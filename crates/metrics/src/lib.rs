//! Counters, gauges and histograms with labels, and their Prometheus text.
//!
//! A family is a `static`; it shows up in [`render`] once somebody has counted something in it. Counting costs a hash of
//! the labels and an atomic addition; who counts often keeps the [`Arc`] that [`Family::with`] gives. Families are
//! bounded, so that no client can make series without end. It must not read clocks or do I/O.
//! Upstream counterpart: `k8s.io/component-base/metrics` over `prometheus/client_golang`.
//!
//! ```ignore
//! static REQUESTS: Family<Counter, 2> = Family::new("requests_total", Stability::Stable, "Requests.", ["verb", "code"]);
//! REQUESTS.with(["GET", "200"]).inc();
//! ```

mod family;
mod value;

pub use family::{Family, Stability, disable, render, render_value};
pub use value::{Counter, Gauge, Histogram, Metric, exponential};

#[cfg(test)]
mod tests;
