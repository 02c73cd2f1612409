//! What the schema says about a body: types, unknown and duplicate fields, and how lists merge.

use std::borrow::Cow;

use apimachinery::{ApiError, Gvk};
use schema::{DecodeError, Limits, Node, StrictError, builtin};
use serde_json::Value;

use crate::{Custom, RequestCx, object::AnyObject, options::FieldValidation};

/// A body's JSON, and what it says of `metadata.managedFields`, which is kept apart from the object.
pub(crate) struct Checked<'a> {
    pub(crate) json: Cow<'a, [u8]>,
    /// JSON of the list; empty: nothing was said.
    pub(crate) managed_fields: Vec<u8>,
}

/// A body as its kind's schema reads it: unknown fields dropped, and warned about or refused.
pub(crate) fn check<'a>(
    gvk: &Gvk,
    json: &'a [u8],
    validation: FieldValidation,
    cx: &RequestCx,
) -> Result<Checked<'a>, ApiError> {
    let limits = Limits::default();
    let node = schema::json::parse(json, &limits)
        .map_err(|error| ApiError::bad_request(format!("couldn't get version/kind; json parse error: {error}")))?;
    check_type(gvk, &node)?;
    let Some(kind) = builtin().kind(&gvk.group, &gvk.version, &gvk.kind) else {
        let mut node = node;
        let managed_fields = take_managed_fields(&mut node);
        let json = if managed_fields.is_empty() { Cow::Borrowed(json) } else { Cow::Owned(node.to_json()) };
        return Ok(Checked { json, managed_fields });
    };
    let mut decoded = schema::decode_node(kind, node, &limits).map_err(|error| cannot_be_handled(gvk, &error))?;
    report(gvk, &decoded.strict, validation, cx)?;
    let managed_fields = take_managed_fields(&mut decoded.object);
    Ok(Checked { json: Cow::Owned(decoded.object.to_json()), managed_fields })
}

/// Takes the list out of an object.
fn take_managed_fields(object: &mut Node<'_>) -> Vec<u8> {
    let Node::Object(object) = object else { return Vec::new() };
    let Some(Node::Object(metadata)) = object.get_mut("metadata") else { return Vec::new() };
    let Some(at) = metadata.0.iter().position(|(name, _)| name == "managedFields") else { return Vec::new() };
    match metadata.0.remove(at).1 {
        Node::Null => Vec::new(),
        list => list.to_json(),
    }
}

/// A body of a kind made at run time, as its own schema reads it.
pub(crate) fn read_custom(
    gvk: &Gvk,
    custom: &dyn Custom,
    json: &[u8],
    validation: FieldValidation,
    cx: &RequestCx,
) -> Result<(Box<dyn AnyObject>, Vec<u8>), ApiError> {
    let mut node = schema::json::parse(json, &Limits::default())
        .map_err(|error| ApiError::bad_request(format!("couldn't get version/kind; json parse error: {error}")))?;
    check_type(gvk, &node)?;
    let managed_fields = take_managed_fields(&mut node);
    let read = custom.read(node)?;
    report(gvk, &read.problems, validation, cx)?;
    Ok((read.object, managed_fields))
}

/// An object that was read before, as the schema reads it after a change.
pub(crate) fn reread_custom(gvk: &Gvk, custom: &dyn Custom, json: &[u8]) -> Result<Box<dyn AnyObject>, ApiError> {
    let node = schema::json::parse(json, &Limits::default()).map_err(ApiError::internal)?;
    check_type(gvk, &node)?;
    custom.read(node).map(|read| read.object)
}

/// Warns of what strict decoding found, or refuses the body.
fn report(gvk: &Gvk, problems: &[StrictError], validation: FieldValidation, cx: &RequestCx) -> Result<(), ApiError> {
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => problems.iter().for_each(|problem| cx.warn(problem.to_string())),
        FieldValidation::Strict if problems.is_empty() => {}
        FieldValidation::Strict => {
            let (version, kind) = (&gvk.version, &gvk.kind);
            let problems: Vec<String> = problems.iter().map(StrictError::to_string).collect();
            return Err(ApiError::bad_request(format!(
                "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {}",
                problems.join(", ")
            )));
        }
    }
    Ok(())
}

/// Upstream: `handlers.transformDecodeError`.
fn cannot_be_handled(gvk: &Gvk, error: &DecodeError) -> ApiError {
    let (version, kind) = (&gvk.version, &gvk.kind);
    ApiError::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {error}"))
}

/// The body's own `apiVersion` and `kind`, where it has them, must be those of the resource.
pub(crate) fn check_type(gvk: &Gvk, node: &schema::Node<'_>) -> Result<(), ApiError> {
    let schema::Node::Object(object) = node else {
        return Err(ApiError::bad_request("couldn't get version/kind; json parse error: not an object"));
    };
    let text = |name: &str| match object.get(name) {
        Some(schema::Node::String(text)) => text.as_ref(),
        _ => "",
    };
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let expected = gvk.api_version();
    if !api_version.is_empty() && api_version != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    if !kind.is_empty() && kind != gvk.kind {
        let (version, wanted) = (&gvk.version, &gvk.kind);
        return Err(ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {wanted}: converting ({version}.{kind}) to ({version}.{wanted}): unknown conversion"
        )));
    }
    Ok(())
}

/// Strategic merge by the kind's merge keys.
pub(crate) fn strategic_merge(gvk: &Gvk, value: Value, patch: Value) -> Result<Value, ApiError> {
    let Some(kind) = builtin().kind(&gvk.group, &gvk.version, &gvk.kind) else {
        return Err(ApiError::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
        ]));
    };
    schema::patch::strategic(kind, value, patch).map_err(|error| {
        let mut status = ApiError::bad_request(error.to_string());
        status.code = error.status();
        match status.code {
            400 => {}
            422 => "Invalid".clone_into(&mut status.reason),
            // Upstream has no reason for these, so that clients print the bare message.
            _ => status.reason.clear(),
        }
        status
    })
}
