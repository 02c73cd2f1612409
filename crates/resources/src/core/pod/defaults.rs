//! Defaults of pods and of everything that embeds a pod spec.
//!
//! [`pod_spec`] holds for every embedding kind, [`set_defaults`] adds what is only true of pods, so that the stored
//! templates stay as their authors wrote them. Upstream counterpart: `pkg/apis/core/v1/defaults.go`,
//! `zz_generated.defaults.go` and `conversion.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStatus, DownwardAPIVolumeFile, EnvVar, EphemeralContainer, HTTPGetAction,
    ObjectFieldSelector, Pod, PodSecurityContext, PodSpec, PodStatus, PodTemplateSpec, Probe, ResourceRequirements,
    Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{image_name, resources};
use crate::core::volume;
use crate::meta::quantity;
use crate::optional::{Flag, Items, Text, default_nonzero, default_text};

const GRACE_PERIOD_SECONDS: i64 = 30;
const FILE_MODE: i32 = 0o644;

/// Everything a pod gets that it did not say.
pub fn set_defaults(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    pod_spec(spec);
    for container in spec.containers.iter_mut().chain(spec.init_containers.items_mut()) {
        requests_from_limits(container.resources.get_or_insert_default());
    }
    resources::default_pod_level(spec);
    spec.enable_service_links.get_or_insert(true);
    if spec.host_network.is_set() {
        for container in spec.containers.iter_mut().chain(spec.init_containers.items_mut()) {
            for port in container.ports.items_mut() {
                if port.host_port.unwrap_or(0) == 0 {
                    port.host_port = Some(port.container_port);
                }
            }
        }
    }
    // A negative period means "now"; only pods are rewritten, templates keep what they say.
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        spec.termination_grace_period_seconds = Some(1);
    }
    status(pod.status.get_or_insert_default());
}

/// Defaults of a pod template: the spec's, and the metadata object that is always written.
pub fn pod_template(template: &mut PodTemplateSpec) {
    template.metadata.get_or_insert_default();
    pod_spec(template.spec.get_or_insert_default());
}

/// Defaults that hold for a pod spec wherever it is embedded.
pub fn pod_spec(spec: &mut PodSpec) {
    default_text(&mut spec.dns_policy, "ClusterFirst");
    default_text(&mut spec.restart_policy, "Always");
    default_text(&mut spec.scheduler_name, "default-scheduler");
    spec.security_context.get_or_insert_with(PodSecurityContext::default);
    spec.termination_grace_period_seconds.get_or_insert(GRACE_PERIOD_SECONDS);
    mirror_service_account(spec);
    spec.volumes.items_mut().iter_mut().for_each(volume);
    spec.containers.iter_mut().for_each(container);
    spec.init_containers.items_mut().iter_mut().for_each(container);
    spec.ephemeral_containers.items_mut().iter_mut().for_each(ephemeral_container);
    if let Some(overhead) = &mut spec.overhead {
        resource_list(overhead);
    }
    if let Some(resources) = &mut spec.resources {
        resource_requirements(resources);
    }
}

/// `serviceAccount` is the old spelling of `serviceAccountName`; both are always written.
fn mirror_service_account(spec: &mut PodSpec) {
    if spec.service_account_name.text().is_empty() {
        spec.service_account_name = spec.service_account.take().filter(|name| !name.is_empty());
    }
    spec.service_account = spec.service_account_name.clone();
}

fn container(container: &mut Container) {
    let common = Common {
        image: &container.image,
        image_pull_policy: &mut container.image_pull_policy,
        termination_message_path: &mut container.termination_message_path,
        termination_message_policy: &mut container.termination_message_policy,
        env: container.env.items_mut(),
        resources: container.resources.get_or_insert_default(),
    };
    common.set();
    for port in container.ports.items_mut() {
        default_text(&mut port.protocol, "TCP");
    }
    for probe in [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe] {
        probe.iter_mut().for_each(self::probe);
    }
    if let Some(lifecycle) = &mut container.lifecycle {
        for handler in [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten() {
            handler.http_get.iter_mut().for_each(http_get);
        }
    }
}

fn ephemeral_container(container: &mut EphemeralContainer) {
    let common = Common {
        image: &container.image,
        image_pull_policy: &mut container.image_pull_policy,
        termination_message_path: &mut container.termination_message_path,
        termination_message_policy: &mut container.termination_message_policy,
        env: container.env.items_mut(),
        resources: container.resources.get_or_insert_default(),
    };
    common.set();
    for port in container.ports.items_mut() {
        default_text(&mut port.protocol, "TCP");
    }
    for probe in [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe] {
        probe.iter_mut().for_each(self::probe);
    }
}

/// What containers and ephemeral containers, two types with the same fields, have in common.
struct Common<'a> {
    image: &'a Option<String>,
    image_pull_policy: &'a mut Option<String>,
    termination_message_path: &'a mut Option<String>,
    termination_message_policy: &'a mut Option<String>,
    env: &'a mut [EnvVar],
    resources: &'a mut ResourceRequirements,
}

impl Common<'_> {
    fn set(self) {
        let policy = if image_name::is_latest(self.image.text()) { "Always" } else { "IfNotPresent" };
        default_text(self.image_pull_policy, policy);
        default_text(self.termination_message_path, "/dev/termination-log");
        default_text(self.termination_message_policy, "File");
        resource_requirements(self.resources);
        for source in self.env.iter_mut().filter_map(|var| var.value_from.as_mut()) {
            source.field_ref.iter_mut().for_each(field_ref);
            if let Some(resource) = &mut source.resource_field_ref {
                divisor(&mut resource.divisor);
            }
            if let Some(file) = &mut source.file_key_ref {
                file.optional.get_or_insert(false);
            }
        }
    }
}

