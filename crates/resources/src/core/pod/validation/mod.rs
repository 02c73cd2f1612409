//! Validation of pods and of pod specs wherever they are embedded.
//!
//! The order of checks is upstream's, because it is the order of the messages users see. Upstream counterpart:
//! `ValidatePodCreate`, `ValidatePodSpec` and what they call in `pkg/apis/core/validation/validation.go`.

mod annotations;
mod containers;
pub(crate) mod downward_api;
mod env;
mod ephemeral;
mod mounts;
mod network;
mod os;
mod probes;
mod resources;
mod scheduling;
mod security;
mod status;
mod subresources;
mod update;

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use k8s_openapi::api::core::v1::{Pod, PodResourceClaim, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use crate::check::{self, Report};
use crate::core::volume;
use crate::optional::{Flag, Items, Text};

pub(crate) use containers::pull_policy;
pub(crate) use ephemeral::as_container;
pub(crate) use resources::{basic_resource, quantity_of, resource_name};
pub(crate) use scheduling::{node_selector, node_taints, topology_selector};
pub(crate) use status::validate_status_update;
pub(crate) use subresources::{validate_ephemeral_containers_update, validate_resize};
pub(crate) use update::validate_update;

/// What is judged differently depending on where a spec stands and on what was stored before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PodOptions {
    /// The spec belongs to a pod, not to a template.
    pub(crate) is_pod: bool,
    /// Huge page amounts that are no multiple of the page size are already stored.
    pub(crate) allow_indivisible_huge_pages: bool,
    /// A deletion cost that is no number is already stored.
    pub(crate) allow_invalid_deletion_cost: bool,
}

impl PodOptions {
    /// For a pod that is created.
    pub(crate) fn for_pod() -> Self {
        Self { is_pod: true, ..Self::default() }
    }

    /// Rules that were added later do not hold for values that are there already.
    pub(crate) fn ratchet(mut self, old_spec: Option<&PodSpec>, old_meta: Option<&ObjectMeta>) -> Self {
        self.allow_indivisible_huge_pages = old_spec.is_some_and(resources::has_indivisible_huge_pages);
        self.allow_invalid_deletion_cost = old_meta.is_some_and(|meta| !annotations::deletion_cost_is_valid(meta));
        self
    }
}

/// Validates a pod that is created.
pub fn validate(pod: &Pod) -> ErrorList {
    let mut errors = ErrorList::default();
    let spec_path = Path::new("spec");
    metadata_and_spec(pod, &PodOptions::for_pod(), &mut errors);
    let Some(spec) = &pod.spec else { return errors };
    if !spec.ephemeral_containers.items().is_empty() {
        errors.forbidden(&spec_path.child("ephemeralContainers"), "cannot be set on create");
    }
    if !spec.node_name.text().is_empty() && !spec.scheduling_gates.items().is_empty() {
        let message = "cannot be set until all schedulingGates have been cleared";
        errors.forbidden(&spec_path.child("nodeName"), message);
    }
    annotations::match_fields(&pod.metadata, spec, &spec_path, &mut errors);
    errors
}

/// What holds for pods on create and on every update.
fn metadata_and_spec(pod: &Pod, options: &PodOptions, errors: &mut ErrorList) {
    let empty = PodSpec::default();
    let pod_spec = pod.spec.as_ref().unwrap_or(&empty);
    let path = Path::new("spec");
    let annotations_path = Path::new("metadata").child("annotations");
    annotations::pod_specific(&pod.metadata, pod_spec, &annotations_path, options, errors);
    spec(pod_spec, Some(&pod.metadata), &path, options, errors);
    if pod_spec.service_account_name.text().is_empty() {
        for (index, volume) in pod_spec.volumes.items().iter().enumerate() {
            let sources = volume.projected.iter().flat_map(|projected| projected.sources.items()).enumerate();
            for (source, _) in sources.filter(|(_, source)| source.service_account_token.is_some()) {
                let path = path.child("volumes").index(index).child("projected").child("sources").index(source);
                let message = "must not be specified when serviceAccountName is not set";
                errors.forbidden(&path.child("serviceAccountToken"), message);
            }
        }
    }
    containers::only_for_pods(&pod_spec.containers, &path.child("containers"), errors);
    containers::only_for_pods(pod_spec.init_containers.items(), &path.child("initContainers"), errors);
}

/// Validates a pod template (`ValidatePodTemplateSpec`).
pub(crate) fn template(template: &PodTemplateSpec, path: &Path, options: &PodOptions, errors: &mut ErrorList) {
    let (empty_meta, empty_spec) = (ObjectMeta::default(), PodSpec::default());
    let meta = template.metadata.as_ref().unwrap_or(&empty_meta);
    let pod_spec = template.spec.as_ref().unwrap_or(&empty_spec);
    let spec_path = path.child("spec");
    check::labels(meta.labels.as_ref(), &path.child("labels"), errors);
    check::annotations(meta.annotations.as_ref(), &path.child("annotations"), errors);
    annotations::pod_specific(meta, pod_spec, &path.child("annotations"), options, errors);
    spec(pod_spec, None, &spec_path, options, errors);
    annotations::match_fields(meta, pod_spec, &spec_path, errors);
    if !pod_spec.ephemeral_containers.items().is_empty() {
        let message = "ephemeral containers not allowed in pod template";
        errors.forbidden(&spec_path.child("ephemeralContainers"), message);
    }
}

