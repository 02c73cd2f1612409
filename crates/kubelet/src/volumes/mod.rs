//! A pod's volumes on the node: set up before its containers, kept up to date while they run, removed after them.
//! Upstream: pkg/kubelet/volumemanager and pkg/volume/*.

mod atomic;
mod host_path;
mod mounts;
mod payload;
mod tokens;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, ProjectedVolumeSource, Volume};
use kube::Client;

pub(crate) use self::mounts::{bind_sub_path, remove_all, tmpfs};
use self::payload::{Payload, Selection, mode_of};
use self::tokens::Tokens;
use crate::config::Config;
use crate::env::Facts;
use crate::objects::PodObjects;
use crate::qos;

/// Where a pod's volumes are.
#[derive(Debug, Default)]
pub(crate) struct PodVolumes {
    places: HashMap<String, Place>,
    tokens: Tokens,
    /// When a token has to be fetched anew.
    pub refresh: Option<Timestamp>,
}

/// What a volume's mounts lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Directory { path: PathBuf, read_only: bool },
    Image { reference: String },
}

/// One volume could not be set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeFailure {
    pub volume: String,
    pub error: String,
}

/// What setting up needs.
pub(crate) struct VolumeCx<'a> {
    pub config: &'a Config,
    pub client: &'a Client,
    pub images: &'a Arc<dyn cri::ImageService>,
    pub objects: &'a PodObjects,
    pub facts: &'a Facts,
}

/// Files that live in memory: secrets never reach the disk.
pub(crate) fn memory_root(config: &Config) -> PathBuf {
    config.root_dir.join("memory")
}

/// Prepares the directories that all pods share.
pub(crate) fn prepare_node(config: &Config) -> io::Result<()> {
    std::fs::create_dir_all(config.pods_dir())?;
    std::fs::create_dir_all(&config.log_dir)?;
    let memory = memory_root(config);
    // One file system for all pods: every further mount would make every container start slower.
    if let Err(error) = tmpfs(&memory, None, 0o700) {
        tracing::warn!(%error, "no tmpfs for secrets, they are kept on disk");
        std::fs::create_dir_all(&memory)?;
        std::fs::set_permissions(&memory, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

// === impl PodVolumes ===

impl PodVolumes {
    pub(crate) fn place(&self, volume: &str) -> Option<&Place> {
        self.places.get(volume)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// Sets up all volumes, or brings those whose content comes from the API up to date.
pub(crate) async fn set_up(cx: &VolumeCx<'_>, pod: &Pod, previous: &Tokens) -> Result<PodVolumes, Vec<VolumeFailure>> {
    let mut done = PodVolumes { tokens: previous.clone(), ..PodVolumes::default() };
    let mut failures = Vec::new();
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    for volume in volumes {
        match set_up_one(cx, pod, volume, &mut done).await {
            Ok(place) => {
                done.places.insert(volume.name.clone(), place);
            }
            Err(error) => failures.push(VolumeFailure { volume: volume.name.clone(), error }),
        }
    }
    done.refresh = done.tokens.next_refresh();
    if failures.is_empty() { Ok(done) } else { Err(failures) }
}

impl PodVolumes {
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }
}

async fn set_up_one(cx: &VolumeCx<'_>, pod: &Pod, volume: &Volume, done: &mut PodVolumes) -> Result<Place, String> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let disk =
        |kind: &str| cx.config.pod_dir(uid).join("volumes").join(format!("kubernetes.io~{kind}")).join(&volume.name);
    let memory = || memory_root(cx.config).join(uid).join(&volume.name);
    if let Some(source) = &volume.empty_dir {
        let path = disk("empty-dir");
        empty_dir(source, pod, &path).map_err(|error| error.to_string())?;
        return Ok(Place::Directory { path, read_only: false });
    }
    if let Some(source) = &volume.host_path {
        host_path::prepare(&source.path, source.type_.as_deref().unwrap_or_default())?;
        return Ok(Place::Directory { path: PathBuf::from(&source.path), read_only: false });
    }
    if let Some(source) = &volume.image {
        return image_volume(cx, source.reference.as_deref().unwrap_or_default(), source.pull_policy.as_deref()).await;
    }
    let (payload, path) = if let Some(source) = &volume.config_map {
        let optional = source.optional == Some(true);
        let selection =
            Selection { items: source.items.as_ref(), default_mode: mode_of(source.default_mode, 0o644), optional };
        (config_map(cx, &source.name, &selection).await?, disk("configmap"))
    } else if let Some(source) = &volume.secret {
        let optional = source.optional == Some(true);
        let selection =
            Selection { items: source.items.as_ref(), default_mode: mode_of(source.default_mode, 0o644), optional };
        (secret(cx, source.secret_name.as_deref().unwrap_or_default(), &selection).await?, memory())
    } else if let Some(source) = &volume.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        let payload = payload::downward(pod, items, mode_of(source.default_mode, 0o644), cx.facts)
            .map_err(|error| error.to_string())?;
        (payload, disk("downward-api"))
    } else if let Some(source) = &volume.projected {
        (projected(cx, pod, &volume.name, source, &mut done.tokens).await?, memory())
    } else {
        return Err(format!("no volume plugin matched: {} volumes are not supported by this node", kind_of(volume)));
    };
    write_payload(pod, &path, &payload).map_err(|error| error.to_string())?;
    Ok(Place::Directory { path, read_only: false })
}

fn kind_of(volume: &Volume) -> String {
    let text = apimachinery::json::to_value(volume).ok();
    let kind = text
        .as_ref()
        .and_then(|value| value.as_object())
        .and_then(|map| map.keys().find(|key| *key != "name").cloned());
    kind.unwrap_or_else(|| "unknown".to_owned())
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

fn write_payload(pod: &Pod, path: &Path, payload: &Payload) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    let group = fs_group(pod);
    let stamp = format!("{}", Timestamp::now().as_nanosecond());
    let changed = atomic::write(path, payload, &stamp, group)?;
    if let (true, Some(group)) = (changed, group) {
        mounts::set_group(path, group, true)?;
    } else {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(if group.is_some() { 0o2775 } else { 0o777 }))?;
    }
    Ok(())
}

fn empty_dir(source: &EmptyDirVolumeSource, pod: &Pod, path: &Path) -> io::Result<()> {
    let fresh = !path.exists();
    std::fs::create_dir_all(path)?;
    match source.medium.as_deref().unwrap_or_default() {
        "" => {}
        "Memory" => {
            let parse = |text: &str| text.parse::<apimachinery::Quantity>().ok().map(|quantity| quantity.value());
            let limit = source.size_limit.as_ref().and_then(|limit| parse(&limit.0)).filter(|limit| *limit > 0);
            let of_pod = qos::pod_resources(pod, None).memory_limit.filter(|limit| *limit > 0);
            let size = [limit, of_pod].into_iter().flatten().min();
            tmpfs(path, size, 0o777)?;
        }
        other => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("storage medium {other:?} is not supported by this node"),
            ));
        }
    }
    if fresh {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
        if let Some(group) = fs_group(pod) {
            mounts::set_group(path, group, false)?;
        }
    }
    Ok(())
}

