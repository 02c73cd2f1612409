//! Table columns of replica sets. Upstream: `printReplicaSet`.

use k8s_openapi::api::apps::v1::ReplicaSet;
use registry::Column;
use serde_json::json;

use crate::meta::print;

type C = Column<ReplicaSet>;

pub(super) static COLUMNS: &[Column<ReplicaSet>] = &[
    Column::NAME,
    C::integer("Desired", |set, _| json!(set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0))).describe("Replicas is the number of desired pods. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset"),
    C::integer("Current", |set, _| json!(set.status.as_ref().map_or(0, |status| status.replicas))).describe("Replicas is the most recently observed number of non-terminating pods. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset"),
    C::integer("Ready", |set, _| {
        json!(set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0))
    })
    .describe("The number of non-terminating pods targeted by this ReplicaSet with a Ready Condition."),
    Column::AGE,
    C::string("Containers", |set, _| {
        print::container_names(set.spec.as_ref().and_then(|spec| spec.template.as_ref()))
    })
    .wide()
    .describe("Names of each container in the template."),
    C::string("Images", |set, _| {
        print::container_images(set.spec.as_ref().and_then(|spec| spec.template.as_ref()))
    })
    .wide()
    .describe("Images referenced by each container in the template."),
    C::string("Selector", |set, _| json!(print::selector(set.spec.as_ref().map(|spec| &spec.selector))))
        .wide()
        .describe("Selector is a label query over pods that should match the replica count. If the selector is empty, it is defaulted to the labels present on the pod template. Label keys and values that must match in order to be controlled by this replica set. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"),
];
