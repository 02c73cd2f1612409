//! Deployments for the registry. Upstream: `pkg/registry/apps/deployment` `deploymentStrategy`.

mod columns;
pub mod defaults;
#[cfg(test)]
mod tests;
pub mod validation;

use apimachinery::Selector;
use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use registry::{Column, Filter, Info, ObjectExt, RequestCx, Strategy, Subresource};

use crate::core::pod::warnings;

pub struct Deployments;

impl Strategy for Deployments {
    type Object = Deployment;

    const INFO: Info =
        Info::namespaced("apps", "v1", "Deployment", "deployments").short(&["deploy"]).categories(&["all"]);
    const COLUMNS: &'static [Column<Deployment>] = columns::COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS, Subresource::SCALE];

    fn reset_fields(&self, subresource: &str) -> Option<Filter> {
        (subresource == "status").then(|| Filter::exclude([["spec"].as_slice(), &["metadata", "labels"]]))
    }

    fn set_defaults(&self, deployment: &mut Deployment) {
        defaults::set_defaults(deployment);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, deployment: &mut Deployment) {
        deployment.status = Some(Default::default());
        deployment.start_generation();
    }

    fn validate(&self, _cx: &RequestCx, deployment: &Deployment) -> ErrorList {
        validation::validate(deployment)
    }

    fn warnings(&self, _cx: &RequestCx, new: &Deployment, old: Option<&Deployment>) -> Vec<String> {
        if old.is_some_and(|old| old.metadata.generation == new.metadata.generation) {
            return Vec::new();
        }
        let template = new.spec.as_ref().map(|spec| &spec.template);
        let mut all = Vec::new();
        if old.is_none() {
            all.extend(warnings::controller_name(&new.metadata));
        }
        all.extend(warnings::template(template, &Path::new("spec").child("template")));
        all
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut Deployment, old: &Deployment) {
        new.status.clone_from(&old.status);
        // Annotations count too: a rollback or a pause is noticed by the generation.
        let changed = new.spec != old.spec || new.metadata.annotations != old.metadata.annotations;
        new.bump_generation_if(old, changed);
    }

    fn validate_update(&self, _cx: &RequestCx, new: &Deployment, old: &Deployment) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut Deployment, old: &Deployment) {
        new.spec.clone_from(&old.spec);
        new.metadata.labels.clone_from(&old.metadata.labels);
        new.metadata.generation = old.metadata.generation;
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &Deployment, old: &Deployment) -> ErrorList {
        validation::validate_status_update(new, old)
    }

    fn scale(&self, deployment: &Deployment) -> Option<Scale> {
        let spec = deployment.spec.as_ref()?;
        let selector = Selector::from_label_selector(Some(&spec.selector)).ok()?;
        Some(Scale {
            spec: Some(ScaleSpec { replicas: spec.replicas }),
            status: Some(ScaleStatus {
                replicas: deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0),
                selector: Some(selector.to_string()),
            }),
            ..Scale::default()
        })
    }

    fn set_scale(&self, deployment: &mut Deployment, replicas: i32) {
        deployment.spec.get_or_insert_default().replicas = Some(replicas);
    }
}
