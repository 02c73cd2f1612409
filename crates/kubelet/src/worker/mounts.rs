//! What is mounted into a container: volumes, `/etc/hosts`, and the file for its last words.
//! Upstream: pkg/kubelet/kubelet_pods.go `makeMounts`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cri::{Mount, MountPropagation};
use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::ops::Cx;
use crate::env::expand;
use crate::spec::{hosts_file, termination_path};
use crate::volumes::{Place, bind_sub_path};

const HOSTS: &str = "/etc/hosts";

pub(super) fn of(cx: &Cx, container: &Container, env: &[(String, String)]) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    let mut own_hosts = false;
    for (position, mount) in container.volume_mounts.iter().flatten().enumerate() {
        own_hosts |= mount.mount_path == HOSTS;
        mounts.push(volume_mount(cx, container, mount, position, env)?);
    }
    if !own_hosts {
        mounts.push(hosts(cx).map_err(|error| format!("write {HOSTS}: {error}"))?);
    }
    mounts.push(last_words(cx, container).map_err(|error| format!("prepare termination message file: {error}"))?);
    Ok(mounts)
}

fn volume_mount(
    cx: &Cx,
    container: &Container,
    mount: &VolumeMount,
    position: usize,
    env: &[(String, String)],
) -> Result<Mount, String> {
    let place = cx
        .volumes
        .place(&mount.name)
        .ok_or_else(|| format!("cannot find volume {:?} to mount into container {:?}", mount.name, container.name))?;
    let sub_path = match mount.sub_path_expr.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => expand_sub_path(text, env)?,
        None => mount.sub_path.clone().unwrap_or_default(),
    };
    let container_path =
        if mount.mount_path.starts_with('/') { mount.mount_path.clone() } else { format!("/{}", mount.mount_path) };
    let readonly = mount.read_only == Some(true);
    let recursive_read_only =
        readonly && matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible"));
    let base = Mount { container_path, readonly, recursive_read_only, ..Mount::default() };
    match place {
        Place::Image { reference } => {
            Ok(Mount { image: Some(reference.clone()), image_sub_path: sub_path, readonly: true, ..base })
        }
        Place::Directory { path, read_only } => {
            let host_path = if sub_path.is_empty() {
                path.clone()
            } else {
                check_sub_path(&sub_path)?;
                let target = pod_dir(cx)
                    .join("volume-subpaths")
                    .join(&mount.name)
                    .join(&container.name)
                    .join(position.to_string());
                bind_sub_path(path, &sub_path, &target).map_err(|error| {
                    format!(
                        "failed to prepare subPath for volumeMount {:?} of container {:?}: {error}",
                        mount.name, container.name
                    )
                })?;
                target
            };
            Ok(Mount {
                host_path: host_path.to_string_lossy().into_owned(),
                readonly: readonly || *read_only,
                propagation: match mount.mount_propagation.as_deref() {
                    Some("HostToContainer") => MountPropagation::HostToContainer,
                    Some("Bidirectional") => MountPropagation::Bidirectional,
                    _ => MountPropagation::Private,
                },
                ..base
            })
        }
    }
}

/// Every name in a sub-path expression must be known: half a path could be another tenant's.
fn expand_sub_path(text: &str, env: &[(String, String)]) -> Result<String, String> {
    let missing = std::cell::RefCell::new(None);
    let expanded = expand(text, |name| {
        let value = env.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
        if value.is_none() {
            *missing.borrow_mut() = Some(name.to_owned());
        }
        value
    });
    match missing.into_inner() {
        Some(name) => Err(format!("missing value for {name:?}")),
        None => Ok(expanded),
    }
}

fn check_sub_path(path: &str) -> Result<(), String> {
    if path.starts_with('/') {
        return Err(format!("error SubPath `{path}` must not be an absolute path"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(format!("unable to provision SubPath `{path}`: must not contain '..'"));
    }
    Ok(())
}

fn pod_dir(cx: &Cx) -> PathBuf {
    cx.shared.config.pod_dir(cx.uid())
}

fn hosts(cx: &Cx) -> std::io::Result<Mount> {
    let host_network = cx.pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
    let host_file = if host_network { Some(std::fs::read_to_string(HOSTS)?) } else { None };
    let content = hosts_file(&cx.pod, &cx.shared.config.cluster_domain, &cx.pod_ips(), host_file.as_deref());
    let path = pod_dir(cx).join("etc-hosts");
    std::fs::create_dir_all(pod_dir(cx))?;
    // In place: containers that run already have this very file mounted.
    if std::fs::read_to_string(&path).ok().as_deref() != Some(content.as_str()) {
        std::fs::write(&path, content)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(Mount { container_path: HOSTS.to_owned(), host_path: path.to_string_lossy().into_owned(), ..Mount::default() })
}

/// A new file for every life, so that one container's end is not told with another's words.
fn last_words(cx: &Cx, container: &Container) -> std::io::Result<Mount> {
    let directory: &Path = &pod_dir(cx).join("containers").join(&container.name);
    std::fs::create_dir_all(directory)?;
    let path = directory.join(format!("{:08x}", rand::random::<u32>()));
    std::fs::File::create_new(&path)?;
    // Any user of the container may write it.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
    Ok(Mount {
        container_path: termination_path(container).to_owned(),
        host_path: path.to_string_lossy().into_owned(),
        ..Mount::default()
    })
}
