//! Errors of the API as clients see them: a Status object and its HTTP code.
//! Upstream: `k8s.io/apimachinery/pkg/api/errors`.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    field::{ErrorList, ErrorType, go_quote},
    key::Gvr,
};

/// An error answer. `Display` is the Status's message.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason (`NotFound`, `AlreadyExists`, …); may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Message for people.
    #[serde(default)]
    pub message: String,
    /// Which object, and the causes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
    /// `metadata.continue`: how a list whose token has expired can go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
}

/// `StatusDetails`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// Object's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Resource or kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Object's UID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Single errors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Seconds to wait before the next try; also sent as `Retry-After`.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// `StatusCause`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// `FieldValueInvalid` and the like.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Path of the field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// `v1.Status`. Its fields stand as upstream prints them: there are clients that compare the bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: StatusMeta<'a>,
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Cow<'a, Details>>,
    #[serde(skip_serializing_if = "is_no_code")]
    code: u16,
}

/// The `metadata` of a Status.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct StatusMeta<'a> {
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    continue_token: Option<&'a str>,
}

impl Status<'_> {
    const EMPTY: Status<'static> = Status {
        kind: "Status",
        api_version: "v1",
        metadata: StatusMeta { continue_token: None },
        status: "",
        message: "",
        reason: "",
        details: None,
        code: 0,
    };

    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_no_code(code: &u16) -> bool {
    *code == 0
}

