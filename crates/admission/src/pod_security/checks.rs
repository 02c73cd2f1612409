//! The Pod Security Standards: every check, and from which version on it reads how.
//! Upstream: `k8s.io/pod-security-admission/policy`, a file a check.

use std::collections::BTreeSet;

use api::{
    ObjectMeta,
    core::v1::{AppArmorProfile, PodSecurityContext, PodSpec, SELinuxOptions, SeccompProfile, SecurityContext, Volume},
};

use apimachinery::field::go_quote;

use super::{
    Violation,
    containers::{self, View},
    level::{Level, LevelVersion, Version},
};

/// The newest rules that are known.
const NEWEST: u32 = 36;

type CheckPod = fn(&ObjectMeta, &PodSpec) -> Option<Violation>;

struct Check {
    id: &'static str,
    level: Level,
    /// From which minor version on it is which function, in rising order.
    versions: &'static [(u32, CheckPod)],
    /// Which check of the lower level it replaces.
    overrides: &'static str,
}

const fn check(id: &'static str, level: Level, versions: &'static [(u32, CheckPod)]) -> Check {
    Check { id, level, versions, overrides: "" }
}

const fn replacing(id: &'static str, versions: &'static [(u32, CheckPod)], overrides: &'static str) -> Check {
    Check { id, level: Level::Restricted, versions, overrides }
}

/// In the order in which violations are told: by level, then by name.
static CHECKS: &[Check] = &[
    check("appArmorProfile", Level::Baseline, &[(0, app_armor)]),
    check("capabilities_baseline", Level::Baseline, &[(0, capabilities_baseline)]),
    check("hostNamespaces", Level::Baseline, &[(0, host_namespaces)]),
    check("hostPathVolumes", Level::Baseline, &[(0, host_path_volumes)]),
    check("hostPorts", Level::Baseline, &[(0, host_ports)]),
    check("hostProbesAndHostLifecycle", Level::Baseline, &[(34, hosts_of_probes)]),
    check("privileged", Level::Baseline, &[(0, privileged)]),
    check("procMount", Level::Baseline, &[(0, proc_mount), (35, proc_mount_outside_user_namespace)]),
    check("seLinuxOptions", Level::Baseline, &[(0, se_linux), (31, se_linux_with_engine)]),
    check("seccompProfile_baseline", Level::Baseline, &[(0, seccomp_annotations), (19, seccomp_baseline)]),
    check("sysctls", Level::Baseline, &[(0, sysctls_0), (27, sysctls_27), (29, sysctls_29), (32, sysctls_32)]),
    check("windowsHostProcess", Level::Baseline, &[(0, windows_host_process)]),
    check("allowPrivilegeEscalation", Level::Restricted, &[(8, escalation), (25, escalation_off_windows)]),
    replacing(
        "capabilities_restricted",
        &[(22, capabilities_restricted), (25, capabilities_restricted_off_windows)],
        "capabilities_baseline",
    ),
    replacing("procMount_restricted", &[(35, proc_mount)], "procMount"),
    replacing("restrictedVolumes", &[(0, restricted_volumes)], "hostPathVolumes"),
    check("runAsNonRoot", Level::Restricted, &[(0, run_as_non_root), (35, run_as_non_root_outside_user_namespace)]),
    check("runAsUser", Level::Restricted, &[(23, run_as_user), (35, run_as_user_outside_user_namespace)]),
    replacing(
        "seccompProfile_restricted",
        &[(19, seccomp_restricted), (25, seccomp_restricted_off_windows)],
        "seccompProfile_baseline",
    ),
];

/// What the pod violates, in the order of [`CHECKS`].
pub(super) fn evaluate(policy: LevelVersion, meta: &ObjectMeta, spec: &PodSpec) -> Vec<Violation> {
    if policy.level == Level::Privileged {
        return Vec::new();
    }
    let minor = match policy.version {
        Version::Latest => NEWEST,
        Version::Minor(minor) => minor.min(NEWEST),
    };
    let active = |check: &'static Check| {
        let function = check.versions.iter().rev().find(|(from, _)| *from <= minor).map(|(_, function)| *function);
        function.filter(|_| check.level <= policy.level)
    };
    let overridden = |id: &str| CHECKS.iter().any(|check| check.overrides == id && active(check).is_some());
    let functions = CHECKS.iter().filter(|check| !overridden(check.id)).filter_map(active);
    functions.filter_map(|function| function(meta, spec)).collect()
}

