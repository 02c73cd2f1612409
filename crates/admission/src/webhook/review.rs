//! The question and the answer. Upstream: `webhook/request`.

use apimachinery::{ApiError, Gvk, Gvr, field::go_quote};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use registry::{UserInfo, admission::AdmissionRequest};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::Value;

use super::{hook::ReviewVersion, rules, selectors::Invocation};

const GROUP: &str = "admission.k8s.io";
const KIND: &str = "AdmissionReview";

impl ReviewVersion {
    const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1beta1 => "v1beta1",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    kind: &'static str,
    api_version: String,
    request: Request<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    uid: &'a str,
    kind: KindName<'a>,
    resource: ResourceName<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    sub_resource: &'a str,
    request_kind: KindName<'a>,
    request_resource: ResourceName<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_sub_resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    operation: &'static str,
    user_info: User<'a>,
    object: Option<&'a Value>,
    old_object: Option<&'a Value>,
    dry_run: bool,
    options: Option<Value>,
}

#[derive(Serialize)]
struct KindName<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

#[derive(Serialize)]
struct ResourceName<'a> {
    group: &'a str,
    version: &'a str,
    resource: &'a str,
}

struct User<'a>(&'a UserInfo);

impl Serialize for User<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let user = self.0;
        let mut map = serializer.serialize_map(None)?;
        if !user.name.is_empty() {
            map.serialize_entry("username", &user.name)?;
        }
        if !user.uid.is_empty() {
            map.serialize_entry("uid", &user.uid)?;
        }
        if !user.groups.is_empty() {
            map.serialize_entry("groups", &user.groups)?;
        }
        if !user.extra.is_empty() {
            map.serialize_entry("extra", &user.extra)?;
        }
        map.end()
    }
}

impl<'a> From<&'a Gvk> for KindName<'a> {
    fn from(kind: &'a Gvk) -> Self {
        Self { group: &kind.group, version: &kind.version, kind: &kind.kind }
    }
}

impl<'a> From<&'a Gvr> for ResourceName<'a> {
    fn from(resource: &'a Gvr) -> Self {
        Self { group: &resource.group, version: &resource.version, resource: &resource.resource }
    }
}

/// JSON of the question.
pub(crate) fn question(
    version: ReviewVersion,
    uid: &str,
    request: &AdmissionRequest<'_>,
    invocation: &Invocation,
    object: Option<&Value>,
    old_object: Option<&Value>,
) -> Result<Bytes, ApiError> {
    let (kind, resource) = (request.kind(), request.resource());
    let review = Review {
        kind: KIND,
        api_version: format!("{GROUP}/{}", version.as_str()),
        request: Request {
            uid,
            kind: (&invocation.kind).into(),
            resource: (&invocation.resource).into(),
            sub_resource: request.subresource,
            request_kind: (&kind).into(),
            request_resource: (&resource).into(),
            request_sub_resource: request.subresource,
            name: request.name,
            namespace: namespace(request),
            operation: request.operation.as_str(),
            user_info: User(&request.cx.user),
            object,
            old_object,
            dry_run: request.cx.dry_run,
            options: request.cx.options().map(|options| options.to_json(request.operation)),
        },
    };
    serde_json::to_vec(&review).map(Bytes::from).map_err(ApiError::internal)
}

/// A Namespace counts as in itself.
pub(crate) fn namespace<'a>(request: &AdmissionRequest<'a>) -> &'a str {
    if rules::is_namespaces(request.info) { request.name } else { request.namespace }
}

/// What a webhook says.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    /// A JSON patch, of a mutating webhook.
    pub(crate) patch: Vec<u8>,
    pub(crate) patch_type: String,
    pub(crate) result: Option<Value>,
    pub(crate) warnings: Vec<String>,
    pub(crate) audit_annotations: Vec<(String, String)>,
}

/// Why an answer is none.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It does not decode: as if the call had failed.
    Undecodable(String),
    /// It decodes, and says something that is not valid.
    Invalid(String),
}

