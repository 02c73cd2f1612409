//! Containers: making, removing, describing.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use ::images::Image;
use cri::{
    ContainerConfig, ContainerEventKind, ContainerFilter, ContainerState, ContainerStatus, CriError, CriResult,
    PodSandboxConfig,
};

use super::{Container, Runtime, blocking};
use crate::error::RuntimeError;
use crate::record::{self, ContainerRecord};
use crate::sandbox::create_directory;
use crate::spec;

/// Image annotation that overrides nothing but is kept: what `imageID` shows.
fn image_reference(image: &Image) -> String {
    image.repo_digests.first().cloned().unwrap_or_else(|| image.id.to_string())
}

impl Runtime {
    pub(super) async fn make_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> CriResult<String> {
        let sandbox = self.sandbox(sandbox_id)?;
        let (cgroup_parent, stopped) = {
            let record = sandbox.record.lock();
            (record.cgroup_parent.clone(), record.stopped)
        };
        if stopped {
            return Err(CriError::FailedPrecondition(format!("pod sandbox {sandbox_id:?} is not running")));
        }
        let store = self.shared.puller.store();
        let image = store
            .find(&config.image)
            .map_err(|error| CriError::CreateContainer(format!("failed to get image: {error}")))?;
        // Asked for now, so that a missing command is an error of creating.
        spec::arguments(config, &image.config).map_err(|error| CriError::CreateContainer(error.to_string()))?;
        let log_path = log_path(&sandbox_config.log_directory, &config.log_path)?;
        let id = record::new_id()?;
        let stop_signal = config.stop_signal.clone().unwrap_or_else(|| image.config.stop_signal.clone());
        let record = ContainerRecord {
            id: id.clone(),
            sandbox_id: sandbox_id.to_owned(),
            config: config.clone(),
            created_at: record::now(),
            started_at: 0,
            pid: 0,
            pid_started: 0,
            exit: None,
            image_id: image.id.to_string(),
            image_ref: image_reference(&image),
            cgroup: format!("{}/{id}", cgroup_parent.trim_end_matches('/')),
            log_path: log_path.clone(),
            stop_signal: if stop_signal.is_empty() { "SIGTERM".to_owned() } else { stop_signal },
            user: None,
            resources: config.resources.clone(),
        };
        store.hold(&id, &image);
        let (directory, for_thread) = (self.shared.layout.container(&id), record.clone());
        let made = blocking(move || {
            create_directory(&directory)?;
            // The upper directory becomes the container's root and has its mode.
            for (name, mode) in [("upper", 0o755), ("work", 0o700)] {
                use std::os::unix::fs::DirBuilderExt;
                let path = directory.join(name);
                std::fs::DirBuilder::new().mode(mode).create(&path).map_err(RuntimeError::io("create", &path))?;
            }
            if let Some(parent) = log_path.parent() {
                std::fs::create_dir_all(parent).map_err(RuntimeError::io("create", parent))?;
            }
            record::save(&directory.join(record::RECORD_FILE), &for_thread)
        })
        .await;
        if let Err(error) = made {
            store.release(&id);
            return Err(error.into());
        }
        self.shared.state.lock().containers.insert(id.clone(), Arc::new(Container::new(record.clone())));
        self.tell(ContainerEventKind::Created, &record);
        Ok(id)
    }

    pub(super) async fn drop_container(&self, id: &str) -> CriResult<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        self.kill_container(&container).await?;
        let _changing = container.changing.lock().await;
        let record = container.record.lock().clone();
        if let Ok(monitor) = self.monitor_of(&record.sandbox_id) {
            // A monitor that is gone has forgotten anyway.
            drop(monitor.request(&["forget", id], &[]).await);
        }
        let (shared, group) = (Arc::clone(&self.shared), record.cgroup.clone());
        let (directory, state) = (self.shared.layout.container(id), self.shared.layout.oci().join(id));
        let images = record.config.mounts.iter().filter(|mount| mount.image.is_some()).count();
        let images: Vec<PathBuf> = (0..images).map(|index| self.shared.layout.image_mount(id, index)).collect();
        blocking(move || {
            // Without a pid namespace of its own a container may have left processes behind, and so may a
            // start that was cut short.
            shared.cgroups.kill(&group)?;
            shared.cgroups.remove(&group)?;
            for path in images {
                // Mounted only in the helper's namespace, so here it is an empty directory.
                drop(std::fs::remove_dir(&path));
            }
            for path in [state, directory] {
                record::remove_tree(&path).map_err(RuntimeError::io("remove", &path))?;
            }
            Ok(())
        })
        .await?;
        self.shared.puller.store().release(id);
        self.shared.state.lock().containers.remove(id);
        self.tell(ContainerEventKind::Deleted, &record);
        Ok(())
    }

    pub(super) fn describe_container(&self, id: &str) -> CriResult<ContainerStatus> {
        Ok(status_of(&*self.container(id)?))
    }

    pub(super) fn list_all_containers(&self, filter: &ContainerFilter) -> Vec<ContainerStatus> {
        let containers: Vec<Arc<Container>> = self.shared.state.lock().containers.values().cloned().collect();
        let statuses = containers.iter().map(|container| status_of(container));
        statuses
            .filter(|status| {
                filter.id.as_ref().is_none_or(|id| *id == status.id)
                    && filter.state.is_none_or(|state| state == status.state)
                    && filter.sandbox_id.as_ref().is_none_or(|id| *id == status.sandbox_id)
                    && filter.labels.iter().all(|(key, value)| status.labels.get(key) == Some(value))
            })
            .collect()
    }
}

fn status_of(container: &Container) -> ContainerStatus {
    let record = container.record.lock();
    let exit = record.exit.as_ref();
    let state = match (exit, record.started_at) {
        (Some(_), _) => ContainerState::Exited,
        (None, 0) => ContainerState::Created,
        (None, _) => ContainerState::Running,
    };
    let config = &record.config;
    ContainerStatus {
        id: record.id.clone(),
        sandbox_id: record.sandbox_id.clone(),
        metadata: config.metadata.clone(),
        state,
        created_at: record.created_at,
        started_at: record.started_at,
        finished_at: exit.map_or(0, |exit| exit.at),
        exit_code: exit.map_or(0, |exit| exit.code),
        reason: exit.map(|exit| exit.reason.clone()).unwrap_or_default(),
        message: exit.map(|exit| exit.message.clone()).unwrap_or_default(),
        image: if config.user_specified_image.is_empty() { &config.image } else { &config.user_specified_image }
            .clone(),
        image_ref: record.image_ref.clone(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        mounts: config.mounts.clone(),
        log_path: record.log_path.to_string_lossy().into_owned(),
        resources: record.resources.clone(),
        user: record.user.clone(),
        stop_signal: record.stop_signal.clone(),
        pid: if state == ContainerState::Running { record.pid } else { 0 },
    }
}

/// The log file must stay below the pod's log directory.
fn log_path(directory: &str, path: &str) -> CriResult<PathBuf> {
    if path.is_empty() {
        return Ok(PathBuf::new());
    }
    let relative = Path::new(path);
    if relative.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir)) {
        Ok(Path::new(directory).join(relative))
    } else {
        Err(CriError::InvalidArgument(format!("log path {path:?} leaves the log directory")))
    }
}
