//! JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386). The strategic form needs a schema and lives there.
//! Upstream: `gopkg.in/evanphx/json-patch.v4`, whose messages users know.

use serde_json::{Map, Value};

/// Most operations of one JSON patch. Upstream: `maxJSONPatchOperations`.
pub const MAX_OPERATIONS: usize = 10_000;
/// Bytes that all copies of one JSON patch may add together: each may copy what those before it copied, so that a few
/// of them would fill the memory. Upstream: `JSONPatchMaxCopyBytes`.
pub const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;
/// Deepest path of an operation, so that a patch cannot build something that no parser accepts.
const MAX_DEPTH: usize = 10_000;

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is malformed: 400.
    #[error("{0}")]
    Malformed(String),
    /// Too many operations: 413.
    #[error("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {0}")]
    TooMany(usize),
    /// Copies that add too much: 413.
    #[error(
        "Unable to complete the copy, the accumulated size increase of copy is {0}, exceeding the limit {MAX_COPIED_BYTES}"
    )]
    TooLarge(usize),
    /// A `test` failed: 422.
    #[error("{0}")]
    TestFailed(String),
    /// It does not fit the object: 422.
    #[error("{0}")]
    DoesNotFit(String),
}

/// Applies a JSON patch.
pub fn json_patch(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let operations = patch.as_array().ok_or_else(|| {
        PatchError::Malformed("json: cannot unmarshal object into Go value of type jsonpatch.Patch".to_owned())
    })?;
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooMany(operations.len()));
    }
    let mut copied = 0;
    for operation in operations {
        apply(target, operation, &mut copied)?;
    }
    Ok(())
}

fn apply(target: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), PatchError> {
    let text = |field: &str| operation.get(field).and_then(Value::as_str);
    let kind = text("op").unwrap_or("unknown");
    let path =
        text("path").ok_or_else(|| PatchError::Malformed(format!("jsonpatch {kind} operation: missing path field")))?;
    let pointer = Pointer::parse(path)?;
    let value = || {
        operation
            .get("value")
            .cloned()
            .ok_or_else(|| PatchError::Malformed(format!("jsonpatch {kind} operation: missing value field")))
    };
    let from = || {
        let from = text("from")
            .ok_or_else(|| PatchError::Malformed(format!("jsonpatch {kind} operation: missing from field")))?;
        Ok::<_, PatchError>((from, Pointer::parse(from)?))
    };
    match kind {
        "add" => pointer.add(target, value()?, kind),
        "remove" => pointer.remove(target, kind).map(drop),
        "replace" => {
            let value = value()?;
            *pointer.get_mut(target).ok_or_else(|| missing("replace", path))? = value;
            Ok(())
        }
        "move" => {
            let (from_text, from) = from()?;
            if path.strip_prefix(from_text).is_some_and(|rest| rest.starts_with('/')) {
                return Err(PatchError::DoesNotFit(format!(
                    "jsonpatch move operation: {path} lies inside {from_text}"
                )));
            }
            let value = from.remove(target, kind)?;
            pointer.add(target, value, kind)
        }
        "copy" => {
            let (from_text, from) = from()?;
            let value = from.get(target).ok_or_else(|| missing("copy", from_text))?;
            *copied = copied.saturating_add(size(value));
            if *copied > MAX_COPIED_BYTES {
                return Err(PatchError::TooLarge(*copied));
            }
            let value = value.clone();
            pointer.add(target, value, kind)
        }
        "test" => {
            if pointer.parent(target).is_none() {
                return Err(missing("test", path));
            }
            let expected = operation.get("value").unwrap_or(&Value::Null);
            let found = pointer.get(target).unwrap_or(&Value::Null);
            if found == expected {
                return Ok(());
            }
            Err(PatchError::TestFailed(format!("testing value {path} failed: test failed")))
        }
        other => Err(PatchError::Malformed(format!("Unexpected kind: {other}"))),
    }
}

/// About as many bytes as the value's JSON has. What is asked here was read within the limits of depth.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| size(item) + 1).sum::<usize>() + 2,
        Value::Object(members) => members.iter().map(|(key, value)| key.len() + size(value) + 4).sum::<usize>() + 2,
    }
}

fn missing(kind: &str, path: &str) -> PatchError {
    PatchError::DoesNotFit(format!(
        "jsonpatch {kind} operation does not apply: doc is missing key: {path}: missing value"
    ))
}

fn down<'a>(value: &'a Value, segment: &String) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(segment),
        Value::Array(items) => items.get(index(segment, items.len())?),
        _ => None,
    }
}

/// A JSON pointer (RFC 6901), unescaped.
struct Pointer {
    text: String,
    segments: Vec<String>,
}

