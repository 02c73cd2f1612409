//! POST, PUT and PATCH of objects.

use std::sync::Arc;

use apimachinery::{ApiError, Gvk};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use registry::{
    Kind, MayCreate, RequestCx, UpdateKind, Verb,
    options::WriteOptions,
    pipeline::{ApplyPatch, Change, Patch, PatchKind, Written},
    wire,
};

use super::read;
use crate::{
    body, encode, filters,
    negotiate::{self, Output},
    respond::{self, Answer},
    server::{ApiServer, Call},
};

/// The body as JSON, and what the client wants back.
pub(super) async fn receive(call: &mut Call, gvk: &Gvk) -> Result<(Bytes, Output), ApiError> {
    let output = read::output_for(call, gvk)?;
    let media = negotiate::input_of(&call.parts.headers, wire::has_protobuf(&gvk.group, &gvk.version, &gvk.kind))?;
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
    patch_of(server, &mut call, kind, UpdateKind::Object).await
}

/// A patch or an apply, of the object or of a subresource that shows it.
pub(super) async fn patch_of(
    server: &ApiServer,
    call: &mut Call,
    kind: &Arc<Kind>,
    update: UpdateKind<'_>,
) -> Result<Answer, ApiError> {
    let (patch, options, output) = receive_patch(call, kind).await?;
    let change = match &patch {
        AnyPatch::Patch(patch) => Change::Patch(patch),
        AnyPatch::Apply(patch) => Change::Apply(patch),
    };
    modify(server, call, kind, update, change, &options, output).await
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
    let verb = if matches!(change, Change::Patch(_) | Change::Apply(_)) { Verb::Patch } else { Verb::Update };
    let mut cx = call.context(server, verb);
    cx.dry_run = options.dry_run;
    cx.may_create = Some(Arc::new(CreateCheck::new(server, call)));
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

/// A body of PATCH.
pub(super) enum AnyPatch {
    Patch(Patch),
    Apply(ApplyPatch),
}

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_YAML: &str = "application/apply-patch+yaml";
const APPLY_CBOR: &str = "application/apply-patch+cbor";

/// Reads a patch of whatever type the request says, with its options.
pub(super) async fn receive_patch(call: &mut Call, kind: &Kind) -> Result<(AnyPatch, WriteOptions, Output), ApiError> {
    let types: &[&str] = match kind.resource.custom() {
        None => &[JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_YAML, APPLY_CBOR],
        // Nothing says how lists of custom kinds merge strategically.
        Some(_) => &[JSON_PATCH, MERGE_PATCH, APPLY_YAML, APPLY_CBOR],
    };
    let content_type = negotiate::content_type(&call.parts.headers);
    if !types.contains(&content_type.as_str()) {
        return Err(ApiError::unsupported_media_type(types));
    }
    let output = read::output_of(call, kind)?;
    let bytes = body::read(call.take_body()).await?;
    call.audit.set_request(&bytes);
    let is_apply = matches!(content_type.as_str(), APPLY_YAML | APPLY_CBOR);
    let options = WriteOptions::of_patch(&call.query, is_apply)?;
    let force = options.force.unwrap_or(false);
    let patch = match content_type.as_str() {
        APPLY_YAML => AnyPatch::Apply(super::apply::from_yaml(&bytes, force)?),
        APPLY_CBOR => AnyPatch::Apply(super::apply::from_cbor(&bytes, force)?),
        other => {
            let kind = match other {
                JSON_PATCH => PatchKind::Json,
                MERGE_PATCH => PatchKind::Merge,
                _ => PatchKind::Strategic,
            };
            AnyPatch::Patch(Patch::parse(kind, &bytes)?)
        }
    };
    Ok((patch, options, output))
}

/// Whether the caller may also create, asked when an update or apply finds nothing. Upstream: `withAuthorization`.
struct CreateCheck {
    server: ApiServer,
    attributes: registry::auth::Attributes,
}

impl CreateCheck {
    fn new(server: &ApiServer, call: &Call) -> Self {
        let mut attributes = filters::attributes(&call.info, &call.user);
        "create".clone_into(&mut attributes.verb);
        Self { server: server.clone(), attributes }
    }
}

impl MayCreate for CreateCheck {
    fn check(&self) -> BoxFuture<'_, Result<(), ApiError>> {
        filters::decide(&self.server, &self.attributes).boxed()
    }
}
