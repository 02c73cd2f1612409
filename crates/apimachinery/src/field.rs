//! Paths into objects and the errors found there. Upstream: `k8s.io/apimachinery/pkg/util/validation/field`.
//!
//! The printed forms are part of the API: users and tools match them.

use std::{fmt, sync::Arc};

use serde_json::Value;

/// A path such as `spec.containers[0].ports[1].name` or `metadata.labels[app]`. Cheap to extend and to clone.
#[derive(Clone, Debug)]
pub struct Path(Option<Arc<Node>>);

#[derive(Debug)]
struct Node {
    parent: Option<Arc<Node>>,
    segment: Segment,
}

#[derive(Debug)]
enum Segment {
    Field(String),
    Index(usize),
    Key(String),
}

impl Path {
    /// A path of one field.
    pub fn new(name: &str) -> Self {
        Self(None).child(name)
    }

    /// The empty path: the object itself.
    pub const fn root() -> Self {
        Self(None)
    }

    /// A field below this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        self.with(Segment::Field(name.to_owned()))
    }

    /// An item of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// A value of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    fn with(&self, segment: Segment) -> Self {
        Self(Some(Arc::new(Node { parent: self.0.clone(), segment })))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nodes = Vec::new();
        let mut at = self.0.as_deref();
        while let Some(node) = at {
            nodes.push(node);
            at = node.parent.as_deref();
        }
        if nodes.is_empty() {
            return f.write_str("<nil>");
        }
        for (depth, node) in nodes.into_iter().rev().enumerate() {
            match &node.segment {
                Segment::Field(name) if depth == 0 => f.write_str(name)?,
                Segment::Field(name) => write!(f, ".{name}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => write!(f, "[{key}]")?,
            }
        }
        Ok(())
    }
}

/// What is wrong with a value. The names are the `reason`s of a Status's causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// A value that something else must exist for.
    NotFound,
    /// Missing.
    Required,
    /// There twice.
    Duplicate,
    /// Malformed.
    Invalid,
    /// None of the values it may have.
    NotSupported,
    /// Well-formed, but not allowed here.
    Forbidden,
    /// Too many bytes.
    TooLong,
    /// Too many items.
    TooMany,
    /// Our own mistake.
    Internal,
    /// Of another JSON type than the schema says.
    TypeInvalid,
    /// Too few items.
    TooFew,
}

impl ErrorType {
    /// The `reason` of a Status cause (`FieldValueInvalid`).
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::TooFew => "FieldValueTooFew",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
            Self::TooFew => "Too few",
        }
    }
}

/// One error at one field. `Display` prints `field: Text: "value": detail`.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorType,
    /// Where, printed.
    pub field: String,
    /// The offending value; not printed for the kinds where it would only be noise.
    pub value: Option<Value>,
    /// Detail, may be empty.
    pub detail: String,
}

impl Error {
    fn new(kind: ErrorType, path: &Path, value: Option<Value>, detail: impl Into<String>) -> Self {
        Self { kind, field: path.to_string(), value, detail: detail.into() }
    }

