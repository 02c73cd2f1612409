//! What has to be done now and then: log rotation, collection of images nobody uses, files of pods long gone.
//! Upstream: pkg/kubelet/logs, pkg/kubelet/images/image_gc_manager.go, pkg/kubelet/kubelet_volumes.go.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::cgroup::Cgroups;
use crate::config::Config;
use crate::logs::{Rotation, rotate};
use crate::shared::Shared;
use crate::{spec, volumes};

const LOGS_EVERY: Duration = Duration::from_secs(30);
const IMAGES_EVERY: Duration = Duration::from_secs(300);

/// Never ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut logs = tokio::time::interval(LOGS_EVERY);
    let mut images = tokio::time::interval_at(tokio::time::Instant::now() + IMAGES_EVERY, IMAGES_EVERY);
    logs.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // When an image was first seen without a user, by id.
    let mut unused: HashMap<String, Instant> = HashMap::new();
    loop {
        tokio::select! {
            _ = logs.tick() => rotate_logs(&shared).await,
            _ = images.tick() => collect_images(&shared, &mut unused).await,
        }
    }
}

async fn rotate_logs(shared: &Shared) {
    for entry in shared.pods.all() {
        let view = entry.view.read().clone();
        let directory = spec::log_directory(&shared.config, &view.pod);
        for container in view.containers.iter().filter(|container| container.running) {
            let Some(id) = &container.id else { continue };
            let path = Path::new(&directory).join(&container.name).join(format!("{}.log", container.attempt));
            let (size, files) = (shared.config.container_log_max_size, shared.config.container_log_max_files);
            match rotate(&path, size, files, Timestamp::now()) {
                Ok(Rotation::NotNeeded) => {}
                Ok(Rotation::Rotated { renamed }) => {
                    if let Err(error) = shared.runtime.reopen_container_log(id).await {
                        tracing::warn!(%error, id, "log not reopened, rotation undone");
                        if let Err(error) = std::fs::rename(&renamed, &path) {
                            tracing::warn!(%error, id, "rotation not undone");
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, id, "log not rotated"),
            }
        }
    }
}

/// Removes images nobody uses, those unused for longest first, when the disk is fuller than the high mark.
async fn collect_images(shared: &Shared, unused: &mut HashMap<String, Instant>) {
    let Ok(images) = shared.images.list_images().await else { return };
    let used = images_in_use(shared);
    let now = Instant::now();
    let idle: Vec<_> = images
        .iter()
        .filter(|image| !image.pinned)
        .filter(|image| {
            !std::iter::once(&image.id)
                .chain(&image.repo_tags)
                .chain(&image.repo_digests)
                .any(|name| used.contains(name.as_str()))
        })
        .collect();
    let ids: HashSet<&str> = idle.iter().map(|image| image.id.as_str()).collect();
    unused.retain(|id, _| ids.contains(id.as_str()));
    for image in &idle {
        unused.entry(image.id.clone()).or_insert(now);
    }
    let Ok(info) = shared.images.image_fs_info().await else { return };
    let Ok(stat) = nix::sys::statvfs::statvfs(info.mountpoint.as_str()) else { return };
    let (free, total) = (stat.blocks_available(), stat.blocks().max(1));
    let percent = 100 - free * 100 / total;
    if percent < u64::from(shared.config.image_gc_high) {
        return;
    }
    let goal = percent.saturating_sub(u64::from(shared.config.image_gc_low)) * total * stat.fragment_size() / 100;
    let mut freed = 0;
    let mut candidates = idle;
    candidates.sort_by_key(|image| unused.get(&image.id).copied());
    for image in candidates {
        if freed >= goal {
            break;
        }
        let old_enough =
            unused.get(&image.id).is_some_and(|since| now.duration_since(*since) >= shared.config.image_minimum_age);
        if !old_enough {
            continue;
        }
        match shared.images.remove_image(&image.id).await {
            Ok(()) => {
                tracing::info!(image = image.id, bytes = image.size, "image removed to free disk space");
                freed += image.size;
            }
            Err(error) => tracing::warn!(%error, image = image.id, "image not removed"),
        }
    }
}

/// Every name of an image that a pod of this node refers to.
fn images_in_use(shared: &Shared) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for entry in shared.pods.all() {
        let view = entry.view.read();
        for (container, _) in crate::pod::containers_of(&view.pod) {
            used.extend(container.image.clone());
        }
        let status = view.pod.status.as_ref();
        let statuses = status.into_iter().flat_map(|status| {
            [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses]
                .into_iter()
                .flatten()
                .flatten()
        });
        for status in statuses {
            used.insert(status.image.clone());
            used.insert(status.image_id.clone());
        }
    }
    used
}

/// Directories and cgroups of pods that are not on this node any more.
pub(crate) fn remove_stale_files(config: &Config, cgroups: &Cgroups, known: &HashSet<String>) {
    let names = |directory: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let mut uids: BTreeSet<String> = names(&config.pods_dir()).into_iter().collect();
    uids.extend(names(&volumes::memory_root(config)));
    for uid in uids.iter().filter(|uid| !known.contains(*uid)) {
        if let Err(error) = volumes::tear_down(config, uid) {
            tracing::warn!(%error, uid, "volumes of a pod long gone not removed");
        }
        for class in ["", "/burstable", "/besteffort"] {
            let path = format!("{}{class}/pod{uid}", config.cgroup_root.trim_end_matches('/'));
            if let Err(error) = cgroups.remove(&path) {
                tracing::warn!(%error, path, "cgroup of a pod long gone not removed");
            }
        }
    }
    for name in names(&config.log_dir) {
        let uid = name.rsplit('_').next().unwrap_or_default();
        if !known.contains(uid)
            && let Err(error) = std::fs::remove_dir_all(config.log_dir.join(&name))
        {
            tracing::warn!(%error, name, "logs of a pod long gone not removed");
        }
    }
}
