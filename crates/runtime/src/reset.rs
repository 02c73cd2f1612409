//! Removing everything that a runtime left on a machine: processes, mounts, namespaces, control groups, files. It works
//! from the directory alone, after any crash, and does nothing where there is nothing.

use std::path::{Path, PathBuf};

use crate::cgroup::Hierarchies;
use crate::error::RuntimeError;
use crate::layout::Layout;
use crate::process;
use crate::record::{self, ContainerRecord, RECORD_FILE, SandboxRecord};
use crate::sandbox;

/// Removes all traces of the runtime in `root`. No other process may be using it.
pub fn reset(root: &Path) -> Result<(), RuntimeError> {
    if !root.exists() {
        return Ok(());
    }
    let root = std::fs::canonicalize(root).map_err(RuntimeError::io("resolve", root))?;
    let layout = Layout::new(root.clone());
    let cgroups = Hierarchies::detect()?;
    for directory in entries(&layout.containers()) {
        // What cannot be read has no process that we could name; its files go below.
        if let Ok(Some(record)) = record::load::<ContainerRecord>(&directory.join(RECORD_FILE)) {
            cgroups.kill(&record.cgroup)?;
            process::kill_and_wait(record.pid, Some(record.pid_started));
        }
    }
    for directory in entries(&layout.sandboxes()) {
        if let Ok(Some(record)) = record::load::<SandboxRecord>(&directory.join(RECORD_FILE))
            && let Some(pid) = record.init_pid
        {
            kill_named(pid, "tiphys-init");
        }
    }
    kill_monitors(&layout);
    for directory in entries(&layout.containers()) {
        if let Ok(Some(record)) = record::load::<ContainerRecord>(&directory.join(RECORD_FILE)) {
            cgroups.remove(&record.cgroup)?;
        }
    }
    for directory in entries(&layout.sandboxes()) {
        if let Ok(Some(record)) = record::load::<SandboxRecord>(&directory.join(RECORD_FILE)) {
            cgroups.remove_if_empty(&record.cgroup_parent);
        }
    }
    for pins in entries(&layout.run().join("sandboxes")) {
        sandbox::unpin(&pins)?;
    }
    sandbox::detach(&layout.run().join("agent"))?;
    sandbox::detach(&layout.run())?;
    match std::fs::remove_dir_all(&root) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(RuntimeError::io("remove", &root)(e)),
        _ => Ok(()),
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Ends the monitors of this directory: those whose program lies below it.
fn kill_monitors(layout: &Layout) {
    let bin = layout.bin();
    for entry in entries(Path::new("/proc")) {
        let Some(pid) = entry.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()) else {
            continue;
        };
        if std::fs::read_link(entry.join("exe")).is_ok_and(|exe| exe.starts_with(&bin)) {
            process::kill_and_wait(pid, None);
        }
    }
}

fn kill_named(pid: i32, name: &str) {
    if std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name) {
        process::kill_and_wait(pid, None);
    }
}
