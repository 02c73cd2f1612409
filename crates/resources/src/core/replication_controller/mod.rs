//! Replication controllers for the registry. Upstream: `pkg/registry/core/replicationcontroller`.

mod validation;

use std::collections::BTreeMap;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use k8s_openapi::api::core::v1::ReplicationController;
use registry::{Column, GcPolicy, Info, ObjectExt, RequestCx, SelectableField, Strategy, Subresource};
use serde_json::json;

use crate::core::pod;
use crate::meta::print;

type C = Column<ReplicationController>;

pub struct ReplicationControllers;

impl Strategy for ReplicationControllers {
    type Object = ReplicationController;

    const INFO: Info = Info::namespaced("", "v1", "ReplicationController", "replicationcontrollers")
        .short(&["rc"])
        .categories(&["all"]);
    const COLUMNS: &'static [Column<ReplicationController>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS, Subresource::SCALE];
    const SELECTABLE: &'static [SelectableField] =
        &[SelectableField::new("status.replicas", &[&["status", "replicas"]]).absent("0")];
    const GC_POLICY: GcPolicy = GcPolicy::OrphanDependents;

    fn set_defaults(&self, object: &mut ReplicationController) {
        let spec = object.spec.get_or_insert_default();
        pod::defaults::pod_template(spec.template.get_or_insert_default());
        spec.replicas.get_or_insert(1);
        let labels = spec.template.as_ref().and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.clone());
        if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
            if spec.selector.as_ref().is_none_or(BTreeMap::is_empty) {
                spec.selector = Some(labels.clone());
            }
            if object.metadata.labels.as_ref().is_none_or(BTreeMap::is_empty) {
                object.metadata.labels = Some(labels);
            }
        }
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut ReplicationController) {
        object.status = Some(Default::default());
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut ReplicationController, old: &ReplicationController) {
        new.status.clone_from(&old.status);
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &ReplicationController) -> ErrorList {
        validation::validate(object)
    }

    fn warnings(
        &self,
        _cx: &RequestCx,
        new: &ReplicationController,
        old: Option<&ReplicationController>,
    ) -> Vec<String> {
        let mut all = Vec::new();
        if old.is_none() {
            all.extend(pod::warnings::controller_name(&new.metadata));
        }
        if old.is_none_or(|old| old.metadata.generation != new.metadata.generation) {
            let template = new.spec.as_ref().and_then(|spec| spec.template.as_ref());
            all.extend(pod::warnings::template(template, &Path::new("template")));
        }
        all
    }

    fn validate_status_update(
        &self,
        _cx: &RequestCx,
        new: &ReplicationController,
        _old: &ReplicationController,
    ) -> ErrorList {
        validation::validate_status(new)
    }

    fn scale(&self, object: &ReplicationController) -> Option<Scale> {
        let spec = object.spec.as_ref()?;
        Some(Scale {
            spec: Some(ScaleSpec { replicas: spec.replicas }),
            status: Some(ScaleStatus {
                replicas: object.status.as_ref().map_or(0, |status| status.replicas),
                selector: Some(print::set_selector(spec.selector.as_ref())),
            }),
            ..Scale::default()
        })
    }

    fn set_scale(&self, object: &mut ReplicationController, replicas: i32) {
        object.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

static COLUMNS: &[Column<ReplicationController>] = &[
    Column::NAME,
    C::integer("Desired", |o, _| json!(o.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0))).describe("Replicas is the number of desired replicas. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller"),
    C::integer("Current", |o, _| json!(o.status.as_ref().map_or(0, |status| status.replicas))).describe("Replicas is the most recently observed number of replicas. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller"),
    C::integer("Ready", |o, _| json!(o.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0))).describe("The number of ready replicas for this replication controller."),
    Column::AGE,
    C::string("Containers", |o, _| print::container_names(o.spec.as_ref().and_then(|spec| spec.template.as_ref())))
        .wide()
        .describe("Names of each container in the template."),
    C::string("Images", |o, _| print::container_images(o.spec.as_ref().and_then(|spec| spec.template.as_ref())))
        .wide()
        .describe("Images referenced by each container in the template."),
    C::string("Selector", |o, _| json!(print::labels(o.spec.as_ref().and_then(|spec| spec.selector.as_ref())))).wide().describe("Selector is a label query over pods that should match the Replicas count. If Selector is empty, it is defaulted to the labels present on the Pod template. Label keys and values that must match in order to be controlled by this replication controller, if empty defaulted to labels on Pod template. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"),
];