impl Pointer {
    fn parse(text: &str) -> Result<Self, PatchError> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(PatchError::Malformed(format!("jsonpatch path {text:?} must be empty or start with '/'")));
        }
        let segments: Vec<String> = text.split('/').skip(1).map(|s| s.replace("~1", "/").replace("~0", "~")).collect();
        if segments.len() > MAX_DEPTH {
            return Err(PatchError::Malformed("jsonpatch path is too deep".to_owned()));
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    fn get<'a>(&self, target: &'a Value) -> Option<&'a Value> {
        self.segments.iter().try_fold(target, down)
    }

    /// What holds the place, or would.
    fn parent<'a>(&self, target: &'a Value) -> Option<&'a Value> {
        let (_, parents) = self.segments.split_last().unzip();
        parents.unwrap_or_default().iter().try_fold(target, down)
    }

    fn get_mut<'a>(&self, target: &'a mut Value) -> Option<&'a mut Value> {
        step_mut(target, &self.segments)
    }

    fn parent_mut<'a>(&self, target: &'a mut Value, kind: &str) -> Result<(&'a mut Value, &str), PatchError> {
        match self.segments.split_last() {
            Some((last, parents)) => {
                step_mut(target, parents).map(|parent| (parent, last.as_str())).ok_or_else(|| missing(kind, &self.text))
            }
            None => Err(missing(kind, &self.text)),
        }
    }

    fn add(&self, target: &mut Value, value: Value, kind: &str) -> Result<(), PatchError> {
        if self.segments.is_empty() {
            *target = value;
            return Ok(());
        }
        match self.parent_mut(target, kind)? {
            (Value::Object(map), key) => {
                map.insert(key.to_owned(), value);
                Ok(())
            }
            (Value::Array(items), key) => {
                let at = if key == "-" { Some(items.len()) } else { index(key, items.len() + 1) };
                match at {
                    Some(at) => {
                        items.insert(at, value);
                        Ok(())
                    }
                    None => Err(PatchError::DoesNotFit(format!(
                        "jsonpatch {kind} operation does not apply: doc is missing path: {}: Unable to access invalid index: {key}: invalid index referenced",
                        self.text
                    ))),
                }
            }
            _ => Err(missing(kind, &self.text)),
        }
    }

    fn remove(&self, target: &mut Value, kind: &str) -> Result<Value, PatchError> {
        let removed = match self.parent_mut(target, kind)? {
            (Value::Object(map), key) => map.remove(key),
            (Value::Array(items), key) => index(key, items.len()).map(|at| items.remove(at)),
            _ => None,
        };
        removed.ok_or_else(|| missing(kind, &self.text))
    }
}

fn step_mut<'a>(target: &'a mut Value, segments: &[String]) -> Option<&'a mut Value> {
    segments.iter().try_fold(target, |value, segment| match value {
        Value::Object(map) => map.get_mut(segment),
        Value::Array(items) => {
            let at = index(segment, items.len())?;
            items.get_mut(at)
        }
        _ => None,
    })
}

/// An index into a list; negative ones count from the end, as in upstream's library.
fn index(segment: &str, len: usize) -> Option<usize> {
    if let Some(back) = segment.strip_prefix('-') {
        let back: usize = back.parse().ok()?;
        return len.checked_sub(back).filter(|at| *at < len);
    }
    segment.parse().ok().filter(|at| *at < len)
}

/// Applies a merge patch: objects merge, null removes, everything else replaces.
pub fn merge_patch(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(&key);
        } else {
            merge_patch(map.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_examples_of_rfc_7386() {
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            let mut value = target.clone();
            merge_patch(&mut value, patch.clone());
            assert_eq!(value, result, "{target} + {patch}");
        }
    }

    #[test]
    fn operations() {
        let mut value = json!({"a":{"b":[1,2]},"x~y/z":1});
        json_patch(
            &mut value,
            &json!([
                {"op":"test","path":"/a/b/0","value":1},
                {"op":"add","path":"/a/b/-","value":3},
                {"op":"remove","path":"/a/b/0"},
                {"op":"replace","path":"/x~0y~1z","value":2},
                {"op":"copy","from":"/a/b","path":"/c"},
                {"op":"move","from":"/a","path":"/d"},
            ]),
        )
        .unwrap();
        assert_eq!(value, json!({"x~y/z":2,"c":[2,3],"d":{"b":[2,3]}}));
    }

    #[test]
    fn copies_of_copies_end() {
        let mut target = serde_json::json!({"a": {"x": "y".repeat(1000)}});
        let copy = |round: usize| serde_json::json!({"op": "copy", "from": "/a", "path": format!("/a/b{round}")});
        let error = json_patch(&mut target, &(0..16).map(copy).collect()).unwrap_err();
        assert!(matches!(error, PatchError::TooLarge(size) if size < 2 * MAX_COPIED_BYTES), "{error}");
    }

    #[test]
    fn what_does_not_fit_says_so() {
        let mut value = json!({"a":[1]});
        for patch in [
            json!([{"op":"remove","path":"/b"}]),
            json!([{"op":"replace","path":"/b","value":1}]),
            json!([{"op":"add","path":"/a/5","value":1}]),
            json!([{"op":"test","path":"/a/0","value":2}]),
            json!([{"op":"add","path":"/q/r","value":2}]),
            json!([{"op":"test","path":"/q/r","value":null}]),
        ] {
            assert!(
                matches!(json_patch(&mut value, &patch), Err(PatchError::DoesNotFit(_) | PatchError::TestFailed(_))),
                "{patch}"
            );
        }
        for patch in [
            json!({}),
            json!([{"op":"add"}]),
            json!([{"op":"nope","path":"/a"}]),
            json!([{"op":"add","path":"a","value":1}]),
        ] {
            assert!(matches!(json_patch(&mut value, &patch), Err(PatchError::Malformed(_))), "{patch}");
        }
        assert_eq!(value, json!({"a":[1]}));
    }
}