/// Validates a pod spec. `meta` is the pod's, where there is one.
pub(crate) fn spec(
    spec: &PodSpec,
    meta: Option<&ObjectMeta>,
    path: &Path,
    options: &PodOptions,
    errors: &mut ErrorList,
) {
    if spec.termination_grace_period_seconds.is_none() {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volume::validate(spec.volumes.items(), meta, &path.child("volumes"), options, errors);
    let claims = spec.resource_claims.items();
    resource_claims(claims, &path.child("resourceClaims"), errors);
    let cx = containers::Cx {
        spec,
        volumes: &volumes,
        claims: claims.iter().map(|claim| claim.name.as_str()).filter(|name| !name.is_empty()).collect(),
        options,
    };
    containers::regular(&cx, &path.child("containers"), errors);
    containers::init(&cx, &path.child("initContainers"), errors);
    ephemeral::validate(&cx, &path.child("ephemeralContainers"), errors);
    resources::pod_level(spec, &cx.claims, &path.child("resources"), options, errors);
    network::host_network_ports(spec, path, options, errors);
    one_of(&spec.restart_policy, &["Always", "OnFailure", "Never"], &path.child("restartPolicy"), errors);
    let policies = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(&spec.dns_policy, policies, &path.child("dnsPolicy"), errors);
    check::labels(spec.node_selector.as_ref(), &path.child("nodeSelector"), errors);
    security::pod(spec, &path.child("securityContext"), errors);
    scheduling::affinity(spec.affinity.as_ref(), &path.child("affinity"), errors);
    network::dns_config(spec, &path.child("dnsConfig"), errors);
    for (index, gate) in spec.readiness_gates.items().iter().enumerate() {
        let path = path.child("readinessGates").index(index).child("conditionType");
        check::qualified_name(&gate.condition_type, &path, errors);
    }
    scheduling::gates(spec.scheduling_gates.items(), &path.child("schedulingGates"), errors);
    let constraints = spec.topology_spread_constraints.items();
    scheduling::topology_spread(constraints, &path.child("topologySpreadConstraints"), errors);
    os::host_process(spec, path, errors);
    host_users(spec, path, errors);
    names_in_spec(spec, path, errors);
    if let Some(overhead) = &spec.overhead {
        resources::overhead(overhead, &path.child("overhead"), options, errors);
    }
    if spec.os.is_some() {
        os::validate(spec, path, errors);
    }
}

/// The names and numbers near the end of upstream's list.
fn names_in_spec(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let subdomain = |value: &str, field: &str, errors: &mut ErrorList| {
        if !value.is_empty() {
            check::dns_subdomain(value, &path.child(field), errors);
        }
    };
    subdomain(spec.service_account_name.text(), "serviceAccountName", errors);
    subdomain(spec.node_name.text(), "nodeName", errors);
    if let Some(seconds) = spec.active_deadline_seconds
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let message = check::inclusive_range(1, i64::from(i32::MAX));
        errors.invalid(&path.child("activeDeadlineSeconds"), seconds, message);
    }
    if !spec.hostname.text().is_empty() {
        check::dns_label(spec.hostname.text(), &path.child("hostname"), errors);
    }
    network::hostname_override(spec, path, errors);
    if !spec.subdomain.text().is_empty() {
        check::dns_label(spec.subdomain.text(), &path.child("subdomain"), errors);
    }
    scheduling::tolerations(spec.tolerations.items(), &path.child("tolerations"), errors);
    network::host_aliases(spec.host_aliases.items(), &path.child("hostAliases"), errors);
    subdomain(spec.priority_class_name.text(), "priorityClassName", errors);
    if let Some(name) = &spec.runtime_class_name {
        check::dns_subdomain(name, &path.child("runtimeClassName"), errors);
    }
    if spec.preemption_policy.is_some() {
        let policies = &["PreemptLowerPriority", "Never"];
        one_of(&spec.preemption_policy, policies, &path.child("preemptionPolicy"), errors);
    }
}

/// Present and one of `supported`.
pub(crate) fn one_of(value: &Option<String>, supported: &[&str], path: &Path, errors: &mut ErrorList) {
    match value.text() {
        "" => errors.required(path, ""),
        value if supported.contains(&value) => {}
        value => errors.not_supported(path, value, supported),
    }
}

fn host_users(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    if spec.host_users.unwrap_or(true) {
        return;
    }
    let message = "when `pod.Spec.HostUsers` is false";
    if spec.host_network.is_set() {
        errors.forbidden(&path.child("hostNetwork"), message);
    }
    if spec.host_pid.is_set() {
        errors.forbidden(&path.child("HostPID"), message);
    }
    if spec.host_ipc.is_set() {
        errors.forbidden(&path.child("HostIPC"), message);
    }
}

fn resource_claims(claims: &[PodResourceClaim], path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let path = path.index(index);
        let name_path = path.child("name");
        if claim.name.is_empty() {
            errors.required(&name_path, "");
        } else if !seen.insert(claim.name.as_str()) {
            errors.duplicate(&name_path, &claim.name);
        } else {
            check::dns_label(&claim.name, &name_path, errors);
        }
        match (&claim.resource_claim_name, &claim.resource_claim_template_name) {
            (Some(_), Some(_)) => {
                let message = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.invalid(&path, json!(claim), message);
            }
            (None, None) => {
                let message = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.invalid(&path, json!(claim), message);
            }
            _ => {}
        }
        let references = [
            ("resourceClaimName", &claim.resource_claim_name),
            ("resourceClaimTemplateName", &claim.resource_claim_template_name),
        ];
        for (field, name) in references {
            if let Some(name) = name {
                check::all_invalid(names::is_dns1123_subdomain(name), name, &path.child(field), errors);
            }
        }
    }
}