async fn image_volume(cx: &VolumeCx<'_>, reference: &str, policy: Option<&str>) -> Result<Place, String> {
    let present = cx.images.image_status(reference).await.map_err(|error| error.to_string())?;
    let always = match policy {
        Some(policy) => policy == "Always",
        None => reference.ends_with(":latest"),
    };
    let reference = match present {
        Some(image) if !always => image.id,
        None if policy == Some("Never") => {
            return Err(format!("Container image {reference:?} is not present with pull policy of Never"));
        }
        _ => cx.images.pull_image(reference, None).await.map_err(|error| error.to_string())?.image_ref,
    };
    Ok(Place::Image { reference })
}

async fn config_map(cx: &VolumeCx<'_>, name: &str, selection: &Selection<'_>) -> Result<Payload, String> {
    match cx.objects.config_map(name).await.map_err(|error| error.to_string())? {
        Some(map) => payload::config_map(&map, selection).map_err(|error| error.to_string()),
        None if selection.optional => Ok(Payload::new()),
        None => Err(format!("configmap {name:?} not found")),
    }
}

async fn secret(cx: &VolumeCx<'_>, name: &str, selection: &Selection<'_>) -> Result<Payload, String> {
    match cx.objects.secret(name).await.map_err(|error| error.to_string())? {
        Some(secret) => payload::secret(&secret, selection).map_err(|error| error.to_string()),
        None if selection.optional => Ok(Payload::new()),
        None => Err(format!("secret {name:?} not found")),
    }
}

async fn projected(
    cx: &VolumeCx<'_>,
    pod: &Pod,
    volume: &str,
    source: &ProjectedVolumeSource,
    tokens: &mut Tokens,
) -> Result<Payload, String> {
    let default_mode = mode_of(source.default_mode, 0o644);
    let mut all = Payload::new();
    for source in source.sources.iter().flatten() {
        let part = if let Some(own) = &source.config_map {
            let selection = Selection { items: own.items.as_ref(), default_mode, optional: own.optional == Some(true) };
            config_map(cx, &own.name, &selection).await?
        } else if let Some(own) = &source.secret {
            let selection = Selection { items: own.items.as_ref(), default_mode, optional: own.optional == Some(true) };
            secret(cx, &own.name, &selection).await?
        } else if let Some(own) = &source.downward_api {
            let items = own.items.as_deref().unwrap_or_default();
            payload::downward(pod, items, default_mode, cx.facts).map_err(|error| error.to_string())?
        } else if let Some(own) = &source.service_account_token {
            let content = tokens.get(cx.client, pod, volume, own).await?;
            let (owner, mode) = token_access(pod, default_mode);
            Payload::from([(own.path.clone(), payload::File { content: content.into_bytes(), mode, owner })])
        } else {
            return Err("projected volume source is not supported by this node".to_owned());
        };
        payload::merge(&mut all, part).map_err(|error| error.to_string())?;
    }
    Ok(all)
}

/// Tokens are private where it is known who has to read them. Upstream: pkg/volume/projected `collectData`.
fn token_access(pod: &Pod, default_mode: u32) -> (Option<u32>, u32) {
    let Some(spec) = &pod.spec else { return (None, default_mode) };
    let of_pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut users = all.map(|container| container.security_context.as_ref().and_then(|own| own.run_as_user).or(of_pod));
    let first = users.next().flatten();
    let same = users.all(|user| user == first);
    let owner = first.filter(|_| same).and_then(|user| u32::try_from(user).ok());
    if owner.is_some() || fs_group(pod).is_some() { (owner, 0o600) } else { (None, default_mode) }
}

/// Removes everything that a pod has on this node besides its logs.
pub(crate) fn tear_down(config: &Config, uid: &str) -> io::Result<()> {
    // A UID names one directory; anything else would remove what is not the pod's.
    if uid.is_empty() || uid.contains('/') || uid == "." || uid == ".." {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a pod's UID"));
    }
    remove_all(&config.pod_dir(uid))?;
    remove_all(&memory_root(config).join(uid))
}
