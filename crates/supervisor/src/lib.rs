//! Owned tasks: every task of the process has a name, is noticed when it ends, and is drained at shutdown.
//!
//! `tokio::spawn` is banned elsewhere (clippy.toml), because a task that dies alone leaves a process that looks
//! healthy and does nothing.

use std::{future::Future, sync::Arc};

use futures::future::{BoxFuture, FutureExt as _};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, debug, error, info_span};

/// Owner of tasks. Clones share the tasks and the shutdown signal.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    failed: CancellationToken,
}

/// Stops its task when dropped, unless [`TaskGuard::detach`] is called.
#[derive(Debug)]
#[must_use = "dropping the guard stops the task"]
pub struct TaskGuard(Option<tokio::task::AbortHandle>);

impl Supervisor {
    /// A supervisor without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a component until it ends or the process shuts down; then the future is dropped. A panic is logged
    /// with the component's name and ends the whole process in order (see [`Supervisor::failed`]).
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn_inner(name, future.boxed());
    }

    /// Like [`Supervisor::spawn`], for a task that belongs to a shorter-lived owner.
    pub fn spawn_guarded(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> TaskGuard {
        TaskGuard(Some(self.spawn_inner(name, future.boxed())))
    }

    /// Like [`Supervisor::spawn`], but the future is not dropped at shutdown: it must watch
    /// [`Supervisor::shutting_down`] itself and end soon after (a server that drains its connections).
    pub fn spawn_draining(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.track(name, watch_panic(name, future.boxed(), self.inner.failed.clone()));
    }

    /// Resolves when the process is to stop.
    pub async fn shutting_down(&self) {
        self.inner.shutdown.cancelled().await;
    }

    /// Whether the process is to stop.
    pub fn is_shutting_down(&self) -> bool {
        self.inner.shutdown.is_cancelled()
    }

    /// Resolves when a component has panicked or said that it cannot go on; the owner of the process then shuts down with an error.
    pub async fn failed(&self) {
        self.inner.failed.cancelled().await;
    }

    /// Says that the process cannot go on, for a reason that is no panic; `why` is logged.
    pub fn fail(&self, why: &'static str) {
        error!(why, "the process cannot go on");
        self.inner.failed.cancel();
    }

    /// Asks all tasks to stop and waits until they have.
    pub async fn shutdown(&self) {
        self.inner.shutdown.cancel();
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
    }

    /// Boxed, so that what surrounds a task exists once in the program, and each wrapping does not hold the task's
    /// future once more: a future's captures and its locals never share their place.
    fn spawn_inner(&self, name: &'static str, future: BoxFuture<'static, ()>) -> tokio::task::AbortHandle {
        let shutdown = self.inner.shutdown.clone();
        let failed = self.inner.failed.clone();
        self.track(name, async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = watch_panic(name, future, failed) => {}
            }
        })
    }

    fn track(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
        self.inner.tracker.spawn(future.instrument(info_span!("task", name))).abort_handle()
    }
}

impl TaskGuard {
    /// Lets the task run on without its owner.
    pub fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            handle.abort();
        }
    }
}

async fn watch_panic(name: &'static str, future: BoxFuture<'static, ()>, failed: CancellationToken) {
    match std::panic::AssertUnwindSafe(future).catch_unwind().await {
        Ok(()) => debug!(name, "task ended"),
        Err(panic) => {
            let message = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            error!(name, message, "task panicked");
            failed.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_noticed_and_the_others_are_stopped() {
        let supervisor = Supervisor::new();
        supervisor.spawn("forever", std::future::pending());
        supervisor.spawn("broken", async { panic!("on purpose") });
        supervisor.failed().await;
        supervisor.shutdown().await;
        assert!(supervisor.is_shutting_down());
    }

    #[tokio::test]
    async fn a_dropped_guard_stops_its_task() {
        let supervisor = Supervisor::new();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let guard = supervisor.spawn_guarded("short", async move {
            let _held = sender;
            std::future::pending::<()>().await;
        });
        drop(guard);
        assert!(receiver.await.is_err(), "the sender must have been dropped with the task");
    }
}
