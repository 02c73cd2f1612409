//! Pod templates for the registry. Upstream: `pkg/registry/core/podtemplate`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::PodTemplate;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};
use serde_json::json;

use crate::core::pod::{self, validation::PodOptions};
use crate::meta::print;

type C = Column<PodTemplate>;

pub struct PodTemplates;

impl Strategy for PodTemplates {
    type Object = PodTemplate;

    const INFO: Info = Info::namespaced("", "v1", "PodTemplate", "podtemplates");
    const COLUMNS: &'static [Column<PodTemplate>] = COLUMNS;
    const RETURN_DELETED_OBJECT: bool = true;

    fn set_defaults(&self, object: &mut PodTemplate) {
        pod::defaults::pod_template(object.template.get_or_insert_default());
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut PodTemplate) {
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut PodTemplate, old: &PodTemplate) {
        new.bump_generation_if(old, new.template != old.template);
    }

    fn validate(&self, _cx: &RequestCx, object: &PodTemplate) -> ErrorList {
        let mut errors = ErrorList::default();
        if let Some(template) = &object.template {
            pod::validation::template(template, &Path::new("template"), &PodOptions::default(), &mut errors);
        }
        errors
    }

    fn warnings(&self, _cx: &RequestCx, new: &PodTemplate, old: Option<&PodTemplate>) -> Vec<String> {
        if old.is_some_and(|old| old.metadata.generation == new.metadata.generation) {
            return Vec::new();
        }
        pod::warnings::template(new.template.as_ref(), &Path::new("template"))
    }
}

static COLUMNS: &[Column<PodTemplate>] = &[
    Column::NAME,
    C::string("Containers", |o, _| print::container_names(o.template.as_ref()))
        .describe("Names of each container in the template."),
    C::string("Images", |o, _| print::container_images(o.template.as_ref()))
        .describe("Images referenced by each container in the template."),
    C::string("Pod Labels", |o, _| {
        json!(print::labels(o.template.as_ref().and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.as_ref())))
    })
    .describe("The labels for the pod template."),
];