// === what the checks share

fn violation(reason: &'static str, detail: impl Into<String>) -> Option<Violation> {
    Some(Violation { reason, detail: detail.into() })
}

fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect::<Vec<_>>().join(", ")
}

fn plural<'a>(one: &'a str, several: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { several }
}

/// `container "a"` or `containers "a", "b"`.
fn named_containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// Names of the containers of which `is_bad` is true.
fn bad_containers<'a>(spec: &'a PodSpec, mut is_bad: impl FnMut(&View<'a>) -> bool) -> Vec<&'a str> {
    containers::all(spec).filter(|container| is_bad(container)).map(|container| container.name).collect()
}

/// `pod and container "a"`: who sets a bad value.
fn setters(pod_is_bad: bool, containers: &[&str]) -> Vec<String> {
    let pod = pod_is_bad.then(|| "pod".to_owned());
    let containers = (!containers.is_empty()).then(|| named_containers(containers));
    pod.into_iter().chain(containers).collect()
}

fn pod_context(spec: &PodSpec) -> Option<&PodSecurityContext> {
    spec.security_context.as_ref()
}

fn is_windows(spec: &PodSpec) -> bool {
    spec.os.as_ref().is_some_and(|os| os.name == "windows")
}

/// Root in a user namespace is nobody outside of it.
fn in_user_namespace(spec: &PodSpec) -> bool {
    spec.host_users == Some(false)
}

// === baseline

fn app_armor(meta: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let mut values = BTreeSet::new();
    let mut is_bad = |profile: Option<&AppArmorProfile>| {
        let bad = profile.filter(|profile| !matches!(profile.type_.as_str(), "RuntimeDefault" | "Localhost"));
        bad.is_some_and(|profile| {
            values.insert(profile.type_.clone());
            true
        })
    };
    let pod = is_bad(pod_context(spec).and_then(|context| context.app_armor_profile.as_ref()));
    let names = bad_containers(spec, |container| {
        is_bad(container.context.and_then(|context| context.app_armor_profile.as_ref()))
    });
    let mut setters = setters(pod, &names);
    let allowed = |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations: Vec<String> = meta
        .annotations
        .iter()
        .flatten()
        .filter(|(key, value)| key.starts_with(PREFIX) && !allowed(value))
        .map(|(key, value)| format!("{key}={}", go_quote(value)))
        .collect();
    let mut values: Vec<String> = values.into_iter().collect();
    if !annotations.is_empty() {
        setters.push(plural("annotation", "annotations", annotations.len()).to_owned());
        values.extend(annotations);
    }
    if setters.is_empty() {
        return None;
    }
    let reason = if values.len() == 1 { "forbidden AppArmor profile" } else { "forbidden AppArmor profiles" };
    violation(reason, format!("{} must not set AppArmor profile type to {}", setters.join(" and "), quoted(&values)))
}

fn capabilities_baseline(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    const ALLOWED: &[&str] = &[
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let mut added = BTreeSet::new();
    let names = bad_containers(spec, |container| {
        let bad: Vec<_> = added_capabilities(container).filter(|name| !ALLOWED.contains(name)).collect();
        let any = !bad.is_empty();
        added.extend(bad);
        any
    });
    if names.is_empty() {
        return None;
    }
    let detail =
        format!("{} must not include {} in securityContext.capabilities.add", named_containers(&names), quoted(&added));
    violation("non-default capabilities", detail)
}

fn added_capabilities<'a>(container: &View<'a>) -> impl Iterator<Item = &'a str> {
    let capabilities = container.context.and_then(|context| context.capabilities.as_ref());
    capabilities.and_then(|capabilities| capabilities.add.as_ref()).into_iter().flatten().map(String::as_str)
}

fn host_namespaces(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    let used =
        [("hostNetwork=true", spec.host_network), ("hostPID=true", spec.host_pid), ("hostIPC=true", spec.host_ipc)];
    let used: Vec<&str> = used.into_iter().filter(|(_, set)| *set == Some(true)).map(|(name, _)| name).collect();
    if used.is_empty() { None } else { violation("host namespaces", used.join(", ")) }
}

fn host_path_volumes(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    let volumes: Vec<&str> =
        volumes(spec).filter(|volume| volume.host_path.is_some()).map(|volume| volume.name.as_str()).collect();
    if volumes.is_empty() {
        return None;
    }
    violation("hostPath volumes", format!("{} {}", plural("volume", "volumes", volumes.len()), quoted(&volumes)))
}