/// Reads and checks an answer. Upstream: `VerifyAdmissionResponse`.
pub(crate) fn answer(version: ReviewVersion, uid: &str, mutating: bool, body: &[u8]) -> Result<Verdict, Unusable> {
    let value = decode(body)?;
    let response = &value["response"];
    if !response.is_object() {
        return Err(Unusable::Invalid("webhook response was absent".to_owned()));
    }
    let patch = match response["patch"].as_str() {
        Some(text) => BASE64_STANDARD.decode(text).map_err(|error| Unusable::Undecodable(error.to_string()))?,
        None => Vec::new(),
    };
    let mut patch_type = response["patchType"].as_str().map(str::to_owned);
    match version {
        ReviewVersion::V1 => check(&value, uid, mutating, &patch, patch_type.as_deref())?,
        // Neither type nor identity of an answer was ever looked at in this version.
        ReviewVersion::V1beta1 => patch_type = (!patch.is_empty()).then(|| "JSONPatch".to_owned()),
    }
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let annotations = response["auditAnnotations"].as_object().into_iter().flatten();
    Ok(Verdict {
        allowed: response["allowed"] == true,
        patch: if mutating { patch } else { Vec::new() },
        patch_type: patch_type.unwrap_or_default(),
        result: response.get("status").filter(|result| result.is_object()).cloned(),
        warnings: texts(&response["warnings"]),
        audit_annotations: annotations
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
    })
}

fn decode(body: &[u8]) -> Result<Value, Unusable> {
    let undecodable = |why: String| Err(Unusable::Undecodable(why));
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => return undecodable(format!("couldn't get version/kind; json parse error: {error}")),
    };
    let text = |name: &str| value[name].as_str().unwrap_or_default();
    let shown = || String::from_utf8_lossy(&body[..body.len().min(256)]).into_owned();
    if text("kind").is_empty() {
        return undecodable(format!("Object 'Kind' is missing in '{}'", shown()));
    }
    if text("apiVersion").is_empty() {
        return undecodable(format!("Object 'apiVersion' is missing in '{}'", shown()));
    }
    let known = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"].contains(&text("apiVersion"));
    if !known || text("kind") != KIND {
        return undecodable(format!(
            "no kind {} is registered for version {} in scheme \"pkg/runtime/scheme.go\"",
            go_quote(text("kind")),
            go_quote(text("apiVersion"))
        ));
    }
    Ok(value)
}

fn check(value: &Value, uid: &str, mutating: bool, patch: &[u8], patch_type: Option<&str>) -> Result<(), Unusable> {
    let invalid = |why: String| Err(Unusable::Invalid(why));
    let given = value["response"]["uid"].as_str().unwrap_or_default();
    if given != uid {
        return invalid(format!("expected response.uid={}, got {}", go_quote(uid), go_quote(given)));
    }
    let api_version = value["apiVersion"].as_str().unwrap_or_default();
    if api_version != "admission.k8s.io/v1" {
        return invalid(format!(
            "expected webhook response of {GROUP}/v1, Kind={KIND}, got {api_version}, Kind={KIND}"
        ));
    }
    match (mutating, patch.is_empty(), patch_type) {
        (true, false, None) => invalid("webhook returned response.patch but not response.patchType".to_owned()),
        (true, true, Some(_)) => invalid("webhook returned response.patchType but not response.patch".to_owned()),
        (true, false, Some("")) => invalid("webhook returned invalid response.patchType of \"\"".to_owned()),
        (false, false, _) => invalid("validating webhook may not return response.patch".to_owned()),
        (false, _, Some(_)) => invalid("validating webhook may not return response.patchType".to_owned()),
        _ => Ok(()),
    }
}

/// The refusal as the client gets it. Upstream: `webhookerrors.ToStatusErr`.
pub(crate) fn denied(name: &str, result: Option<&Value>) -> ApiError {
    let by = format!("admission webhook {} denied the request", go_quote(name));
    let mut status = result.cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let code = status["code"].as_u64().filter(|code| (400..=999).contains(code)).unwrap_or(400);
    status["code"] = code.into();
    let mut error: ApiError = apimachinery::json::from_value(&status).unwrap_or_else(|_| {
        let mut error = ApiError::bad_request(status["message"].as_str().unwrap_or_default());
        error.code = u16::try_from(code).unwrap_or(400);
        status["reason"].as_str().unwrap_or_default().clone_into(&mut error.reason);
        error
    });
    error.message = match (error.message.as_str(), error.reason.as_str()) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    error
}
