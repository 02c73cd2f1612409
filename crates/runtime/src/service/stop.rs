//! Ending containers: a signal, patience, a kill.

use std::sync::Arc;
use std::time::Duration;

use cri::{CriError, CriResult};
use nix::sys::signal::Signal;

use super::{Container, Runtime, UNKNOWN_EXIT, blocking};
use crate::process;
use crate::record::{self, Exit};

/// After a kill the end comes at once; this long without it means that the kernel cannot end the process.
const KILL_PATIENCE: Duration = Duration::from_secs(120);

impl Runtime {
    pub(super) async fn end_container(&self, id: &str, timeout: Duration) -> CriResult<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        if !container.is_running() {
            return Ok(());
        }
        if timeout > Duration::ZERO {
            let (sandbox_id, signal) = {
                let record = container.record.lock();
                (record.sandbox_id.clone(), signal_number(&record.stop_signal))
            };
            self.signal(&sandbox_id, id, signal).await;
            if tokio::time::timeout(timeout, container.wait()).await.is_ok() {
                return Ok(());
            }
        }
        self.kill_container(&container).await
    }

    /// Ends a container by force. One that never ran is not touched.
    pub(super) async fn kill_container(&self, container: &Arc<Container>) -> CriResult<()> {
        // A start in progress comes to its end first.
        let changing = container.changing.lock().await;
        drop(changing);
        if !container.is_running() {
            return Ok(());
        }
        let record = container.record.lock().clone();
        let shares_pids = {
            let sandbox = self.sandbox(&record.sandbox_id)?;
            let namespaces = sandbox.record.lock().config.namespaces.clone();
            namespaces.pid != cri::NamespaceMode::Container
        };
        let signalled = self.signal(&record.sandbox_id, &record.id, Signal::SIGKILL as i32).await;
        // Without a pid namespace of its own, the first process's end does not end the others.
        if shares_pids || !signalled {
            let (cgroups, group) = (self.shared.cgroups.clone(), record.cgroup.clone());
            blocking(move || cgroups.kill(&group)).await?;
        }
        if !signalled && process::started(record.pid) != Some(record.pid_started) {
            // Gone, and nobody saw it go.
            let (code, at) = self.recorded_exit(container).unwrap_or((UNKNOWN_EXIT, record::now()));
            self.set_exit(container, Exit { code, at, reason: "Error".to_owned(), message: String::new() });
        }
        match tokio::time::timeout(KILL_PATIENCE, container.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(CriError::DeadlineExceeded(format!("container {:?} does not end after a kill", record.id))),
        }
    }

    async fn signal(&self, sandbox_id: &str, id: &str, signal: i32) -> bool {
        match self.monitor_of(sandbox_id) {
            Ok(monitor) => matches!(monitor.request(&["signal", id, &signal.to_string()], &[]).await, Ok(Ok(_))),
            Err(_) => false,
        }
    }
}

/// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`; anything else is SIGTERM, as with containerd.
fn signal_number(name: &str) -> i32 {
    if let Ok(number) = name.parse::<i32>()
        && (1..=64).contains(&number)
    {
        return number;
    }
    let name = name.to_ascii_uppercase();
    let full = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    if let Ok(signal) = full.parse::<Signal>() {
        return signal as i32;
    }
    let real_time = |prefix: &str, base: i32, sign: i32| -> Option<i32> {
        let rest = full.strip_prefix(prefix)?;
        let offset: i32 = if rest.is_empty() { 0 } else { rest.get(1..)?.parse().ok()? };
        Some(base + sign * offset).filter(|number| (34..=64).contains(number))
    };
    real_time("SIGRTMIN", 34, 1).or_else(|| real_time("SIGRTMAX", 64, -1)).unwrap_or(Signal::SIGTERM as i32)
}

#[cfg(test)]
mod tests {
    use super::signal_number;

    #[test]
    fn signals_by_all_their_names() {
        for (name, number) in
            [("SIGQUIT", 3), ("quit", 3), ("15", 15), ("SIGRTMIN+3", 37), ("SIGRTMAX-1", 63), ("what", 15), ("", 15)]
        {
            assert_eq!(signal_number(name), number, "{name}");
        }
    }
}
