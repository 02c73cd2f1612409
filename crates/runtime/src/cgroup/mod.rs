//! Control groups: where the hierarchies are, and what is done with a container's group beside making it (which
//! libcontainer does). Version 1, version 2, and both at once with version 2 under `unified`.

pub(crate) mod devices;
mod stats;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Result, RuntimeError};
use crate::process;

pub(crate) use stats::Usage;

/// The hierarchies of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// Version 1: the controllers of a mount and where it is.
    v1: Vec<(Vec<String>, PathBuf)>,
    /// Version 2.
    v2: Option<PathBuf>,
}

// === impl Hierarchies ===

impl Hierarchies {
    pub(crate) fn detect() -> Result<Self> {
        let path = "/proc/self/mountinfo";
        let table = fs::read_to_string(path).map_err(RuntimeError::io("read", path))?;
        let found = Self::parse(&table);
        if found.v1.is_empty() && found.v2.is_none() {
            return Err(RuntimeError::Invalid("no control groups are mounted".to_owned()));
        }
        Ok(found)
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4) else { continue };
            let mut fields = right.split(' ');
            let (kind, options) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
            let point = PathBuf::from(point);
            // Other mounts of the same hierarchies (in containers' roots) come later in the table.
            match kind {
                "cgroup2" if found.v2.is_none() => found.v2 = Some(point),
                "cgroup" if point.starts_with("/sys/fs/cgroup") => {
                    let controllers = options.split(',').filter(|o| !matches!(*o, "rw" | "ro")).map(str::to_owned);
                    found.v1.push((controllers.collect(), point));
                }
                _ => {}
            }
        }
        found
    }

    /// Whether limits are set in version 2.
    pub(crate) fn is_v2(&self) -> bool {
        self.v1.is_empty()
    }

    /// The group in the unified hierarchy beside version 1, which has no limits but kills and counts.
    pub(crate) fn unified_beside_v1(&self, group: &str) -> Option<PathBuf> {
        if self.is_v2() { None } else { self.v2.as_deref().map(|mount| below(mount, group)) }
    }

    /// The group in version 2 where that has the limits.
    pub(crate) fn v2_group(&self, group: &str) -> Option<PathBuf> {
        if self.is_v2() { self.v2.as_deref().map(|mount| below(mount, group)) } else { None }
    }

    /// Whether limits of a controller can be set.
    pub(crate) fn has(&self, controller: &str) -> bool {
        if !self.is_v2() {
            return self.v1.iter().any(|(controllers, _)| controllers.iter().any(|c| c == controller));
        }
        let path = self.v2.as_ref().map(|mount| mount.join("cgroup.controllers"));
        let text = path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        text.split_whitespace().any(|c| c == controller)
    }

    fn v1_group(&self, controller: &str, group: &str) -> Option<PathBuf> {
        let mount = self.v1.iter().find(|(controllers, _)| controllers.iter().any(|c| c == controller));
        mount.map(|(_, mount)| below(mount, group))
    }

    fn groups(&self, group: &str) -> Vec<PathBuf> {
        self.v1.iter().map(|(_, mount)| mount).chain(&self.v2).map(|mount| below(mount, group)).collect()
    }

    /// The files to write a process id to, so that it joins the group everywhere.
    pub(crate) fn procs_files(&self, group: &str) -> Vec<PathBuf> {
        let groups = self.groups(group).into_iter();
        groups.map(|group| group.join("cgroup.procs")).filter(|procs| procs.exists()).collect()
    }

    /// Kills every process of a group and of those below it, and waits until they have ended.
    pub(crate) fn kill(&self, group: &str) -> Result<()> {
        // The unified hierarchy first, where it has the group: there one write kills all, also what is being forked.
        // The others too: a start that was cut short has joined some and not all.
        for path in self.groups(group).iter().rev().filter(|path| path.exists()) {
            kill_tree(path)?;
        }
        Ok(())
    }

    /// Removes a group and those below it, in every hierarchy. Not there is fine; still in use is not.
    pub(crate) fn remove(&self, group: &str) -> Result<()> {
        for path in self.groups(group) {
            remove_tree(&path)?;
        }
        Ok(())
    }

    /// Removes a group where nothing is in it, leaving it otherwise.
    pub(crate) fn remove_if_empty(&self, group: &str) {
        for path in self.groups(group) {
            // Somebody else's group is left alone, and so is one that is not there.
            drop(fs::remove_dir(&path));
        }
    }

    /// How many processes of the group the kernel killed for memory.
    pub(crate) fn oom_kills(&self, group: &str) -> u64 {
        let (path, key) = match self.v1_group("memory", group) {
            Some(path) => (path.join("memory.oom_control"), "oom_kill"),
            None => match self.v2_group(group) {
                Some(path) => (path.join("memory.events"), "oom_kill"),
                None => return 0,
            },
        };
        stats::keyed(&fs::read_to_string(path).unwrap_or_default(), key).unwrap_or(0)
    }

    /// Use of resources of a group.
    pub(crate) fn usage(&self, group: &str) -> Usage {
        stats::read(self, group)
    }

    /// Changes limits of a living group.
    pub(crate) fn update(&self, group: &str, resources: &cri::LinuxResources) -> Result<()> {
        let write = |path: PathBuf, value: String| fs::write(&path, value).map_err(RuntimeError::io("write", &path));
        if let Some(directory) = self.v2_group(group) {
            if let Some(shares) = resources.cpu_shares {
                write(directory.join("cpu.weight"), v2_weight(shares).to_string())?;
            }
            if resources.cpu_quota.is_some() || resources.cpu_period.is_some() {
                let quota = match resources.cpu_quota {
                    Some(quota) if quota > 0 => quota.to_string(),
                    _ => "max".to_owned(),
                };
                write(directory.join("cpu.max"), format!("{quota} {}", resources.cpu_period.unwrap_or(100_000)))?;
            }
            if let Some(limit) = resources.memory_limit {
                write(directory.join("memory.max"), if limit > 0 { limit.to_string() } else { "max".to_owned() })?;
            }
            return Ok(());
        }
        if let Some(directory) = self.v1_group("cpu", group) {
            if let Some(shares) = resources.cpu_shares.filter(|shares| *shares > 0) {
                write(directory.join("cpu.shares"), shares.to_string())?;
            }
            if let Some(period) = resources.cpu_period.filter(|period| *period > 0) {
                write(directory.join("cpu.cfs_period_us"), period.to_string())?;
            }
            if let Some(quota) = resources.cpu_quota.filter(|quota| *quota != 0) {
                write(directory.join("cpu.cfs_quota_us"), quota.to_string())?;
            }
        }
        if let (Some(directory), Some(limit)) = (self.v1_group("memory", group), resources.memory_limit) {
            write(directory.join("memory.limit_in_bytes"), limit.to_string())?;
        }
        Ok(())
    }
}

