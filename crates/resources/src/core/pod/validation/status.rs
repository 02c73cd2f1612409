//! Validation of status updates: what a kubelet must not do to a pod's past.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod, PodSpec, PodStatus};
use serde_json::json;

use super::annotations;
use crate::check::{self, Report};
use crate::core::pod::columns::is_sidecar;
use crate::optional::{Items, Text};

/// `ValidatePodStatusUpdate`.
pub(crate) fn validate_status_update(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = ErrorList::default();
    let metadata_path = Path::new("metadata");
    let path = Path::new("status");
    let (empty_spec, empty_status) = (PodSpec::default(), PodStatus::default());
    let (spec, old_spec) = (new.spec.as_ref().unwrap_or(&empty_spec), old.spec.as_ref().unwrap_or(&empty_spec));
    let status = new.status.as_ref().unwrap_or(&empty_status);
    let old_status = old.status.as_ref().unwrap_or(&empty_status);

    annotations::updates(&new.metadata, &old.metadata, &metadata_path.child("annotations"), &mut errors);
    for (index, condition) in status.conditions.items().iter().enumerate() {
        if !matches!(condition.type_.as_str(), "PodScheduled" | "Ready" | "Initialized") {
            let path = metadata_path.child("conditions").index(index).child("Type");
            check::qualified_name(&condition.type_, &path, &mut errors);
        }
    }
    if spec.node_name != old_spec.node_name {
        errors.forbidden(&path.child("nodeName"), "may not be changed directly");
    }
    let nominated = status.nominated_node_name.text();
    if nominated != old_status.nominated_node_name.text() && !nominated.is_empty() {
        check::dns_subdomain(nominated, &path.child("nominatedNodeName"), &mut errors);
    }
    if status.qos_class.text() != old_status.qos_class.text() {
        errors.invalid(&path.child("qosClass"), status.qos_class.text(), check::IMMUTABLE);
    }
    transitions(status, old_status, old_spec, &path, &mut errors);
    claims(status, spec, &path.child("resourceClaimStatuses"), &mut errors);
    let pod_ips: Vec<&str> = status.pod_ips.items().iter().map(|ip| ip.ip.as_str()).collect();
    addresses(&pod_ips, &path.child("podIPs"), &mut errors);
    let host_ips: Vec<&str> = status.host_ips.items().iter().map(|ip| ip.ip.as_str()).collect();
    if let Some(first) = host_ips.first()
        && *first != status.host_ip.text()
    {
        let path = path.child("hostIPs").index(0).child("ip");
        errors.invalid(&path, first, "must be equal to `hostIP`");
    }
    addresses(&host_ips, &path.child("hostIPs"), &mut errors);
    let windows = spec.os.as_ref().is_some_and(|os| os.name == "windows");
    for (field, statuses) in lists(status) {
        users(statuses, windows, &path.child(field), &mut errors);
    }
    let containers = [&spec.containers[..], spec.init_containers.items()];
    for ((field, statuses), containers) in lists(status).into_iter().zip(containers) {
        allocated(statuses, containers, &path.child(field), &mut errors);
    }
    for (index, status) in status.ephemeral_container_statuses.items().iter().enumerate() {
        if !status.allocated_resources_status.items().is_empty() {
            let path = path.child("ephemeralContainerStatuses").index(index).child("allocatedResourcesStatus");
            errors.forbidden(&path, "must not be specified in container status");
        }
    }
    errors
}

