//! When a container's probe is due and what a run of results means. No I/O: the shell runs the probe.
//! Upstream: pkg/kubelet/prober/worker.go.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Probe};

/// Which of the three probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    pub(crate) const ALL: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];

    /// As it begins an event's message.
    pub(crate) fn title(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }

    /// The container's probe of this kind.
    pub(crate) fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            ProbeKind::Startup => container.startup_probe.as_ref(),
            ProbeKind::Liveness => container.liveness_probe.as_ref(),
            ProbeKind::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// What one probe run said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    /// Passed with something to say (a redirect to another host).
    Warning(String),
    Failure(String),
    /// The probe itself could not be run; its result does not count.
    Errored(String),
}

/// The schedule and the counters of one probe of one running container.
#[derive(Clone, Debug)]
pub(crate) struct ProbeState {
    kind: ProbeKind,
    period: SignedDuration,
    failure_threshold: u32,
    success_threshold: u32,
    due: Timestamp,
    in_flight: bool,
    last: Option<bool>,
    run: u32,
    /// `None` until a threshold was reached.
    result: Option<bool>,
    on_hold: bool,
}

impl ProbeState {
    /// A probe of a container that started at `started`.
    pub(crate) fn new(kind: ProbeKind, probe: &Probe, started: Timestamp) -> Self {
        let seconds =
            |value: Option<i32>, default: i32| SignedDuration::from_secs(i64::from(value.unwrap_or(default).max(0)));
        let count = |value: Option<i32>, default: i32| u32::try_from(value.unwrap_or(default)).unwrap_or(1).max(1);
        ProbeState {
            kind,
            period: seconds(probe.period_seconds, 10).max(SignedDuration::from_secs(1)),
            failure_threshold: count(probe.failure_threshold, 3),
            success_threshold: count(probe.success_threshold, 1),
            due: started.checked_add(seconds(probe.initial_delay_seconds, 0)).unwrap_or(started),
            in_flight: false,
            last: None,
            run: 0,
            result: None,
            on_hold: false,
        }
    }

    /// The value that counts: a readiness probe says no until it said yes, a liveness probe the other way round.
    pub(crate) fn passes(&self) -> bool {
        self.result.unwrap_or(self.kind == ProbeKind::Liveness)
    }

    /// Takes over a result from before a restart of the node's agent.
    pub(crate) fn assume(&mut self, result: bool) {
        self.result = Some(result);
        self.last = Some(result);
        self.run = 1;
    }

    /// When to run it next, `None` while one runs or nothing is to be learnt.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        let settled = self.kind == ProbeKind::Startup && self.result == Some(true);
        (!self.in_flight && !self.on_hold && !settled).then_some(self.due)
    }

    /// Notes that it runs from now, if it is due.
    pub(crate) fn begin(&mut self, now: Timestamp) -> bool {
        if self.due().is_none_or(|due| due > now) {
            return false;
        }
        self.in_flight = true;
        // From the time it was due, so that the period does not drift by the probe's own duration, but without
        // catching up on periods that were missed.
        let next = self.due.checked_add(self.period).unwrap_or(now);
        self.due = if next > now { next } else { now.checked_add(self.period).unwrap_or(now) };
        true
    }

    /// Takes a result. True when the probe's value changed.
    pub(crate) fn finish(&mut self, success: Option<bool>) -> bool {
        self.in_flight = false;
        let Some(success) = success else { return false };
        if self.last == Some(success) {
            self.run = self.run.saturating_add(1);
        } else {
            self.last = Some(success);
            self.run = 1;
        }
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        if self.run < threshold {
            return false;
        }
        let changed = self.result != Some(success);
        self.result = Some(success);
        if !success && self.kind != ProbeKind::Readiness {
            // The container will be restarted: no more until there is a new one.
            self.on_hold = true;
            self.run = 0;
            return true;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn probe(period: i32, failure: i32, success: i32, delay: i32) -> Probe {
        Probe {
            period_seconds: Some(period),
            failure_threshold: Some(failure),
            success_threshold: Some(success),
            initial_delay_seconds: Some(delay),
            ..Probe::default()
        }
    }

    #[test]
    fn waits_for_the_initial_delay_then_runs_by_period() {
        let mut state = ProbeState::new(ProbeKind::Readiness, &probe(5, 3, 1, 7), at(0));
        assert!(!state.begin(at(6)));
        assert!(state.begin(at(7)));
        assert_eq!(state.due(), None, "one at a time");
        state.finish(Some(true));
        assert_eq!(state.due(), Some(at(12)));
    }

    #[test]
    fn thresholds_count_results_in_a_row() {
        let mut state = ProbeState::new(ProbeKind::Readiness, &probe(1, 2, 2, 0), at(0));
        assert!(!state.finish(Some(true)));
        assert!(!state.passes());
        assert!(state.finish(Some(true)));
        assert!(state.passes());
        assert!(!state.finish(Some(false)));
        assert!(!state.finish(None), "an error does not count");
        assert!(state.passes());
        assert!(state.finish(Some(false)));
        assert!(!state.passes());
    }

    #[test]
    fn failed_liveness_holds_until_a_new_container() {
        let mut state = ProbeState::new(ProbeKind::Liveness, &probe(1, 1, 1, 0), at(0));
        assert!(state.passes());
        assert!(state.finish(Some(false)));
        assert_eq!(state.due(), None);
    }

    #[test]
    fn missed_periods_are_not_caught_up() {
        let mut state = ProbeState::new(ProbeKind::Liveness, &probe(2, 3, 1, 0), at(0));
        assert!(state.begin(at(60)));
        state.finish(Some(true));
        assert_eq!(state.due(), Some(at(62)));
    }
}
