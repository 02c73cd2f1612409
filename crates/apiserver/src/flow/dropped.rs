//! How long those that were refused are to wait: longer, the more of them there are. Pure but for the clock it is given.
//!
//! Upstream: `util/flowcontrol/dropped_requests_tracker.go`.

use std::collections::VecDeque;

/// Upstream's `maxRetryAfter`, in seconds.
const LONGEST: u64 = 32;

/// What was refused by one priority level.
#[derive(Debug)]
pub(super) struct Dropped {
    /// Second and how many, of the seconds before the current one.
    history: VecDeque<(u64, u64)>,
    second: u64,
    count: u64,
    retry_after: u64,
    raised: u64,
}

impl Default for Dropped {
    fn default() -> Self {
        Self { history: VecDeque::new(), second: 0, count: 0, retry_after: 1, raised: 0 }
    }
}

impl Dropped {
    /// Counts a refusal, and says for how many seconds.
    pub(super) fn record(&mut self, second: u64) -> u32 {
        if self.second == second {
            self.count += 1;
        } else {
            self.history.push_back((self.second, self.count));
            let longest = (2 * self.retry_after).min(LONGEST);
            let before = self.second;
            self.history.retain(|(at, _)| before.saturating_sub(*at) <= longest);
            (self.second, self.count) = (second, 1);
            self.update(second);
        }
        u32::try_from(self.retry_after).unwrap_or(u32::MAX)
    }

    fn update(&mut self, second: u64) {
        let recent = self.history.iter().filter(|(at, _)| *at < second && second - at <= self.retry_after);
        let dropped: u64 = recent.map(|(_, count)| count).sum();
        if second.saturating_sub(self.raised) >= self.retry_after && dropped >= 3 * self.retry_after {
            self.retry_after = (self.retry_after * 2).min(LONGEST);
            self.raised = second;
        } else if dropped < self.retry_after && self.retry_after > 1 {
            self.retry_after -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_with_refusals_and_shrink_without() {
        let mut dropped = Dropped::default();
        let mut said = Vec::new();
        for second in 1_000..1_040 {
            for _ in 0..50 {
                dropped.record(second);
            }
            said.push(dropped.retry_after);
        }
        assert_eq!(said[0], 1);
        assert!(said.is_sorted() && said.last() == Some(&32), "{said:?}");
        for second in (1_100..1_400).step_by(5) {
            dropped.record(second);
        }
        assert_eq!(dropped.retry_after, 1);
    }
}
