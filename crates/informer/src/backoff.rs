//! Exponential back-off with jitter. Upstream: apimachinery `wait.Backoff`.

use std::time::Duration;

use rand::RngExt as _;

/// Delays that grow from `first` by the factor two up to `cap`, each lengthened by up to its own length at random,
/// so that many clients of one server that failed do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// A back-off without failures so far.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, failures: 0 }
    }

    /// The delay after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let base = exponential(self.first, self.cap, self.failures);
        self.failures = self.failures.saturating_add(1);
        base + base.mul_f64(rand::rng().random_range(0.0..1.0))
    }

    /// Forgets the failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// `first * 2^failures`, at most `cap`.
pub(crate) fn exponential(first: Duration, cap: Duration, failures: u32) -> Duration {
    2u32.checked_pow(failures).and_then(|factor| first.checked_mul(factor)).map_or(cap, |delay| delay.min(cap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        let (first, cap) = (Duration::from_millis(5), Duration::from_secs(1000));
        assert_eq!(exponential(first, cap, 0), first);
        assert_eq!(exponential(first, cap, 3), Duration::from_millis(40));
        assert_eq!(exponential(first, cap, 40), cap);
    }

    #[test]
    fn jitter_at_most_doubles_a_delay() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(100));
        for _ in 0..100 {
            let delay = backoff.next_delay();
            assert!(delay >= Duration::from_millis(100) && delay <= Duration::from_millis(200), "{delay:?}");
        }
    }
}
