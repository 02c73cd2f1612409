//! The OCI configuration of a container, from what the kubelet asks and what the image says.
//! Upstream: containerd `internal/cri/server/container_create_linux.go`.
//!
//! It is built as JSON, the form in which it is kept and in which any OCI runtime could take it over.

mod capabilities;
mod devices;
mod mounts;
mod seccomp;

use std::path::PathBuf;

use cri::{ContainerConfig, MountPropagation, NamespaceMode, PodSandboxConfig, SecurityProfile};
use images::ImageConfig;
use serde_json::{Map, Value, json};

use crate::cgroup::Hierarchies;
use crate::error::{Result, RuntimeError};

pub(crate) use mounts::Sources;

/// Everything that a configuration is made from.
pub(crate) struct Inputs<'i> {
    pub(crate) sandbox: &'i PodSandboxConfig,
    pub(crate) container: &'i ContainerConfig,
    pub(crate) image: &'i ImageConfig,
    /// Where the sandbox's namespaces and files are.
    pub(crate) sources: &'i Sources,
    /// First process of the shared pid namespace.
    pub(crate) init_pid: Option<i32>,
    pub(crate) cgroup: &'i str,
    pub(crate) rootfs: PathBuf,
    pub(crate) cgroups: &'i Hierarchies,
}

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The command: what the pod says, else what the image says. Upstream: containerd `WithProcessArgs`.
pub(crate) fn arguments(container: &ContainerConfig, image: &ImageConfig) -> Result<Vec<String>> {
    let (mut command, mut args) = (container.command.clone(), container.args.clone());
    if command.is_empty() {
        // The image's arguments belong to the image's entrypoint.
        if args.is_empty() {
            args.clone_from(&image.cmd);
        }
        command.clone_from(&image.entrypoint);
    }
    command.extend(args);
    if command.is_empty() {
        return Err(RuntimeError::Invalid("no command specified".to_owned()));
    }
    Ok(command)
}

/// Where the first process starts.
pub(crate) fn working_directory(container: &ContainerConfig, image: &ImageConfig) -> String {
    let chosen = [&container.working_dir, &image.working_dir].into_iter().find(|directory| !directory.is_empty());
    chosen.map_or_else(|| "/".to_owned(), Clone::clone)
}

/// The image's environment with the container's over it: a name keeps its place and gets the later value.
fn environment(container: &ContainerConfig, image: &ImageConfig) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    if !image.env.iter().any(|entry| entry.starts_with("PATH=")) {
        entries.push(DEFAULT_PATH.to_owned());
    }
    if container.tty {
        entries.push("TERM=xterm".to_owned());
    }
    let given = container.envs.iter().map(|(name, value)| format!("{name}={value}"));
    for entry in image.env.iter().cloned().chain(given) {
        let prefix = format!("{}=", entry.split('=').next().unwrap_or_default());
        match entries.iter_mut().find(|known| known.starts_with(&prefix)) {
            Some(known) => *known = entry,
            None => entries.push(entry),
        }
    }
    entries
}

/// Builds the configuration, still without user and groups.
pub(crate) fn build(inputs: &Inputs<'_>) -> Result<Value> {
    let (sandbox, container) = (inputs.sandbox, inputs.container);
    let security = &container.security_context;
    let resources = &container.resources;
    let capabilities = capabilities::for_container(security)?;
    let mut process = json!({
        "terminal": container.tty,
        "args": arguments(container, inputs.image)?,
        "env": environment(container, inputs.image),
        "cwd": working_directory(container, inputs.image),
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
        },
    });
    // Written only where true: libcontainer takes a written `false` for a wish, and loads no filter then.
    if security.no_new_privs {
        process["noNewPrivileges"] = true.into();
    }
    if let Some(score) = resources.oom_score_adj.and_then(permitted_oom_score) {
        process["oomScoreAdj"] = score.into();
    }
    if let (Some(SecurityProfile::Localhost(profile)), true) = (&security.apparmor, apparmor_enabled()) {
        process["apparmorProfile"] = profile.as_str().into();
    }
    let mounts = mounts::build(inputs);
    let mut linux = json!({
        "cgroupsPath": inputs.cgroup,
        "namespaces": namespaces(inputs),
        "resources": resources_of(inputs)?,
        "devices": devices::nodes(container)?,
        "rootfsPropagation": root_propagation(container),
        "maskedPaths": paths(security.masked_paths.as_deref(), MASKED_PATHS, security.privileged),
        "readonlyPaths": paths(security.readonly_paths.as_deref(), READONLY_PATHS, security.privileged),
    });
    if let Some(profile) = seccomp::own_profile(security)? {
        linux["seccomp"] = profile;
    }
    let mut spec = json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": { "path": inputs.rootfs, "readonly": security.readonly_rootfs },
        "mounts": mounts,
        "linux": linux,
    });
    if sandbox.namespaces.network != NamespaceMode::Node && inputs.sources.namespace("uts").is_none() {
        spec["hostname"] = sandbox.hostname.as_str().into();
    }
    Ok(spec)
}

