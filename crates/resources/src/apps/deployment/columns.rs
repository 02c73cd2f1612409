//! Table columns of deployments. Upstream: `printDeployment`.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use registry::Column;
use serde_json::{Value, json};

use crate::meta::print;

type C = Column<Deployment>;

fn status(deployment: &Deployment, field: fn(&DeploymentStatus) -> Option<i32>) -> Value {
    json!(deployment.status.as_ref().and_then(field).unwrap_or(0))
}

pub(super) static COLUMNS: &[Column<Deployment>] = &[
    Column::NAME,
    C::string("Ready", |deployment, _| {
        let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        json!(format!("{}/{desired}", status(deployment, |status| status.ready_replicas)))
    })
    .describe("Number of the pod with ready state"),
    C::string("Up-to-date", |deployment, _| status(deployment, |status| status.updated_replicas))
        .describe("Total number of non-terminating pods targeted by this deployment that have the desired template spec."),
    C::string("Available", |deployment, _| status(deployment, |status| status.available_replicas)).describe("Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment."),
    Column::AGE,
    C::string("Containers", |deployment, _| {
        print::container_names(deployment.spec.as_ref().map(|spec| &spec.template))
    })
    .wide()
    .describe("Names of each container in the template."),
    C::string("Images", |deployment, _| {
        print::container_images(deployment.spec.as_ref().map(|spec| &spec.template))
    })
    .wide()
    .describe("Images referenced by each container in the template."),
    C::string("Selector", |deployment, _| {
        let selector = deployment.spec.as_ref().map(|spec| &spec.selector);
        json!(apimachinery::Selector::from_label_selector(selector)
            .map_or_else(|_| "<invalid>".to_owned(), |selector| selector.to_string()))
    })
    .wide()
    .describe("Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones affected by this deployment."),
];
