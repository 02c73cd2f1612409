//! Resource claim templates for the registry. Upstream: `pkg/registry/resource/resourceclaimtemplate`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::resource::v1::ResourceClaimTemplate;
use registry::{Column, Info, RequestCx, Strategy};

use crate::check;
use crate::core::persistent_volume_claim::template_meta;
use crate::resource::{devices, resource_claim};

pub struct ResourceClaimTemplates;

impl Strategy for ResourceClaimTemplates {
    type Object = ResourceClaimTemplate;

    const INFO: Info = Info::namespaced("resource.k8s.io", "v1", "ResourceClaimTemplate", "resourceclaimtemplates");
    const COLUMNS: &'static [Column<ResourceClaimTemplate>] = COLUMNS;
    const RETURN_DELETED_OBJECT: bool = true;

    fn set_defaults(&self, object: &mut ResourceClaimTemplate) {
        resource_claim::default_spec(&mut object.spec.spec);
    }

    fn validate(&self, cx: &RequestCx, object: &ResourceClaimTemplate) -> ErrorList {
        let mut errors = ErrorList::default();
        resource_claim::admin_access(cx, &object.spec.spec, &mut errors);
        errors.append(validate(object));
        errors
    }

    fn validate_update(&self, _cx: &RequestCx, new: &ResourceClaimTemplate, old: &ResourceClaimTemplate) -> ErrorList {
        let mut errors = ErrorList::default();
        check::unchanged(&new.spec, &old.spec, &Path::new("spec"), &mut errors);
        errors
    }
}

fn validate(template: &ResourceClaimTemplate) -> ErrorList {
    let mut errors = ErrorList::default();
    let path = Path::new("spec");
    if let Some(meta) = &template.spec.metadata {
        template_meta(meta, &path.child("metadata"), &mut errors);
    }
    devices::claim::spec(&template.spec.spec, &path.child("spec"), false, &mut errors);
    errors
}

static COLUMNS: &[Column<ResourceClaimTemplate>] = &[Column::NAME, Column::AGE];
