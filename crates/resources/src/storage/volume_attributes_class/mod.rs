//! Volume attributes classes for the registry. Upstream: `pkg/registry/storage/volumeattributesclass`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use registry::{Column, Info, RequestCx, Strategy};
use serde_json::json;

use crate::check::Report;
use crate::storage::storage_class::{parameters, provisioner};

type C = Column<VolumeAttributesClass>;

pub struct VolumeAttributesClasses;

impl Strategy for VolumeAttributesClasses {
    type Object = VolumeAttributesClass;

    const INFO: Info =
        Info::cluster("storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses").short(&["vac"]);
    const COLUMNS: &'static [Column<VolumeAttributesClass>] = COLUMNS;
    const RETURN_DELETED_OBJECT: bool = true;

    fn validate(&self, _cx: &RequestCx, object: &VolumeAttributesClass) -> ErrorList {
        let mut errors = ErrorList::default();
        provisioner(&object.driver_name, &Path::new("driverName"), &mut errors);
        let path = Path::new("parameters");
        if object.parameters.as_ref().is_none_or(std::collections::BTreeMap::is_empty) {
            errors.required(&path, "must contain at least one key/value pair");
        }
        parameters(object.parameters.as_ref(), &path, &mut errors);
        errors
    }

    fn validate_update(&self, _cx: &RequestCx, new: &VolumeAttributesClass, old: &VolumeAttributesClass) -> ErrorList {
        let mut errors = ErrorList::default();
        if new.driver_name != old.driver_name {
            errors.forbidden(&Path::new("driverName"), "updates to driverName are forbidden.");
        }
        if new.parameters.clone().unwrap_or_default() != old.parameters.clone().unwrap_or_default() {
            errors.forbidden(&Path::new("parameters"), "updates to parameters are forbidden.");
        }
        errors
    }
}

static COLUMNS: &[Column<VolumeAttributesClass>] = &[
    Column::NAME,
    C::string("DriverName", |o, _| json!(o.driver_name)).describe("Name of the CSI driver This field is immutable."),
    Column::AGE,
];