fn volumes(spec: &PodSpec) -> impl Iterator<Item = &Volume> {
    spec.volumes.iter().flatten()
}

fn host_ports(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let names = bad_containers(spec, |container| {
        let used: Vec<String> = container
            .ports
            .iter()
            .filter_map(|port| port.host_port.filter(|port| *port != 0))
            .map(|port| port.to_string())
            .collect();
        let any = !used.is_empty();
        ports.extend(used);
        any
    });
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {}",
        named_containers(&names),
        plural("uses", "use", names.len()),
        plural("hostPort", "hostPorts", ports.len()),
        ports.into_iter().collect::<Vec<_>>().join(", ")
    );
    violation("hostPort", detail)
}

fn hosts_of_probes(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    let (mut names, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for container in containers::all(spec) {
        let probes = container.probes.into_iter().flatten().flat_map(|probe| {
            let http = probe.http_get.as_ref().and_then(|action| action.host.as_deref());
            [http, probe.tcp_socket.as_ref().and_then(|action| action.host.as_deref())]
        });
        let handlers =
            container.lifecycle.into_iter().flat_map(|lifecycle| [&lifecycle.post_start, &lifecycle.pre_stop]);
        let handlers = handlers.flatten().flat_map(|handler| {
            let http = handler.http_get.as_ref().and_then(|action| action.host.as_deref());
            [http, handler.tcp_socket.as_ref().and_then(|action| action.host.as_deref())]
        });
        for host in probes.chain(handlers).flatten().filter(|host| !host.is_empty()) {
            names.insert(container.name);
            hosts.insert(host);
        }
    }
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.into_iter().collect();
    let detail = format!(
        "{} {} {} {}",
        named_containers(&names),
        plural("uses", "use", names.len()),
        plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len()),
        quoted(&hosts)
    );
    violation("probe or lifecycle host", detail)
}

fn privileged(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    let names =
        bad_containers(spec, |container| container.context.is_some_and(|context| context.privileged == Some(true)));
    if names.is_empty() {
        return None;
    }
    violation("privileged", format!("{} must not set securityContext.privileged=true", named_containers(&names)))
}

fn proc_mount(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let names = bad_containers(spec, |container| {
        let kind = container.context.and_then(|context| context.proc_mount.as_deref());
        kind.filter(|kind| *kind != "Default").is_some_and(|kind| {
            kinds.insert(kind);
            true
        })
    });
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.procMount to {}", named_containers(&names), quoted(&kinds));
    violation("procMount", detail)
}

fn proc_mount_outside_user_namespace(meta: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    if in_user_namespace(spec) { None } else { proc_mount(meta, spec) }
}

fn se_linux(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    se_linux_types(spec, &["", "container_t", "container_init_t", "container_kvm_t"])
}

fn se_linux_with_engine(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    se_linux_types(spec, &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"])
}

fn se_linux_types(spec: &PodSpec, allowed: &[&str]) -> Option<Violation> {
    let mut types = BTreeSet::new();
    let (mut sets_user, mut sets_role) = (false, false);
    let mut is_bad = |options: Option<&SELinuxOptions>| {
        let Some(options) = options else { return false };
        let kind = options.type_.as_deref().unwrap_or_default();
        let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let bad_type = !allowed.contains(&kind);
        if bad_type {
            types.insert(kind.to_owned());
        }
        sets_user |= set(&options.user);
        sets_role |= set(&options.role);
        bad_type || set(&options.user) || set(&options.role)
    };
    let pod = is_bad(pod_context(spec).and_then(|context| context.se_linux_options.as_ref()));
    let names = bad_containers(spec, |container| {
        is_bad(container.context.and_then(|context| context.se_linux_options.as_ref()))
    });
    let setters = setters(pod, &names);
    if setters.is_empty() {
        return None;
    }
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", plural("type", "types", types.len()), quoted(&types)));
    }
    data.extend(sets_user.then(|| "user may not be set".to_owned()));
    data.extend(sets_role.then(|| "role may not be set".to_owned()));
    let detail = format!("{} set forbidden securityContext.seLinuxOptions: {}", setters.join(" and "), data.join("; "));
    violation("seLinuxOptions", detail)
}

