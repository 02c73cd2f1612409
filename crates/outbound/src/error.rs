//! What can go wrong with a call, in the words that upstream's clients read. Upstream: `net/url.Error` as client-go shows
//! it, `apierrors.NewGenericServerResponse`.

use std::{fmt, time::Duration};

use apimachinery::{
    ApiError,
    field::go_quote,
    status::{Cause, Details},
};

/// Longest text of a server's answer that is passed on. Upstream: `maxUnstructuredResponseTextBytes`.
const MAX_TEXT: usize = 2048;

/// Why a call has no answer. `Display` is what follows `failed to call webhook: ` upstream.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The configuration itself cannot be used.
    #[error("{0}")]
    Config(String),
    /// No connection, a broken one, or a time that ran out. `Post "https://…": why`.
    #[error("{method} {}: {why}", go_quote(url))]
    Transport { method: &'static str, url: String, why: String },
    /// The call did not end in its time.
    #[error("{method} {}: context deadline exceeded", go_quote(url))]
    Timeout { method: &'static str, url: String },
    /// The server answered, but not with success.
    #[error("{0}")]
    Status(ApiError),
    /// The answer is larger than the caller takes.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl CallError {
    /// The Status that the server gave, if it gave one.
    pub fn status(&self) -> Option<&ApiError> {
        match self {
            Self::Status(status) => Some(status),
            _ => None,
        }
    }

    /// Why, without method and URL: what upstream's proxies tell.
    pub fn cause(&self) -> String {
        match self {
            Self::Transport { why, .. } => why.clone(),
            Self::Timeout { .. } => "context deadline exceeded".to_owned(),
            other => other.to_string(),
        }
    }

    pub(crate) fn transport(method: &http::Method, url: &str, why: impl fmt::Display) -> Self {
        Self::Transport { method: spelled(method), url: url.to_owned(), why: why.to_string() }
    }

    pub(crate) fn timeout(method: &http::Method, url: &str) -> Self {
        Self::Timeout { method: spelled(method), url: url.to_owned() }
    }

    /// From an answer without success.
    pub(crate) fn answered(code: u16, method: &http::Method, body: &[u8], retry_after: u32) -> Self {
        if let Some(status) = a_status(code, body) {
            return Self::Status(status);
        }
        Self::Status(generic(code, method, &text_of(body), retry_after))
    }
}

/// Go's spelling of a method in errors: `Post`.
fn spelled(method: &http::Method) -> &'static str {
    match *method {
        http::Method::GET => "Get",
        http::Method::PUT => "Put",
        http::Method::PATCH => "Patch",
        http::Method::DELETE => "Delete",
        http::Method::HEAD => "Head",
        http::Method::OPTIONS => "Options",
        _ => "Post",
    }
}

/// The body, when it is a Status that says failure.
fn a_status(code: u16, body: &[u8]) -> Option<ApiError> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    if value["kind"] != "Status" || value["apiVersion"] != "v1" || value["status"] == "Success" {
        return None;
    }
    let mut status: ApiError = apimachinery::json::from_value(&with_code(&value, code)).ok()?;
    if status.code == 0 {
        status.code = code;
    }
    Some(status)
}

fn with_code(status: &serde_json::Value, code: u16) -> serde_json::Value {
    let mut status = status.clone();
    if status["code"].as_u64().is_none_or(|given| given == 0 || given > 999) {
        status["code"] = code.into();
    }
    status
}

/// The text of an answer, when it is text.
fn text_of(body: &[u8]) -> String {
    let cut = &body[..body.len().min(MAX_TEXT)];
    match std::str::from_utf8(cut) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.error_len().is_none() => {
            String::from_utf8_lossy(&cut[..error.valid_up_to()]).trim().to_owned()
        }
        Err(_) => "unknown".to_owned(),
    }
}

/// Upstream: `NewGenericServerResponse`.
fn generic(code: u16, method: &http::Method, text: &str, retry_after: u32) -> ApiError {
    let said =
        |fallback: &str| if text.is_empty() || text == "unknown" { fallback.to_owned() } else { text.to_owned() };
    let (reason, message) = match code {
        409 => (
            if *method == http::Method::POST { "AlreadyExists" } else { "Conflict" },
            "the server reported a conflict".to_owned(),
        ),
        404 => ("NotFound", "the server could not find the requested resource".to_owned()),
        400 => ("BadRequest", "the server rejected our request for an unknown reason".to_owned()),
        401 => ("Unauthorized", "the server has asked for the client to provide credentials".to_owned()),
        403 => ("Forbidden", text.to_owned()),
        405 => ("MethodNotAllowed", "the server does not allow this method on the requested resource".to_owned()),
        406 => ("NotAcceptable", said("the server was unable to respond with a content type that the client supports")),
        415 => ("UnsupportedMediaType", text.to_owned()),
        422 => ("Invalid", "the server rejected our request due to an error in our request".to_owned()),
        429 => (
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later".to_owned(),
        ),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request".to_owned()),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned(),
        ),
        code if code >= 500 => (
            "InternalError",
            format!("an error on the server ({}) has prevented the request from succeeding", go_quote(text)),
        ),
        code => ("", format!("the server responded with the status code {code} but did not return more information")),
    };
    let mut error = ApiError::internal("");
    error.code = code;
    reason.clone_into(&mut error.reason);
    error.message = message;
    error.details = Some(Box::new(Details {
        causes: vec![Cause {
            reason: "UnexpectedServerResponse".to_owned(),
            message: text.to_owned(),
            field: String::new(),
        }],
        retry_after_seconds: retry_after,
        ..Details::default()
    }));
    error
}

/// Whole seconds as Go's `Duration` prints them: `10s`, `1m30s`, `2h0m0s`.
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_without_success_read_as_upstream() {
        let check = |code, body: &[u8], expected: &str| {
            assert_eq!(CallError::answered(code, &http::Method::POST, body, 0).to_string(), expected);
        };
        check(404, b"404 page not found\n", "the server could not find the requested resource");
        check(500, b"boom", "an error on the server (\"boom\") has prevented the request from succeeding");
        check(302, b"", "the server responded with the status code 302 but did not return more information");
        check(500, b"\xff", "an error on the server (\"unknown\") has prevented the request from succeeding");
        let status =
            br#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"Forbidden","code":403}"#;
        check(403, status, "no");
        let error = CallError::answered(403, &http::Method::POST, status, 0);
        assert_eq!(error.status().unwrap().code, 403);
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        for (seconds, expected) in [(0, "0s"), (10, "10s"), (60, "1m0s"), (90, "1m30s"), (7200, "2h0m0s")] {
            assert_eq!(go_duration(Duration::from_secs(seconds)), expected);
        }
    }
}
