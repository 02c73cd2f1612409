//! Use of resources, read from control groups and, for networks, from the sandbox's first process.

use std::path::Path;

use cri::{ContainerStats, CriResult, LinuxResources, NetworkUsage, PodSandboxStats};

use super::{Runtime, blocking};
use crate::record;

impl Runtime {
    pub(super) async fn measure_container(&self, id: &str) -> CriResult<ContainerStats> {
        let record = self.container(id)?.record.lock().clone();
        let (cgroups, upper) = (self.shared.cgroups.clone(), self.shared.layout.container(id).join("upper"));
        let stats = blocking(move || {
            let usage = cgroups.usage(&record.cgroup);
            Ok(ContainerStats {
                id: record.id,
                metadata: record.config.metadata,
                sandbox_id: record.sandbox_id,
                at: record::now(),
                cpu_nanos: usage.cpu_nanos,
                memory_working_set: usage.memory_working_set,
                memory_usage: usage.memory_usage,
                memory_rss: usage.memory_rss,
                page_faults: usage.page_faults,
                major_page_faults: usage.major_page_faults,
                rootfs_used_bytes: tree_bytes(&upper),
                process_count: usage.processes,
            })
        })
        .await?;
        Ok(stats)
    }

    pub(super) async fn measure_sandbox(&self, id: &str) -> CriResult<PodSandboxStats> {
        let record = self.sandbox(id)?.record.lock().clone();
        let mut containers = Vec::new();
        let mut pid = record.init_pid;
        for container in self.containers_of(id) {
            if !container.is_running() {
                continue;
            }
            let (container_id, container_pid) = {
                let record = container.record.lock();
                (record.id.clone(), record.pid)
            };
            pid = pid.or(Some(container_pid));
            containers.push(self.measure_container(&container_id).await?);
        }
        let cgroups = self.shared.cgroups.clone();
        let parent = record.cgroup_parent.clone();
        let stats = blocking(move || {
            let usage = cgroups.usage(&parent);
            Ok(PodSandboxStats {
                id: record.id,
                at: record::now(),
                cpu_nanos: usage.cpu_nanos,
                memory_working_set: usage.memory_working_set,
                process_count: usage.processes,
                network: pid.map(network).unwrap_or_default(),
                containers,
            })
        })
        .await?;
        Ok(stats)
    }

    pub(super) async fn change_resources(&self, id: &str, resources: &LinuxResources) -> CriResult<()> {
        let container = self.container(id)?;
        let group = container.record.lock().cgroup.clone();
        let (cgroups, wanted) = (self.shared.cgroups.clone(), resources.clone());
        blocking(move || cgroups.update(&group, &wanted)).await?;
        let snapshot = {
            let mut record = container.record.lock();
            let known = &mut record.resources;
            known.cpu_period = resources.cpu_period.or(known.cpu_period);
            known.cpu_quota = resources.cpu_quota.or(known.cpu_quota);
            known.cpu_shares = resources.cpu_shares.or(known.cpu_shares);
            known.memory_limit = resources.memory_limit.or(known.memory_limit);
            record.clone()
        };
        self.save_container(&snapshot);
        Ok(())
    }
}

/// Interfaces of the network that `pid` is in, without the loopback.
fn network(pid: i32) -> Vec<NetworkUsage> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    text.lines().skip(2).filter_map(interface).filter(|usage| usage.interface != "lo").collect()
}

fn interface(line: &str) -> Option<NetworkUsage> {
    let (name, numbers) = line.split_once(':')?;
    let numbers: Vec<u64> = numbers.split_whitespace().map(|number| number.parse().unwrap_or(0)).collect();
    let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
    Some(NetworkUsage {
        interface: name.trim().to_owned(),
        rx_bytes: at(0),
        rx_errors: at(2),
        tx_bytes: at(8),
        tx_errors: at(10),
    })
}

fn tree_bytes(root: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let (mut total, mut pending) = (0, vec![root.to_owned()]);
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            total += metadata.blocks() * 512;
            if metadata.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    total
}