impl ApiError {
    fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into(), details: None, continue_token: None }
    }

    fn about(mut self, resource: &Gvr, name: &str) -> Self {
        self.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: resource.group.clone(),
            kind: resource.resource.clone(),
            ..Details::default()
        }));
        self
    }

    /// 404 for an object: `pods "x" not found`.
    pub fn not_found(resource: &Gvr, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {} not found", resource.qualified(), go_quote(name)))
            .about(resource, name)
    }

    /// 404 for a path that nothing serves.
    pub fn path_not_found() -> Self {
        let mut error = Self::new(404, "NotFound", "the server could not find the requested resource");
        error.details = Some(Box::default());
        error
    }

    /// 409 on create: `pods "x" already exists`.
    pub fn already_exists(resource: &Gvr, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {} already exists", resource.qualified(), go_quote(name)))
            .about(resource, name)
    }

    /// 409 on update: `Operation cannot be fulfilled on pods "x": reason`.
    pub fn conflict(resource: &Gvr, name: &str, why: impl fmt::Display) -> Self {
        Self::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {} {}: {why}", resource.qualified(), go_quote(name)),
        )
        .about(resource, name)
    }

    /// The conflict of an update that started from an older version.
    pub fn modified(resource: &Gvr, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 of a server-side apply, with a cause for each field that others have.
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<Cause>) -> Self {
        let mut error = Self::new(409, "Conflict", message);
        error.details = Some(Box::new(Details { causes, ..Details::default() }));
        error
    }

    /// 422 for a patch that does not fit its object; upstream tells no more.
    pub fn unprocessable() -> Self {
        let mut error = Self::new(422, "Invalid", "the server rejected our request due to an error in our request");
        error.details = Some(Box::default());
        error
    }

    /// 500 with a message of its own and no reason: what upstream makes of an error that is no Status.
    pub fn plain(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// 422: `Pod "x" is invalid: …` with a cause for each error. `group` and `kind` name the object's kind.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &ErrorList) -> Self {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let message = format!("{qualified} {} is invalid: {}", go_quote(name), errors.aggregate());
        let mut error = Self::new(422, "Invalid", message);
        error.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes: errors
                .iter()
                .map(|e| Cause {
                    reason: e.kind.reason().to_owned(),
                    message: e.body(),
                    field: if e.kind == ErrorType::Internal && e.field == "<nil>" {
                        String::new()
                    } else {
                        e.field.clone()
                    },
                })
                .collect(),
            ..Details::default()
        }));
        error
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403 on an object: `pods "x" is forbidden: why`. With an empty name: `pods is forbidden: why`.
    pub fn forbidden(resource: &Gvr, name: &str, why: impl fmt::Display) -> Self {
        let message = if resource.resource.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{} is forbidden: {why}", resource.qualified())
        } else {
            format!("{} {} is forbidden: {why}", resource.qualified(), go_quote(name))
        };
        Self::new(403, "Forbidden", message).about(resource, name)
    }

    /// 405 on a resource that does not have the verb.
    pub fn method_not_supported(resource: &Gvr, verb: &str) -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            format!("{verb} is not supported on resources of kind {}", go_quote(&resource.qualified())),
        )
        .about(resource, "")
    }

    /// 405 for a path and method that nothing serves.
    pub fn method_not_allowed() -> Self {
        let mut error =
            Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
        error.details = Some(Box::default());
        error
    }

    /// 406: the object cannot be shown as was wanted.
    pub fn not_convertible(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    /// 406: none of the wanted media types can be made.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        Self::new(406, "NotAcceptable", format!("only the following media types are accepted: {}", accepted.join(", ")))
    }

    /// 415: the body's media type is not known.
    pub fn unsupported_media_type(supported: &[&str]) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                supported.join(", ")
            ),
        )
    }

    /// 413.
    pub fn request_too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 410: the version is no longer kept, or the continue token is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 410 with reason Gone (watch from a compacted revision).
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Gone", message)
    }

    /// 429 with `Retry-After`.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut error = Self::new(429, "TooManyRequests", message);
        error.details = Some(Box::new(Details { retry_after_seconds, ..Details::default() }));
        error
    }

    /// 500: `Internal error occurred: why`.
    pub fn internal(why: impl fmt::Display) -> Self {
        let mut error = Self::new(500, "InternalError", format!("Internal error occurred: {why}"));
        error.details = Some(Box::new(Details {
            causes: vec![Cause { message: why.to_string(), ..Cause::default() }],
            ..Details::default()
        }));
        error
    }

    /// 503.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 504: `Timeout: why`.
    pub fn timeout(why: impl fmt::Display, retry_after_seconds: u32) -> Self {
        let mut error = Self::new(504, "Timeout", format!("Timeout: {why}"));
        error.details = Some(Box::new(Details { retry_after_seconds, ..Details::default() }));
        error
    }

    /// 504 for a resource version from the future: `Too large resource version: wanted, current: is`.
    pub fn too_large_resource_version(wanted: u64, current: u64) -> Self {
        let mut error =
            Self::new(504, "Timeout", format!("Timeout: Too large resource version: {wanted}, current: {current}"));
        error.details = Some(Box::new(Details {
            causes: vec![Cause {
                reason: "ResourceVersionTooLarge".to_owned(),
                message: "Too large resource version".to_owned(),
                field: String::new(),
            }],
            retry_after_seconds: 1,
            ..Details::default()
        }));
        error
    }

    /// Adds the object's UID to the details.
    #[must_use]
    pub fn with_uid(mut self, uid: &str) -> Self {
        self.details.get_or_insert_default().uid = uid.to_owned();
        self
    }

    /// Adds a cause to the details.
    #[must_use]
    pub fn with_cause(mut self, cause: Cause) -> Self {
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// The `v1.Status` object.
    pub fn to_status(&self) -> Status<'_> {
        Status {
            metadata: StatusMeta { continue_token: self.continue_token.as_deref() },
            status: "Failure",
            message: &self.message,
            reason: &self.reason,
            details: self.details.as_deref().map(Cow::Borrowed),
            code: self.code,
            ..Status::EMPTY
        }
    }

    /// Seconds for a `Retry-After` header.
    pub fn retry_after(&self) -> Option<u32> {
        self.details.as_ref().map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0)
    }

    /// Whether it is the reason given.
    pub fn is(&self, reason: &str) -> bool {
        self.reason == reason
    }
}

/// A success Status about an object that was deleted, or of a request without a better answer.
pub fn success(resource: &Gvr, name: &str, uid: &str) -> Status<'static> {
    let details = Details {
        name: name.to_owned(),
        group: resource.group.clone(),
        kind: resource.resource.clone(),
        uid: uid.to_owned(),
        ..Details::default()
    };
    Status { status: "Success", details: Some(Cow::Owned(details)), ..Status::EMPTY }
}
