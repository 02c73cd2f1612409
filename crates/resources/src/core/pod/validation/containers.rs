//! Validation of containers: what all kinds of containers share, and what differs for regular and init containers.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use k8s_openapi::api::core::v1::{Container, ContainerPort, ContainerResizePolicy, PodSpec, Volume};
use serde_json::json;

use super::{PodOptions, env, mounts, probes, resources, security};
use crate::check::{self, Report};
use crate::core::pod::columns::is_sidecar;
use crate::optional::{Items, Text};

/// What the containers of one spec are judged by.
pub(super) struct Cx<'a> {
    pub(super) spec: &'a PodSpec,
    pub(super) volumes: &'a BTreeMap<&'a str, &'a Volume>,
    /// Names in `spec.resourceClaims`.
    pub(super) claims: BTreeSet<&'a str>,
    pub(super) options: &'a PodOptions,
}

pub(super) fn regular(cx: &Cx<'_>, path: &Path, errors: &mut ErrorList) {
    if cx.spec.containers.is_empty() {
        errors.required(path, "");
        return;
    }
    let mut names = BTreeSet::new();
    for (index, container) in cx.spec.containers.iter().enumerate() {
        let path = path.index(index);
        common(container, cx, &path, errors);
        if !names.insert(container.name.as_str()) {
            errors.duplicate(&path.child("name"), &container.name);
        }
        lifecycle_and_probes(container, cx, &path, errors);
        restart_policy(container, &path, errors);
    }
    host_port_conflicts(cx.spec.containers.iter().enumerate(), path, errors);
}

pub(super) fn init(cx: &Cx<'_>, path: &Path, errors: &mut ErrorList) {
    let mut names: BTreeSet<&str> = cx.spec.containers.iter().map(|container| container.name.as_str()).collect();
    for (index, container) in cx.spec.init_containers.items().iter().enumerate() {
        let own = path.index(index);
        common(container, cx, &own, errors);
        restart_policy(container, &own, errors);
        if names.contains(container.name.as_str()) {
            errors.duplicate(&own.child("name"), &container.name);
        } else if !container.name.is_empty() {
            names.insert(&container.name);
        }
        // Init containers run one by one, so their ports conflict only with themselves.
        host_port_conflicts(std::iter::once((0, container)), path, errors);
        if is_sidecar(container) {
            lifecycle_and_probes(container, cx, &own, errors);
        } else {
            let message = "may not be set for init containers without restartPolicy=Always";
            for (field, set) in [
                ("lifecycle", container.lifecycle.is_some()),
                ("livenessProbe", container.liveness_probe.is_some()),
                ("readinessProbe", container.readiness_probe.is_some()),
                ("startupProbe", container.startup_probe.is_some()),
            ] {
                if set {
                    errors.forbidden(&own.child(field), message);
                }
            }
        }
    }
}

/// What holds for regular, init and ephemeral containers alike.
pub(super) fn common(container: &Container, cx: &Cx<'_>, path: &Path, errors: &mut ErrorList) {
    if container.name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        check::dns_label(&container.name, &path.child("name"), errors);
    }
    if container.image.text().is_empty() {
        errors.required(&path.child("image"), "");
    }
    let policies = &["File", "FallbackToLogsOnError"];
    super::one_of(&container.termination_message_policy, policies, &path.child("terminationMessagePolicy"), errors);
    ports(container.ports.items(), &path.child("ports"), errors);
    env::vars(container.env.items(), cx, &path.child("env"), errors);
    env::from(container.env_from.items(), &path.child("envFrom"), errors);
    mounts::mounts(container, cx.volumes, &path.child("volumeMounts"), errors);
    mounts::devices(container, cx.volumes, &path.child("volumeDevices"), errors);
    pull_policy(container.image_pull_policy.text(), &path.child("imagePullPolicy"), errors);
    if let Some(requirements) = &container.resources {
        resources::requirements(
            requirements,
            resources::ResourceScope::Container,
            &cx.claims,
            &path.child("resources"),
            cx.options,
            errors,
        );
    }
    resize_policy(container.resize_policy.items(), cx.spec, &path.child("resizePolicy"), errors);
    if let Some(context) = &container.security_context {
        let host_users = cx.spec.host_users.unwrap_or(true);
        security::container(context, host_users, &path.child("securityContext"), errors);
    }
}

fn lifecycle_and_probes(container: &Container, cx: &Cx<'_>, path: &Path, errors: &mut ErrorList) {
    let grace = cx.spec.termination_grace_period_seconds;
    if let Some(lifecycle) = &container.lifecycle {
        probes::lifecycle(lifecycle, cx.spec, &path.child("lifecycle"), errors);
    }
    if let Some(probe) = &container.liveness_probe {
        probes::liveness(probe, grace, &path.child("livenessProbe"), errors);
    }
    if let Some(probe) = &container.readiness_probe {
        probes::readiness(probe, grace, &path.child("readinessProbe"), errors);
    }
    if let Some(probe) = &container.startup_probe {
        probes::liveness(probe, grace, &path.child("startupProbe"), errors);
    }
}

