//! Daemon sets for the registry. Upstream: `pkg/registry/apps/daemonset`.

mod defaults;
#[cfg(test)]
mod tests;
mod validation;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::apps::v1::DaemonSet;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy, Subresource};
use serde_json::json;

use crate::core::pod::warnings;
use crate::meta::print;

type C = Column<DaemonSet>;

pub struct DaemonSets;

impl Strategy for DaemonSets {
    type Object = DaemonSet;

    const INFO: Info = Info::namespaced("apps", "v1", "DaemonSet", "daemonsets").short(&["ds"]).categories(&["all"]);
    const COLUMNS: &'static [Column<DaemonSet>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn set_defaults(&self, object: &mut DaemonSet) {
        defaults::set_defaults(object);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut DaemonSet) {
        object.status = Some(Default::default());
        object.start_generation();
        set_template_generation(object, 1);
    }

    fn warnings(&self, _cx: &RequestCx, new: &DaemonSet, old: Option<&DaemonSet>) -> Vec<String> {
        if old.is_some_and(|old| old.metadata.generation == new.metadata.generation) {
            return Vec::new();
        }
        let template = new.spec.as_ref().map(|spec| &spec.template);
        warnings::template(template, &Path::new("spec").child("template"))
    }

    fn validate(&self, _cx: &RequestCx, object: &DaemonSet) -> ErrorList {
        validation::validate(object)
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut DaemonSet, old: &DaemonSet) {
        new.status.clone_from(&old.status);
        new.bump_generation_if(old, new.spec != old.spec);
        let template = |set: &DaemonSet| set.spec.as_ref().map(|spec| spec.template.clone());
        let changed = template(new) != template(old);
        set_template_generation(new, template_generation(old) + i64::from(changed));
    }

    fn validate_update(&self, _cx: &RequestCx, new: &DaemonSet, old: &DaemonSet) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut DaemonSet, old: &DaemonSet) {
        new.spec.clone_from(&old.spec);
        new.metadata.generation = old.metadata.generation;
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &DaemonSet, old: &DaemonSet) -> ErrorList {
        validation::validate_status_update(new, old)
    }
}

/// How often the template has changed: a field of an older version, which lives on as an annotation.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(set: &DaemonSet) -> i64 {
    let annotation = set.metadata.annotations.as_ref().and_then(|annotations| annotations.get(TEMPLATE_GENERATION));
    annotation.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn set_template_generation(set: &mut DaemonSet, generation: i64) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(TEMPLATE_GENERATION.to_owned(), generation.to_string());
}

static COLUMNS: &[Column<DaemonSet>] = &[
    Column::NAME,
    C::integer("Desired", |o, _| json!(o.status.as_ref().map_or(0, |status| status.desired_number_scheduled))).describe("The total number of nodes that should be running the daemon pod (including nodes correctly running the daemon pod). More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/"),
    C::integer("Current", |o, _| json!(o.status.as_ref().map_or(0, |status| status.current_number_scheduled))).describe("The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod. More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/"),
    C::integer("Ready", |o, _| json!(o.status.as_ref().map_or(0, |status| status.number_ready))).describe("The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and ready."),
    C::integer("Up-to-date", |o, _| {
        json!(o.status.as_ref().and_then(|status| status.updated_number_scheduled).unwrap_or(0))
    }).describe("The total number of nodes that are running updated daemon pod"),
    C::integer("Available", |o, _| json!(o.status.as_ref().and_then(|status| status.number_available).unwrap_or(0))).describe("The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available (ready for at least spec.minReadySeconds)"),
    C::string("Node Selector", |o, _| {
        json!(print::labels(
            o.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).and_then(|spec| spec.node_selector.as_ref())
        ))
    }).describe("NodeSelector is a selector which must be true for the pod to fit on a node. Selector which must match a node's labels for the pod to be scheduled on that node. More info: https://kubernetes.io/docs/concepts/configuration/assign-pod-node/"),
    Column::AGE,
    C::string("Containers", |o, _| print::container_names(o.spec.as_ref().map(|spec| &spec.template)))
        .wide()
        .describe("Names of each container in the template."),
    C::string("Images", |o, _| print::container_images(o.spec.as_ref().map(|spec| &spec.template)))
        .wide()
        .describe("Images referenced by each container in the template."),
    C::string("Selector", |o, _| json!(print::selector(o.spec.as_ref().map(|spec| &spec.selector)))).wide().describe("A label query over pods that are managed by the daemon set. Must match in order to be controlled. If empty, defaulted to labels on Pod template. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"),
];
