//! POST, PUT and PATCH of objects.

use std::sync::Arc;

use apimachinery::{ApiError, Gvk};
use bytes::Bytes;
use registry::{
    Kind, RequestCx, UpdateKind, Verb,
    options::WriteOptions,
    pipeline::{Change, Patch, PatchKind, Written},
};
use serde_json::Value;

use super::read;
use crate::{
    body, encode,
    negotiate::{self, Output},
    respond::{self, Answer},
    server::{ApiServer, Call},
};

/// The body as JSON, and what the client wants back.
pub(super) async fn receive(call: &mut Call, gvk: &Gvk) -> Result<(Bytes, Output), ApiError> {
    let output = read::output_for(call, gvk)?;
    let media = negotiate::input(&call.parts.headers)?;
    let body = body::read(call.take_body()).await?;
    let json = encode::to_json(media, body, Some(gvk))?;
    call.audit.set_request(&json);
    Ok((json, output))
}

pub(super) async fn create(server: &ApiServer, mut call: Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let options = WriteOptions::from_query(&call.query, "CreateOptions")?;
    let (body, output) = receive(&mut call, &kind.gvk).await?;
    let mut cx = call.context(server, Verb::Create);
    cx.dry_run = options.dry_run;
    let written = server.registry().create(kind, &cx, &body, &options).await;
    finish(&call, kind, &cx, written, output)
}

pub(super) async fn update(server: &ApiServer, mut call: Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let options = WriteOptions::from_query(&call.query, "UpdateOptions")?;
    let (body, output) = receive(&mut call, &kind.gvk).await?;
    modify(server, &call, kind, UpdateKind::Object, Change::Replace(&body), &options, output).await
}

pub(super) async fn patch(server: &ApiServer, mut call: Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let options = WriteOptions::from_query(&call.query, "PatchOptions")?;
    let output = read::output_of(&call, kind)?;
    let patch = receive_patch(&mut call).await?;
    modify(server, &call, kind, UpdateKind::Object, Change::Patch(&patch), &options, output).await
}

pub(super) async fn modify(
    server: &ApiServer,
    call: &Call,
    kind: &Arc<Kind>,
    update: UpdateKind<'_>,
    change: Change<'_>,
    options: &WriteOptions,
    output: Output,
) -> Result<Answer, ApiError> {
    let verb = if matches!(change, Change::Patch(_)) { Verb::Patch } else { Verb::Update };
    let mut cx = call.context(server, verb);
    cx.dry_run = options.dry_run;
    let written = server.registry().modify(kind, &cx, update, change, options).await;
    finish(call, kind, &cx, written, output)
}

pub(super) fn finish(
    call: &Call,
    kind: &Kind,
    cx: &RequestCx,
    written: Result<Written, ApiError>,
    output: Output,
) -> Result<Answer, ApiError> {
    let answer = written.and_then(|written| {
        let code = if written.created { 201 } else { 200 };
        read::object(call, kind, code, &written.bytes, written.entry.as_deref(), output)
    });
    Ok(with_warnings(cx, answer))
}

/// Warnings go with errors too.
pub(super) fn with_warnings(cx: &RequestCx, answer: Result<Answer, ApiError>) -> Answer {
    let mut answer = answer.unwrap_or_else(|error| respond::error(&error));
    respond::add_warnings(&mut answer, &cx.take_warnings());
    answer
}

/// Reads a patch of whatever type the request says.
pub(super) async fn receive_patch(call: &mut Call) -> Result<Patch, ApiError> {
    const TYPES: [&str; 3] =
        ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];
    let kind = match negotiate::content_type(&call.parts.headers).as_str() {
        "application/json-patch+json" => PatchKind::Json,
        "application/merge-patch+json" => PatchKind::Merge,
        "application/strategic-merge-patch+json" => PatchKind::Strategic,
        _ => return Err(ApiError::unsupported_media_type(&TYPES)),
    };
    let bytes = body::read(call.take_body()).await?;
    call.audit.set_request(&bytes);
    let body: Value = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    Ok(Patch { kind, body })
}
