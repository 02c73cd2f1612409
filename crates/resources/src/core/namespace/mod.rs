//! Namespaces for the registry. Upstream: `pkg/registry/core/namespace`.

#[cfg(test)]
mod tests;

use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use k8s_openapi::api::core::v1::{Namespace, NamespaceSpec, NamespaceStatus};
use registry::{Column, Handler, Info, NameRule, RequestCx, SelectableField, Strategy, Subresource};
use serde_json::json;

use crate::check::{self, Report};
use crate::optional::{Items, Text, default_text};

type C = Column<Namespace>;

/// Keeps a namespace until its content is gone.
const FINALIZER: &str = "kubernetes";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub struct Namespaces;

impl Strategy for Namespaces {
    type Object = Namespace;

    const INFO: Info = Info::cluster("", "v1", "Namespace", "namespaces").short(&["ns"]);
    const COLUMNS: &'static [Column<Namespace>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] =
        &[Subresource::new("finalize", Handler::UpdateOnly), Subresource::STATUS];
    const SELECTABLE: &'static [SelectableField] = &[
        SelectableField::new("status.phase", &[&["status", "phase"]]),
        // The name once more, under the name it had first.
        SelectableField::new("name", &[&["metadata", "name"]]),
    ];
    const NAME_RULE: NameRule = NameRule::DnsLabel;
    /// All at once they cannot be deleted.
    const VERBS: &'static [&'static str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

    fn set_defaults(&self, namespace: &mut Namespace) {
        let name = namespace.metadata.name.text().to_owned();
        if !name.is_empty() {
            namespace.metadata.labels.get_or_insert_default().insert(NAME_LABEL.to_owned(), name);
        }
        namespace.spec.get_or_insert_default();
        default_text(&mut namespace.status.get_or_insert_default().phase, "Active");
    }

    fn prepare_for_create(&self, _cx: &RequestCx, namespace: &mut Namespace) {
        namespace.status = Some(NamespaceStatus { phase: Some("Active".to_owned()), conditions: None });
        let finalizers = namespace.spec.get_or_insert_default().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
        // A generated name is known only now.
        self.set_defaults(namespace);
    }

    fn validate(&self, _cx: &RequestCx, namespace: &Namespace) -> ErrorList {
        let mut errors = ErrorList::default();
        let path = Path::new("spec").child("finalizers");
        for finalizer in finalizers(namespace) {
            finalizer_name(finalizer, &path, &mut errors);
        }
        errors
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut Namespace, old: &Namespace) {
        new.spec.get_or_insert_default().finalizers = Some(finalizers(old).to_vec());
        new.status.clone_from(&old.status);
    }

    fn validate_update(&self, _cx: &RequestCx, _new: &Namespace, _old: &Namespace) -> ErrorList {
        ErrorList::default()
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut Namespace, old: &Namespace) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &Namespace, _old: &Namespace) -> ErrorList {
        let mut errors = ErrorList::default();
        let phase = new.status.as_ref().map_or("", |status| status.phase.text());
        let path = Path::new("status").child("Phase");
        match new.metadata.deletion_timestamp {
            None if phase != "Active" => {
                errors.invalid(&path, phase, "may only be 'Active' if `deletionTimestamp` is empty");
            }
            Some(_) if phase != "Terminating" => {
                errors.invalid(&path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
            }
            _ => {}
        }
        errors
    }

    fn prepare_for_subresource_update(&self, name: &str, _cx: &RequestCx, new: &mut Namespace, old: &Namespace) {
        if name == "finalize" {
            new.status.clone_from(&old.status);
        }
    }

    fn validate_subresource_update(
        &self,
        _name: &str,
        _cx: &RequestCx,
        new: &Namespace,
        _old: &Namespace,
    ) -> ErrorList {
        let mut errors = ErrorList::default();
        let path = Path::new("spec").child("finalizers");
        for (index, finalizer) in finalizers(new).iter().enumerate() {
            finalizer_name(finalizer, &path.index(index), &mut errors);
        }
        errors
    }

    fn holds_deletion(&self, namespace: &mut Namespace) -> bool {
        namespace.status.get_or_insert_default().phase = Some("Terminating".to_owned());
        !finalizers(namespace).is_empty()
    }
}

fn finalizers(namespace: &Namespace) -> &[String] {
    static EMPTY: NamespaceSpec = NamespaceSpec { finalizers: None };
    namespace.spec.as_ref().unwrap_or(&EMPTY).finalizers.items()
}

/// One of ours, or one that says by its prefix whose it is.
fn finalizer_name(name: &str, path: &Path, errors: &mut ErrorList) {
    check::all_invalid(names::is_qualified_name(name), name, path, errors);
    if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
        let message = "name is neither a standard finalizer name nor is it fully qualified";
        errors.invalid(path, name, message);
    }
}

static COLUMNS: &[Column<Namespace>] = &[
    Column::NAME,
    C::string("Status", |namespace, _| json!(namespace.status.as_ref().map_or("", |status| status.phase.text())))
        .describe("The status of the namespace"),
    Column::AGE,
];
