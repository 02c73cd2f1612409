//! Stateful sets for the registry. Upstream: `pkg/registry/apps/statefulset`.

mod defaults;
#[cfg(test)]
mod tests;
mod validation;

use apimachinery::Selector;
use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use registry::{Column, Info, NameRule, ObjectExt, RequestCx, Strategy, Subresource};
use serde_json::json;

use crate::core::persistent_volume_claim;
use crate::core::pod::warnings;
use crate::meta::print;
use crate::optional::Items;

type C = Column<StatefulSet>;

pub struct StatefulSets;

impl Strategy for StatefulSets {
    type Object = StatefulSet;

    const INFO: Info =
        Info::namespaced("apps", "v1", "StatefulSet", "statefulsets").short(&["sts"]).categories(&["all"]);
    const COLUMNS: &'static [Column<StatefulSet>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS, Subresource::SCALE];
    const NAME_RULE: NameRule = NameRule::DnsLabel;

    fn set_defaults(&self, object: &mut StatefulSet) {
        defaults::set_defaults(object);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut StatefulSet) {
        object.status = Some(Default::default());
        object.start_generation();
    }

    fn warnings(&self, _cx: &RequestCx, new: &StatefulSet, old: Option<&StatefulSet>) -> Vec<String> {
        if old.is_some_and(|old| old.metadata.generation == new.metadata.generation) {
            return Vec::new();
        }
        let Some(spec) = &new.spec else { return Vec::new() };
        let path = Path::new("spec");
        let mut all = warnings::template(Some(&spec.template), &path.child("template"));
        for (index, claim) in spec.volume_claim_templates.items().iter().enumerate() {
            // Upstream's path writes it large.
            let path = path.child("volumeClaimTemplates").index(index).child("Spec");
            all.extend(claim.spec.iter().flat_map(|spec| persistent_volume_claim::spec_warnings(spec, &path)));
        }
        if spec.revision_history_limit.is_some_and(|limit| limit < 0) {
            all.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
        }
        all
    }

    fn validate(&self, _cx: &RequestCx, object: &StatefulSet) -> ErrorList {
        validation::validate(object)
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut StatefulSet, old: &StatefulSet) {
        new.status.clone_from(&old.status);
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate_update(&self, _cx: &RequestCx, new: &StatefulSet, old: &StatefulSet) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut StatefulSet, old: &StatefulSet) {
        new.spec.clone_from(&old.spec);
        new.metadata.generation = old.metadata.generation;
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &StatefulSet, old: &StatefulSet) -> ErrorList {
        validation::validate_status_update(new, old)
    }

    fn scale(&self, object: &StatefulSet) -> Option<Scale> {
        let spec = object.spec.as_ref()?;
        Some(Scale {
            spec: Some(ScaleSpec { replicas: spec.replicas }),
            status: Some(ScaleStatus {
                replicas: object.status.as_ref().map_or(0, |status| status.replicas),
                selector: Some(Selector::from_label_selector(Some(&spec.selector)).ok()?.to_string()),
            }),
            ..Scale::default()
        })
    }

    fn set_scale(&self, object: &mut StatefulSet, replicas: i32) {
        object.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

static COLUMNS: &[Column<StatefulSet>] = &[
    Column::NAME,
    C::string("Ready", |o, _| {
        let desired = o.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        let ready = o.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
        json!(format!("{ready}/{desired}"))
    })
    .describe("Number of the pod with ready state"),
    Column::AGE,
    C::string("Containers", |o, _| print::container_names(o.spec.as_ref().map(|spec| &spec.template)))
        .wide()
        .describe("Names of each container in the template."),
    C::string("Images", |o, _| print::container_images(o.spec.as_ref().map(|spec| &spec.template)))
        .wide()
        .describe("Images referenced by each container in the template."),
];
