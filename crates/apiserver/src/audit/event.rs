//! One audit event as JSON. Upstream: `apis/audit/v1.Event`, `audit/request.go`.

use bytes::Bytes;
use jiff::Timestamp;
use registry::{UserInfo, audit::AuditTrail};
use serde_json::{Map, Value, json};

use super::policy::{Level, Stage, Verdict};
use crate::request_info::RequestInfo;

/// Longest `User-Agent` that is kept. Upstream: `maxUserAgentLength`.
const MAX_AGENT: usize = 1024;
const TRUNCATED: &str = "...TRUNCATED";

/// What is known of a request that is told of.
pub(super) struct Facts<'a> {
    pub(super) verdict: &'a Verdict,
    pub(super) trail: &'a AuditTrail,
    pub(super) info: &'a RequestInfo,
    pub(super) uri: &'a str,
    pub(super) user: &'a UserInfo,
    pub(super) impersonated: Option<&'a UserInfo>,
    pub(super) constraint: &'a str,
    pub(super) sources: &'a [String],
    pub(super) agent: &'a str,
    pub(super) received: Timestamp,
    /// Status code and the Status of an error, once there is an answer.
    pub(super) response: Option<(u16, Option<Value>)>,
}

pub(super) fn event(facts: &Facts<'_>, stage: Stage, now: Timestamp) -> Value {
    let mut event = Map::new();
    let mut put = |name: &str, value: Value| event.insert(name.to_owned(), value);
    put("kind", "Event".into());
    put("apiVersion", "audit.k8s.io/v1".into());
    put("level", facts.verdict.level.as_str().into());
    put("auditID", facts.trail.id().into());
    put("stage", stage.as_str().into());
    put("requestURI", facts.uri.into());
    put("verb", facts.info.verb.into());
    put("user", user(facts.user));
    if let Some(impersonated) = facts.impersonated {
        put("impersonatedUser", user(impersonated));
    }
    if !facts.constraint.is_empty() {
        put("authenticationMetadata", json!({ "impersonationConstraint": facts.constraint }));
    }
    if !facts.sources.is_empty() {
        put("sourceIPs", facts.sources.into());
    }
    if !facts.agent.is_empty() {
        put("userAgent", agent(facts.agent).into());
    }
    let (bodies, omit) = (!is_secret(facts.info), facts.verdict.omit_managed_fields);
    let request = facts.trail.request().and_then(|request| body(&request, omit));
    if facts.info.is_resource {
        put("objectRef", object_reference(facts.info, request.as_ref()));
    }
    if let Some((code, status)) = &facts.response {
        put("responseStatus", response_status(*code, status.as_ref()));
    }
    if let Some(object) = request.filter(|_| bodies && facts.verdict.level >= Level::Request) {
        put("requestObject", object);
    }
    let response = facts.trail.response().filter(|_| bodies && facts.verdict.level >= Level::RequestResponse);
    if let Some(object) = response.and_then(|response| body(&response, omit)) {
        put("responseObject", object);
    }
    put("requestReceivedTimestamp", micro(facts.received).into());
    put("stageTimestamp", micro(now).into());
    let annotations = facts.trail.annotations();
    if !annotations.is_empty() {
        put("annotations", json!(annotations));
    }
    Value::Object(event)
}

/// Whether the bodies hold keys or tokens. They are never told, whatever the policy says.
pub(super) fn is_secret(info: &RequestInfo) -> bool {
    matches!(
        (info.group.as_str(), info.resource.as_str(), info.subresource.as_str()),
        ("", "secrets", _) | ("", "serviceaccounts", "token") | ("authentication.k8s.io", "tokenreviews", _)
    )
}

fn micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn user(user: &UserInfo) -> Value {
    let mut value = json!({ "username": user.name });
    if !user.uid.is_empty() {
        value["uid"] = user.uid.clone().into();
    }
    if !user.groups.is_empty() {
        value["groups"] = user.groups.clone().into();
    }
    if !user.extra.is_empty() {
        value["extra"] = json!(user.extra);
    }
    value
}

fn agent(agent: &str) -> String {
    if agent.len() <= MAX_AGENT {
        return agent.to_owned();
    }
    let mut end = MAX_AGENT;
    while !agent.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{TRUNCATED}", &agent[..end])
}

fn object_reference(info: &RequestInfo, request: Option<&Value>) -> Value {
    let metadata = |name: &str| -> Option<String> { Some(request?["metadata"][name].as_str()?.to_owned()) };
    let name = if info.name.is_empty() { metadata("name").unwrap_or_default() } else { info.name.clone() };
    let fields = [
        ("resource", info.resource.clone()),
        ("namespace", info.namespace.clone()),
        ("name", name),
        ("uid", metadata("uid").unwrap_or_default()),
        ("apiGroup", info.group.clone()),
        ("apiVersion", info.version.clone()),
        ("resourceVersion", metadata("resourceVersion").unwrap_or_default()),
        ("subresource", info.subresource.clone()),
    ];
    fields
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect::<Map<_, _>>()
        .into()
}

fn response_status(code: u16, status: Option<&Value>) -> Value {
    let mut value = json!({ "metadata": {}, "code": code });
    if let Some(status) = status {
        for name in ["status", "message", "reason", "details"] {
            if let Some(field) = status.get(name) {
                value[name] = field.clone();
            }
        }
    }
    value
}

fn body(json: &Bytes, omit_managed_fields: bool) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(json).ok()?;
    if omit_managed_fields {
        let strip = |object: &mut Value| {
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
            }
        };
        strip(&mut value);
        value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(strip);
    }
    Some(value)
}

/// Takes bodies out of an event that is too large. Upstream: `plugin/audit/truncate`.
///
/// Returns how large it is then.
pub(super) fn truncate(event: &mut Value, limit: usize) -> usize {
    let length = event.to_string().len();
    if length <= limit {
        return length;
    }
    if let Some(fields) = event.as_object_mut() {
        fields.remove("requestObject");
        fields.remove("responseObject");
    }
    if event.get("annotations").is_none_or(|annotations| !annotations.is_object()) {
        event["annotations"] = json!({});
    }
    event["annotations"]["audit.k8s.io/truncated"] = "true".into();
    event.to_string().len()
}
