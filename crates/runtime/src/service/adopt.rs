//! Taking over what an earlier process left: sandboxes whose monitors still live, containers that run or have ended
//! meanwhile. Everything is told by the state directory and the monitors; nothing is guessed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cri::{CriResult, NamespaceMode};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::{Container, Runtime, Sandbox, UNKNOWN_EXIT, blocking};
use crate::error::{Result, RuntimeError};
use crate::monitor::{self, Monitor};
use crate::record::{self, ContainerRecord, RECORD_FILE, SandboxRecord};

/// How long a start that an earlier process began may take.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// What a monitor knows of a container.
struct Known {
    pid: i32,
    /// Exit code, where it has ended.
    code: Option<i32>,
}

impl Runtime {
    pub(super) async fn adopt(&self) -> CriResult<()> {
        let layout = self.shared.layout.clone();
        let (sandboxes, containers) = blocking(move || {
            Ok((load_all::<SandboxRecord>(&layout.sandboxes())?, load_all::<ContainerRecord>(&layout.containers())?))
        })
        .await?;
        let store = self.shared.puller.store();
        for record in &containers {
            if let Ok(image) = store.find(&record.image_id) {
                store.hold(&record.id, &image);
            }
        }
        {
            let mut state = self.shared.state.lock();
            for record in &containers {
                state.containers.insert(record.id.clone(), Arc::new(Container::new(record.clone())));
            }
        }
        let mut kept = Vec::new();
        for record in sandboxes {
            if record.half_made {
                let id = record.id.clone();
                self.adopt_sandbox(record).await;
                self.drop_sandbox(&id).await?;
                continue;
            }
            if record.config.namespaces.network != NamespaceMode::Node && !record.stopped {
                kept.push(record.id.clone());
            }
            self.adopt_sandbox(record).await;
        }
        // Containers whose sandbox has no record cannot be reached by anybody.
        let orphans: Vec<String> = containers
            .iter()
            .filter(|record| self.sandbox(&record.sandbox_id).is_err())
            .map(|record| record.id.clone())
            .collect();
        for id in orphans {
            self.drop_container(&id).await?;
        }
        self.shared.network.retain(&kept).await?;
        let store = store.clone();
        blocking(move || store.collect_garbage().map_err(RuntimeError::from)).await?;
        Ok(())
    }

    async fn adopt_sandbox(&self, record: SandboxRecord) {
        let id = record.id.clone();
        let alive = record.boot_id == self.shared.boot_id && !record.stopped;
        let sandbox = Arc::new(Sandbox {
            record: Mutex::new(record),
            monitor: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        });
        self.shared.state.lock().sandboxes.insert(id.clone(), Arc::clone(&sandbox));
        let known = if alive { self.reconnect(&id, &sandbox).await } else { None };
        for container in self.containers_of(&id) {
            self.adopt_container(&container, known.as_ref()).await;
        }
        tracing::debug!(sandbox = id, alive = known.is_some(), "took over a pod sandbox");
    }

    async fn reconnect(&self, id: &str, sandbox: &Sandbox) -> Option<HashMap<String, Known>> {
        let socket = monitor::connect(&self.shared.layout.sandbox(id)).ok()?;
        let monitor = Monitor::new(id, socket, &self.shared.supervisor, self.shared.news.clone()).ok()?;
        // It answers when no start is under way any more. One that hangs is not waited for: its pod begins anew.
        let answer = tokio::time::timeout(START_PATIENCE, monitor.order(&["list"], &[])).await.ok()?.ok()?;
        *sandbox.monitor.lock() = Some(monitor);
        let known = answer.fields.iter().filter_map(|item| {
            let mut parts = item.split(' ');
            let (id, pid, code) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse::<i32>().ok()?);
            Some((id.to_owned(), Known { pid, code: (code >= 0).then_some(code) }))
        });
        Some(known.collect())
    }

    async fn adopt_container(&self, container: &Arc<Container>, known: Option<&HashMap<String, Known>>) {
        let (id, ended, started) = {
            let record = container.record.lock();
            (record.id.clone(), record.exit.is_some(), record.started_at != 0)
        };
        if ended {
            return;
        }
        let known = known.and_then(|known| known.get(&id));
        if !started {
            // Either it was never started, or we died between the start and writing it down.
            match known {
                Some(known) if known.pid > 0 => self.container_started(container, &[known.pid.to_string()]),
                _ => return,
            }
        }
        match known {
            Some(Known { code: None, .. }) => {}
            _ => {
                let (code, at) = self.recorded_exit(container).unwrap_or((UNKNOWN_EXIT, record::now()));
                if known.is_none() {
                    // Nobody reaps it any more; whatever is left of it must not run on unseen.
                    let group = container.record.lock().cgroup.clone();
                    self.kill_group(group).await;
                }
                self.container_ended(container, code, at);
            }
        }
    }
}

/// The records of a directory. What has none was never finished and is removed.
fn load_all<T: DeserializeOwned>(directory: &Path) -> Result<Vec<T>> {
    let mut records = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(RuntimeError::io("list", directory))? {
        let path = entry.map_err(RuntimeError::io("list", directory))?.path();
        match record::load(&path.join(RECORD_FILE)) {
            Ok(Some(record)) => records.push(record),
            Ok(None) => std::fs::remove_dir_all(&path).map_err(RuntimeError::io("remove", &path))?,
            Err(error) => tracing::warn!(error = error.chain(), "an unreadable record is left alone"),
        }
    }
    Ok(records)
}
