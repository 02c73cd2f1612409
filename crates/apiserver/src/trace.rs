//! Traces of requests for an OpenTelemetry collector: one span a request, as OTLP over HTTP with JSON.
//!
//! Off until a configuration names a collector. A request that comes with a sampled `traceparent` continues that trace;
//! of the others a share is sampled. Decision: docs/adr/0007-otlp.md. Upstream: `component-base/tracing`,
//! `endpoints/filters/traces.go`, `--tracing-config-file`.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use apimachinery::ApiError;
use http::HeaderMap;
use outbound::{Client, Post, Settings};
use serde::Deserialize;
use serde_json::{Value, json};
use supervisor::Supervisor;

use crate::batch::{Batching, Sender};

/// Where OTLP over HTTP is heard.
const PATH: &str = "/v1/traces";
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 64 * 1024;
const BATCH: Batching = Batching { buffer: 2048, most: 512, longest: Duration::from_secs(5) };

/// `TracingConfiguration`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    api_version: String,
    kind: String,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    sampling_rate_per_million: u32,
}

/// Tells a collector of requests. A clone is a reference count.
#[derive(Clone)]
pub(crate) struct Tracer(Arc<Inner>);

struct Inner {
    sender: Sender,
    per_million: u32,
}

/// One request that is told of, from its beginning.
pub(crate) struct Span {
    trace: String,
    parent: Option<String>,
    start: SystemTime,
}

/// What is known of the request at its end.
pub(crate) struct Told<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) agent: &'a str,
    pub(crate) audit_id: &'a str,
    pub(crate) code: u16,
}

impl Tracer {
    pub(crate) fn open(path: &Path, supervisor: &Supervisor) -> Result<Self, ApiError> {
        let wrong = |why: String| ApiError::bad_request(format!("tracing configuration {}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let (url, per_million) = parse(&text).map_err(wrong)?;
        let client = Client::for_url(&url, Settings::default()).map_err(|error| wrong(error.to_string()))?;
        let client = Arc::new(client);
        let deliver = move |spans| send(Arc::clone(&client), spans);
        Ok(Self(Arc::new(Inner { sender: Sender::start("traces", supervisor, BATCH, deliver, |_| {}), per_million })))
    }

    /// None: the request is not told of.
    pub(crate) fn begin(&self, headers: &HeaderMap) -> Option<Span> {
        let parent = headers.get("traceparent").and_then(|value| parse_parent(value.to_str().ok()?));
        let start = SystemTime::now();
        match parent {
            Some((trace, span, true)) => Some(Span { trace, parent: Some(span), start }),
            // Whoever began the trace has decided.
            Some((_, _, false)) => None,
            None => {
                let trace = uuid::Uuid::new_v4();
                let share = u32::from_be_bytes(trace.as_bytes()[12..].try_into().unwrap_or_default()) % 1_000_000;
                (share < self.0.per_million).then(|| Span { trace: trace.simple().to_string(), parent: None, start })
            }
        }
    }

    pub(crate) fn end(&self, span: Span, told: &Told<'_>) {
        let nanos = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
        let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
        let id: String = uuid::Uuid::new_v4().simple().to_string().chars().take(16).collect();
        // A span of a server that failed is an error; one that its client caused is not.
        let status = if told.code >= 500 { json!({ "code": 2 }) } else { json!({}) };
        let mut value = json!({
            "traceId": span.trace, "spanId": id, "name": format!("HTTP {}", told.method), "kind": 2,
            "startTimeUnixNano": nanos(span.start), "endTimeUnixNano": nanos(SystemTime::now()), "status": status,
            "attributes": [
                text("http.request.method", told.method), text("url.path", told.path),
                text("user_agent.original", told.agent), text("audit-id", told.audit_id),
                { "key": "http.response.status_code", "value": { "intValue": told.code.to_string() } },
            ],
        });
        if let Some(parent) = span.parent {
            value["parentSpanId"] = parent.into();
        }
        // A full buffer loses spans, not requests.
        if !self.0.sender.send(value) {
            tracing::debug!("a span is lost");
        }
    }
}

/// The collector's URL and how many requests of a million are sampled.
fn parse(text: &str) -> Result<(String, u32), String> {
    let value: Value = serde_saphyr::from_str(text)
        .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())?;
    let configuration: Configuration = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let Configuration { api_version, kind, endpoint, sampling_rate_per_million } = configuration;
    let known = matches!(api_version.as_str(), "apiserver.config.k8s.io/v1" | "apiserver.config.k8s.io/v1beta1");
    if !known || kind != "TracingConfiguration" {
        return Err(format!("no kind {kind:?} is registered for version {api_version:?}"));
    }
    if sampling_rate_per_million > 1_000_000 {
        return Err("samplingRatePerMillion: sampling rate must be less than or equal to one million".to_owned());
    }
    let endpoint = endpoint.unwrap_or_else(|| "localhost:4318".to_owned());
    let url = if endpoint.contains("://") { endpoint } else { format!("http://{endpoint}") };
    let has_path = url.split_once("://").is_some_and(|(_, rest)| rest.trim_end_matches('/').contains('/'));
    Ok((if has_path { url } else { format!("{}{PATH}", url.trim_end_matches('/')) }, sampling_rate_per_million))
}

/// Trace, span, and whether it is sampled. W3C Trace Context, version 00.
fn parse_parent(text: &str) -> Option<(String, String, bool)> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let is_good = is_hex(version, 2) && version != "ff" && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
    if !is_good || is_zero(trace) || is_zero(span) {
        return None;
    }
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    Some((trace.to_owned(), span.to_owned(), sampled))
}

async fn send(client: Arc<Client>, spans: Vec<Value>) -> Result<(), ApiError> {
    let body = json!({ "resourceSpans": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "apiserver" } }] },
        "scopeSpans": [{ "scope": { "name": "k8s.io/kubernetes/cmd/kube-apiserver" }, "spans": spans }],
    }] });
    let post = Post { body: body.to_string().into(), timeout: TIMEOUT, max_answer: MAX_ANSWER, tell_timeout: false };
    client.post(post).await.map(|_| ()).map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_upstreams() {
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\n";
        let of = |rest: &str| parse(&format!("{head}{rest}"));
        assert_eq!(of("").unwrap(), ("http://localhost:4318/v1/traces".to_owned(), 0));
        let given = of("endpoint: collector:4318\nsamplingRatePerMillion: 100").unwrap();
        assert_eq!(given, ("http://collector:4318/v1/traces".to_owned(), 100));
        assert_eq!(of("endpoint: https://c/otlp/v1/traces").unwrap().0, "https://c/otlp/v1/traces");
        assert!(of("samplingRatePerMillion: 1000001").is_err() && of("endpiont: x").is_err());
        assert!(parse("kind: TracingConfiguration\napiVersion: v1").is_err());
    }

    #[test]
    fn parents_are_read_as_the_standard_says() {
        let of = |text: &str| parse_parent(text).map(|(_, _, sampled)| sampled);
        assert_eq!(of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), Some(true));
        assert_eq!(of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"), Some(false));
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
