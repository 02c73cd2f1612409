//! Takes a pod's remains off the node. Upstream: pkg/kubelet/kubelet.go `SyncTerminatedPod`, kubelet_volumes.go.

use super::Done;
use super::ops::{Cx, remove_sandboxes};
use crate::pod::Input;
use crate::{qos, spec, volumes};

/// Sandbox, containers, volumes, cgroup, logs.
pub(super) async fn everything(cx: Cx) -> Done {
    Done::Input(Input::CleanedUp(remove(&cx).await))
}

async fn remove(cx: &Cx) -> Result<(), String> {
    remove_sandboxes(cx, false).await?;
    files(cx, true).await
}

/// What a terminal pod no longer needs; its logs stay readable.
pub(super) async fn volumes(cx: Cx) -> Done {
    if let Err(error) = files(&cx, false).await {
        tracing::warn!(%error, "volumes of a finished pod not removed");
    }
    Done::Nothing
}

async fn files(cx: &Cx, logs: bool) -> Result<(), String> {
    let shared = cx.shared.clone();
    let pod = cx.pod.clone();
    let work = move || -> Result<(), String> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        volumes::tear_down(&shared.config, uid).map_err(|error| format!("remove volumes: {error}"))?;
        let cgroup = qos::cgroup_of(&shared.config.cgroup_root, &pod);
        shared.cgroups.remove(&cgroup).map_err(|error| format!("remove cgroup {cgroup}: {error}"))?;
        if logs {
            let directory = spec::log_directory(&shared.config, &pod);
            if let Err(error) = std::fs::remove_dir_all(&directory)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(format!("remove logs: {error}"));
            }
        }
        Ok(())
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}
