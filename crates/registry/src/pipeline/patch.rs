//! Patches of three kinds, applied to the stored JSON. Upstream: `handlers/patch.go`.

use apimachinery::{ApiError, Gvk, patch::PatchError};
use bytes::Bytes;
use serde_json::Value;

use super::{Kind, Registry, decode::Body};
use crate::{RequestCx, options::WriteOptions};

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
}

impl Patch {
    /// From the body of a request.
    pub fn parse(kind: PatchKind, body: &[u8]) -> Result<Self, ApiError> {
        let body = serde_json::from_slice(body).map_err(|_| ApiError::bad_request("invalid JSON patch"))?;
        Ok(Self { kind, body })
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
        self.decode(kind, cx, &json, options.field_validation)
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
            // Upstream answers 422 with reason Invalid and no causes.
            let mut status = ApiError::bad_request(format!(
                "the server rejected our request due to an error in our request: {error}"
            ));
            status.code = 422;
            "Invalid".clone_into(&mut status.reason);
            status.details = Some(Box::default());
            status
        }
    }
}
