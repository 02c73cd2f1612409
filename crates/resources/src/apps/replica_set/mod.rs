//! Replica sets for the registry. Upstream: `pkg/registry/apps/replicaset` `rsStrategy`.

mod columns;
pub mod validation;

use apimachinery::Selector;
use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use registry::{Column, Info, ObjectExt, RequestCx, SelectableField, Strategy, Subresource};

use crate::core::pod::{defaults::pod_template, warnings};

pub struct ReplicaSets;

impl Strategy for ReplicaSets {
    type Object = ReplicaSet;

    const INFO: Info = Info::namespaced("apps", "v1", "ReplicaSet", "replicasets").short(&["rs"]).categories(&["all"]);
    const COLUMNS: &'static [Column<ReplicaSet>] = columns::COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS, Subresource::SCALE];
    const SELECTABLE: &'static [SelectableField] =
        &[SelectableField::new("status.replicas", &[&["status", "replicas"]]).absent("0")];

    fn set_defaults(&self, set: &mut ReplicaSet) {
        set_defaults(set);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, set: &mut ReplicaSet) {
        set.status = Some(Default::default());
        set.start_generation();
    }

    fn validate(&self, _cx: &RequestCx, set: &ReplicaSet) -> ErrorList {
        validation::validate(set)
    }

    fn warnings(&self, _cx: &RequestCx, new: &ReplicaSet, old: Option<&ReplicaSet>) -> Vec<String> {
        if old.is_some_and(|old| old.metadata.generation == new.metadata.generation) {
            return Vec::new();
        }
        let template = new.spec.as_ref().and_then(|spec| spec.template.as_ref());
        let mut all = Vec::new();
        if old.is_none() {
            all.extend(warnings::controller_name(&new.metadata));
        }
        all.extend(warnings::template(template, &Path::new("spec").child("template")));
        all
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut ReplicaSet, old: &ReplicaSet) {
        new.status.clone_from(&old.status);
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate_update(&self, _cx: &RequestCx, new: &ReplicaSet, old: &ReplicaSet) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut ReplicaSet, old: &ReplicaSet) {
        new.spec.clone_from(&old.spec);
        new.metadata.generation = old.metadata.generation;
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &ReplicaSet, _old: &ReplicaSet) -> ErrorList {
        validation::validate_status(new)
    }

    fn scale(&self, set: &ReplicaSet) -> Option<Scale> {
        let spec = set.spec.as_ref()?;
        let selector = Selector::from_label_selector(Some(&spec.selector)).ok()?;
        Some(Scale {
            spec: Some(ScaleSpec { replicas: spec.replicas }),
            status: Some(ScaleStatus {
                replicas: set.status.as_ref().map_or(0, |status| status.replicas),
                selector: Some(selector.to_string()),
            }),
            ..Scale::default()
        })
    }

    fn set_scale(&self, set: &mut ReplicaSet, replicas: i32) {
        set.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

/// Defaults of replica sets. Upstream: `SetDefaults_ReplicaSet`.
pub fn set_defaults(set: &mut ReplicaSet) {
    set.status.get_or_insert_default();
    let spec = set.spec.get_or_insert_default();
    pod_template(spec.template.get_or_insert_default());
    spec.replicas.get_or_insert(1);
}
