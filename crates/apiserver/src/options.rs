//! What an operator can say about the server, in upstream's words. Upstream: `server/options`, `kube-apiserver --help`.

use std::time::Duration;

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
    /// `--http2-max-streams-per-connection`; 0 is the default.
    pub max_streams: u32,
    /// `--max-request-body-bytes`. Upstream has it fixed at 3 MiB.
    pub max_request_bytes: usize,
    /// `--goaway-chance`: of a request over HTTP/2, to have its connection closed in order.
    pub goaway_chance: f64,
    /// `--profiling`: `/debug/pprof`.
    pub profiling: bool,
    /// `--debug-socket-path` has no counterpart; `/flagz` shows these.
    pub flags: Vec<(String, String)>,
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
            max_streams: 0,
            max_request_bytes: crate::body::MAX_REQUEST_BYTES,
            goaway_chance: 0.0,
            profiling: true,
            flags: Vec::new(),
        }
    }
}

impl ServerOptions {
    /// Seats that priority and fairness share out. Upstream: `ServerConcurrencyLimit`.
    pub fn concurrency(&self) -> u32 {
        self.max_requests_inflight.saturating_add(self.max_mutating_requests_inflight).max(1)
    }
}
