//! The general form of "only the status may change": for kinds that do not do it with field moves.

use apimachinery::json;
use serde_json::Value;

use crate::Object;

/// Makes `new` be `old` with `new`'s status, resource version and managed fields.
pub fn keep_all_but_status<T: Object>(new: &mut T, old: &T) {
    let resource_version = new.metadata().resource_version.clone();
    let status = json::to_value(&*new).ok().and_then(|mut value| value.get_mut("status").map(Value::take));
    let Ok(mut kept) = json::to_value(old) else { return };
    if let Some(fields) = kept.as_object_mut() {
        match status {
            Some(status) => fields.insert("status".to_owned(), status),
            None => fields.remove("status"),
        };
    }
    match json::from_value::<T>(&kept) {
        Ok(merged) => *new = merged,
        Err(error) => {
            // Both halves came from typed objects, so this cannot be the client's doing.
            tracing::error!(%error, "status merge does not decode");
            *new = old.clone();
        }
    }
    new.metadata_mut().resource_version = resource_version;
}
