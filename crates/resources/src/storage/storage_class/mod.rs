//! Storage classes for the registry. Upstream: `pkg/registry/storage/storageclass`.

use k8s_openapi::api::storage::v1::StorageClass;
use registry::{Column, Info, Strategy};
use serde_json::json;

use crate::meta::print;
use crate::optional::Flag;

const DEFAULT: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

type C = Column<StorageClass>;

pub struct StorageClasses;

impl Strategy for StorageClasses {
    type Object = StorageClass;

    const INFO: Info = Info::cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses").short(&["sc"]);
    const COLUMNS: &'static [Column<StorageClass>] = COLUMNS;

    fn set_defaults(&self, object: &mut StorageClass) {
        object.reclaim_policy.get_or_insert_with(|| "Delete".to_owned());
        object.volume_binding_mode.get_or_insert_with(|| "Immediate".to_owned());
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
    C::string("Provisioner", |o, _| json!(o.provisioner)),
    C::string("ReclaimPolicy", |o, _| json!(o.reclaim_policy.as_deref().unwrap_or("Delete"))),
    C::string("VolumeBindingMode", |o, _| json!(o.volume_binding_mode.as_deref().unwrap_or("Immediate"))),
    C::string("AllowVolumeExpansion", |o, _| json!(o.allow_volume_expansion.is_set())),
    Column::AGE,
];