/// The default seccomp profile, where the container has it. It is not part of the configuration: see
/// [`crate::helper::CachedFilter`].
pub(crate) fn default_filter(container: &ContainerConfig) -> Result<Option<Value>> {
    let security = &container.security_context;
    if security.privileged || security.seccomp != Some(SecurityProfile::RuntimeDefault) {
        return Ok(None);
    }
    Ok(Some(seccomp::default_profile(&capabilities::for_container(security)?)))
}

fn namespaces(inputs: &Inputs<'_>) -> Value {
    let mut list = vec![json!({"type": "mount"})];
    // A privileged container sees the host's control groups, as with containerd.
    if !inputs.container.security_context.privileged {
        list.push(json!({"type": "cgroup"}));
    }
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        if let Some(path) = inputs.sources.namespace(name) {
            list.push(json!({"type": kind, "path": path}));
        }
    }
    match inputs.sandbox.namespaces.pid {
        NamespaceMode::Node => {}
        NamespaceMode::Container => list.push(json!({"type": "pid"})),
        NamespaceMode::Pod => match inputs.init_pid {
            Some(pid) => list.push(json!({"type": "pid", "path": format!("/proc/{pid}/ns/pid")})),
            None => list.push(json!({"type": "pid"})),
        },
    }
    list.into()
}

fn resources_of(inputs: &Inputs<'_>) -> Result<Value> {
    let asked = &inputs.container.resources;
    let mut resources = Map::new();
    let rules = devices::rules(inputs.container)?;
    resources.insert("devices".to_owned(), rules);
    let mut cpu = Map::new();
    // Version 1 refuses less than 2 shares; zero means "not said".
    if let Some(shares) = asked.cpu_shares.filter(|shares| *shares > 0) {
        cpu.insert("shares".to_owned(), shares.max(2).into());
    }
    if let Some(quota) = asked.cpu_quota.filter(|quota| *quota != 0) {
        cpu.insert("quota".to_owned(), quota.into());
        cpu.insert("period".to_owned(), asked.cpu_period.filter(|period| *period > 0).unwrap_or(100_000).into());
    }
    for (key, value) in [("cpus", &asked.cpuset_cpus), ("mems", &asked.cpuset_mems)] {
        if !value.is_empty() {
            cpu.insert(key.to_owned(), value.as_str().into());
        }
    }
    if !cpu.is_empty() {
        resources.insert("cpu".to_owned(), cpu.into());
    }
    if let Some(limit) = asked.memory_limit.filter(|limit| *limit > 0) {
        let mut memory = json!({ "limit": limit });
        if let Some(swap) = asked.memory_swap_limit.filter(|swap| *swap > 0 && inputs.cgroups.is_v2()) {
            memory["swap"] = swap.into();
        }
        resources.insert("memory".to_owned(), memory);
    }
    if let Some(limit) = asked.pids_limit.filter(|limit| *limit > 0 && inputs.cgroups.has("pids")) {
        resources.insert("pids".to_owned(), json!({ "limit": limit }));
    }
    let pages: Vec<Value> = asked
        .hugepage_limits
        .iter()
        // The kubelet names every page size; a kernel without the controller has nothing to limit.
        .filter(|_| inputs.cgroups.has("hugetlb"))
        .map(|(size, limit)| json!({ "pageSize": size, "limit": limit }))
        .collect();
    if !pages.is_empty() {
        resources.insert("hugepageLimits".to_owned(), pages.into());
    }
    let mut unified = asked.unified.clone();
    if inputs.cgroups.is_v2() && asked.memory_limit.is_some_and(|limit| limit > 0) {
        // One process of a container killed for memory takes the others with it, as the kubelet wants since 1.28.
        unified.entry("memory.oom.group".to_owned()).or_insert_with(|| "1".to_owned());
    }
    if inputs.cgroups.is_v2() && !unified.is_empty() {
        resources.insert("unified".to_owned(), json!(unified));
    }
    Ok(resources.into())
}

fn root_propagation(container: &ContainerConfig) -> &'static str {
    let strongest = container.mounts.iter().map(|mount| match mount.propagation {
        MountPropagation::Private => 0,
        MountPropagation::HostToContainer => 1,
        MountPropagation::Bidirectional => 2,
    });
    match strongest.max() {
        Some(2) => "shared",
        Some(1) => "slave",
        _ => "private",
    }
}

fn paths(asked: Option<&[String]>, default: &[&str], privileged: bool) -> Vec<String> {
    match asked {
        _ if privileged => Vec::new(),
        Some(paths) => paths.to_vec(),
        None => default.iter().map(|path| (*path).to_owned()).collect(),
    }
}

fn apparmor_enabled() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

/// Lowering the score below our own needs a privilege that some machines do not have; then our own is the lowest.
fn permitted_oom_score(score: i32) -> Option<i32> {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse::<i32>().ok()?;
    if score >= own || may_lower_oom_score() { Some(score) } else { None }
}

fn may_lower_oom_score() -> bool {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    effective.is_some_and(|bits| bits & CAP_SYS_RESOURCE != 0)
}

#[cfg(test)]
mod tests;
