//! How a registry is spoken to, and whether it could be reached lately.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tls,
    Plain,
    TlsThenPlain,
}

/// Registries that did not answer, and since when.
#[derive(Default)]
pub(super) struct Reach {
    failures: Mutex<HashMap<String, Instant>>,
}

const MAX_REMEMBERED: usize = 256;

// === impl Reach ===

impl Reach {
    pub(super) fn failed_lately(&self, registry: &str, within: Duration) -> bool {
        self.failures.lock().get(registry).is_some_and(|at| at.elapsed() < within)
    }

    pub(super) fn failed(&self, registry: &str) {
        let mut failures = self.failures.lock();
        if failures.len() >= MAX_REMEMBERED {
            failures.clear();
        }
        failures.insert(registry.to_owned(), Instant::now());
    }

    pub(super) fn succeeded(&self, registry: &str) {
        self.failures.lock().remove(registry);
    }
}

/// TLS everywhere but where the configuration says otherwise; on loopback both are usual.
pub(super) fn transport(registry: &str, plain: &[String]) -> Transport {
    if plain.iter().any(|other| other == registry) {
        return Transport::Plain;
    }
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if loopback { Transport::TlsThenPlain } else { Transport::Tls }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_listed_registries_may_be_plain() {
        let listed = ["reg.lan:5000".to_owned()];
        assert_eq!(transport("docker.io", &listed), Transport::Tls);
        assert_eq!(transport("reg.lan:5000", &listed), Transport::Plain);
        assert_eq!(transport("reg.lan", &listed), Transport::Tls);
        assert_eq!(transport("localhost:5000", &[]), Transport::TlsThenPlain);
        assert_eq!(transport("127.0.0.2:5000", &[]), Transport::TlsThenPlain);
        assert_eq!(transport("[::1]:5000", &[]), Transport::TlsThenPlain);
        assert_eq!(transport("localhost.evil.io", &[]), Transport::Tls);
    }
}