/// A container's own restart policy, and the rules that go with it.
fn restart_policy(container: &Container, path: &Path, errors: &mut ErrorList) {
    const POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
    let rules = container.restart_policy_rules.items();
    let rules_path = path.child("restartPolicyRules");
    match &container.restart_policy {
        None => {
            if !rules.is_empty() {
                errors.required(&path.child("restartPolicy"), "must specify restartPolicy when restart rules are used");
            }
        }
        Some(policy) if !POLICIES.contains(&policy.as_str()) => {
            errors.not_supported(&path.child("restartPolicy"), policy, POLICIES);
        }
        Some(_) => {}
    }
    if rules.len() > 20 {
        errors.too_many(&rules_path, rules.len(), 20);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = rules_path.index(index);
        if rule.action != "Restart" && rule.action != "RestartAllContainers" {
            errors.not_supported(&path.child("action"), &rule.action, &["Restart", "RestartAllContainers"]);
        }
        let codes_path = path.child("exitCodes");
        let Some(codes) = &rule.exit_codes else {
            errors.required(&codes_path, "must be specified");
            continue;
        };
        if codes.operator != "In" && codes.operator != "NotIn" {
            errors.not_supported(&codes_path.child("operator"), &codes.operator, &["In", "NotIn"]);
        }
        let values = codes.values.items();
        if values.is_empty() {
            errors.invalid(&codes_path.child("values"), json!(values), "must specify at least one value");
        } else if values.len() > 255 {
            errors.too_many(&codes_path.child("values"), values.len(), 255);
        }
    }
}

pub(super) fn only_for_pods(containers: &[Container], path: &Path, errors: &mut ErrorList) {
    for (index, container) in containers.iter().enumerate() {
        image_is_trimmed(container.image.text(), &path.index(index).child("image"), errors);
    }
}

pub(super) fn image_is_trimmed(image: &str, path: &Path, errors: &mut ErrorList) {
    if image.trim() != image {
        errors.invalid(path, image, "must not have leading or trailing whitespace");
    }
}

fn ports(ports: &[ContainerPort], path: &Path, errors: &mut ErrorList) {
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = port.name.text();
        if !name.is_empty() {
            let messages = names::is_valid_port_name(name);
            if !messages.is_empty() {
                check::all_invalid(messages, name, &path.child("name"), errors);
            } else if !names.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
        if port.container_port == 0 {
            errors.required(&path.child("containerPort"), "");
        } else {
            check::port_number(port.container_port, &path.child("containerPort"), errors);
        }
        let host_port = port.host_port.unwrap_or(0);
        if host_port != 0 {
            check::port_number(host_port, &path.child("hostPort"), errors);
        }
        check::protocol(port.protocol.text(), &path.child("protocol"), errors);
    }
}

fn host_port_conflicts<'a>(
    containers: impl Iterator<Item = (usize, &'a Container)>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let mut taken = BTreeSet::new();
    for (index, container) in containers {
        for (port_index, port) in container.ports.items().iter().enumerate() {
            let number = port.host_port.unwrap_or(0);
            if number == 0 {
                continue;
            }
            let key = format!("{}/{}/{number}", port.protocol.text(), port.host_ip.text());
            if taken.contains(&key) {
                errors.duplicate(&path.index(index).child("ports").index(port_index).child("hostPort"), key);
            } else {
                taken.insert(key);
            }
        }
    }
}

pub(crate) fn pull_policy(policy: &str, path: &Path, errors: &mut ErrorList) {
    match policy {
        "Always" | "IfNotPresent" | "Never" => {}
        "" => errors.required(path, ""),
        other => errors.not_supported(path, other, &["Always", "IfNotPresent", "Never"]),
    }
}

fn resize_policy(policies: &[ContainerResizePolicy], spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let mut resources = BTreeSet::new();
    for (index, policy) in policies.iter().enumerate() {
        if !resources.insert(policy.resource_name.as_str()) {
            errors.duplicate(&path.index(index), &policy.resource_name);
        }
        match policy.resource_name.as_str() {
            "cpu" | "memory" => {}
            "" => errors.required(path, ""),
            other => errors.not_supported(path, other, &["cpu", "memory"]),
        }
        match policy.restart_policy.as_str() {
            "NotRequired" | "RestartContainer" => {}
            "" => errors.required(path, ""),
            other => errors.not_supported(path, other, &["NotRequired", "RestartContainer"]),
        }
        if spec.restart_policy.text() == "Never" && policy.restart_policy != "NotRequired" {
            let message = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.invalid(path, &policy.restart_policy, message);
        }
    }
}
