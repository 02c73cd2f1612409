//! What a cluster has in the kernel: all of it has to be gone once the cluster was reset.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// Processes that were started with a path of the cluster, or are in one of its cgroups.
    pub(crate) processes: Vec<String>,
    /// Mounts, among them those that keep network namespaces.
    pub(crate) mounts: Vec<String>,
    pub(crate) links: Vec<String>,
    pub(crate) cgroups: Vec<PathBuf>,
    pub(crate) tables: Vec<String>,
}

impl Traces {
    /// Everything whose name has the cluster's directory, or the suffix that the cluster's bridge shows.
    pub(crate) fn of(data: &Path, bridge: &str) -> Self {
        let data = data.to_str().unwrap();
        let suffix = bridge.strip_prefix("tiphys-").expect("a cluster beside the default one has a suffix");
        let group = format!("tiphys-{suffix}");
        let links = names("/sys/class/net");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let owns_link = |link: &String| link == bridge || link.starts_with(&format!("t{suffix}"));
        Self {
            processes: processes(data, &group),
            mounts: mounts.lines().filter(|line| line.contains(data)).map(str::to_owned).collect(),
            links: links.into_iter().filter(owns_link).collect(),
            cgroups: cgroups(&group),
            tables: tables().into_iter().filter(|table| table.ends_with(&format!(" {group}"))).collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.processes.is_empty()
            && self.mounts.is_empty()
            && self.links.is_empty()
            && self.cgroups.is_empty()
            && self.tables.is_empty()
    }
}

fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn processes(data: &str, group: &str) -> Vec<String> {
    let numbers = names("/proc").into_iter().filter(|name| name.parse::<u32>().is_ok());
    let mut found = Vec::new();
    for number in numbers {
        // One that has ended meanwhile has no files, and is no trace.
        let read = |file: &str| fs::read(format!("/proc/{number}/{file}")).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let groups = String::from_utf8_lossy(&read("cgroup")).into_owned();
        let itself = number == std::process::id().to_string();
        if !itself && (command.contains(data) || groups.contains(group)) {
            found.push(format!("{number} {command}"));
        }
    }
    found
}

/// The cluster's outermost groups, one in each hierarchy.
fn cgroups(group: &str) -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let hierarchies = names("/sys/fs/cgroup").into_iter().map(|name| root.join(name));
    let candidates = hierarchies.chain([root.clone()]).map(|hierarchy| hierarchy.join(group));
    candidates.filter(|path| path.exists()).collect()
}

/// Tables of nftables, where the program that lists them is installed.
fn tables() -> Vec<String> {
    match Command::new("nft").args(["list", "tables"]).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}