fn probe(probe: &mut Probe) {
    default_nonzero(&mut probe.timeout_seconds, 1);
    default_nonzero(&mut probe.period_seconds, 10);
    default_nonzero(&mut probe.success_threshold, 1);
    default_nonzero(&mut probe.failure_threshold, 3);
    probe.http_get.iter_mut().for_each(http_get);
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn http_get(action: &mut HTTPGetAction) {
    default_text(&mut action.path, "/");
    default_text(&mut action.scheme, "HTTP");
}

fn field_ref(selector: &mut ObjectFieldSelector) {
    default_text(&mut selector.api_version, "v1");
}

/// A divisor is a plain quantity upstream, so its zero is always written.
fn divisor(divisor: &mut Option<Quantity>) {
    quantity::canonicalize(divisor.get_or_insert_with(|| Quantity("0".to_owned())));
}

fn downward_api_file(file: &mut DownwardAPIVolumeFile) {
    file.field_ref.iter_mut().for_each(field_ref);
    if let Some(resource) = &mut file.resource_field_ref {
        divisor(&mut resource.divisor);
    }
}

fn volume(volume: &mut Volume) {
    if volume::sources(volume).next().is_none() {
        volume.empty_dir = Some(Default::default());
    }
    if let Some(image) = &mut volume.image {
        let policy = if image_name::is_latest(image.reference.text()) { "Always" } else { "IfNotPresent" };
        default_text(&mut image.pull_policy, policy);
    }
    if let Some(empty_dir) = &mut volume.empty_dir {
        empty_dir.size_limit.iter_mut().for_each(quantity::canonicalize);
    }
    if let Some(secret) = &mut volume.secret {
        secret.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(config_map) = &mut volume.config_map {
        config_map.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(downward_api) = &mut volume.downward_api {
        downward_api.default_mode.get_or_insert(FILE_MODE);
        downward_api.items.items_mut().iter_mut().for_each(downward_api_file);
    }
    if let Some(projected) = &mut volume.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        for source in projected.sources.items_mut() {
            if let Some(downward_api) = &mut source.downward_api {
                downward_api.items.items_mut().iter_mut().for_each(downward_api_file);
            }
            if let Some(token) = &mut source.service_account_token {
                token.expiration_seconds.get_or_insert(3600);
            }
            if let Some(certificate) = &mut source.pod_certificate {
                certificate.max_expiration_seconds.get_or_insert(86_400);
            }
        }
    }
    if let Some(host_path) = &mut volume.host_path {
        host_path.type_.get_or_insert_default();
    }
    if let Some(iscsi) = &mut volume.iscsi {
        default_text(&mut iscsi.iscsi_interface, "default");
    }
    if let Some(rbd) = &mut volume.rbd {
        default_text(&mut rbd.pool, "rbd");
        default_text(&mut rbd.user, "admin");
        default_text(&mut rbd.keyring, "/etc/ceph/keyring");
    }
    if let Some(disk) = &mut volume.azure_disk {
        disk.caching_mode.get_or_insert_with(|| "ReadWrite".to_owned());
        disk.kind.get_or_insert_with(|| "Shared".to_owned());
        disk.fs_type.get_or_insert_with(|| "ext4".to_owned());
        disk.read_only.get_or_insert(false);
    }
    if let Some(scale_io) = &mut volume.scale_io {
        default_text(&mut scale_io.storage_mode, "ThinProvisioned");
        default_text(&mut scale_io.fs_type, "xfs");
    }
    if let Some(template) = volume.ephemeral.as_mut().and_then(|ephemeral| ephemeral.volume_claim_template.as_mut()) {
        template.metadata.get_or_insert_default();
        crate::core::persistent_volume_claim::default_spec(&mut template.spec);
    }
}

fn resource_requirements(resources: &mut ResourceRequirements) {
    for list in [&mut resources.limits, &mut resources.requests].into_iter().flatten() {
        resource_list(list);
    }
}

/// Canonical form, rounded up to thousandths (`SetDefaults_ResourceList`).
pub(crate) fn resource_list(list: &mut BTreeMap<String, Quantity>) {
    list.values_mut().for_each(quantity::round_up_to_milli);
}

fn requests_from_limits(resources: &mut ResourceRequirements) {
    let Some(limits) = &resources.limits else { return };
    let requests = resources.requests.get_or_insert_default();
    for (name, limit) in limits {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
}

/// The old single-address fields follow the lists, and states are objects even when empty.
fn status(status: &mut PodStatus) {
    let first = status.pod_ips.items().first().map(|ip| ip.ip.clone());
    match (first, status.pod_ip.text().is_empty()) {
        (None, false) => {
            status.pod_ips = Some(vec![k8s_openapi::api::core::v1::PodIP { ip: status.pod_ip.text().to_owned() }]);
        }
        (Some(first), true) => status.pod_ip = Some(first),
        _ => {}
    }
    let lists =
        [&mut status.container_statuses, &mut status.init_container_statuses, &mut status.ephemeral_container_statuses];
    for container in lists.into_iter().flatten().flatten() {
        container_status(container);
    }
}

fn container_status(status: &mut ContainerStatus) {
    status.state.get_or_insert_with(ContainerState::default);
    status.last_state.get_or_insert_with(ContainerState::default);
    for list in [&mut status.allocated_resources].into_iter().flatten() {
        resource_list(list);
    }
    if let Some(resources) = &mut status.resources {
        resource_requirements(resources);
    }
}