    /// `field: Required value: detail`
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Required, path, None, detail)
    }

    /// `field: Invalid value: "value": detail`
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Invalid, path, Some(value.into()), detail)
    }

    /// `field: Invalid value: detail`, where the value would say nothing.
    pub fn invalid_unsaid(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Invalid, path, None, detail)
    }

    /// `field: Invalid value: "value": detail`, for a value of the wrong JSON type.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::TypeInvalid, path, Some(value.into()), detail)
    }

    /// `field: Duplicate value: "value"`
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::Duplicate, path, Some(value.into()), "")
    }

    /// `field: Not found: "value"`
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::NotFound, path, Some(value.into()), "")
    }

    /// `field: Forbidden: detail`
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Forbidden, path, None, detail)
    }

    /// `field: Unsupported value: "value": supported values: "a", "b"`. The values are printed in the order given.
    pub fn not_supported<S: AsRef<str>>(path: &Path, value: impl Into<Value>, supported: &[S]) -> Self {
        let detail = if supported.is_empty() {
            String::new()
        } else {
            let quoted: Vec<String> = supported.iter().map(|s| go_quote(s.as_ref())).collect();
            format!("supported values: {}", quoted.join(", "))
        };
        Self::new(ErrorType::NotSupported, path, Some(value.into()), detail)
    }

    /// `field: Too long: may not be more than N bytes`
    pub fn too_long(path: &Path, max: usize) -> Self {
        Self::new(ErrorType::TooLong, path, None, format!("may not be more than {max} bytes"))
    }

    /// `field: Too many: N: must have at most M items`
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let items = if max == 1 { "item" } else { "items" };
        Self::new(ErrorType::TooMany, path, Some(actual.into()), format!("must have at most {max} {items}"))
    }

    /// `field: Too few: N: must have at least M items`
    pub fn too_few(path: &Path, actual: usize, min: usize) -> Self {
        let items = if min == 1 { "item" } else { "items" };
        Self::new(ErrorType::TooFew, path, Some(actual.into()), format!("must have at least {min} {items}"))
    }

    /// `field: Internal error: detail`
    pub fn internal(path: &Path, detail: impl fmt::Display) -> Self {
        Self::new(ErrorType::Internal, path, None, detail.to_string())
    }

    /// The message without the field, as in a Status cause.
    pub fn body(&self) -> String {
        let text = self.kind.text();
        let mut out = match (self.kind, &self.value) {
            (ErrorType::Required | ErrorType::Forbidden | ErrorType::TooLong | ErrorType::Internal, _) | (_, None) => {
                text.to_owned()
            }
            (_, Some(value)) => format!("{text}: {}", print_value(value)),
        };
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// As upstream prints values: strings quoted as Go does, numbers and booleans bare, the rest as JSON.
fn print_value(value: &Value) -> String {
    match value {
        Value::String(text) => go_quote(text),
        Value::Null => "null".to_owned(),
        other => other.to_string(),
    }
}

/// Go's `%q`.
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// All errors of an object, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorList(Vec<Error>);

impl ErrorList {
    /// No errors.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds one.
    pub fn push(&mut self, error: Error) {
        self.0.push(error);
    }

    /// Adds those of another list.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// Whether the object is fine.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The errors.
    pub fn iter(&self) -> std::slice::Iter<'_, Error> {
        self.0.iter()
    }

    /// The aggregate's message: the errors without repetition, in brackets where there are several.
    pub fn aggregate(&self) -> String {
        let mut seen = Vec::<String>::new();
        for error in &self.0 {
            let text = error.to_string();
            if !seen.contains(&text) {
                seen.push(text);
            }
        }
        match seen.len() {
            1 => seen.remove(0),
            _ => format!("[{}]", seen.join(", ")),
        }
    }
}

impl From<Error> for ErrorList {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

impl IntoIterator for ErrorList {
    type Item = Error;
    type IntoIter = std::vec::IntoIter<Error>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Extend<Error> for ErrorList {
    fn extend<T: IntoIterator<Item = Error>>(&mut self, iter: T) {
        self.0.extend(iter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_upstream() {
        let path = Path::new("spec").child("containers").index(0).child("name");
        assert_eq!(
            Error::invalid(&path, "A b", "must be lower case").to_string(),
            r#"spec.containers[0].name: Invalid value: "A b": must be lower case"#
        );
        assert_eq!(Error::required(&path, "").to_string(), "spec.containers[0].name: Required value");
        assert_eq!(
            Error::not_supported(&Path::new("type"), "X", &["A", "B"]).to_string(),
            r#"type: Unsupported value: "X": supported values: "A", "B""#
        );
        assert_eq!(
            Error::too_long(&path, 63).to_string(),
            "spec.containers[0].name: Too long: may not be more than 63 bytes"
        );
        assert_eq!(Path::new("metadata").child("labels").key("a/b").to_string(), "metadata.labels[a/b]");
    }

    #[test]
    fn an_aggregate_names_each_error_once() {
        let path = Path::new("a");
        let mut list = ErrorList::from(Error::required(&path, ""));
        assert_eq!(list.aggregate(), "a: Required value");
        list.push(Error::required(&path, ""));
        list.push(Error::forbidden(&Path::new("b"), "no"));
        assert_eq!(list.aggregate(), "[a: Required value, b: Forbidden: no]");
    }
}
