//! What was found out and is good for a while: bounded in number, by digests of what it was found out about.
//!
//! Upstream: `token/cache` and `LRUExpireCache`. Keys are digests with a random key, so that no secret is kept and
//! nobody outside can make two of them fall together.

use std::{
    collections::{HashMap, VecDeque},
    sync::LazyLock,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use ring::hmac;

static KEY: LazyLock<hmac::Key> = LazyLock::new(|| {
    let random = ring::rand::SystemRandom::new();
    // Without random numbers there is no TLS either; the digests would still be digests.
    hmac::Key::generate(hmac::HMAC_SHA256, &random).unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]))
});

/// Stands for what it is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    /// Of several parts: where one ends and the next begins counts.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut context = hmac::Context::with_key(&KEY);
        for part in parts {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        Self(bytes)
    }

    /// Whether two secrets are the same, in a time that does not depend on where they differ.
    pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
        Self::of(&[a]) == Self::of(&[b])
    }

    /// One of so many places that it belongs to.
    pub(crate) fn stripe(&self, places: usize) -> usize {
        usize::from(self.0[0]) % places
    }
}

/// Values that end after a time, or when too many have come after them.
pub(crate) struct ExpiringMap<V> {
    most: usize,
    inner: Mutex<Inner<V>>,
}

struct Inner<V> {
    values: HashMap<Digest, (Instant, V)>,
    /// In the order in which they came; one that came again is here twice, and counts by the time in `values`.
    order: VecDeque<Digest>,
}

impl<V: Clone> ExpiringMap<V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, inner: Mutex::new(Inner { values: HashMap::new(), order: VecDeque::new() }) }
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<V> {
        let inner = self.inner.lock();
        inner.values.get(digest).filter(|(end, _)| *end > now()).map(|(_, value)| value.clone())
    }

    pub(crate) fn insert(&self, digest: Digest, value: V, lifetime: Duration) {
        if lifetime.is_zero() {
            return;
        }
        let now = now();
        let mut inner = self.inner.lock();
        inner.values.insert(digest, (now + lifetime, value));
        inner.order.push_back(digest);
        while inner.order.len() > self.most
            || inner.order.front().is_some_and(|oldest| inner.values.get(oldest).is_none_or(|(end, _)| *end <= now))
        {
            let Some(oldest) = inner.order.pop_front() else { break };
            inner.values.remove(&oldest);
        }
    }

    pub(crate) fn clear(&self) {
        let mut inner = self.inner.lock();
        inner.values.clear();
        inner.order.clear();
    }
}

fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_ends() {
        let map = ExpiringMap::new(3);
        let digest = |text: &str| Digest::of(&[text.as_bytes()]);
        for (number, text) in ["a", "b", "c", "d"].into_iter().enumerate() {
            map.insert(digest(text), number, Duration::from_secs(60));
        }
        assert_eq!((map.get(&digest("a")), map.get(&digest("b")), map.get(&digest("d"))), (None, Some(1), Some(3)));
        map.insert(digest("z"), 9, Duration::ZERO);
        assert_eq!(map.get(&digest("z")), None);
        map.insert(digest("n"), 9, Duration::from_nanos(1));
        std::thread::yield_now();
        assert_eq!(map.get(&digest("n")), None);
        map.clear();
        assert!(map.get(&digest("d")).is_none() && map.inner.lock().order.is_empty());
    }

    #[test]
    fn parts_do_not_run_together() {
        assert!(Digest::of(&[b"ab", b"c"]) != Digest::of(&[b"a", b"bc"]));
    }
}
