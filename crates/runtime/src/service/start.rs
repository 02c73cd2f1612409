//! Starting a container: everything is put into one file, the pod's monitor starts a helper, the helper does the rest.

use std::path::PathBuf;
use std::sync::Arc;

use ::images::ImageConfig;
use cri::{ContainerEventKind, CriError, CriResult, NamespaceMode};

use super::{Container, Runtime, Shared, blocking};
use crate::error::{Result, RuntimeError};
use crate::helper::{CachedFilter, Identity, ImageMount, Launch};
use crate::monitor::Failure;
use crate::process;
use crate::record::{self, ContainerRecord, Exit, SandboxRecord};
use crate::spec::{self, Inputs, Sources};

/// The kubelet's exit code for a command that could not be started.
const START_ERROR_EXIT: i32 = 128;

impl Runtime {
    pub(super) async fn launch_container(&self, id: &str) -> CriResult<()> {
        let container = self.container(id)?;
        let _changing = container.changing.lock().await;
        let record = container.record.lock().clone();
        if record.started_at != 0 || record.exit.is_some() {
            return Err(CriError::FailedPrecondition(format!("container {id:?} is not in created state")));
        }
        let sandbox = self.sandbox(&record.sandbox_id)?.record.lock().clone();
        let monitor = self.monitor_of(&record.sandbox_id)?;
        if !sandbox.init_pid.is_none_or(super::sandboxes::is_init) {
            let id = &record.sandbox_id;
            return Err(CriError::FailedPrecondition(format!("the first process of pod sandbox {id:?} has ended")));
        }
        let image = self.shared.puller.store().find(&record.image_id).map_err(CriError::internal)?;
        let directory = self.shared.layout.container(id);
        let shared = Arc::clone(&self.shared);
        let (for_thread, config) = (record.clone(), image.config.clone());
        let (lower, target) = (self.shared.puller.store().lower_directories(&image), directory.clone());
        blocking(move || {
            let launch = shared.prepare(&for_thread, &sandbox, &config, lower)?;
            record::save(&target.join("launch.json"), &launch)
        })
        .await
        .map_err(|error| CriError::CreateContainer(error.chain()))?;

        let helper = self.shared.helper_program.to_string_lossy();
        let (path, log) = (directory.to_string_lossy(), record.log_path.to_string_lossy());
        let outcome = monitor.request(&["start", "container", id, &helper, &path, &log, &flags(&record)], &[]).await?;
        match outcome {
            Ok(answer) => {
                self.container_started(&container, &answer.fields);
                Ok(())
            }
            Err(failure) => {
                let error = refused(&failure);
                let reason = if failure.kind == "start" { "StartError" } else { "ContainerCannotRun" };
                let exit = Exit {
                    code: START_ERROR_EXIT,
                    at: record::now(),
                    reason: reason.to_owned(),
                    message: error.to_string(),
                };
                self.set_exit(&container, exit);
                Err(error)
            }
        }
    }

    /// The fields are pid, uid, gid, groups and time, as the helper has them.
    pub(super) fn container_started(&self, container: &Container, fields: &[String]) {
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<i64>().ok()).unwrap_or(0);
        let snapshot = {
            let mut record = container.record.lock();
            // The helper's clock: a short container has ended before its answer is here.
            record.started_at = if number(4) > 0 { number(4) } else { record::now() };
            record.pid = i32::try_from(number(0)).unwrap_or(0);
            record.pid_started = process::started(record.pid).unwrap_or(0);
            let groups = fields.get(3).map(String::as_str).unwrap_or_default();
            record.user = Some((number(1), number(2), groups.split(',').filter_map(|g| g.parse().ok()).collect()));
            record.clone()
        };
        self.save_container(&snapshot);
        self.tell(ContainerEventKind::Started, &snapshot);
    }
}

// === impl Shared ===

