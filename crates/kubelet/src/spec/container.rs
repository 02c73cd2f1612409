//! A container as the runtime is asked for it. Upstream: pkg/kubelet/kuberuntime/kuberuntime_container.go
//! `generateContainerConfig`, security_context.go `verifyRunAsNonRoot`, pkg/securitycontext/util.go.

use cri::{ContainerConfig, ContainerMetadata, ContainerSecurityContext, Mount, SecurityProfile};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::labels;
use super::sandbox::seccomp;
use crate::config::Config;
use crate::format::pod_full_name;
use crate::{env, qos};

/// What besides the spec decides how a container is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContainerInputs {
    pub attempt: u32,
    /// The image as the runtime resolved it.
    pub image: String,
    pub image_user: ImageUser,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    pub memory_capacity: i64,
}

/// The user that the image itself names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageUser {
    pub uid: Option<i64>,
    pub username: String,
}

/// Why a container cannot be made as it is specified; the text is the container's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("container's runAsUser breaks non-root policy (pod: {pod:?}, container: {container})")]
    RootUser { pod: String, container: String },
    #[error("container has runAsNonRoot and image will run as root (pod: {pod:?}, container: {container})")]
    RootImage { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root (pod: {pod:?}, container: {container})"
    )]
    NamedUser { user: String, pod: String, container: String },
}

/// The whole configuration of one container.
pub(crate) fn container_config(
    config: &Config,
    pod: &Pod,
    container: &Container,
    inputs: ContainerInputs,
) -> Result<ContainerConfig, SpecError> {
    verify_non_root(pod, container, &inputs.image_user)?;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut labels_map = cri::StringMap::new();
    labels_map.insert(labels::POD_NAME.to_owned(), text(&pod.metadata.name));
    labels_map.insert(labels::POD_NAMESPACE.to_owned(), text(&pod.metadata.namespace));
    labels_map.insert(labels::POD_UID.to_owned(), text(&pod.metadata.uid));
    labels_map.insert(labels::CONTAINER_NAME.to_owned(), container.name.clone());
    labels_map.insert(labels::NODE.to_owned(), config.node_name.clone());
    let mut annotations = cri::StringMap::new();
    annotations.insert(labels::RESTART_COUNT.to_owned(), inputs.attempt.to_string());
    annotations.insert(labels::TERMINATION_PATH.to_owned(), termination_path(container).to_owned());
    annotations.insert(labels::TERMINATION_POLICY.to_owned(), text(&container.termination_message_policy));
    let command = env::expand_all(&container.command, &inputs.env);
    let args = env::expand_all(&container.args, &inputs.env);
    Ok(ContainerConfig {
        metadata: ContainerMetadata { name: container.name.clone(), attempt: inputs.attempt },
        image: inputs.image,
        user_specified_image: text(&container.image),
        command,
        args,
        working_dir: text(&container.working_dir),
        envs: inputs.env,
        mounts: inputs.mounts,
        devices: Vec::new(),
        labels: labels_map,
        annotations,
        log_path: format!("{}/{}.log", container.name, inputs.attempt),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        resources: qos::container_resources(pod, container, inputs.memory_capacity, config.pod_pids_limit),
        security_context: security_context(config, pod, container),
        stop_signal: container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone()),
    })
}

/// Where the container leaves its last words.
pub(crate) fn termination_path(container: &Container) -> &str {
    container.termination_message_path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/dev/termination-log")
}

fn verify_non_root(pod: &Pod, container: &Container, image: &ImageUser) -> Result<(), SpecError> {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = container.security_context.as_ref();
    let non_root = own.and_then(|own| own.run_as_non_root).or(of_pod.and_then(|of_pod| of_pod.run_as_non_root));
    if non_root != Some(true) {
        return Ok(());
    }
    let (pod_name, name) = (pod_full_name(pod), container.name.clone());
    let user = own.and_then(|own| own.run_as_user).or(of_pod.and_then(|of_pod| of_pod.run_as_user));
    match (user, image.uid) {
        (Some(0), _) => Err(SpecError::RootUser { pod: pod_name, container: name }),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err(SpecError::RootImage { pod: pod_name, container: name }),
        (None, Some(_)) => Ok(()),
        (None, None) if !image.username.is_empty() => {
            Err(SpecError::NamedUser { user: image.username.clone(), pod: pod_name, container: name })
        }
        // An image that says nothing runs as root.
        (None, None) => Err(SpecError::RootImage { pod: pod_name, container: name }),
    }
}

