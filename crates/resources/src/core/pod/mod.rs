//! Pods for the registry. Upstream: `pkg/registry/core/pod` `podStrategy` and its subresource strategies.

pub(crate) mod columns;
pub mod defaults;
mod image_name;
mod prepare;
pub(crate) mod resources;
#[cfg(test)]
mod tests;
pub mod validation;
pub(crate) mod warnings;

use apimachinery::field::ErrorList;
use k8s_openapi::api::core::v1::Pod;
use registry::{Column, Filter, Handler, Info, ObjectExt, RequestCx, SelectableField, Strategy, Subresource};

use crate::optional::Text;

pub struct Pods;

impl Strategy for Pods {
    type Object = Pod;

    const INFO: Info = Info::namespaced("", "v1", "Pod", "pods").short(&["po"]).categories(&["all"]);
    const COLUMNS: &'static [Column<Pod>] = columns::COLUMNS;
    const RETURN_DELETED_OBJECT: bool = true;
    const SUBRESOURCES: &'static [Subresource] = &[
        Subresource::STATUS,
        Subresource::new("attach", Handler::Connect).body("", "v1", "PodAttachOptions"),
        Subresource::new("binding", Handler::Action).body("", "v1", "Binding"),
        Subresource::new("ephemeralcontainers", Handler::Update),
        Subresource::new("eviction", Handler::Action).body("policy", "v1", "Eviction"),
        Subresource::new("exec", Handler::Connect).body("", "v1", "PodExecOptions"),
        Subresource::new("log", Handler::Log),
        Subresource::new("portforward", Handler::Connect).body("", "v1", "PodPortForwardOptions"),
        Subresource::new("proxy", Handler::ConnectPath).body("", "v1", "PodProxyOptions"),
        Subresource::new("resize", Handler::Update),
    ];
    const SELECTABLE: &'static [SelectableField] = &[
        SelectableField::new("spec.nodeName", &[&["spec", "nodeName"]]).indexed(),
        SelectableField::new("spec.restartPolicy", &[&["spec", "restartPolicy"]]),
        SelectableField::new("spec.schedulerName", &[&["spec", "schedulerName"]]),
        SelectableField::new("spec.serviceAccountName", &[&["spec", "serviceAccountName"]]),
        SelectableField::new("spec.hostNetwork", &[&["spec", "hostNetwork"]]).absent("false"),
        SelectableField::new("status.phase", &[&["status", "phase"]]),
        SelectableField::new("status.podIP", &[&["status", "podIP"]]),
        // The list holds the same first address as `status.podIP`, which is what upstream compares.
        SelectableField::new("status.podIPs", &[&["status", "podIP"]]),
        SelectableField::new("status.nominatedNodeName", &[&["status", "nominatedNodeName"]]),
    ];

    fn reset_fields(&self, subresource: &str) -> Option<Filter> {
        match subresource {
            "status" => Some(Filter::exclude([
                ["spec"].as_slice(),
                &["metadata", "deletionTimestamp"],
                &["metadata", "ownerReferences"],
            ])),
            "ephemeralcontainers" => Some(Filter::include([["spec", "ephemeralContainers"].as_slice()])),
            "resize" => Some(Filter::include([
                ["spec", "containers", "*", "resources"].as_slice(),
                &["spec", "containers", "*", "resizePolicy"],
                &["spec", "initContainers", "*", "resources"],
                &["spec", "initContainers", "*", "resizePolicy"],
            ])),
            _ => None,
        }
    }

    fn set_defaults(&self, pod: &mut Pod) {
        defaults::set_defaults(pod);
    }

    fn prepare_for_create(&self, cx: &RequestCx, pod: &mut Pod) {
        pod.start_generation();
        prepare::for_create(cx, pod);
    }

    fn validate(&self, _cx: &RequestCx, pod: &Pod) -> ErrorList {
        validation::validate(pod)
    }

    fn warnings(&self, _cx: &RequestCx, pod: &Pod, old: Option<&Pod>) -> Vec<String> {
        // People rarely update pods themselves, and kubelets do so all the time.
        if old.is_some() { Vec::new() } else { warnings::pod(pod) }
    }

    fn status_warnings(&self, pod: &Pod) -> Vec<String> {
        warnings::status(pod)
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut Pod, old: &Pod) {
        new.status.clone_from(&old.status);
        if let Some(spec) = &mut new.spec
            && old.spec.as_ref().is_none_or(|old| old.scheduling_group.is_none())
        {
            spec.scheduling_group = None;
        }
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate_update(&self, _cx: &RequestCx, new: &Pod, old: &Pod) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut Pod, old: &Pod) {
        prepare::for_status_update(new, old);
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &Pod, old: &Pod) -> ErrorList {
        validation::validate_status_update(new, old)
    }

    fn prepare_for_subresource_update(&self, name: &str, _cx: &RequestCx, new: &mut Pod, old: &Pod) {
        match name {
            "ephemeralcontainers" => prepare::keep_all_but_ephemeral_containers(new, old),
            "resize" => prepare::keep_all_but_resources(new, old),
            _ => return,
        }
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate_subresource_update(&self, name: &str, _cx: &RequestCx, new: &Pod, old: &Pod) -> ErrorList {
        match name {
            "ephemeralcontainers" => validation::validate_ephemeral_containers_update(new, old),
            "resize" => validation::validate_resize(new, old),
            _ => ErrorList::default(),
        }
    }

    fn graceful_deletion(&self, _cx: &RequestCx, pod: &mut Pod, requested: Option<i64>) -> Option<i64> {
        Some(grace_period(pod, requested))
    }
}

/// How long a pod may take to end (`CheckGracefulDelete`): what no node runs, or what has ended, goes at once.
fn grace_period(pod: &Pod, requested: Option<i64>) -> i64 {
    let spec = pod.spec.as_ref();
    let scheduled = spec.is_some_and(|spec| !spec.node_name.text().is_empty());
    let phase = pod.status.as_ref().map_or("", |status| status.phase.text());
    if !scheduled || matches!(phase, "Failed" | "Succeeded") {
        return 0;
    }
    let period = requested.or_else(|| spec.and_then(|spec| spec.termination_grace_period_seconds)).unwrap_or(0);
    if period < 0 { 1 } else { period }
}
