//! The sandbox of a pod. Upstream: pkg/kubelet/kuberuntime/kuberuntime_sandbox.go `generatePodSandboxConfig`.

use cri::{
    NamespaceMode, NamespaceOptions, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol,
    SandboxSecurityContext, SecurityProfile, StringMap,
};
use k8s_openapi::api::core::v1::{Pod, SeccompProfile};

use super::hosts::kernel_hostname;
use super::labels;
use crate::config::Config;
use crate::qos;

/// Sysctls that are namespaced and harm nobody else. Upstream: pkg/kubelet/sysctl/safe_sysctls.go.
const SAFE_SYSCTLS: [&str; 14] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_mem",
    "net.ipv4.vs.conn_reuse_mode",
];

/// What to ask the runtime for.
pub(crate) fn sandbox_config(
    config: &Config,
    pod: &Pod,
    attempt: u32,
    dns: cri::DnsConfig,
) -> Result<PodSandboxConfig, String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let host_network = spec.host_network == Some(true);
    let hostname = if host_network { config.hostname.clone() } else { kernel_hostname(pod, &config.cluster_domain)? };
    let security = spec.security_context.clone().unwrap_or_default();
    let mut supplemental_groups = security.supplemental_groups.unwrap_or_default();
    supplemental_groups.extend(security.fs_group);
    let privileged = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .any(|container| container.security_context.as_ref().and_then(|own| own.privileged) == Some(true));
    let node_or_pod = |host: Option<bool>| if host == Some(true) { NamespaceMode::Node } else { NamespaceMode::Pod };
    Ok(PodSandboxConfig {
        metadata: PodSandboxMetadata {
            name: text(&pod.metadata.name),
            uid: text(&pod.metadata.uid),
            namespace: text(&pod.metadata.namespace),
            attempt,
        },
        hostname,
        log_directory: log_directory(config, pod),
        dns_config: Some(dns),
        port_mappings: if host_network { Vec::new() } else { port_mappings(pod)? },
        labels: sandbox_labels(config, pod),
        annotations: pod.metadata.annotations.clone().unwrap_or_default(),
        cgroup_parent: qos::cgroup_of(&config.cgroup_root, pod),
        sysctls: security
            .sysctls
            .iter()
            .flatten()
            .map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone()))
            .collect(),
        namespaces: NamespaceOptions {
            network: node_or_pod(spec.host_network),
            ipc: node_or_pod(spec.host_ipc),
            pid: match (spec.host_pid, spec.share_process_namespace) {
                (Some(true), _) => NamespaceMode::Node,
                (_, Some(true)) => NamespaceMode::Pod,
                _ => NamespaceMode::Container,
            },
            user: None,
        },
        security_context: SandboxSecurityContext {
            run_as_user: security.run_as_user,
            run_as_group: security.run_as_group,
            supplemental_groups,
            privileged,
            seccomp: Some(SecurityProfile::RuntimeDefault),
        },
        overhead: None,
        resources: Some(qos::pod_resources(pod, config.pod_pids_limit)),
    })
}

/// Labels of a pod's sandbox: its own and those it is found by.
pub(super) fn sandbox_labels(config: &Config, pod: &Pod) -> StringMap {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut all = pod.metadata.labels.clone().unwrap_or_default();
    all.insert(labels::POD_NAME.to_owned(), text(&pod.metadata.name));
    all.insert(labels::POD_NAMESPACE.to_owned(), text(&pod.metadata.namespace));
    all.insert(labels::POD_UID.to_owned(), text(&pod.metadata.uid));
    all.insert(labels::NODE.to_owned(), config.node_name.clone());
    all
}

/// `<log dir>/<namespace>_<name>_<uid>`.
pub(crate) fn log_directory(config: &Config, pod: &Pod) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let name = format!("{}_{}_{}", text(&pod.metadata.namespace), text(&pod.metadata.name), text(&pod.metadata.uid));
    config.log_dir.join(name).to_string_lossy().into_owned()
}

fn port_mappings(pod: &Pod) -> Result<Vec<PortMapping>, String> {
    let Some(spec) = &pod.spec else { return Ok(Vec::new()) };
    let sidecars =
        spec.init_containers.iter().flatten().filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let mut mappings = Vec::new();
    for port in spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten()) {
        let (Some(host_port), Ok(container_port)) =
            (port.host_port.filter(|port| *port > 0), u16::try_from(port.container_port))
        else {
            continue;
        };
        mappings.push(PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
            container_port,
            host_port: u16::try_from(host_port).map_err(|_| format!("invalid host port {host_port}"))?,
            host_ip: match port.host_ip.as_deref() {
                None | Some("") => None,
                Some(ip) => Some(ip.parse().map_err(|_| format!("invalid host IP {ip:?}"))?),
            },
        });
    }
    Ok(mappings)
}

/// A pod's first sysctl that this node does not allow.
pub(crate) fn forbidden_sysctl(pod: &Pod, allowed: &[String]) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let host_network = spec.host_network == Some(true);
    let host_ipc = spec.host_ipc == Some(true);
    let sysctls = spec.security_context.as_ref()?.sysctls.as_ref()?;
    sysctls.iter().map(|sysctl| sysctl.name.replace('/', ".")).find(|name| {
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        let listed = SAFE_SYSCTLS.contains(&name.as_str()) || allowed.iter().any(|pattern| matches(pattern));
        let of_host = (host_network && name.starts_with("net."))
            || (host_ipc && (name.starts_with("kernel.shm") || name.starts_with("fs.mqueue.")));
        !listed || of_host
    })
}

/// The seccomp profile that holds for a container.
pub(super) fn seccomp(
    config: &Config,
    own: Option<&SeccompProfile>,
    of_pod: Option<&SeccompProfile>,
    privileged: bool,
) -> SecurityProfile {
    if privileged {
        return SecurityProfile::Unconfined;
    }
    match own.or(of_pod) {
        Some(profile) => match profile.type_.as_str() {
            "RuntimeDefault" => SecurityProfile::RuntimeDefault,
            "Localhost" => {
                let file = profile.localhost_profile.as_deref().unwrap_or_default();
                SecurityProfile::Localhost(config.root_dir.join("seccomp").join(file).to_string_lossy().into_owned())
            }
            _ => SecurityProfile::Unconfined,
        },
        None if config.seccomp_default => SecurityProfile::RuntimeDefault,
        None => SecurityProfile::Unconfined,
    }
}
