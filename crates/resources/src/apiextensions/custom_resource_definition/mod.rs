//! Definitions of custom resources. Upstream: `apiextensions-apiserver/pkg/registry/customresourcedefinition`.
//!
//! The object stays JSON: its schemas are read by crate `schema`, and nobody needs them as Rust types. What a definition
//! makes the server serve is the business of crate `customresources`.

mod columns;
pub mod conditions;
mod defaults;
pub mod expressions;
pub mod fields;
mod validation;
mod warnings;

use apimachinery::field::ErrorList;
use registry::{Column, DynamicObject, Info, ObjectExt as _, RequestCx, Strategy, Subresource};
use serde_json::{Value, json};

pub use validation::{approval, is_protected_group, structural_errors};

/// Holds a definition until its objects are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

pub struct CustomResourceDefinitions;

impl Strategy for CustomResourceDefinitions {
    type Object = DynamicObject;

    const INFO: Info =
        Info::cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
            .short(&["crd", "crds"])
            .categories(&["api-extensions"]);
    const COLUMNS: &'static [Column<DynamicObject>] = columns::COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;

    fn set_defaults(&self, object: &mut DynamicObject) {
        object.api_version = Self::INFO.api_version();
        object.kind = Self::INFO.kind.to_owned();
        defaults::definition(object);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut DynamicObject) {
        object.fields.insert("status".to_owned(), empty_status());
        store_version(object);
        object.start_generation();
    }

    fn validate(&self, _cx: &RequestCx, object: &DynamicObject) -> ErrorList {
        validation::definition(object)
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut DynamicObject, old: &DynamicObject) {
        let status = old.fields.get("status").cloned().unwrap_or_else(empty_status);
        new.fields.insert("status".to_owned(), status);
        let changed = new.fields.get("spec") != old.fields.get("spec");
        new.bump_generation_if(old, changed);
        store_version(new);
    }

    fn validate_update(&self, _cx: &RequestCx, new: &DynamicObject, old: &DynamicObject) -> ErrorList {
        validation::update(new, old)
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut DynamicObject, old: &DynamicObject) {
        let status = new.fields.remove("status").unwrap_or_else(empty_status);
        // Metadata may change here, as upstream lets it by mistake (`ResetObjectMetaForStatus(new, new)`) and has come to
        // rely on: the cleanup gives its finalizer back with its condition.
        new.fields.clone_from(&old.fields);
        new.metadata.generation = old.metadata.generation;
        new.fields.insert("status".to_owned(), status);
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &DynamicObject, _old: &DynamicObject) -> ErrorList {
        validation::status(new)
    }

    fn warnings(&self, _cx: &RequestCx, new: &DynamicObject, old: Option<&DynamicObject>) -> Vec<String> {
        warnings::all(new, old)
    }

    /// The first request to delete leaves the finalizer, which holds the definition until its objects are gone.
    fn graceful_deletion(&self, cx: &RequestCx, object: &mut DynamicObject, _requested: Option<i64>) -> Option<i64> {
        let finalizers = object.metadata.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == CLEANUP_FINALIZER) {
            finalizers.push(CLEANUP_FINALIZER.to_owned());
        }
        conditions::set(
            object,
            &conditions::Condition::new(
                conditions::TERMINATING,
                "True",
                "InstanceDeletionPending",
                "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            ),
            cx.now,
        );
        None
    }
}

fn empty_status() -> Value {
    json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": null})
}

/// The storage version joins those in which objects may be stored.
fn store_version(object: &mut DynamicObject) {
    let Some(version) = fields::storage_version(object).map(str::to_owned) else { return };
    let status = object.fields.entry("status").or_insert_with(empty_status);
    if let Some(status) = status.as_object_mut() {
        let stored = status.entry("storedVersions").or_insert_with(|| json!([]));
        if stored.is_null() {
            *stored = json!([]);
        }
        if let Some(stored) = stored.as_array_mut()
            && !stored.iter().any(|known| known.as_str() == Some(&version))
        {
            stored.push(version.into());
        }
    }
}

#[cfg(test)]
mod tests;
