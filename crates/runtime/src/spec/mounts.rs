//! What is mounted in a container: the kernel's file systems, the sandbox's files, and what the pod asks for.
//! Upstream: containerd `internal/cri/server/container_create_linux.go` `linuxContainerMounts`.

use std::path::{Path, PathBuf};

use cri::{MountPropagation, NamespaceMode};
use serde_json::{Value, json};

use super::Inputs;
use crate::sandbox::SHM;

/// Where a sandbox's namespaces and files are.
pub(crate) struct Sources {
    pub(crate) pins: PathBuf,
    pub(crate) directory: PathBuf,
    pub(crate) network: bool,
    pub(crate) ipc: bool,
    pub(crate) uts: bool,
    /// Directories that stand in for the image's volumes under a read-only root, by path in the container.
    pub(crate) volumes: Vec<(String, PathBuf)>,
    /// Mounted images, in the order of the mounts that name them.
    pub(crate) images: Vec<PathBuf>,
}

// === impl Sources ===

impl Sources {
    /// The pin of a namespace that the sandbox has of its own.
    pub(crate) fn namespace(&self, name: &str) -> Option<PathBuf> {
        let own = match name {
            "net" => self.network,
            "ipc" => self.ipc,
            _ => self.uts,
        };
        own.then(|| self.pins.join(name))
    }
}

pub(super) fn build(inputs: &Inputs<'_>) -> Vec<Value> {
    let container = inputs.container;
    let privileged = container.security_context.privileged;
    let asked = |path: &str| container.mounts.iter().any(|mount| clean(&mount.container_path) == path);
    let mut mounts = Vec::new();
    let mut kernel = |destination: &str, kind: &str, source: &str, options: &[&str]| {
        if !asked(destination) {
            mounts.push(json!({
                "destination": destination, "type": kind, "source": source, "options": options,
            }));
        }
    };
    kernel("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]);
    kernel("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]);
    kernel("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]);
    kernel("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]);
    let writable = if privileged { "rw" } else { "ro" };
    kernel("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", writable]);
    // libcontainer 0.7 looks its own number up in the host's processes to mount version 1, which in a shared pid
    // namespace names somebody else or nobody; such containers go without.
    if inputs.cgroups.is_v2() || inputs.sandbox.namespaces.pid != NamespaceMode::Pod {
        kernel("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", writable]);
    }
    if !asked("/dev/shm") {
        let shared = inputs.sources.pins.join(SHM);
        let source = if inputs.sandbox.namespaces.ipc == NamespaceMode::Node { Path::new("/dev/shm") } else { &shared };
        mounts.push(bind("/dev/shm", source, false));
    }
    let files = [("/etc/resolv.conf", "resolv.conf"), ("/etc/hostname", "hostname"), ("/etc/hosts", "hosts")];
    for (destination, name) in files {
        if !asked(destination) {
            let readonly = container.security_context.readonly_rootfs;
            mounts.push(bind(destination, &inputs.sources.directory.join(name), readonly));
        }
    }
    for (destination, source) in &inputs.sources.volumes {
        if !asked(destination) {
            mounts.push(bind(destination, source, false));
        }
    }
    let mut images = inputs.sources.images.iter();
    // Parents before children, in the order given otherwise: a later mount must not hide an earlier one.
    let mut wanted: Vec<&cri::Mount> = container.mounts.iter().collect();
    wanted.sort_by_key(|mount| Path::new(&mount.container_path).components().count());
    for mount in wanted {
        let source = match &mount.image {
            Some(_) => match images.next() {
                Some(image) => image.clone(),
                None => continue,
            },
            None => PathBuf::from(&mount.host_path),
        };
        mounts.push(requested(mount, &source));
    }
    mounts
}

fn requested(mount: &cri::Mount, source: &Path) -> Value {
    let mut options = vec!["rbind"];
    options.push(match mount.propagation {
        MountPropagation::Private => "rprivate",
        MountPropagation::HostToContainer => "rslave",
        MountPropagation::Bidirectional => "rshared",
    });
    if mount.recursive_read_only {
        options.push("rro");
    } else if mount.readonly || mount.image.is_some() {
        options.push("ro");
    } else {
        options.push("rw");
    }
    json!({ "destination": clean(&mount.container_path), "type": "bind", "source": source, "options": options })
}

fn bind(destination: &str, source: &Path, readonly: bool) -> Value {
    let access = if readonly { "ro" } else { "rw" };
    json!({ "destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate", access] })
}

fn clean(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() }
}
