//! Exponential back-off of one thing (a container's restarts, an image's pulls), without a clock.
//! Upstream: client-go `util/flowcontrol.Backoff`, as the kubelet uses it.

use jiff::{SignedDuration, Timestamp};

/// Restart back-off of containers and of image pulls start here.
pub(super) const INITIAL: SignedDuration = SignedDuration::from_secs(10);
/// And end here.
pub(super) const MAXIMUM: SignedDuration = SignedDuration::from_secs(300);

/// The delay in force and when it was last raised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    entry: Option<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    delay: SignedDuration,
    updated: Timestamp,
}

impl Backoff {
    /// The delay now in force, zero when there was no failure yet.
    pub(crate) fn delay(&self) -> SignedDuration {
        self.entry.as_ref().map_or(SignedDuration::ZERO, |entry| entry.delay)
    }

    /// Until when the thing that happened at `event` has to wait; `None` when it need not.
    pub(crate) fn wait_until(&self, event: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entry.as_ref().filter(|entry| !expired(entry, event))?;
        let until = event.checked_add(entry.delay).ok()?;
        (until > now).then_some(until)
    }

    /// Raises the delay: the thing is being tried again.
    pub(crate) fn next(&mut self, now: Timestamp) {
        let delay = match &self.entry {
            Some(entry) if !expired(entry, now) => (entry.delay + entry.delay).min(MAXIMUM),
            _ => INITIAL,
        };
        self.entry = Some(Entry { delay, updated: now });
    }

    /// Forgets all failures.
    pub(crate) fn reset(&mut self) {
        self.entry = None;
    }
}

/// A thing that did well for twice the maximum (ten minutes) starts afresh.
fn expired(entry: &Entry, at: Timestamp) -> bool {
    at.duration_since(entry.updated) > MAXIMUM + MAXIMUM
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn doubles_to_the_maximum() {
        let mut backoff = Backoff::default();
        let mut seen = Vec::new();
        for step in 0..7 {
            backoff.next(at(step * 300));
            seen.push(backoff.delay().as_secs());
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn first_failure_does_not_wait_second_does() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.wait_until(at(5), at(5)), None);
        backoff.next(at(5));
        assert_eq!(backoff.wait_until(at(6), at(6)), Some(at(16)));
        assert_eq!(backoff.wait_until(at(6), at(16)), None);
    }

    #[test]
    fn ten_good_minutes_reset() {
        let mut backoff = Backoff::default();
        backoff.next(at(0));
        backoff.next(at(10));
        assert_eq!(backoff.wait_until(at(700), at(700)), None);
        backoff.next(at(700));
        assert_eq!(backoff.delay(), INITIAL);
    }
}
