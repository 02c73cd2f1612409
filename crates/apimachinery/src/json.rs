//! The one form in which typed objects are read and written.
//!
//! serde compiles a type's code once for each kind of reader and writer it is used with, and the types of the API are
//! many: whoever decodes an object from bytes, or wants it as a `Value`, goes through here, as `kube` does by itself.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Error, Value};

use crate::scan;

/// A typed object from JSON bytes.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(error) => Err(<Error as serde::de::Error>::custom(error)),
    }
}

/// A typed object from the JSON of a server, without its `metadata.managedFields`: those are often more than all the
/// rest, nobody reads them in a typed object, and they are not even looked into.
pub fn without_owners<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let list = scan::lookup(bytes, &["metadata", "managedFields"]).unwrap_or_default();
    from_bytes(&scan::without(bytes, list))
}

/// A typed object as a `Value`, by way of its bytes.
pub fn to_value<T: Serialize + ?Sized>(object: &T) -> Result<Value, Error> {
    from_bytes(&serde_json::to_vec(object)?)
}

/// A typed object from a `Value`, by way of its bytes.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    from_bytes(&serde_json::to_vec(value)?)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    #[test]
    fn values_come_back() {
        let value =
            serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
        let object: ConfigMap = from_value(&value).unwrap();
        assert_eq!(to_value(&object).unwrap(), value);
        let with_owners = br#"{"metadata":{"name":"a","managedFields":[{"manager":"m"}],"labels":{"l":"m"}}}"#;
        let object: ConfigMap = without_owners(with_owners).unwrap();
        assert_eq!((object.metadata.managed_fields, object.metadata.labels.unwrap().len()), (None, 1));
        assert!(from_bytes::<ConfigMap>(b"{\"data\":{\"a\":\"\xff\"}}").is_err());
    }
}
