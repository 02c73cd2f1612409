//! Device nodes and device rules. Upstream: runc `specconv.AllowedDevices`, containerd `WithDevices`.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use cri::ContainerConfig;
use serde_json::{Value, json};

use crate::error::{Result, RuntimeError};

/// What every container may use: type, major, minor, access; absent means any.
const DEFAULT_RULES: &[(&str, Option<u32>, Option<u32>, &str)] = &[
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", Some(1), Some(3), "rwm"),
    ("c", Some(1), Some(5), "rwm"),
    ("c", Some(1), Some(7), "rwm"),
    ("c", Some(1), Some(8), "rwm"),
    ("c", Some(1), Some(9), "rwm"),
    ("c", Some(5), Some(0), "rwm"),
    ("c", Some(5), Some(1), "rwm"),
    ("c", Some(5), Some(2), "rwm"),
    ("c", Some(136), None, "rwm"),
];

struct HostDevice {
    kind: &'static str,
    major: u64,
    minor: u64,
    mode: u32,
    uid: u32,
    gid: u32,
}

/// The rules for the device controller, refusing first.
pub(super) fn rules(container: &ContainerConfig) -> Result<Value> {
    if container.security_context.privileged {
        return Ok(json!([{ "allow": true, "access": "rwm" }]));
    }
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    for (kind, major, minor, access) in DEFAULT_RULES {
        let mut rule = json!({ "allow": true, "type": kind, "access": access });
        if let Some(major) = major {
            rule["major"] = (*major).into();
        }
        if let Some(minor) = minor {
            rule["minor"] = (*minor).into();
        }
        rules.push(rule);
    }
    for device in &container.devices {
        let host = HostDevice::stat(&device.host_path)?;
        let access = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
        rules.push(json!({
            "allow": true, "type": host.kind, "major": host.major, "minor": host.minor, "access": access,
        }));
    }
    Ok(rules.into())
}

/// The nodes to make beside the usual ones.
pub(super) fn nodes(container: &ContainerConfig) -> Result<Value> {
    let mut nodes = Vec::new();
    if container.security_context.privileged {
        for (path, host) in all_host_devices() {
            nodes.push(host.node(&path));
        }
    }
    for device in &container.devices {
        let path = if device.container_path.is_empty() { &device.host_path } else { &device.container_path };
        nodes.push(HostDevice::stat(&device.host_path)?.node(path));
    }
    Ok(nodes.into())
}

// === impl HostDevice ===

impl HostDevice {
    fn stat(path: &str) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(RuntimeError::io("stat device", path))?;
        Self::of(&metadata).ok_or_else(|| RuntimeError::Invalid(format!("{path} is not a device")))
    }

    fn of(metadata: &std::fs::Metadata) -> Option<Self> {
        let kind = match metadata.file_type() {
            kind if kind.is_char_device() => "c",
            kind if kind.is_block_device() => "b",
            _ => return None,
        };
        let number = metadata.rdev();
        Some(Self {
            kind,
            major: nix::sys::stat::major(number),
            minor: nix::sys::stat::minor(number),
            mode: metadata.mode() & 0o777,
            uid: metadata.uid(),
            gid: metadata.gid(),
        })
    }

    fn node(&self, path: &str) -> Value {
        json!({
            "path": path, "type": self.kind, "major": self.major, "minor": self.minor,
            "fileMode": self.mode, "uid": self.uid, "gid": self.gid,
        })
    }
}

/// What a privileged container sees: all of the host's `/dev` but terminals and what the runtime makes anyway.
/// Upstream: containerd `oci.HostDevices`.
fn all_host_devices() -> Vec<(String, HostDevice)> {
    const SKIPPED: &[&str] = &[
        "/dev/pts",
        "/dev/shm",
        "/dev/fd",
        "/dev/mqueue",
        "/dev/console",
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/dev/random",
        "/dev/urandom",
        "/dev/tty",
        "/dev/ptmx",
    ];
    let mut found = Vec::new();
    let mut pending = vec![Path::new("/dev").to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let text = path.to_string_lossy().into_owned();
            if SKIPPED.contains(&text.as_str()) {
                continue;
            }
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                pending.push(path);
            } else if let Some(device) = HostDevice::of(&metadata) {
                found.push((text, device));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}
