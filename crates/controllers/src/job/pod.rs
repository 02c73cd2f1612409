//! The pods of a Job. Upstream: `job_controller.go` `manageJob`, `indexed_job_utils.go`.

use api::{
    OwnerReference,
    batch::v1::Job,
    core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod},
};

use super::{indexes::ANNOTATION, plan::TRACKING};
use crate::pod_control::pod_from_template;

const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// A pod for an index, or for none in particular.
pub(super) fn from_template(job: &Job, owner: OwnerReference, index: Option<i32>) -> Pod {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let template = job.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let mut pod = pod_from_template(&template, name, namespace, owner);
    pod.metadata.finalizers.get_or_insert_default().push(TRACKING.to_owned());
    let Some(index) = index else { return pod };
    pod.metadata.generate_name = Some(format!("{name}-{index}-"));
    pod.metadata.annotations.get_or_insert_default().insert(ANNOTATION.to_owned(), index.to_string());
    pod.metadata.labels.get_or_insert_default().insert(ANNOTATION.to_owned(), index.to_string());
    let spec = pod.spec.get_or_insert_default();
    if spec.hostname.as_ref().is_none_or(String::is_empty) {
        spec.hostname = Some(format!("{name}-{index}"));
    }
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let variables = container.env.get_or_insert_default();
        if !variables.iter().any(|variable| variable.name == INDEX_VARIABLE) {
            variables.push(index_variable());
        }
    }
    pod
}

fn index_variable() -> EnvVar {
    let field_ref = ObjectFieldSelector { api_version: None, field_path: format!("metadata.labels['{ANNOTATION}']") };
    EnvVar {
        name: INDEX_VARIABLE.to_owned(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field_ref), ..EnvVarSource::default() }),
    }
}
