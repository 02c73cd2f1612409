//! What an operator can say about the server, in upstream's words. Upstream: `server/options`, `kube-apiserver --help`.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

pub use crate::{
    audit::{AuditOptions, Mode as AuditMode, Rotation, Truncation},
    batch::Batching,
};

/// Options that the server itself obeys. Flags and the configuration file of the program fill it.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// `--request-timeout`: how long a request that is not long-running may take; `?timeout=` may only shorten it.
    pub request_timeout: Duration,
    /// `--min-request-timeout`: a watch that names no timeout gets one to two of these.
    pub min_request_timeout: Duration,
    /// `--max-requests-inflight` and `--max-mutating-requests-inflight`: their sum is what priority and fairness share.
    pub max_requests_inflight: u32,
    pub max_mutating_requests_inflight: u32,
    /// `--enable-priority-and-fairness`.
    pub priority_and_fairness: bool,
    /// `--shutdown-delay-duration`: `/readyz` says no, and everything else still works.
    pub shutdown_delay: Duration,
    /// `--shutdown-watch-termination-grace-period`: how long requests under way may take at the end.
    pub shutdown_grace: Duration,
    /// `--shutdown-send-retry-after`: at the end, who still comes is told to come again, until others are answered.
    pub shutdown_send_retry_after: bool,
    /// `--goaway-chance`: how likely an HTTP/2 client is sent to another connection with a request.
    pub goaway_chance: f64,
    /// `--strict-transport-security-directives`, joined as the header has them; empty: no header.
    pub strict_transport_security: String,
    /// `--http2-max-streams-per-connection`; 0 is the default.
    pub max_streams: u32,
    /// `--profiling`: `/debug/pprof`.
    pub profiling: bool,
    /// Where clients that come from anywhere reach the server, as `/api` tells them: host and port.
    pub external_address: String,
    /// `--kubelet-preferred-address-types`: of a node's addresses, which are dialled, the first that it has. Names are
    /// not looked up.
    pub node_address_types: Vec<String>,
    /// What `/flagz` shows: names and values.
    pub flags: Vec<(String, String)>,
    /// How many bytes the store takes on its disk, where that can be known.
    pub storage_size: Option<StorageSize>,
    pub audit: AuditOptions,
    /// `--tracing-config-file`.
    pub tracing_config: Option<PathBuf>,
}

/// Finds out a size, for `/metrics`.
#[derive(Clone)]
pub struct StorageSize(pub Arc<dyn Fn() -> Option<u64> + Send + Sync>);

impl fmt::Debug for StorageSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StorageSize")
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(60),
            min_request_timeout: Duration::from_secs(1800),
            max_requests_inflight: 400,
            max_mutating_requests_inflight: 200,
            priority_and_fairness: true,
            shutdown_delay: Duration::ZERO,
            shutdown_grace: Duration::from_secs(10),
            shutdown_send_retry_after: false,
            goaway_chance: 0.0,
            strict_transport_security: String::new(),
            max_streams: 0,
            profiling: true,
            external_address: String::new(),
            node_address_types: vec!["InternalIP".to_owned(), "ExternalIP".to_owned()],
            flags: Vec::new(),
            storage_size: None,
            audit: AuditOptions::default(),
            tracing_config: None,
        }
    }
}

impl ServerOptions {
    /// Seats that priority and fairness share out. Upstream: `ServerConcurrencyLimit`.
    pub fn concurrency(&self) -> u32 {
        self.max_requests_inflight.saturating_add(self.max_mutating_requests_inflight).max(1)
    }
}

/// Go's `time.ParseDuration`, of what is not negative.
pub fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|byte: char| !byte.is_ascii_digit() && byte != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (unit, seconds) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let millis = |text| go_duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("32s"), Some(32_000));
        assert_eq!(millis("1m1.5s"), Some(61_500));
        assert_eq!(millis("1h"), Some(3_600_000));
        assert_eq!(millis("250ms"), Some(250));
        assert_eq!(millis("0"), Some(0));
        for wrong in ["", "5", "s", "-1s", "1x", "1.2.3s", "9999999999999999999999h"] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }
}
