//! Resource claim templates for the registry. Upstream: `pkg/registry/resource/resourceclaimtemplate`.

use k8s_openapi::api::resource::v1::ResourceClaimTemplate;
use registry::{Column, Info, Strategy};

pub struct ResourceClaimTemplates;

impl Strategy for ResourceClaimTemplates {
    type Object = ResourceClaimTemplate;

    const INFO: Info = Info::namespaced("resource.k8s.io", "v1", "ResourceClaimTemplate", "resourceclaimtemplates");
    const COLUMNS: &'static [Column<ResourceClaimTemplate>] = COLUMNS;

    fn set_defaults(&self, object: &mut ResourceClaimTemplate) {
        super::resource_claim::default_spec(&mut object.spec.spec);
    }
}

static COLUMNS: &[Column<ResourceClaimTemplate>] = &[Column::NAME, Column::AGE];
