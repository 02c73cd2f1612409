//! RuntimeClass: a pod gets the overhead, node selector and tolerations of its class.
//! Upstream: `plugin/pkg/admission/runtimeclass`.

use api::{core::v1::Pod, node::v1::RuntimeClass as Class};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::gvr;

pub(crate) struct RuntimeClass;

impl Admission for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        info.group.is_empty() && info.plural == "pods" && subresource.is_empty() && operation == Operation::Create
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let (resource, name, reader) = (gvr(request.info), request.name.to_owned(), request.cx.reader.clone());
        let outcome = match request.object_mut::<Pod>() {
            Some(pod) => apply(pod, &reader).map_err(|why| ApiError::forbidden(&resource, &name, why)),
            None => Ok(()),
        };
        ready(outcome).boxed()
    }
}

fn apply(pod: &mut Pod, reader: &registry::Reader) -> Result<(), String> {
    let Some(spec) = pod.spec.as_mut() else { return Ok(()) };
    let Some(name) = spec.runtime_class_name.clone().filter(|name| !name.is_empty()) else {
        if spec.overhead.as_ref().is_some_and(|overhead| !overhead.is_empty()) {
            return Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".to_owned());
        }
        return Ok(());
    };
    let Some(class) = reader.get::<Class>("node.k8s.io", "runtimeclasses", "", &name) else {
        return Err(format!("pod rejected: RuntimeClass {name:?} not found"));
    };
    let wanted = class.overhead.and_then(|overhead| overhead.pod_fixed);
    match (&spec.overhead, &wanted) {
        (Some(given), _) if Some(given) != wanted.as_ref() => {
            return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned());
        }
        _ => spec.overhead = wanted,
    }
    let Some(scheduling) = class.scheduling else { return Ok(()) };
    let selector = spec.node_selector.get_or_insert_default();
    for (key, value) in scheduling.node_selector.into_iter().flatten() {
        if selector.get(&key).is_some_and(|given| *given != value) {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {}",
                selector[&key]
            ));
        }
        selector.insert(key, value);
    }
    let tolerations = spec.tolerations.get_or_insert_default();
    for toleration in scheduling.tolerations.into_iter().flatten() {
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    Ok(())
}
