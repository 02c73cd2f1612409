//! The general form of "only the status may change": for kinds that do not do it with field moves.

use apimachinery::json;
use fieldmanager::Filter;
use serde_json::Value;

use crate::Object;

/// Makes `new` be `old` with `new`'s status and metadata. Most kinds let a writer of the status change labels and
/// annotations, too; those that do not add [`keep_metadata`].
pub fn keep_all_but_status<T: Object>(new: &mut T, old: &T) {
    let mut metadata = std::mem::take(new.metadata_mut());
    metadata.generation = old.metadata().generation;
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
    *new.metadata_mut() = metadata;
}

/// Puts back what a writer of the status may not change of the metadata, where it may not change it.
/// Upstream: `metav1.ResetObjectMetaForStatus`.
pub fn keep_metadata<T: Object>(new: &mut T, old: &T) {
    let (new, old) = (new.metadata_mut(), old.metadata());
    new.deletion_timestamp.clone_from(&old.deletion_timestamp);
    new.generation = old.generation;
    new.self_link.clone_from(&old.self_link);
    new.labels.clone_from(&old.labels);
    new.annotations.clone_from(&old.annotations);
    new.finalizers.clone_from(&old.finalizers);
    new.owner_references.clone_from(&old.owner_references);
}

/// What nobody owns through the status of a kind that uses [`keep_metadata`]. Upstream has each such kind say so in its
/// `GetResetFields`, and compares that with what its strategy does.
pub fn reset_metadata(subresource: &str) -> Option<Filter> {
    (subresource == "status").then(|| Filter::exclude([["spec"].as_slice(), &["metadata"]]))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::Ingress;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_writer_of_the_status_changes_metadata_but_not_the_spec() {
        let object = |class: &str, label: &str, generation: i64, address: &str| -> Ingress {
            let metadata = json!({"name": "i", "generation": generation, "labels": {"l": label}});
            let status = json!({"loadBalancer": {"ingress": [{"ip": address}]}});
            json::from_value(&json!({"metadata": metadata, "spec": {"ingressClassName": class}, "status": status}))
                .unwrap()
        };
        let (old, mut new) = (object("a", "before", 3, "192.0.2.1"), object("b", "after", 9, "192.0.2.2"));
        keep_all_but_status(&mut new, &old);
        assert_eq!(new, object("a", "after", 3, "192.0.2.2"));
        keep_metadata(&mut new, &old);
        assert_eq!(new, object("a", "before", 3, "192.0.2.2"));
    }
}
