//! Patches of three kinds, applied to the stored JSON. Upstream: `handlers/patch.go`.

use std::collections::HashSet;

use apimachinery::{ApiError, Gvk, field::go_quote, patch::PatchError};
use bytes::Bytes;
use schema::{Limits, Node};
use serde_json::Value;

use super::{Kind, Registry, decode::Body};
use crate::{RequestCx, options::WriteOptions, strict::Source};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
}

/// A patch whose body has been parsed.
#[derive(Clone, Debug)]
pub struct Patch {
    pub kind: PatchKind,
    pub body: Value,
    /// What strict decoding has against the patch itself: keys that are there twice, members of operations that none
    /// has.
    problems: Vec<String>,
}

impl Patch {
    pub fn new(kind: PatchKind, body: Value) -> Self {
        Self { kind, body, problems: Vec::new() }
    }

    /// From the body of a request.
    pub fn parse(kind: PatchKind, body: &[u8]) -> Result<Self, ApiError> {
        let node =
            schema::json::parse(body, &Limits::default()).map_err(|_| ApiError::bad_request("invalid JSON patch"))?;
        let expected = match (kind, &node) {
            (PatchKind::Json, Node::Array(_)) | (PatchKind::Merge | PatchKind::Strategic, Node::Object(_)) => None,
            (PatchKind::Json, _) => {
                Some("error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp")
            }
            (PatchKind::Merge, _) => {
                Some("error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {}")
            }
            (PatchKind::Strategic, _) => {
                Some("json: cannot unmarshal {} into Go value of type map[string]interface {}")
            }
        };
        if let Some(message) = expected {
            return Err(ApiError::bad_request(message.replacen("{}", node.go_name(), 1)));
        }
        let mut problems = Vec::new();
        repeated(&node, &mut String::new(), &mut problems);
        if kind == PatchKind::Json {
            unknown_members(&node, &mut problems);
            problems.iter_mut().for_each(|problem| problem.insert_str(0, "json patch "));
        }
        Ok(Self { kind, body: node.into_value(), problems })
    }
}

impl Registry {
    pub(super) fn patched(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        patch: &Patch,
        current: &Bytes,
        options: &WriteOptions,
    ) -> Result<Body, ApiError> {
        let value: Value = serde_json::from_slice(&kind.present(current)?).map_err(ApiError::internal)?;
        let value = apply(&kind.gvk, patch, value)?;
        let json = serde_json::to_vec(&value).map_err(ApiError::internal)?;
        let strategic = (patch.kind == PatchKind::Strategic).then_some(&patch.body);
        let source = Source::Patched { problems: &patch.problems, strategic };
        self.decode_from(kind, cx, &json, source, options.field_validation)
    }
}

/// The patched JSON.
pub(super) fn apply(gvk: &Gvk, patch: &Patch, mut value: Value) -> Result<Value, ApiError> {
    match patch.kind {
        PatchKind::Json => apimachinery::patch::json_patch(&mut value, &patch.body).map_err(patch_error)?,
        PatchKind::Merge => {
            if !patch.body.is_object() {
                return Err(ApiError::bad_request("Invalid JSON Patch"));
            }
            apimachinery::patch::merge_patch(&mut value, patch.body.clone());
        }
        PatchKind::Strategic => {
            value = crate::strict::strategic_merge(gvk, value, patch.body.clone())?;
        }
    }
    if !value.is_object() {
        return Err(ApiError::bad_request("the patched object is not a JSON object"));
    }
    Ok(value)
}

fn patch_error(error: PatchError) -> ApiError {
    match error {
        PatchError::Malformed(_) => ApiError::bad_request(error.to_string()),
        PatchError::TooMany(_) | PatchError::TooLarge(_) => ApiError::request_too_large(error.to_string()),
        PatchError::TestFailed(_) | PatchError::DoesNotFit(_) => {
            // Upstream keeps for itself what does not fit.
            tracing::debug!(%error, "a JSON patch does not fit");
            ApiError::unprocessable()
        }
    }
}

/// Most problems that are told, as of bodies.
const MOST_PROBLEMS: usize = 100;

/// Keys that are there twice.
fn repeated(node: &Node<'_>, path: &mut String, problems: &mut Vec<String>) {
    let length = path.len();
    match node {
        Node::Object(object) => {
            let mut seen = HashSet::with_capacity(object.0.len());
            for (name, value) in &object.0 {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                if !seen.insert(name.as_ref()) && problems.len() < MOST_PROBLEMS {
                    problems.push(format!("duplicate field {}", go_quote(path)));
                }
                repeated(value, path, problems);
                path.truncate(length);
            }
        }
        Node::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                repeated(item, path, problems);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Members that no operation has.
fn unknown_members(node: &Node<'_>, problems: &mut Vec<String>) {
    let Node::Array(operations) = node else { return };
    for (index, operation) in operations.iter().enumerate() {
        for (name, _) in operation.as_object().iter().flat_map(|object| &object.0) {
            let known = matches!(name.as_ref(), "op" | "path" | "from" | "value");
            if !known && problems.len() < MOST_PROBLEMS {
                problems.push(format!("unknown field {}", go_quote(&format!("[{index}].{name}"))));
            }
        }
    }
}
