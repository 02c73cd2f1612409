//! Device classes for the registry. Upstream: `pkg/registry/resource/deviceclass`.

use k8s_openapi::api::resource::v1::DeviceClass;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};

pub struct DeviceClasses;

impl Strategy for DeviceClasses {
    type Object = DeviceClass;

    const INFO: Info = Info::cluster("resource.k8s.io", "v1", "DeviceClass", "deviceclasses");
    const COLUMNS: &'static [Column<DeviceClass>] = COLUMNS;

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut DeviceClass) {
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut DeviceClass, old: &DeviceClass) {
        new.bump_generation_if(old, new.spec != old.spec);
    }
}

static COLUMNS: &[Column<DeviceClass>] = &[Column::NAME, Column::AGE];