fn seccomp_annotations(meta: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    let allowed =
        |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let names = containers::all(spec)
        .map(|container| format!("container.seccomp.security.alpha.kubernetes.io/{}", container.name));
    let keys: BTreeSet<String> = names.chain(["seccomp.security.alpha.kubernetes.io/pod".to_owned()]).collect();
    let annotations = meta.annotations.clone().unwrap_or_default();
    let forbidden = keys.into_iter().filter_map(|key| {
        let value = annotations.get(&key).filter(|value| !allowed(value))?;
        Some(format!("{key}={}", go_quote(value)))
    });
    let forbidden: Vec<String> = forbidden.collect();
    if forbidden.is_empty() {
        return None;
    }
    let what = plural("annotation", "annotations", forbidden.len());
    violation("seccompProfile", format!("forbidden {what} {}", forbidden.join(", ")))
}

fn seccomp_is_safe(profile: &SeccompProfile) -> bool {
    matches!(profile.type_.as_str(), "Localhost" | "RuntimeDefault")
}

/// Who sets which unsafe profile.
fn unsafe_seccomp(spec: &PodSpec) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let mut is_bad = |profile: Option<&SeccompProfile>| {
        profile.filter(|profile| !seccomp_is_safe(profile)).is_some_and(|profile| {
            values.insert(profile.type_.clone());
            true
        })
    };
    let pod = is_bad(pod_context(spec).and_then(|context| context.seccomp_profile.as_ref()));
    let names = bad_containers(spec, |container| {
        is_bad(container.context.and_then(|context| context.seccomp_profile.as_ref()))
    });
    let setters = setters(pod, &names);
    if setters.is_empty() {
        return None;
    }
    let detail =
        format!("{} must not set securityContext.seccompProfile.type to {}", setters.join(" and "), quoted(&values));
    violation("seccompProfile", detail)
}

fn seccomp_baseline(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    unsafe_seccomp(spec)
}

const SYSCTLS: &[(u32, &str)] = &[
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
];

fn sysctls_0(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    sysctls(spec, 0)
}

fn sysctls_27(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    sysctls(spec, 27)
}

fn sysctls_29(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    sysctls(spec, 29)
}

fn sysctls_32(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    sysctls(spec, 32)
}

fn sysctls(spec: &PodSpec, minor: u32) -> Option<Violation> {
    let allowed = |name: &str| SYSCTLS.iter().any(|(from, known)| *from <= minor && *known == name);
    let set = pod_context(spec).and_then(|context| context.sysctls.as_ref()).into_iter().flatten();
    let forbidden: Vec<&str> = set.map(|sysctl| sysctl.name.as_str()).filter(|name| !allowed(name)).collect();
    if forbidden.is_empty() { None } else { violation("forbidden sysctls", forbidden.join(", ")) }
}

fn windows_host_process(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    let pod = pod_context(spec)
        .and_then(|context| context.windows_options.as_ref())
        .is_some_and(|options| options.host_process == Some(true));
    let names = bad_containers(spec, |container| {
        let options = container.context.and_then(|context| context.windows_options.as_ref());
        options.is_some_and(|options| options.host_process == Some(true))
    });
    let setters = setters(pod, &names);
    if setters.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.windowsOptions.hostProcess=true", setters.join(" and "));
    violation("hostProcess", detail)
}

// === restricted

fn escalation(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    let names = bad_containers(spec, |container| {
        container.context.and_then(|context| context.allow_privilege_escalation) != Some(false)
    });
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", named_containers(&names));
    violation("allowPrivilegeEscalation != false", detail)
}

fn escalation_off_windows(meta: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    if is_windows(spec) { None } else { escalation(meta, spec) }
}

fn capabilities_restricted(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    let drops_all = |context: Option<&SecurityContext>| {
        let dropped = context.and_then(|context| context.capabilities.as_ref()?.drop.as_ref());
        dropped.is_some_and(|dropped| dropped.iter().any(|name| name == "ALL"))
    };
    let keeping = bad_containers(spec, |container| !drops_all(container.context));
    let mut added = BTreeSet::new();
    let adding = bad_containers(spec, |container| {
        let bad: Vec<_> = added_capabilities(container).filter(|name| *name != "NET_BIND_SERVICE").collect();
        let any = !bad.is_empty();
        added.extend(bad);
        any
    });
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!(r#"{} must set securityContext.capabilities.drop=["ALL"]"#, named_containers(&keeping)));
    }
    if !adding.is_empty() {
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            named_containers(&adding),
            quoted(&added)
        ));
    }
    if details.is_empty() { None } else { violation("unrestricted capabilities", details.join("; ")) }
}

