//! Objects between JSON and protobuf, by the schema.

use apimachinery::ApiError;
use bytes::Bytes;
use schema::{Limits, builtin, json, protobuf};

/// JSON of an object that came as a protobuf envelope.
pub fn from_protobuf(body: &[u8]) -> Result<Bytes, ApiError> {
    let object = protobuf::decode(builtin(), body, None, &Limits::default())
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(object.to_json().into())
}

/// The protobuf envelope of an object, a list or a Status, named by its own `apiVersion` and `kind`.
///
/// What has no protobuf form (tables, custom resources) is not acceptable.
pub fn to_protobuf(json: &[u8]) -> Result<Bytes, ApiError> {
    let object = json::parse(json, &Limits::TRUSTED).map_err(ApiError::internal)?;
    match protobuf::encode(builtin(), &object) {
        Ok(message) => Ok(message.into()),
        Err(protobuf::ProtobufError::Kind { .. }) => {
            Err(ApiError::not_acceptable(&["application/json", "application/yaml"]))
        }
        Err(error) => Err(ApiError::internal(error)),
    }
}

/// A watch event in protobuf, with its length in front.
pub fn watch_frame(event: &str, json: &[u8]) -> Result<Bytes, ApiError> {
    Ok(protobuf::watch_frame(event, &to_protobuf(json)?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_back_and_what_has_no_form_is_refused() {
        let json = br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"k":"v"}}"#;
        assert_eq!(from_protobuf(&to_protobuf(json).unwrap()).unwrap(), json.as_slice());
        let table = br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1"}"#;
        assert_eq!(to_protobuf(table).unwrap_err().code, 406);
        assert_eq!(from_protobuf(b"{}").unwrap_err().code, 400);
    }
}
