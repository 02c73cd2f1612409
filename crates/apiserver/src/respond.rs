//! Making responses: objects, errors, text.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use apimachinery::ApiError;

use crate::{
    body::Body,
    encode,
    negotiate::{self, CBOR, JSON, Media, Output, PROTOBUF, YAML},
};

pub(crate) type Answer = Response<Body>;

pub(crate) const fn media_type(media: Media) -> &'static str {
    match media {
        Media::Json => JSON,
        Media::Yaml => YAML,
        Media::Protobuf => PROTOBUF,
        Media::Cbor => CBOR,
    }
}

/// A response with a body of a given type.
pub(crate) fn with_type(code: u16, content_type: &'static str, body: Body) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(crate) fn json(code: u16, bytes: impl Into<Bytes>) -> Answer {
    with_type(code, JSON, Body::whole(bytes))
}

pub(crate) fn text(code: u16, text: impl Into<String>) -> Answer {
    with_type(code, "text/plain; charset=utf-8", Body::whole(text.into()))
}

/// The JSON behind an answer in whatever encoding, where the audit log wants it.
#[derive(Clone)]
pub(crate) struct KeptJson(pub(crate) Bytes);

/// Marks an answer whose body is the JSON of a Status: it is encoded as the client likes at the very end.
#[derive(Clone, Copy)]
pub(crate) struct IsStatus;

/// A JSON object in the client's media type.
pub(crate) fn object(code: u16, json: Bytes, output: Output) -> Result<Answer, ApiError> {
    let kept = output.keep.then(|| KeptJson(json.clone()));
    let bytes = match output.media {
        Media::Json if output.pretty => encode::pretty(&json),
        Media::Json => json,
        Media::Yaml => encode::yaml(&json)?,
        Media::Protobuf => encode::protobuf(&json)?,
        Media::Cbor => encode::cbor(&json)?,
    };
    let mut answer = with_type(code, media_type(output.media), Body::whole(bytes));
    if let Some(kept) = kept {
        answer.extensions_mut().insert(kept);
    }
    Ok(answer)
}

/// The Status of an error, as JSON until [`negotiate_status`].
pub(crate) fn error(error: &ApiError) -> Answer {
    let body = error.to_status().to_json();
    let mut response = json(error.code, body);
    response.extensions_mut().insert(IsStatus);
    if let Some(seconds) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.code == 401 {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"kubernetes-master\""));
    }
    response
}

/// What upstream says to those for whom there is no seat: no Status, but words.
pub(crate) fn too_many_requests(retry_after: u32) -> Answer {
    let mut answer = text(429, "Too many requests, please try again later.\n");
    let headers = answer.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// What is said to those who come when the server ends. Upstream: `WithRetryAfter`.
pub(crate) fn leaving(version: http::Version) -> Answer {
    let mut answer = text(429, "The apiserver is shutting down, please try again later.\n");
    let headers = answer.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if version <= http::Version::HTTP_11 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Encodes the Status of an error as the client likes; what it cannot have, it gets as indented JSON.
pub(crate) fn negotiate_status(answer: &mut Answer, request: &http::HeaderMap, pretty: &str) {
    if answer.extensions_mut().remove::<IsStatus>().is_none() {
        return;
    }
    let pretty = negotiate::is_pretty(request, pretty);
    let unacceptable = Output { pretty: true, ..Output::JSON };
    let output = negotiate::negotiate(request, pretty, negotiate::Offer::PLAIN).unwrap_or(unacceptable);
    let Some(json) = answer.body().bytes() else { return };
    if output == Output::JSON {
        // As Go's encoder ends what it writes; there are clients that compare an error's text.
        let line = [json, b"\n".as_slice()].concat();
        *answer.body_mut() = Body::whole(line);
        return;
    }
    let encoded = object(answer.status().as_u16(), json.clone(), output);
    if let Ok(encoded) = encoded {
        let content_type = HeaderValue::from_static(media_type(output.media));
        answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
        *answer.body_mut() = encoded.into_body();
    }
}

/// What a path that nothing is served at answers.
pub(crate) fn not_found() -> Answer {
    text(404, "404 page not found\n")
}

/// Adds `Warning` headers. Upstream: `net.NewWarningHeader`; all of them together are limited to 4 KiB.
pub(crate) fn add_warnings(response: &mut Answer, warnings: &[String]) {
    const LIMIT: usize = 4 * 1024;
    const EACH: usize = 256;
    let total: usize = warnings.iter().map(String::len).sum();
    let mut left = LIMIT;
    for warning in warnings {
        let cut = if total > LIMIT { truncate(warning, EACH) } else { warning.as_str() };
        let quoted = cut.replace(['\r', '\n'], " ").replace('\\', "\\\\").replace('"', "\\\"");
        if quoted.len() > left {
            return;
        }
        left -= quoted.len();
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

fn truncate(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
