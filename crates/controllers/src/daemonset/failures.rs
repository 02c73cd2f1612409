//! How often daemon pods failed on a node, to wait longer each time. Upstream: `failedPodsBackoff`.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// Bound: sets times nodes with a failure in the last half hour.
#[derive(Debug, Default)]
pub(super) struct Failures {
    known: Mutex<HashMap<(String, String), (u32, Instant)>>,
}

impl Failures {
    /// How long the next failed pod of a set on a node is to be left.
    pub(super) fn hold(&self, set: &str, node: &str) -> Duration {
        let mut known = self.known.lock();
        known.retain(|_, (_, last)| last.elapsed() < LONGEST * 2);
        let Some((count, last)) = known.get(&(set.to_owned(), node.to_owned())) else { return Duration::ZERO };
        let factor = 2u32.checked_pow(count.saturating_sub(1)).unwrap_or(u32::MAX);
        FIRST.checked_mul(factor).map_or(LONGEST, |delay| delay.min(LONGEST)).saturating_sub(last.elapsed())
    }

    /// A failed pod of a set on a node is being deleted.
    pub(super) fn note(&self, set: &str, node: &str) {
        let mut known = self.known.lock();
        let entry = known.entry((set.to_owned(), node.to_owned())).or_insert((0, Instant::now()));
        *entry = (entry.0.saturating_add(1), Instant::now());
    }
}