impl Shared {
    fn prepare(
        &self,
        record: &ContainerRecord,
        sandbox: &SandboxRecord,
        image: &ImageConfig,
        lower: Vec<PathBuf>,
    ) -> Result<Launch> {
        let directory = self.layout.container(&record.id);
        let (image_mounts, mounted) = self.image_mounts(record)?;
        let own = |mode: NamespaceMode| mode != NamespaceMode::Node;
        let network = own(sandbox.config.namespaces.network);
        let sources = Sources {
            pins: self.layout.pins(&sandbox.id),
            directory: self.layout.sandbox(&sandbox.id),
            network,
            ipc: own(sandbox.config.namespaces.ipc),
            uts: network,
            volumes: self.image_volumes(record, image)?,
            images: mounted,
        };
        let spec = spec::build(&Inputs {
            sandbox: &sandbox.config,
            container: &record.config,
            image,
            sources: &sources,
            init_pid: sandbox.init_pid,
            cgroup: &record.cgroup,
            rootfs: self.layout.rootfs(),
            cgroups: &self.cgroups,
        })?;
        Ok(Launch {
            filter: self.filter(record)?,
            id: record.id.clone(),
            lower,
            upper: directory.join("upper"),
            work: directory.join("work"),
            rootfs: self.layout.rootfs(),
            state: self.layout.oci(),
            identity: identity(record, image)?,
            working_dir: spec::working_directory(&record.config, image),
            terminal: record.config.tty,
            image_mounts,
            unified_cgroup: self.cgroups.unified_beside_v1(&record.cgroup),
            device_cgroup: self.cgroups.v2_group(&record.cgroup),
            spec,
        })
    }

    /// The default filter, where the container has it.
    pub(super) fn filter(&self, record: &ContainerRecord) -> Result<Option<CachedFilter>> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let Some(profile) = spec::default_filter(&record.config)? else { return Ok(None) };
        let mut hasher = DefaultHasher::new();
        profile.to_string().hash(&mut hasher);
        let path = self.layout.bin().join(format!("seccomp-{:016x}", hasher.finish()));
        Ok(Some(CachedFilter { profile, path }))
    }

    /// Images that are mounted as volumes, each below the private mount, where only the helper mounts it.
    fn image_mounts(&self, record: &ContainerRecord) -> Result<(Vec<ImageMount>, Vec<PathBuf>)> {
        let (mut mounts, mut targets) = (Vec::new(), Vec::new());
        let mut wanted: Vec<&cri::Mount> = record.config.mounts.iter().collect();
        wanted.sort_by_key(|mount| std::path::Path::new(&mount.container_path).components().count());
        let wanted = wanted.iter().filter_map(|mount| Some((mount.image.as_ref()?, &mount.image_sub_path)));
        for (index, (name, sub_path)) in wanted.enumerate() {
            let image = self.puller.store().find(name)?;
            let target = self.layout.image_mount(&record.id, index);
            let lower = self.puller.store().lower_directories(&image);
            mounts.push(ImageMount { lower, target: target.clone(), sub_path: sub_path.clone() });
            targets.push(target);
        }
        Ok((mounts, targets))
    }

    /// A read-only root still has the image's volumes to write to, as with containerd.
    fn image_volumes(&self, record: &ContainerRecord, image: &ImageConfig) -> Result<Vec<(String, PathBuf)>> {
        if !record.config.security_context.readonly_rootfs {
            return Ok(Vec::new());
        }
        let mut volumes = Vec::new();
        for (index, path) in image.volumes.keys().enumerate() {
            let directory = self.layout.container(&record.id).join(format!("volume-{index}"));
            crate::sandbox::create_directory(&directory)?;
            volumes.push((path.clone(), directory));
        }
        Ok(volumes)
    }
}

fn identity(record: &ContainerRecord, image: &ImageConfig) -> Result<Identity> {
    let security = &record.config.security_context;
    let id =
        |number: i64| u32::try_from(number).map_err(|_| RuntimeError::Invalid(format!("id {number} is out of range")));
    let user = match (security.run_as_user, security.run_as_username.as_str()) {
        (Some(uid), _) => id(uid)?.to_string(),
        (None, "") => image.user.clone(),
        (None, name) => name.to_owned(),
    };
    Ok(Identity {
        user,
        group: security.run_as_group.map(id).transpose()?,
        supplemental: security.supplemental_groups.iter().map(|gid| id(*gid)).collect::<Result<_>>()?,
        strict: security.supplemental_groups_strict,
    })
}

fn flags(record: &ContainerRecord) -> String {
    let config = &record.config;
    [(config.tty, 't'), (config.stdin, 'i'), (config.stdin_once, 'o')]
        .into_iter()
        .filter_map(|(wanted, flag)| wanted.then_some(flag))
        .collect()
}

fn refused(failure: &Failure) -> CriError {
    let message = &failure.message;
    if failure.kind == "start" {
        CriError::StartContainer(format!(
            "failed to create task: OCI runtime create failed: unable to start container process: error during \
             container init: {message}"
        ))
    } else {
        CriError::CreateContainer(format!("failed to create task: OCI runtime create failed: {message}"))
    }
}
