//! `tiphys reset`: stops a cluster and removes every trace of it: processes, mounts, namespaces, rules, cgroups, files.

mod leftovers;

use std::{fs, io, path::PathBuf, sync::mpsc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    layout::{DEFAULT_DATA_DIR, Layout},
    server::{lock, names::Names},
};

/// How long a server may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(20);

#[derive(Args)]
pub(crate) struct Arguments {
    /// Data directory of the cluster
    #[arg(long, default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// Yes, remove everything
    #[arg(long)]
    yes: bool,
}

pub(crate) fn main(arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(
        arguments.yes,
        "this stops the cluster in {0} and deletes everything in it, its data too; if that is meant: tiphys reset --data-dir {0} --yes",
        arguments.data_dir.display()
    );
    reset(&Layout::new(&arguments.data_dir)?)
}

/// Does it; what is gone already is no error.
pub(crate) fn reset(layout: &Layout) -> anyhow::Result<()> {
    layout.check_ownership()?;
    stop_server(layout)?;
    let names = Names::of(layout);
    runtime::reset(&layout.runtime()).context("remove containers")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(names.remove_network(layout)).context("remove the network")?;
    leftovers::unmount_below(layout.root())?;
    leftovers::remove_cgroup(&names.cgroup_top())?;
    match fs::remove_dir_all(layout.root()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", layout.root().display()))
        }
        _ => Ok(()),
    }
}

/// Ends the server that holds the lock, in order if it will, and waits until it has gone: then the kernel gives the
/// lock to us.
fn stop_server(layout: &Layout) -> anyhow::Result<()> {
    let path = layout.lock();
    let Some(process) = lock::holder(&path)? else { return Ok(()) };
    let (sender, gone) = mpsc::channel();
    std::thread::spawn(move || sender.send(lock::wait(&path)));
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        match kill(Pid::from_raw(process), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("stop the server (process {process})")),
        }
        match gone.recv_timeout(STOP) {
            Ok(outcome) => return outcome,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    bail!("the server (process {process}) does not end, not even when killed")
}
