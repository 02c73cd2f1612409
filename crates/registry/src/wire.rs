//! Objects between JSON and protobuf, by the schema.

use apimachinery::ApiError;
use bytes::Bytes;

/// JSON of an object that came as a protobuf envelope.
pub fn from_protobuf(_body: &[u8]) -> Result<Bytes, ApiError> {
    Err(ApiError::unsupported_media_type(&["application/json", "application/yaml"]))
}

/// The protobuf envelope of an object, a list or a Status, named by its own `apiVersion` and `kind`.
pub fn to_protobuf(_json: &[u8]) -> Result<Bytes, ApiError> {
    Err(ApiError::not_acceptable(&["application/json", "application/yaml"]))
}

/// A watch event in protobuf, with its length in front.
pub fn watch_frame(_event: &str, _json: &[u8]) -> Result<Bytes, ApiError> {
    Err(ApiError::not_acceptable(&["application/json"]))
}