fn lists(status: &PodStatus) -> [(&'static str, &[ContainerStatus]); 3] {
    [
        ("containerStatuses", status.container_statuses.items()),
        ("initContainerStatuses", status.init_container_statuses.items()),
        ("ephemeralContainerStatuses", status.ephemeral_container_statuses.items()),
    ]
}

/// A container that ended stays ended, unless its restart policy says otherwise.
fn transitions(new: &PodStatus, old: &PodStatus, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let may_restart = |container: Option<&Container>, exit_code: i32| {
        let own = container.map_or("", |container| container.restart_policy.text());
        // Rules may restart what the policy would not.
        let has_rules = container.is_some_and(|container| !container.restart_policy_rules.items().is_empty());
        let policy = if own.is_empty() { spec.restart_policy.text() } else { own };
        has_rules || policy == "Always" || (policy == "OnFailure" && exit_code != 0)
    };
    let regular = |name: &str| spec.containers.iter().find(|container| container.name == name);
    let init = |name: &str| spec.init_containers.items().iter().find(|container| container.name == name);
    for ((field, new), (_, old)) in lists(new).into_iter().zip(lists(old)) {
        for (index, old) in old.iter().enumerate() {
            let Some(code) = exit_code(old.state.as_ref()) else { continue };
            let restarts = match field {
                "containerStatuses" => may_restart(regular(&old.name), code),
                "initContainerStatuses" => {
                    let container = init(&old.name);
                    container.is_some_and(is_sidecar)
                        || spec.restart_policy.text() == "Always"
                        || may_restart(container, code)
                }
                _ => false,
            };
            let revived = |new: &&ContainerStatus| new.name == old.name && exit_code(new.state.as_ref()).is_none();
            if !restarts && new.iter().any(|new| revived(&new)) {
                let path = path.child(field).index(index).child("state");
                errors.forbidden(&path, "may not be transitioned to non-terminated state");
            }
        }
    }
}

fn exit_code(state: Option<&ContainerState>) -> Option<i32> {
    state?.terminated.as_ref().map(|terminated| terminated.exit_code)
}

fn claims(status: &PodStatus, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, claim) in status.resource_claim_statuses.items().iter().enumerate() {
        let path = path.index(index).child("name");
        if !spec.resource_claims.items().iter().any(|of_pod| of_pod.name == claim.name) {
            errors.invalid(&path, &claim.name, "must match the name of an entry in `spec.resourceClaims`");
        }
        if !seen.insert(claim.name.as_str()) {
            errors.duplicate(&path, &claim.name);
        }
        if let Some(name) = &claim.resource_claim_name {
            check::all_invalid(names::is_dns1123_subdomain(name), name, &path, errors);
        }
    }
}

fn addresses(addresses: &[&str], path: &Path, errors: &mut ErrorList) {
    for (index, address) in addresses.iter().enumerate() {
        check::ip(address, &path.index(index), errors);
    }
    if addresses.len() < 2 {
        return;
    }
    if !check::is_dual_stack(addresses.iter().copied()) || addresses.len() > 2 {
        let list: Vec<_> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        errors.invalid(path, list, "may specify no more than one IP for each IP family");
    }
    let mut seen = BTreeSet::new();
    for (index, address) in addresses.iter().enumerate() {
        if !seen.insert(address) {
            errors.duplicate(&path.index(index), json!({"ip": address}));
        }
    }
}

fn users(statuses: &[ContainerStatus], windows: bool, path: &Path, errors: &mut ErrorList) {
    for (index, status) in statuses.iter().enumerate() {
        let Some(user) = status.user.as_ref().and_then(|user| user.linux.as_ref()) else { continue };
        let path = path.index(index).child("linux");
        if windows {
            errors.forbidden(&path, "cannot be set for a windows pod");
            continue;
        }
        check::unix_id(user.uid, &path.child("uid"), errors);
        check::unix_id(user.gid, &path.child("gid"), errors);
        for (index, group) in user.supplemental_groups.items().iter().enumerate() {
            check::unix_id(*group, &path.child("supplementalGroups").index(index), errors);
        }
    }
}

fn allocated(statuses: &[ContainerStatus], containers: &[Container], path: &Path, errors: &mut ErrorList) {
    const HEALTH: &[&str] = &["Healthy", "Unhealthy", "Unknown"];
    for (index, status) in statuses.iter().enumerate() {
        let container = containers.iter().find(|container| container.name == status.name);
        for (resource_index, resource) in status.allocated_resources_status.items().iter().enumerate() {
            let path = path.index(index).child("allocatedResourcesStatus").index(resource_index);
            if let Some(container) = container {
                let requirements = container.resources.as_ref();
                let is_claim = resource.name.starts_with("claim:");
                let known = if is_claim {
                    requirements.is_some_and(|r| {
                        r.claims.items().iter().any(|claim| {
                            let request = claim.request.text();
                            let slash = if request.is_empty() { "" } else { "/" };
                            resource.name == format!("claim:{}{slash}{request}", claim.name)
                        })
                    })
                } else {
                    let requests = requirements.and_then(|r| r.requests.as_ref());
                    requests.is_some_and(|requests| requests.contains_key(&resource.name))
                };
                if !known {
                    let message = if is_claim {
                        "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty"
                    } else {
                        "must match one of the container's resource requests"
                    };
                    errors.invalid(&path.child("name"), &resource.name, message);
                }
            }
            let mut ids = BTreeSet::new();
            for (health_index, health) in resource.resources.items().iter().enumerate() {
                let path = path.child("resources").index(health_index);
                let state = health.health.text();
                if !HEALTH.contains(&state) {
                    errors.not_supported(&path.child("health"), state, HEALTH);
                }
                if !ids.insert(health.resource_id.as_str()) {
                    errors.duplicate(&path.child("resourceID"), &health.resource_id);
                }
            }
        }
    }
}
