//! Storage classes for the registry. Upstream: `pkg/registry/storage/storageclass`.

use std::collections::BTreeMap;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::storage::v1::StorageClass;
use registry::{Column, Info, RequestCx, Strategy};
use serde_json::json;

use crate::check::{self, Report};
use crate::core::pod::validation::topology_selector;
use crate::core::pod::warnings::node_label;
use crate::meta::print;
use crate::optional::{Flag, Items, Text};

const DEFAULT: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETERS_SIZE: usize = 256 * 1024;

type C = Column<StorageClass>;

pub struct StorageClasses;

impl Strategy for StorageClasses {
    type Object = StorageClass;

    const INFO: Info = Info::cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses").short(&["sc"]);
    const COLUMNS: &'static [Column<StorageClass>] = COLUMNS;
    const RETURN_DELETED_OBJECT: bool = true;

    fn set_defaults(&self, object: &mut StorageClass) {
        object.reclaim_policy.get_or_insert_with(|| "Delete".to_owned());
        object.volume_binding_mode.get_or_insert_with(|| "Immediate".to_owned());
    }

    fn validate(&self, _cx: &RequestCx, object: &StorageClass) -> ErrorList {
        validate(object)
    }

    fn warnings(&self, _cx: &RequestCx, class: &StorageClass, _old: Option<&StorageClass>) -> Vec<String> {
        let mut warnings = Vec::new();
        for (index, term) in class.allowed_topologies.items().iter().enumerate() {
            let path = Path::new("allowedTopologies").index(index).child("matchLabelExpressions");
            for (index, expression) in term.match_label_expressions.items().iter().enumerate() {
                let message = node_label(&expression.key);
                warnings.extend(message.map(|message| format!("{}: {message}", path.index(index))));
            }
        }
        warnings
    }

    fn validate_update(&self, _cx: &RequestCx, new: &StorageClass, old: &StorageClass) -> ErrorList {
        let mut errors = validate(new);
        let fixed = "updates to {} are forbidden.";
        for (name, changed) in [
            ("parameters", new.parameters.clone().unwrap_or_default() != old.parameters.clone().unwrap_or_default()),
            ("provisioner", new.provisioner != old.provisioner),
            ("reclaimPolicy", new.reclaim_policy != old.reclaim_policy),
        ] {
            if changed {
                errors.forbidden(&Path::new(name), fixed.replace("{}", name));
            }
        }
        check::unchanged(
            &new.volume_binding_mode,
            &old.volume_binding_mode,
            &Path::new("volumeBindingMode"),
            &mut errors,
        );
        errors
    }
}

fn validate(class: &StorageClass) -> ErrorList {
    let mut errors = ErrorList::default();
    provisioner(&class.provisioner, &Path::new("provisioner"), &mut errors);
    parameters(class.parameters.as_ref(), &Path::new("parameters"), &mut errors);
    let policy = class.reclaim_policy.text();
    if !policy.is_empty() && !matches!(policy, "Delete" | "Retain") {
        errors.not_supported(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
    }
    let path = Path::new("volumeBindingMode");
    match class.volume_binding_mode.as_deref() {
        None => errors.required(&path, ""),
        Some("Immediate" | "WaitForFirstConsumer") => {}
        Some(mode) => errors.not_supported(&path, mode, &["Immediate", "WaitForFirstConsumer"]),
    }
    let path = Path::new("allowedTopologies");
    for (index, term) in class.allowed_topologies.items().iter().enumerate() {
        topology_selector(term, &path.index(index), &mut errors);
    }
    errors
}

/// The name of a driver, in any case (`validateProvisioner`).
pub(super) fn provisioner(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, name);
        return;
    }
    check::all_invalid(apimachinery::names::is_qualified_name(&name.to_lowercase()), name, path, errors);
}

/// Bounded, and no empty key (`validateParameters`).
pub(super) fn parameters(parameters: Option<&BTreeMap<String, String>>, path: &Path, errors: &mut ErrorList) {
    let Some(parameters) = parameters else { return };
    if parameters.len() > MAX_PARAMETERS {
        errors.too_long(path, MAX_PARAMETERS);
        return;
    }
    if parameters.contains_key("") {
        errors.invalid(path, "", "field can not be empty.");
    }
    let size: usize = parameters.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_PARAMETERS_SIZE {
        errors.too_long(path, MAX_PARAMETERS_SIZE);
    }
}

static COLUMNS: &[Column<StorageClass>] = &[
    C {
        name: "Name",
        kind: "string",
        format: "name",
        description: C::NAME.description,
        priority: 0,
        cell: |o, _| json!(print::name_with_default(&o.metadata, DEFAULT)),
    },
    C::string("Provisioner", |o, _| json!(o.provisioner)).describe("provisioner indicates the type of the provisioner."),
    C::string("ReclaimPolicy", |o, _| json!(o.reclaim_policy.as_deref().unwrap_or("Delete"))).describe("reclaimPolicy controls the reclaimPolicy for dynamically provisioned PersistentVolumes of this storage class. Defaults to Delete."),
    C::string("VolumeBindingMode", |o, _| json!(o.volume_binding_mode.as_deref().unwrap_or("Immediate"))).describe("volumeBindingMode indicates how PersistentVolumeClaims should be provisioned and bound.  When unset, VolumeBindingImmediate is used. This field is only honored by servers that enable the VolumeScheduling feature."),
    C::string("AllowVolumeExpansion", |o, _| json!(o.allow_volume_expansion.is_set())).describe("allowVolumeExpansion shows whether the storage class allow volume expand."),
    Column::AGE,
];
