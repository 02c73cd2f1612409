//! Validation of ephemeral containers: debugging aids without the duties of the pod's own containers.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, ResourceRequirements};

use super::containers::{self, Cx};
use crate::check::Report;
use crate::optional::{Items, Text};

const NOT_HERE: &str = "cannot be set for an Ephemeral Container";

pub(super) fn validate(cx: &Cx<'_>, path: &Path, errors: &mut ErrorList) {
    let others: BTreeSet<&str> = cx
        .spec
        .containers
        .iter()
        .chain(cx.spec.init_containers.items())
        .map(|container| container.name.as_str())
        .collect();
    let mut names = others.clone();
    for (index, ephemeral) in cx.spec.ephemeral_containers.items().iter().enumerate() {
        let path = path.index(index);
        let container = as_container(ephemeral);
        containers::common(&container, cx, &path, errors);
        containers::image_is_trimmed(ephemeral.image.text(), &path.child("image"), errors);
        if !names.insert(&ephemeral.name) {
            errors.duplicate(&path.child("name"), &ephemeral.name);
        }
        let target = ephemeral.target_container_name.text();
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(&path.child("targetContainerName"), target);
        }
        for (field, set) in [
            ("ports", ephemeral.ports.is_some()),
            ("resources", ephemeral.resources.as_ref().is_some_and(|r| *r != ResourceRequirements::default())),
            ("resizePolicy", ephemeral.resize_policy.is_some()),
            ("restartPolicy", ephemeral.restart_policy.is_some()),
            ("restartPolicyRules", ephemeral.restart_policy_rules.is_some()),
            ("livenessProbe", ephemeral.liveness_probe.is_some()),
            ("readinessProbe", ephemeral.readiness_probe.is_some()),
            ("startupProbe", ephemeral.startup_probe.is_some()),
            ("lifecycle", ephemeral.lifecycle.is_some()),
        ] {
            if set {
                errors.forbidden(&path.child(field), NOT_HERE);
            }
        }
        // Sub-paths are bind mounts that stay until the pod is gone.
        for (mount_index, mount) in ephemeral.volume_mounts.items().iter().enumerate() {
            let path = path.child("volumeMounts").index(mount_index);
            if !mount.sub_path.text().is_empty() {
                errors.forbidden(&path.child("subPath"), NOT_HERE);
            }
            if !mount.sub_path_expr.text().is_empty() {
                errors.forbidden(&path.child("subPathExpr"), NOT_HERE);
            }
        }
    }
}

/// The same fields as a regular container, so that the same checks apply.
pub(crate) fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let c = ephemeral.clone();
    Container {
        args: c.args,
        command: c.command,
        env: c.env,
        env_from: c.env_from,
        image: c.image,
        image_pull_policy: c.image_pull_policy,
        lifecycle: c.lifecycle,
        liveness_probe: c.liveness_probe,
        name: c.name,
        ports: c.ports,
        readiness_probe: c.readiness_probe,
        resize_policy: c.resize_policy,
        resources: c.resources,
        restart_policy: c.restart_policy,
        restart_policy_rules: c.restart_policy_rules,
        security_context: c.security_context,
        startup_probe: c.startup_probe,
        stdin: c.stdin,
        stdin_once: c.stdin_once,
        termination_message_path: c.termination_message_path,
        termination_message_policy: c.termination_message_policy,
        tty: c.tty,
        volume_devices: c.volume_devices,
        volume_mounts: c.volume_mounts,
        working_dir: c.working_dir,
    }
}
