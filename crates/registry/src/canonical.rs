//! The stored form of an object: JSON with `apiVersion`, `kind` and `metadata` first, and room for the revision.
//!
//! `metadata.resourceVersion` is the first field of metadata and is not part of what the caller encodes: the store writes
//! it when the write gets its revision. With metadata in front, selectors rarely look past the first bytes.

use bytes::Bytes;
use store::Template;

use apimachinery::{ApiError, scan};

use crate::object::AnyObject;

/// What every head ends with.
const HOLE: &[u8] = b"\"resourceVersion\":\"";

/// The object as clients see it at a revision.
pub(crate) fn at(canonical: &Template, revision: u64) -> Bytes {
    [&canonical.head, revision.to_string().as_bytes(), &canonical.tail].concat().into()
}

/// The object as it is shown when it was never written (dry run of a create): without a revision.
pub(crate) fn unversioned(canonical: &Template) -> Bytes {
    let head = canonical.head.strip_suffix(HOLE).unwrap_or(&canonical.head);
    let tail = canonical.tail.strip_prefix(b"\",").unwrap_or(&canonical.tail);
    [head, tail].concat().into()
}

/// Canonical bytes with another revision in them.
pub(crate) fn with_revision(bytes: &Bytes, revision: u64) -> Bytes {
    let Some(start) = bytes.windows(HOLE.len()).position(|window| window == HOLE).map(|at| at + HOLE.len()) else {
        return bytes.clone();
    };
    let end = bytes[start..].iter().position(|byte| *byte == b'"').map_or(start, |length| start + length);
    [&bytes[..start], revision.to_string().as_bytes(), &bytes[end..]].concat().into()
}

/// Encodes an object. Whatever `metadata.resourceVersion` says is left out. `managed_fields` is the list's JSON, empty
/// when there is none: the object itself does not carry it.
pub(crate) fn encode(object: &mut dyn AnyObject, managed_fields: &[u8]) -> Result<Template, ApiError> {
    let mut metadata = std::mem::take(object.metadata_mut());
    let version = metadata.resource_version.take();
    metadata.managed_fields = None;
    let rest = object.to_json();
    let metadata_json = serde_json::to_vec(&metadata);
    metadata.resource_version = version;
    *object.metadata_mut() = metadata;
    let (rest, metadata_json) = (rest.map_err(ApiError::internal)?, metadata_json.map_err(ApiError::internal)?);
    let canonical =
        compose(&rest, &metadata_json, managed_fields).ok_or_else(|| ApiError::internal("object has no metadata"))?;
    debug_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&at(&canonical, 1)).is_ok());
    Ok(canonical)
}

fn compose(rest: &[u8], metadata: &[u8], managed_fields: &[u8]) -> Option<Template> {
    let mut head = Vec::with_capacity(96);
    let mut tail = Vec::with_capacity(rest.len() + metadata.len() + managed_fields.len() + 24);
    head.push(b'{');
    tail.extend_from_slice(b"\"");
    let metadata_fields = metadata.strip_prefix(b"{")?.strip_suffix(b"}")?;
    if !metadata_fields.is_empty() {
        tail.push(b',');
    }
    tail.extend_from_slice(metadata_fields);
    // Last, so that nobody who looks for a label has to pass it.
    if !managed_fields.is_empty() {
        tail.extend_from_slice(b",\"managedFields\":");
        tail.extend_from_slice(managed_fields);
    }
    tail.push(b'}');
    for (key, value) in scan::entries(rest) {
        match key {
            b"apiVersion" | b"kind" => {
                push_entry(&mut head, key, value);
                head.push(b',');
            }
            b"metadata" => {}
            _ => {
                tail.push(b',');
                push_entry(&mut tail, key, value);
            }
        }
    }
    tail.push(b'}');
    head.extend_from_slice(b"\"metadata\":{");
    head.extend_from_slice(HOLE);
    Some(Template { head: head.into(), tail: tail.into() })
}

fn push_entry(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(key);
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_comes_first_and_the_revision_fits_in() {
        let mut object: ConfigMap = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"metadata": "{}"},
            "metadata": {"name": "a", "resourceVersion": "7", "labels": {"x": "y"}},
        }))
        .unwrap();
        let canonical = encode(&mut object, b"").unwrap();
        assert_eq!(
            at(&canonical, 42),
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"42","labels":{"x":"y"},"name":"a"},"data":{"metadata":"{}"}}"#
        );
        assert_eq!(
            unversioned(&canonical),
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"labels":{"x":"y"},"name":"a"},"data":{"metadata":"{}"}}"#
        );
        assert_eq!(object.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(with_revision(&at(&canonical, 42), 1000), at(&canonical, 1000));
    }

    #[test]
    fn managed_fields_are_the_end_of_the_metadata() {
        let mut object = ConfigMap::default();
        object.metadata.name = Some("a".to_owned());
        let bytes = at(&encode(&mut object, b"[{}]").unwrap(), 7);
        assert_eq!(
            bytes,
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"7","name":"a","managedFields":[{}]}}"#
        );
    }

    #[test]
    fn metadata_may_be_empty() {
        let canonical = encode(&mut ConfigMap::default(), b"").unwrap();
        assert_eq!(at(&canonical, 1), r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"1"}}"#);
    }
}