fn security_context(config: &Config, pod: &Pod, container: &Container) -> ContainerSecurityContext {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let capabilities = own.capabilities.unwrap_or_default();
    let plain = |list: Option<Vec<String>>| -> Vec<String> {
        let without = |name: String| name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name);
        list.unwrap_or_default().into_iter().map(without).collect()
    };
    let mut supplemental_groups = of_pod.supplemental_groups.unwrap_or_default();
    supplemental_groups.extend(of_pod.fs_group);
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let apparmor = own.app_armor_profile.or(of_pod.app_armor_profile).map(|profile| match profile.type_.as_str() {
        "Localhost" => SecurityProfile::Localhost(profile.localhost_profile.unwrap_or_default()),
        "Unconfined" => SecurityProfile::Unconfined,
        _ => SecurityProfile::RuntimeDefault,
    });
    ContainerSecurityContext {
        add_capabilities: plain(capabilities.add),
        drop_capabilities: plain(capabilities.drop),
        privileged,
        run_as_user: own.run_as_user.or(of_pod.run_as_user),
        run_as_group: own.run_as_group.or(of_pod.run_as_group),
        run_as_username: String::new(),
        supplemental_groups,
        supplemental_groups_strict: of_pod.supplemental_groups_policy.as_deref() == Some("Strict"),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        seccomp: Some(seccomp(config, own.seccomp_profile.as_ref(), of_pod.seccomp_profile.as_ref(), privileged)),
        apparmor,
        masked_paths: unmasked.then(Vec::new),
        readonly_paths: unmasked.then(Vec::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn make(spec: serde_json::Value, image: ImageUser) -> Result<ContainerConfig, SpecError> {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec}))
                .unwrap();
        let config = Config::new("node", "/data");
        let container = &pod.spec.as_ref().unwrap().containers[0];
        container_config(
            &config,
            &pod,
            container,
            ContainerInputs { image_user: image, attempt: 2, ..ContainerInputs::default() },
        )
    }

    fn non_root(own: serde_json::Value, image: ImageUser) -> Result<(), String> {
        let spec =
            json!({"securityContext": {"runAsNonRoot": true}, "containers": [{"name": "c", "securityContext": own}]});
        make(spec, image).map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn non_root_is_verified() {
        let root = ImageUser { uid: Some(0), ..ImageUser::default() };
        let named = ImageUser { username: "nginx".to_owned(), uid: None };
        assert_eq!(
            non_root(json!({}), root).unwrap_err(),
            "container has runAsNonRoot and image will run as root (pod: \"p_ns(u)\", container: c)"
        );
        assert_eq!(
            non_root(json!({}), named.clone()).unwrap_err(),
            "container has runAsNonRoot and image has non-numeric user (nginx), cannot verify user is non-root (pod: \"p_ns(u)\", container: c)"
        );
        assert_eq!(
            non_root(json!({"runAsUser": 0}), named.clone()).unwrap_err(),
            "container's runAsUser breaks non-root policy (pod: \"p_ns(u)\", container: c)"
        );
        assert!(non_root(json!({"runAsUser": 1000}), named.clone()).is_ok());
        assert!(non_root(json!({"runAsNonRoot": false}), named).is_ok());
    }

    #[test]
    fn the_containers_own_settings_win() {
        let spec = json!({
            "securityContext": {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4], "seccompProfile": {"type": "Unconfined"}},
            "containers": [{"name": "c", "securityContext": {"runAsUser": 9, "capabilities": {"add": ["CAP_NET_ADMIN"], "drop": ["ALL"]},
                "seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}, "allowPrivilegeEscalation": false}}]});
        let made = make(spec, ImageUser::default()).unwrap();
        let security = made.security_context;
        assert_eq!((security.run_as_user, security.run_as_group), (Some(9), Some(2)));
        assert_eq!(security.supplemental_groups, [4, 3]);
        assert_eq!(
            (security.add_capabilities, security.drop_capabilities),
            (vec!["NET_ADMIN".to_owned()], vec!["ALL".to_owned()])
        );
        assert_eq!(security.seccomp, Some(SecurityProfile::Localhost("/data/seccomp/p.json".to_owned())));
        assert!(security.no_new_privs);
        assert_eq!(made.log_path, "c/2.log");
    }

    #[test]
    fn seccomp_defaults_to_the_runtimes_unless_privileged() {
        let made = make(json!({"containers": [{"name": "c"}]}), ImageUser::default()).unwrap();
        assert_eq!(made.security_context.seccomp, Some(SecurityProfile::RuntimeDefault));
        let made =
            make(json!({"containers": [{"name": "c", "securityContext": {"privileged": true}}]}), ImageUser::default())
                .unwrap();
        assert_eq!(made.security_context.seccomp, Some(SecurityProfile::Unconfined));
    }
}
