//! Looking at the machine from outside: processes of pods, and what a cluster leaves behind.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::cluster::PATIENCE;

/// To a process that may have gone.
pub(crate) fn signal(pid: u32, signal: Signal) {
    match kill(Pid::from_raw(i32::try_from(pid).expect("a process id")), signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("{signal} to {pid}: {error}"),
    }
}

/// The processes in a pod's cgroups.
pub(crate) fn processes_of_pod(uid: &str) -> BTreeSet<u32> {
    let place = format!("pod{uid}");
    let inside = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(&place));
    processes().filter(inside).collect()
}

/// The process that looks after a pod.
pub(crate) fn monitor_of_pod(uid: &str) -> u32 {
    let is_monitor =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("tiphys-m"));
    let parents = processes_of_pod(uid).into_iter().filter_map(parent);
    parents.into_iter().find(is_monitor).expect("a monitor")
}

/// Waits until a process has ended; it may still be a zombie.
pub(crate) async fn ended(pid: u32) {
    let runs = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    let waiting = async {
        while runs() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the process ends");
}

/// What is left of the pods of a cluster that has none.
pub(crate) fn left_of_pods(data: &Path, suffix: &str) -> Vec<String> {
    let mut left = Vec::new();
    let place = format!("tiphys-{suffix}/kubepods");
    for pid in processes() {
        let in_pod = fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(&place));
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let of_runtime =
            exe.starts_with(data) && exe.file_name().is_some_and(|name| name.to_string_lossy().starts_with("monitor"));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if (in_pod || of_runtime) && !stat.contains(") Z ") {
            left.push(format!("process {stat}"));
        }
    }
    let links = fs::read_dir("/sys/class/net").expect("list links").flatten();
    let links = links.map(|link| link.file_name().to_string_lossy().into_owned());
    left.extend(links.filter(|link| link.starts_with(&format!("t{suffix}"))).map(|link| format!("link {link}")));
    for place in ["node/runtime/sandboxes", "node/runtime/containers", "node/kubelet/pods"] {
        let entries = fs::read_dir(data.join(place)).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let of_pods = [data.join("node/kubelet/pods"), data.join("node/runtime/run/sandboxes")];
    let mounts = mounts.lines().filter(|line| of_pods.iter().any(|place| line.contains(&place.display().to_string())));
    left.extend(mounts.map(|line| format!("mount {line}")));
    left
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("list /proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The part of a cluster's names in the kernel that is its own, learned from its bridge.
pub(crate) fn suffix(log: &str) -> String {
    let (_, rest) = log.split_once(r#""bridge":"tiphys-"#).expect("the bridge is in the log");
    rest.split('"').next().expect("a name").to_owned()
}

/// What is left of a cluster: processes, mounts, links, tables, cgroups, files.
pub(crate) fn left_over(data: &Path, suffix: &str) -> Vec<String> {
    let data = data.to_str().expect("a path of text");
    let mut left = Vec::new();
    let own_group = format!("tiphys-{suffix}/");
    for pid in processes() {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let contains = |file: &str, text: &str| String::from_utf8_lossy(&read(file)).contains(text);
        // One that has ended waits for init alone.
        if contains("status", "\nState:\tZ") {
            continue;
        }
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        if contains("cgroup", &own_group) || contains("mountinfo", data) || exe.starts_with(data) {
            left.push(format!("process {pid} {}", String::from_utf8_lossy(&read("cmdline"))));
        }
    }
    let links = fs::read_dir("/sys/class/net").expect("list links").flatten();
    let links = links.map(|link| link.file_name().to_string_lossy().into_owned());
    left.extend(links.filter(|link| link.contains(suffix)).map(|link| format!("link {link}")));
    let tables = Command::new("nft").args(["list", "tables"]).output().expect("run nft");
    let tables = String::from_utf8_lossy(&tables.stdout).into_owned();
    left.extend(tables.lines().filter(|line| line.contains(suffix)).map(|line| format!("nftables {line}")));
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("list cgroups").flatten() {
        let group = hierarchy.path().join(format!("tiphys-{suffix}"));
        if group.exists() {
            left.push(format!("cgroup {}", group.display()));
        }
    }
    if Path::new("/sys/fs/cgroup").join(format!("tiphys-{suffix}")).exists() {
        left.push("cgroup".to_owned());
    }
    let routes = Command::new("ip").args(["route", "show", "table", "all"]).output().expect("run ip");
    let routes = String::from_utf8_lossy(&routes.stdout).into_owned();
    left.extend(
        routes.lines().filter(|line| line.contains(&format!("tiphys-{suffix}"))).map(|line| format!("route {line}")),
    );
    if Path::new(data).exists() {
        left.push(format!("files in {data}"));
    }
    left
}
