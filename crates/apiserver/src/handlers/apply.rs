//! Bodies of server-side apply: YAML, of which JSON is a part. Upstream: `applyPatcher` in `endpoints/handlers/patch.go`.

use apimachinery::{ApiError, field::go_quote};
use registry::pipeline::ApplyPatch;
use schema::{Limits, Node, json::JsonError};
use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Error, Options};

/// A configuration in YAML or JSON. A key that is there twice is told, and the last one counts.
pub(super) fn from_yaml(body: &[u8], force: bool) -> Result<ApplyPatch, ApiError> {
    let wrong = |why: String| ApiError::bad_request(format!("error decoding YAML: {why}"));
    let text = std::str::from_utf8(body).map_err(|error| wrong(error.to_string()))?;
    if text.trim_start().starts_with('{')
        && let Ok(node) = schema::json::parse(body, &Limits::default())
    {
        let strict_error = repeated_key(&node).map(|key| already_set(1, key));
        return checked(node.into_owned(), force, strict_error);
    }
    let read = |duplicate_keys: DuplicateKeyPolicy| -> Result<Value, Error> {
        let mut options = Options::default();
        options.duplicate_keys = duplicate_keys;
        serde_saphyr::from_str_with_options(text, options)
    };
    let (value, strict_error) = match read(DuplicateKeyPolicy::Error) {
        Ok(value) => (value, None),
        Err(error) => {
            let Some((line, key)) = duplicate(&error) else { return Err(wrong(first_line(&error))) };
            let value = read(DuplicateKeyPolicy::LastWins).map_err(|error| wrong(first_line(&error)))?;
            (value, Some(already_set(line, &key)))
        }
    };
    let json = serde_json::to_vec(&value).map_err(ApiError::internal)?;
    let node = schema::json::parse(&json, &Limits::default()).map_err(|error: JsonError| wrong(error.to_string()))?;
    checked(node.into_owned(), force, strict_error)
}

/// A configuration in CBOR.
pub(super) fn from_cbor(body: &[u8], force: bool) -> Result<ApplyPatch, ApiError> {
    let node = schema::cbor::decode(body, &Limits::default())
        .map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}")))?;
    checked(node, force, None)
}

fn checked(config: Node<'static>, force: bool, strict_error: Option<String>) -> Result<ApplyPatch, ApiError> {
    match config {
        Node::Object(_) => Ok(ApplyPatch { config, force, strict_error }),
        Node::Null => Ok(ApplyPatch { config: Node::Object(schema::json::Object::default()), force, strict_error }),
        other => Err(ApiError::bad_request(format!(
            "error decoding YAML: error unmarshaling JSON: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            other.go_name()
        ))),
    }
}

/// Upstream's words for a key that is there twice.
fn already_set(line: u64, key: &str) -> String {
    format!("line {line}: key {} already set in map", go_quote(key))
}

fn duplicate(error: &Error) -> Option<(u64, String)> {
    match error {
        Error::WithSnippet { error, .. } => duplicate(error),
        Error::DuplicateMappingKey { key, location } => Some((location.line(), key.clone().unwrap_or_default())),
        _ => None,
    }
}

/// The first line says what and where; what follows is a picture of the source.
fn first_line(error: &Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    format!("error converting YAML to JSON: yaml: {line}")
}

fn repeated_key<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    match node {
        Node::Object(object) => {
            let mut names: Vec<&str> = object.0.iter().map(|(name, _)| name.as_ref()).collect();
            names.sort_unstable();
            let own = names.windows(2).find_map(|pair| match pair {
                [left, right] if left == right => Some(*left),
                _ => None,
            });
            own.or_else(|| object.0.iter().find_map(|(_, value)| repeated_key(value)))
        }
        Node::Array(items) => items.iter().find_map(repeated_key),
        _ => None,
    }
}
