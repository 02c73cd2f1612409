//! What is counted of priority and fairness, in upstream's names. Upstream: `util/flowcontrol/metrics`.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, Family, Gauge, Histogram, Stability};

const WAITS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const LABELS: [&str; 2] = ["priority_level", "flow_schema"];

static DISPATCHED: Family<Counter, 2> = Family::new(
    "apiserver_flowcontrol_dispatched_requests_total",
    Stability::Beta,
    "Number of requests executed by API Priority and Fairness subsystem",
    LABELS,
);
static REJECTED: Family<Counter, 3> = Family::new(
    "apiserver_flowcontrol_rejected_requests_total",
    Stability::Beta,
    "Number of requests rejected by API Priority and Fairness subsystem",
    ["priority_level", "flow_schema", "reason"],
);
static EXECUTING: Family<Gauge, 2> = Family::new(
    "apiserver_flowcontrol_current_executing_requests",
    Stability::Beta,
    "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem",
    LABELS,
);
static SEATS: Family<Gauge, 2> = Family::new(
    "apiserver_flowcontrol_current_executing_seats",
    Stability::Beta,
    "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem",
    LABELS,
);
static WAITING: Family<Gauge, 2> = Family::new(
    "apiserver_flowcontrol_current_inqueue_requests",
    Stability::Beta,
    "Number of requests currently pending in queues of the API Priority and Fairness subsystem",
    LABELS,
);
static WAITED: Family<Histogram, 3> = Family::with_bounds(
    "apiserver_flowcontrol_request_wait_duration_seconds",
    Stability::Beta,
    "Length of time a request spent waiting in its queue",
    ["priority_level", "flow_schema", "execute"],
    &WAITS,
);
static EXECUTION: Family<Histogram, 2> = Family::with_bounds(
    "apiserver_flowcontrol_request_execution_seconds",
    Stability::Alpha,
    "Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API Priority and Fairness subsystem",
    LABELS,
    &WAITS,
);
static NOMINAL: Family<Gauge, 1> = Family::new(
    "apiserver_flowcontrol_nominal_limit_seats",
    Stability::Beta,
    "Nominal number of execution seats configured for each priority level",
    ["priority_level"],
);
static LEAST: Family<Gauge, 1> = Family::new(
    "apiserver_flowcontrol_lower_limit_seats",
    Stability::Alpha,
    "Configured lower bound on number of execution seats available to each priority level",
    ["priority_level"],
);
static MOST: Family<Gauge, 1> = Family::new(
    "apiserver_flowcontrol_upper_limit_seats",
    Stability::Alpha,
    "Configured upper bound on number of execution seats available to each priority level",
    ["priority_level"],
);
static CURRENT: Family<Gauge, 1> = Family::new(
    "apiserver_flowcontrol_current_limit_seats",
    Stability::Alpha,
    "current derived number of execution seats available to each priority level",
    ["priority_level"],
);

/// Those of one schema, found once.
pub(super) struct Counters {
    level: String,
    schema: String,
    pub(super) dispatched: Arc<Counter>,
    pub(super) executing: Arc<Gauge>,
    pub(super) seats: Arc<Gauge>,
    pub(super) waiting: Arc<Gauge>,
    pub(super) execution: Arc<Histogram>,
}

impl Counters {
    pub(super) fn new(level: &str, schema: &str) -> Self {
        let labels = [level, schema];
        Self {
            dispatched: DISPATCHED.with(labels),
            executing: EXECUTING.with(labels),
            seats: SEATS.with(labels),
            waiting: WAITING.with(labels),
            execution: EXECUTION.with(labels),
            level: level.to_owned(),
            schema: schema.to_owned(),
        }
    }

    pub(super) fn rejected(&self, reason: &str) {
        REJECTED.with([&self.level, &self.schema, reason]).inc();
    }

    pub(super) fn waited(&self, executed: bool, time: Duration) {
        let executed = if executed { "true" } else { "false" };
        WAITED.with([&self.level, &self.schema, executed]).observe_duration(time);
    }
}

pub(super) fn limits(level: &str, nominal: u32, least: u32, most: u32) {
    NOMINAL.with([level]).set(nominal.into());
    LEAST.with([level]).set(least.into());
    MOST.with([level]).set(most.into());
}

pub(super) fn current(level: &str, seats: u32) {
    CURRENT.with([level]).set(seats.into());
}
