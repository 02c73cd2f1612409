//! Volume attributes classes for the registry. Upstream: `pkg/registry/storage/volumeattributesclass`.

use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use registry::{Column, Info, Strategy};
use serde_json::json;

use crate::meta::print;

const DEFAULT: &[&str] = &["storage.kubernetes.io/is-default-class"];

type C = Column<VolumeAttributesClass>;

pub struct VolumeAttributesClasses;

impl Strategy for VolumeAttributesClasses {
    type Object = VolumeAttributesClass;

    const INFO: Info =
        Info::cluster("storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses").short(&["vac"]);
    const COLUMNS: &'static [Column<VolumeAttributesClass>] = COLUMNS;
}

static COLUMNS: &[Column<VolumeAttributesClass>] = &[
    C {
        name: "Name",
        kind: "string",
        format: "name",
        description: C::NAME.description,
        priority: 0,
        cell: |o, _| json!(print::name_with_default(&o.metadata, DEFAULT)),
    },
    C::string("DriverName", |o, _| json!(o.driver_name)),
    Column::AGE,
];
