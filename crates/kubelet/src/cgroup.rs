//! The cgroups of quality-of-service classes and pods: made, weighted and limited here, so that a pod's containers
//! together cannot exceed what the pod may have. Containers' own cgroups are the runtime's. Version 1, version 2
//! and the hybrid of both. Upstream: pkg/kubelet/cm.

use std::io;
use std::path::{Path, PathBuf};

use cri::LinuxResources;

/// The mounted hierarchies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cgroups {
    /// Version 1 hierarchies by controllers.
    v1: Vec<(Vec<String>, PathBuf)>,
    /// The version 2 hierarchy, and whether controllers are in it.
    v2: Option<(PathBuf, bool)>,
}

impl Cgroups {
    /// Finds what this machine has.
    pub(crate) fn discover() -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string("/proc/self/mountinfo")?, |root| {
            let controllers = std::fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
            controllers.split_whitespace().any(|name| name == "memory" || name == "cpu")
        }))
    }

    fn parse(mountinfo: &str, has_controllers: impl Fn(&Path) -> bool) -> Self {
        let mut found = Cgroups::default();
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let Some(path) = before.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut after = after.split(' ');
            match after.next() {
                Some("cgroup2") if found.v2.is_none() => {
                    let controllers = has_controllers(&path);
                    found.v2 = Some((path, controllers));
                }
                Some("cgroup") => {
                    let options = after.nth(1).unwrap_or_default();
                    let controllers: Vec<_> = options.split(',').map(str::to_owned).collect();
                    let seen =
                        |controller: &str| found.v1.iter().any(|(own, _)| own.iter().any(|own| own == controller));
                    if ["cpu", "memory", "pids"]
                        .iter()
                        .any(|name| controllers.iter().any(|own| own == name) && !seen(name))
                    {
                        found.v1.push((controllers, path));
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Makes a pod's cgroup, with its parents, and sets its limits.
    pub(crate) fn create(&self, path: &str, limits: &LinuxResources) -> io::Result<()> {
        let relative = Path::new(path.trim_start_matches('/'));
        for (controllers, mount) in &self.v1 {
            let dir = mount.join(relative);
            std::fs::create_dir_all(&dir)?;
            let has = |name: &str| controllers.iter().any(|own| own == name);
            if has("cpu") {
                set(&dir, "cpu.shares", limits.cpu_shares)?;
                set(&dir, "cpu.cfs_period_us", limits.cpu_period)?;
                set(&dir, "cpu.cfs_quota_us", limits.cpu_quota)?;
            }
            if has("memory") {
                set(&dir, "memory.limit_in_bytes", limits.memory_limit)?;
            }
            if has("pids") {
                set(&dir, "pids.max", limits.pids_limit)?;
            }
        }
        if let Some((mount, true)) = &self.v2 {
            let mut dir = mount.clone();
            for part in relative.components() {
                // A controller must be handed down at every level above.
                hand_down(&dir);
                dir.push(part);
                if !dir.exists() {
                    std::fs::create_dir(&dir)?;
                }
            }
            set(&dir, "cpu.weight", limits.cpu_shares.map(weight))?;
            if let Some(quota) = limits.cpu_quota {
                std::fs::write(dir.join("cpu.max"), format!("{quota} {}", limits.cpu_period.unwrap_or(100_000)))?;
            }
            set(&dir, "memory.max", limits.memory_limit)?;
            set(&dir, "pids.max", limits.pids_limit)?;
        }
        Ok(())
    }

    /// Removes a pod's cgroup and what is left below it, in every hierarchy.
    pub(crate) fn remove(&self, path: &str) -> io::Result<()> {
        let relative = Path::new(path.trim_start_matches('/'));
        let mounts = self.v1.iter().map(|(_, mount)| mount).chain(self.v2.iter().map(|(mount, _)| mount));
        for mount in mounts {
            remove_tree(&mount.join(relative))?;
        }
        Ok(())
    }
}

fn set(dir: &Path, file: &str, value: Option<i64>) -> io::Result<()> {
    match value {
        Some(value) => std::fs::write(dir.join(file), value.to_string()),
        None => Ok(()),
    }
}

fn hand_down(dir: &Path) {
    for controller in ["cpu", "memory", "pids"] {
        // Where a controller is missing, limits of it cannot be set, which `set` then reports.
        if let Err(error) = std::fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")) {
            tracing::debug!(controller, %error, "controller not handed down");
        }
    }
}

/// Weight on the scale of version 2 for shares on that of version 1.
fn weight(shares: i64) -> i64 {
    1 + ((shares.clamp(2, 262_144) - 2) * 9_999) / 262_142
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match std::fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found() {
        let text = "30 29 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
            31 29 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            32 29 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            33 29 0:29 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n";
        let found = Cgroups::parse(text, |_| false);
        assert_eq!(found.v1.len(), 2);
        assert_eq!(found.v2, Some((PathBuf::from("/sys/fs/cgroup/unified"), false)));
    }

    #[test]
    fn weights() {
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
    }
}