fn capabilities_restricted_off_windows(meta: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    if is_windows(spec) { None } else { capabilities_restricted(meta, spec) }
}

fn restricted_volumes(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in volumes(spec) {
        if let Some(kind) = restricted_kind(volume) {
            names.push(volume.name.as_str());
            kinds.insert(kind);
        }
    }
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", names.len()),
        quoted(&names),
        plural("uses", "use", names.len()),
        plural("restricted volume type", "restricted volume types", kinds.len()),
        quoted(&kinds)
    );
    violation("restricted volume types", detail)
}

/// The kind of a volume that has none of the allowed ones.
fn restricted_kind(volume: &Volume) -> Option<&'static str> {
    let allowed = volume.config_map.is_some()
        || volume.csi.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.image.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.secret.is_some();
    if allowed {
        return None;
    }
    let kinds = [
        (volume.host_path.is_some(), "hostPath"),
        (volume.gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (volume.aws_elastic_block_store.is_some(), "awsElasticBlockStore"),
        (volume.git_repo.is_some(), "gitRepo"),
        (volume.nfs.is_some(), "nfs"),
        (volume.iscsi.is_some(), "iscsi"),
        (volume.glusterfs.is_some(), "glusterfs"),
        (volume.rbd.is_some(), "rbd"),
        (volume.flex_volume.is_some(), "flexVolume"),
        (volume.cinder.is_some(), "cinder"),
        (volume.cephfs.is_some(), "cephfs"),
        (volume.flocker.is_some(), "flocker"),
        (volume.fc.is_some(), "fc"),
        (volume.azure_file.is_some(), "azureFile"),
        (volume.vsphere_volume.is_some(), "vsphereVolume"),
        (volume.quobyte.is_some(), "quobyte"),
        (volume.azure_disk.is_some(), "azureDisk"),
        (volume.photon_persistent_disk.is_some(), "photonPersistentDisk"),
        (volume.portworx_volume.is_some(), "portworxVolume"),
        (volume.scale_io.is_some(), "scaleIO"),
        (volume.storageos.is_some(), "storageos"),
    ];
    Some(kinds.into_iter().find(|(set, _)| *set).map_or("unknown", |(_, kind)| kind))
}

fn run_as_non_root(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let pod = pod_context(spec).and_then(|context| context.run_as_non_root);
    let own = |container: &View<'_>| container.context.and_then(|context| context.run_as_non_root);
    let explicit = bad_containers(spec, |container| own(container) == Some(false));
    let setters = setters(pod == Some(false), &explicit);
    if !setters.is_empty() {
        return violation(REASON, format!("{} must not set securityContext.runAsNonRoot=false", setters.join(" and ")));
    }
    let implicit = bad_containers(spec, |container| own(container).is_none() && pod != Some(true));
    if implicit.is_empty() {
        return None;
    }
    violation(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", named_containers(&implicit)))
}

fn run_as_non_root_outside_user_namespace(meta: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    if in_user_namespace(spec) { None } else { run_as_non_root(meta, spec) }
}

fn run_as_user(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    let pod = pod_context(spec).and_then(|context| context.run_as_user) == Some(0);
    let names = bad_containers(spec, |container| container.context.and_then(|context| context.run_as_user) == Some(0));
    let setters = setters(pod, &names);
    if setters.is_empty() {
        return None;
    }
    violation("runAsUser=0", format!("{} must not set runAsUser=0", setters.join(" and ")))
}

fn run_as_user_outside_user_namespace(meta: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    if in_user_namespace(spec) { None } else { run_as_user(meta, spec) }
}

fn seccomp_restricted(_: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    if let Some(violation) = unsafe_seccomp(spec) {
        return Some(violation);
    }
    if pod_context(spec).is_some_and(|context| context.seccomp_profile.is_some()) {
        return None;
    }
    let names =
        bad_containers(spec, |container| container.context.is_none_or(|context| context.seccomp_profile.is_none()));
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        r#"pod or {} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost""#,
        named_containers(&names)
    );
    violation("seccompProfile", detail)
}

fn seccomp_restricted_off_windows(meta: &ObjectMeta, spec: &PodSpec) -> Option<Violation> {
    if is_windows(spec) { None } else { seccomp_restricted(meta, spec) }
}
