//! Families as Prometheus reads them.

use super::*;

static COUNTS: Family<Counter, 2> = Family::new("test_counts_total", Stability::Stable, "Counts.", ["a", "b"]);
static SIZES: Family<Histogram, 0> = Family::with_bounds("test_sizes", Stability::Alpha, "Sizes.", [], &[1.0, 2.5]);
static GAUGES: Family<Gauge, 1> = Family::new("test_gauge", Stability::Beta, "Gauge.", ["who"]);
static UNUSED: Family<Gauge, 0> = Family::new("test_unused", Stability::Beta, "Unused.", []);

#[test]
fn text_is_as_prometheus_reads_it() {
    COUNTS.with(["x", "2"]).add(2);
    COUNTS.with(["x", "1"]).inc();
    COUNTS.with(["x", "1"]).inc();
    COUNTS.with(["quote \" \n", ""]).inc();
    for value in [0.5, 1.0, 2.0, 7.0] {
        SIZES.with([]).observe(value);
    }
    GAUGES.with(["gone"]).set(-3);
    GAUGES.with(["stays"]).set(4);
    GAUGES.forget("who", "gone");
    let text = render();
    for line in [
        "# HELP test_counts_total [STABLE] Counts.\n# TYPE test_counts_total counter\n",
        "test_counts_total{a=\"quote \\\" \\n\",b=\"\"} 1\ntest_counts_total{a=\"x\",b=\"1\"} 2\ntest_counts_total{a=\"x\",b=\"2\"} 2\n",
        "test_sizes_bucket{le=\"1\"} 2\ntest_sizes_bucket{le=\"2.5\"} 3\ntest_sizes_bucket{le=\"+Inf\"} 4\ntest_sizes_sum 10.5\ntest_sizes_count 4\n",
        "# TYPE test_gauge gauge\ntest_gauge{who=\"stays\"} 4\n",
    ] {
        assert!(text.contains(line), "{line}\nnot in\n{text}");
    }
    assert!(!text.contains("gone") && !text.contains(UNUSED_NAME));
    assert_eq!(UNUSED.with([]).get(), 0);
}

const UNUSED_NAME: &str = "test_unused";

#[test]
fn bounds_grow_by_a_factor() {
    assert_eq!(exponential::<4>(1.0, 2.0), [1.0, 2.0, 4.0, 8.0]);
}
