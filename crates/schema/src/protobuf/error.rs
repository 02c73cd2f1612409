//! What can be wrong with a message, in the words of upstream's generated code.

/// A message that cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    #[error("empty data")]
    Empty,
    #[error("unexpected EOF")]
    End,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: illegal wireType {0}")]
    IllegalWire(u8),
    #[error("proto: illegal tag {0} (wire type {1})")]
    IllegalTag(u64, u8),
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WrongWire { wire: u8, field: String },
    #[error("request entity too large: limit is {limit}")]
    Size { limit: usize },
    #[error("object has too many values: limit is {limit}")]
    Nodes { limit: usize },
    #[error("exceeded max depth")]
    Depth,
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    Kind { api_version: String, kind: String },
    /// A text that its type cannot read: a quantity, raw JSON.
    #[error("{message}")]
    Text { message: String },
    /// A JSON value of the wrong type, which strict decoding would have refused.
    #[error("{field} cannot be written as {expected}")]
    Value { field: String, expected: &'static str },
}
