//! Validation of `ephemeralcontainers`, `resize` and `binding`.

use std::collections::BTreeMap;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::annotations::{self, MIRROR};
use super::{PodOptions, metadata_and_spec};
use crate::check::Report;
use crate::core::pod::columns::is_sidecar;
use crate::core::pod::resources::qos_class;
use crate::meta::{diff, quantity};
use crate::optional::{Items, Text};

type List = BTreeMap<String, Quantity>;

fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(MIRROR))
}

fn only(message: &str) -> ErrorList {
    let mut errors = ErrorList::default();
    errors.forbidden(&Path::root(), message);
    errors
}

/// `ValidatePodEphemeralContainersUpdate`: containers may be added, never changed or removed.
pub(crate) fn validate_ephemeral_containers_update(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = ErrorList::default();
    let options = PodOptions::for_pod().ratchet(old.spec.as_ref(), Some(&old.metadata));
    metadata_and_spec(new, &options, &mut errors);
    annotations::updates(&new.metadata, &old.metadata, &Path::new("metadata").child("annotations"), &mut errors);
    if is_mirror(old) {
        return only("static pods do not support ephemeral containers");
    }
    let path = Path::new("spec").child("ephemeralContainers");
    let new = new.spec.as_ref().map_or(&[][..], |spec| spec.ephemeral_containers.items());
    for old in old.spec.as_ref().map_or(&[][..], |spec| spec.ephemeral_containers.items()) {
        match new.iter().find(|new| new.name == old.name) {
            None => {
                let message = format!("existing ephemeral containers {:?} may not be removed\n", old.name);
                errors.forbidden(&path, message);
            }
            Some(new) if new != old => {
                let diff = diff::lines(old, new);
                let message = format!("existing ephemeral containers {:?} may not be changed\n{diff}", old.name);
                errors.forbidden(&path, message);
            }
            Some(_) => {}
        }
    }
    errors
}

/// `ValidatePodResize`: only cpu and memory, and only where the quality of service stays the same.
pub(crate) fn validate_resize(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = ErrorList::default();
    let options = PodOptions::for_pod().ratchet(old.spec.as_ref(), Some(&old.metadata));
    metadata_and_spec(new, &options, &mut errors);
    if is_mirror(old) {
        return only("static pods cannot be resized");
    }
    let empty = PodSpec::default();
    let (new_spec, old_spec) = (new.spec.as_ref().unwrap_or(&empty), old.spec.as_ref().unwrap_or(&empty));
    if old_spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return only("windows pods cannot be resized");
    }
    let path = Path::new("spec");
    if !same_containers(&new_spec.containers, &old_spec.containers)
        || !same_containers(new_spec.init_containers.items(), old_spec.init_containers.items())
    {
        errors.forbidden(&path, "only cpu and memory resources are mutable");
        return errors;
    }
    if qos_class(old_spec) != qos_class(new_spec) {
        let class = new.status.as_ref().map_or("", |status| status.qos_class.text());
        errors.invalid(&path, class, "Pod QOS Class may not change as a result of resizing");
    }
    if !node_supports_resize(old) {
        errors.forbidden(&path, "Pod running on node without support for resize");
    }
    let sidecars = new_spec.init_containers.items().iter().zip(old_spec.init_containers.items()).enumerate();
    for (index, (new, old)) in sidecars.filter(|(_, (_, old))| is_sidecar(old)) {
        nothing_removed(new, old, &path.child("initContainers").index(index).child("resources"), &mut errors);
    }
    for (index, (new, old)) in new_spec.containers.iter().zip(&old_spec.containers).enumerate() {
        nothing_removed(new, old, &path.child("containers").index(index).child("resources"), &mut errors);
    }
    let mut rest = new_spec.clone();
    for (new, old) in rest.containers.iter_mut().zip(&old_spec.containers) {
        keep_cpu_and_memory(new, old);
        if new != old {
            errors.forbidden(&path, "only cpu and memory resources are mutable");
        }
    }
    for (new, old) in rest.init_containers.items_mut().iter_mut().zip(old_spec.init_containers.items()) {
        let sidecar = is_sidecar(new);
        if sidecar {
            keep_cpu_and_memory(new, old);
        }
        if new != old {
            errors.forbidden(
                &path,
                if sidecar {
                    "only cpu and memory resources for sidecar containers are mutable"
                } else {
                    "resources for non-sidecar init containers are immutable"
                },
            );
        }
    }
    if let (Some(new), Some(old)) = (&mut rest.resources, &old_spec.resources) {
        keep(new, old);
    }
    if errors.is_empty() && rest != *old_spec {
        errors.forbidden(&path, "only cpu and memory resources are mutable");
    }
    errors
}

fn same_containers(new: &[Container], old: &[Container]) -> bool {
    new.len() == old.len() && new.iter().zip(old).all(|(new, old)| new.name == old.name)
}

/// A kubelet that can resize reports the resources of running containers.
fn node_supports_resize(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().map_or(&[][..], |status| status.container_statuses.items());
    let running = statuses.iter().find(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
    running.is_none_or(|status| status.resources.is_some())
}

fn nothing_removed(new: &Container, old: &Container, path: &Path, errors: &mut ErrorList) {
    let empty = ResourceRequirements::default();
    let (new_resources, old_resources) =
        (new.resources.as_ref().unwrap_or(&empty), old.resources.as_ref().unwrap_or(&empty));
    let removed = |new: &Option<List>, old: &Option<List>| {
        let mut names = old.iter().flatten().map(|(name, _)| name);
        names.any(|name| !new.as_ref().is_some_and(|new| new.contains_key(name)))
    };
    if removed(&new_resources.requests, &old_resources.requests) {
        errors.forbidden(&path.child("requests"), "resource requests cannot be removed");
    }
    if removed(&new_resources.limits, &old_resources.limits) {
        errors.forbidden(&path.child("limits"), "resource limits cannot be removed");
    }
}

fn keep_cpu_and_memory(new: &mut Container, old: &Container) {
    new.resize_policy.clone_from(&old.resize_policy);
    match (&mut new.resources, &old.resources) {
        (Some(new), Some(old)) => keep(new, old),
        (new, old) => new.clone_from(old),
    }
}

/// Puts back old amounts of cpu and memory, so that only other changes remain.
fn keep(new: &mut ResourceRequirements, old: &ResourceRequirements) {
    let keep = |new: &mut Option<List>, old: &Option<List>| {
        let Some(old) = old else {
            // What was not there before may come, as long as it is cpu or memory.
            if let Some(list) = new {
                list.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
            }
            *new = new.take().filter(|list| !list.is_empty());
            return;
        };
        let list = new.get_or_insert_default();
        for name in ["cpu", "memory"] {
            list.remove(name);
            if let Some(amount) = old.get(name) {
                list.insert(name.to_owned(), amount.clone());
            }
        }
        // Equal amounts may be written differently.
        for (name, amount) in list.iter_mut() {
            if let Some(old) = old.get(name)
                && quantity::amount(Some(old)) == quantity::amount(Some(amount))
            {
                amount.clone_from(old);
            }
        }
    };
    keep(&mut new.limits, &old.limits);
    keep(&mut new.requests, &old.requests);
}