/// The weight of version 2 for the shares of version 1. Upstream: runc `ConvertCPUSharesToCgroupV2Value` before 1.3.
pub(crate) fn v2_weight(shares: i64) -> u64 {
    let shares = shares.clamp(2, 262_144).unsigned_abs();
    1 + (shares - 2) * 9999 / 262_142
}

fn below(mount: &Path, group: &str) -> PathBuf {
    mount.join(group.trim_start_matches('/'))
}

fn kill_tree(path: &Path) -> Result<()> {
    const ROUNDS: usize = 16;
    for _ in 0..ROUNDS {
        let pids = processes(path);
        if pids.is_empty() {
            return Ok(());
        }
        let handles: Vec<_> = pids.iter().filter_map(|pid| process::open(*pid).ok()).collect();
        if fs::write(path.join("cgroup.kill"), "1").is_err() {
            for pid in pids {
                // Gone meanwhile is what we want.
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).ok();
            }
        }
        if !process::wait_all(&handles, process::KILL_PATIENCE) {
            break;
        }
    }
    Err(RuntimeError::Invalid(format!("processes of {} do not end", path.display())))
}

fn processes(group: &Path) -> Vec<i32> {
    let (mut pids, mut pending) = (Vec::new(), vec![group.to_owned()]);
    while let Some(group) = pending.pop() {
        let procs = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        pids.extend(procs.lines().filter_map(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 0));
        pending.extend(child_groups(&group));
    }
    pids
}

fn child_groups(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else { return Vec::new() };
    let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir(path) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    for child in child_groups(path) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(RuntimeError::io("remove", path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found() {
        let hybrid = "30 24 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                      31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      32 24 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let found = Hierarchies::parse(hybrid);
        assert!(!found.is_v2());
        assert_eq!(found.v1_group("cpuacct", "/a/b"), Some("/sys/fs/cgroup/cpu,cpuacct/a/b".into()));
        assert_eq!(found.unified_beside_v1("/a"), Some("/sys/fs/cgroup/unified/a".into()));
        assert_eq!(found.v2_group("/a"), None);

        let pure = Hierarchies::parse("30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw\n");
        assert!(pure.is_v2());
        assert_eq!(pure.v2_group("/a"), Some("/sys/fs/cgroup/a".into()));
        assert_eq!(pure.unified_beside_v1("/a"), None);
    }

    #[test]
    fn weights_span_their_range() {
        assert_eq!((v2_weight(2), v2_weight(1024), v2_weight(262_144)), (1, 39, 10_000));
    }
}
