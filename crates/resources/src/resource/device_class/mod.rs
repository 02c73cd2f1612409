//! Device classes for the registry. Upstream: `pkg/registry/resource/deviceclass`.

use apimachinery::{
    field::{ErrorList, Path},
    names,
};
use k8s_openapi::api::resource::v1::DeviceClass;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};

use crate::check::Report;
use crate::optional::Items;
use crate::resource::devices::{MAX_CONFIGS, opaque, selectors, slice};

pub struct DeviceClasses;

impl Strategy for DeviceClasses {
    type Object = DeviceClass;

    const INFO: Info = Info::cluster("resource.k8s.io", "v1", "DeviceClass", "deviceclasses");
    const COLUMNS: &'static [Column<DeviceClass>] = COLUMNS;
    const RETURN_DELETED_OBJECT: bool = true;

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut DeviceClass) {
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut DeviceClass, old: &DeviceClass) {
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &DeviceClass) -> ErrorList {
        validate(object, false)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &DeviceClass, old: &DeviceClass) -> ErrorList {
        validate(new, new.spec.config == old.spec.config)
    }
}

/// `stored`: the configuration is the one that is stored already.
fn validate(class: &DeviceClass, stored: bool) -> ErrorList {
    let mut errors = ErrorList::default();
    let (spec, path) = (&class.spec, Path::new("spec"));
    selectors(spec.selectors.items(), &path.child("selectors"), &mut errors);
    slice(spec.config.items(), MAX_CONFIGS, &path.child("config"), &mut errors, |config, path, errors| {
        opaque(config.opaque.as_ref(), path, stored, errors);
    });
    if let Some(name) = &spec.extended_resource_name {
        let native = !name.contains('/') || name.contains("kubernetes.io/");
        // As a quota spells it.
        let fits = names::is_qualified_name(&format!("requests.{name}")).is_empty();
        if native || name.starts_with("requests.") || !fits {
            let message = "must be a valid extended resource name";
            errors.invalid(&path.child("extendedResourceName"), name, message);
        }
    }
    errors
}

static COLUMNS: &[Column<DeviceClass>] = &[Column::NAME, Column::AGE];
