//! EventRateLimit: a flood of events cannot drown the server. Upstream: `plugin/pkg/admission/eventratelimit`.

use std::collections::HashMap;

use api::core::v1::Event;
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use jiff::Timestamp;
use parking_lot::Mutex;
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

/// Whose events are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

/// One limit: so many events a second, and so many at once.
#[derive(Clone, Debug)]
pub struct Limit {
    pub kind: LimitKind,
    /// Events a second.
    pub qps: i32,
    /// Events at once.
    pub burst: i32,
    /// How many keys are remembered.
    pub cache_size: usize,
}

pub(crate) struct EventRateLimit {
    limits: Vec<(Limit, Mutex<Buckets>)>,
}

#[derive(Default)]
struct Buckets {
    by_key: HashMap<String, Bucket>,
}

struct Bucket {
    tokens: f64,
    /// When tokens were last added.
    at: Timestamp,
}

impl LimitKind {
    /// As the configuration spells it.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "Server" => Self::Server,
            "Namespace" => Self::Namespace,
            "User" => Self::User,
            "SourceAndObject" => Self::SourceAndObject,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Namespace => "Namespace",
            Self::User => "User",
            Self::SourceAndObject => "SourceAndObject",
        }
    }

    fn key(self, request: &AdmissionRequest<'_>) -> String {
        match self {
            Self::Server => String::new(),
            Self::Namespace => request.namespace.to_owned(),
            Self::User => request.cx.user.name.clone(),
            Self::SourceAndObject => {
                let Some(event) = request.object::<Event>() else { return String::new() };
                let source = event.source.clone().unwrap_or_default();
                let object = &event.involved_object;
                [
                    source.component,
                    source.host,
                    object.kind.clone(),
                    object.namespace.clone(),
                    object.name.clone(),
                    object.uid.clone(),
                    object.api_version.clone(),
                ]
                .map(Option::unwrap_or_default)
                .concat()
            }
        }
    }
}

impl EventRateLimit {
    pub(crate) fn new(limits: &[Limit]) -> Self {
        Self { limits: limits.iter().map(|limit| (limit.clone(), Mutex::default())).collect() }
    }
}

impl Buckets {
    fn take(&mut self, limit: &Limit, key: &str, now: Timestamp) -> bool {
        let burst = f64::from(limit.burst);
        if !self.by_key.contains_key(key) && self.by_key.len() >= limit.cache_size.max(1) {
            let oldest = self.by_key.iter().min_by_key(|(_, bucket)| bucket.at).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.by_key.remove(&oldest));
        }
        let bucket = self.by_key.entry(key.to_owned()).or_insert(Bucket { tokens: burst, at: now });
        let passed = now.duration_since(bucket.at).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed * f64::from(limit.qps)).min(burst);
        bucket.at = bucket.at.max(now);
        let enough = bucket.tokens >= 1.0;
        if enough {
            bucket.tokens -= 1.0;
        }
        enough
    }
}

impl Admission for EventRateLimit {
    fn name(&self) -> &'static str {
        "EventRateLimit"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        info.plural == "events"
            && matches!(info.group, "" | "events.k8s.io")
            && subresource.is_empty()
            && matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        if request.cx.dry_run {
            return ready(Ok(())).boxed();
        }
        let mut reached = Vec::new();
        for (limit, buckets) in &self.limits {
            let key = limit.kind.key(request);
            if !buckets.lock().take(limit, &key, request.cx.now) {
                reached.push(format!("limit reached on type {} for key {key}", limit.kind.name()));
            }
        }
        let why = match reached.as_slice() {
            [] => return ready(Ok(())).boxed(),
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        ready(Err(ApiError::too_many_requests(format!("Too many requests: {why}"), 1))).boxed()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let limit = Limit { kind: LimitKind::Namespace, qps: 1, burst: 2, cache_size: 2 };
        let mut buckets = Buckets::default();
        let start = Timestamp::UNIX_EPOCH;
        let at = |seconds| start + SignedDuration::from_secs(seconds);
        let taken: Vec<bool> = [0, 0, 0, 1, 1].map(|seconds| buckets.take(&limit, "a", at(seconds))).into();
        assert_eq!(taken, [true, true, false, true, false]);
        assert!(buckets.take(&limit, "b", at(1)) && buckets.take(&limit, "c", at(2)));
        assert_eq!(buckets.by_key.len(), 2, "what is remembered is bounded");
    }
}
