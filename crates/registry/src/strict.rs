//! What the schema says about a body: types, unknown and duplicate fields, and how lists merge.

use std::borrow::Cow;

use apimachinery::{
    ApiError, Gvk,
    field::{Error, Path},
};
use schema::{DecodeError, Limits, Node, StrictError, builtin};
use serde_json::Value;

use crate::{Custom, RequestCx, object::AnyObject, options::FieldValidation};

/// A body's JSON, and what it says of `metadata.managedFields`, which is kept apart from the object.
pub(crate) struct Checked<'a> {
    pub(crate) json: Cow<'a, [u8]>,
    /// JSON of the list; empty: nothing was said.
    pub(crate) managed_fields: Vec<u8>,
}

/// Where a body comes from: it decides in which words it is refused.
#[derive(Clone, Copy)]
pub(crate) enum Source<'p> {
    Request,
    /// What a patch has made of an object, with what strict decoding found in the patch itself.
    Patched {
        problems: &'p [String],
        strategic: Option<&'p Value>,
    },
}

impl Source<'_> {
    /// What is shown of a patch that makes no object: the strategic one itself, of others the result.
    fn refused(self, patched: &[u8], why: String) -> ApiError {
        let shown = match self {
            Source::Patched { strategic: Some(patch), .. } => schema::patch::go_format(patch),
            _ => String::from_utf8_lossy(patched).into_owned(),
        };
        ApiError::invalid("", "", "", &Error::invalid(&Path::new("patch"), shown, why).into())
    }
}

/// A body as its kind's schema reads it: unknown fields dropped, and warned about or refused.
pub(crate) fn check<'a>(
    gvk: &Gvk,
    json: &'a [u8],
    source: Source<'_>,
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
    let mut decoded = schema::decode_node(kind, node, &limits).map_err(|error| match source {
        Source::Request => cannot_be_handled(gvk, &error),
        Source::Patched { strategic: Some(_), .. } => source.refused(json, unconvertible(&error)),
        Source::Patched { .. } => source.refused(json, error.to_string()),
    })?;
    report(gvk, json, &decoded.strict, source, validation, cx)?;
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
    source: Source<'_>,
    validation: FieldValidation,
    cx: &RequestCx,
) -> Result<(Box<dyn AnyObject>, Vec<u8>), ApiError> {
    let mut node = schema::json::parse(json, &Limits::default())
        .map_err(|error| ApiError::bad_request(format!("couldn't get version/kind; json parse error: {error}")))?;
    check_type(gvk, &node)?;
    let managed_fields = take_managed_fields(&mut node);
    let read = custom.read(node)?;
    report(gvk, json, &read.problems, source, validation, cx)?;
    Ok((read.object, managed_fields))
}

/// An object that was read before, as the schema reads it after a change.
pub(crate) fn reread_custom(gvk: &Gvk, custom: &dyn Custom, json: &[u8]) -> Result<Box<dyn AnyObject>, ApiError> {
    let node = schema::json::parse(json, &Limits::default()).map_err(ApiError::internal)?;
    check_type(gvk, &node)?;
    custom.read(node).map(|read| read.object)
}

/// Warns of what strict decoding found, or refuses the body.
fn report(
    gvk: &Gvk,
    json: &[u8],
    problems: &[StrictError],
    source: Source<'_>,
    validation: FieldValidation,
    cx: &RequestCx,
) -> Result<(), ApiError> {
    let of_patch = match source {
        Source::Request => &[],
        Source::Patched { problems, .. } => problems,
    };
    if validation == FieldValidation::Ignore || (problems.is_empty() && of_patch.is_empty()) {
        return Ok(());
    }
    let problems = of_patch.iter().cloned().chain(problems.iter().map(StrictError::to_string));
    if validation == FieldValidation::Warn {
        problems.for_each(|problem| cx.warn(problem));
        return Ok(());
    }
    let why = format!("strict decoding error: {}", problems.collect::<Vec<_>>().join(", "));
    match source {
        Source::Patched { .. } => Err(source.refused(json, why)),
        Source::Request => {
            let (version, kind) = (&gvk.version, &gvk.kind);
            Err(ApiError::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}")))
        }
    }
}

/// What upstream's converter from maps to structs, through which strategic patches go, calls a value of the wrong type.
fn unconvertible(error: &DecodeError) -> String {
    let (value, expected) = match error {
        DecodeError::Field { value, expected, .. } | DecodeError::Value { value, expected } => (value, expected),
        other => return other.to_string(),
    };
    let found = match value.split(' ').next().unwrap_or_default() {
        "number" => "int64",
        "object" => "map",
        "array" => "slice",
        other => other,
    };
    match expected.as_str() {
        scalar @ ("bool" | "int32" | "int64" | "float64") if found == "string" || found == "bool" => {
            format!("unrecognized type: {scalar}")
        }
        scalar @ ("string" | "bool" | "int32" | "int64" | "float64") => match found {
            "map" | "slice" => format!("unrecognized type: {scalar}"),
            found => format!("cannot convert {found} to {scalar}"),
        },
        list if list.starts_with("[]") => format!("cannot restore slice from {found}"),
        map if map.starts_with("map[") => format!("cannot restore map from {found}"),
        _ => format!("cannot restore struct from: {found}"),
    }
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
    schema::patch::strategic(kind, value, patch).map_err(|error| match error.status() {
        400 => ApiError::bad_request(error.to_string()),
        422 => ApiError::unprocessable(),
        // Upstream has no reason for these, so that clients print the bare message.
        _ => ApiError::plain(error.to_string()),
    })
}
