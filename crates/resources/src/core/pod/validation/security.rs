//! Validation of security contexts, of pods and of containers.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{AppArmorProfile, PodSpec, SeccompProfile, SecurityContext, Sysctl};
use serde_json::json;

use super::os;
use crate::check::{self, Report};
use crate::core::volume;
use crate::optional::{Flag, Items, Text};

const PROFILE_TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
const MAX_SYSCTL: usize = 253;
/// `PATH_MAX`, less the final zero.
const MAX_APPARMOR_PROFILE: usize = 4095;

pub(super) fn pod(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    // On other levels the fields live beside the context, but they are judged with it.
    let Some(context) = &spec.security_context else { return };
    for (field, id) in
        [("fsGroup", context.fs_group), ("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)]
    {
        if let Some(id) = id {
            check::unix_id(id, &path.child(field), errors);
        }
    }
    for (index, group) in context.supplemental_groups.items().iter().enumerate() {
        check::unix_id(*group, &path.child("supplementalGroups").index(index), errors);
    }
    if spec.share_process_namespace.is_set() && spec.host_pid.is_set() {
        let message = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path.child("shareProcessNamespace"), true, message);
    }
    sysctls(context.sysctls.items(), spec, &path.child("sysctls"), errors);
    supported(
        &context.fs_group_change_policy,
        &["Always", "OnRootMismatch"],
        &path.child("fsGroupChangePolicy"),
        errors,
    );
    if let Some(profile) = &context.seccomp_profile {
        seccomp(profile, &path.child("seccompProfile"), errors);
    }
    if let Some(options) = &context.windows_options {
        os::windows_options(options, &path.child("windowsOptions"), errors);
    }
    if let Some(profile) = &context.app_armor_profile {
        app_armor(profile, &path.child("appArmorProfile"), errors);
    }
    let policies = &["Merge", "Strict"];
    supported(&context.supplemental_groups_policy, policies, &path.child("supplementalGroupsPolicy"), errors);
    let policies = &["MountOption", "Recursive"];
    supported(&context.se_linux_change_policy, policies, &path.child("seLinuxChangePolicy"), errors);
}

fn supported(value: &Option<String>, values: &[&str], path: &Path, errors: &mut ErrorList) {
    if let Some(value) = value
        && !values.contains(&value.as_str())
    {
        errors.not_supported(path, value, values);
    }
}

pub(super) fn container(context: &SecurityContext, host_users: bool, path: &Path, errors: &mut ErrorList) {
    for (field, id) in [("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)] {
        if let Some(id) = id {
            check::unix_id(id, &path.child(field), errors);
        }
    }
    supported(&context.proc_mount, &["Default", "Unmasked"], &path.child("procMount"), errors);
    if host_users && context.proc_mount.text() == "Unmasked" {
        let message = "`hostUsers` must be false to use `Unmasked`";
        errors.invalid(&path.child("procMount"), context.proc_mount.text(), message);
    }
    if let Some(profile) = &context.seccomp_profile {
        seccomp(profile, &path.child("seccompProfile"), errors);
    }
    if context.allow_privilege_escalation == Some(false) {
        if context.privileged.is_set() {
            let message = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(path, json!(context), message);
        }
        let added = context.capabilities.iter().flat_map(|capabilities| capabilities.add.items());
        for _ in added.filter(|capability| *capability == "CAP_SYS_ADMIN") {
            let message = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(path, json!(context), message);
        }
    }
    if let Some(options) = &context.windows_options {
        os::windows_options(options, &path.child("windowsOptions"), errors);
    }
    if let Some(profile) = &context.app_armor_profile {
        app_armor(profile, &path.child("appArmorProfile"), errors);
    }
}

fn seccomp(profile: &SeccompProfile, path: &Path, errors: &mut ErrorList) {
    match profile.type_.as_str() {
        "" => errors.required(&path.child("type"), "type is required when seccompProfile is set"),
        kind if !PROFILE_TYPES.contains(&kind) => errors.not_supported(&path.child("type"), kind, PROFILE_TYPES),
        _ => {}
    }
    let profile_path = path.child("localhostProfile");
    match (&profile.localhost_profile, profile.type_ == "Localhost") {
        (None, true) => errors.required(&profile_path, "must be set when seccomp type is Localhost"),
        (Some(file), true) => volume::relative_path(file, &profile_path, errors),
        (Some(_), false) => {
            errors.invalid(&profile_path, json!(profile), "can only be set when seccomp type is Localhost");
        }
        (None, false) => {}
    }
}

fn app_armor(profile: &AppArmorProfile, path: &Path, errors: &mut ErrorList) {
    let profile_path = path.child("localhostProfile");
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("Localhost", None) => errors.required(&profile_path, "must be set when AppArmor type is Localhost"),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                errors.invalid(&profile_path, name, "must not be padded with whitespace");
            } else if name.is_empty() {
                errors.required(&profile_path, "must be set when AppArmor type is Localhost");
            }
            if name.len() > MAX_APPARMOR_PROFILE {
                errors.too_long(&profile_path, MAX_APPARMOR_PROFILE);
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errors.invalid(&profile_path, name, "can only be set when AppArmor type is Localhost");
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => errors.required(&path.child("type"), "type is required when appArmorProfile is set"),
        (other, _) => errors.not_supported(&path.child("type"), other, PROFILE_TYPES),
    }
}

fn sysctls(sysctls: &[Sysctl], spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let mut names = BTreeSet::new();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let path = path.index(index).child("name");
        let name = sysctl.name.as_str();
        if name.is_empty() {
            errors.required(&path, "");
        } else if !is_sysctl_name(name) {
            let message = format!(
                "must have at most {MAX_SYSCTL} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            errors.invalid(&path, name, message);
        } else if names.contains(name) {
            errors.duplicate(&path, name);
        }
        let dotted = name.replace('/', ".");
        if spec.host_network.is_set() && dotted.starts_with("net.") {
            errors.invalid(&path, name, "may not be specified when 'hostNetwork' is true");
        } else if spec.host_ipc.is_set() && is_ipc_sysctl(&dotted) {
            errors.invalid(&path, name, "may not be specified when 'hostIPC' is true");
        }
        names.insert(name);
    }
}

fn is_ipc_sysctl(name: &str) -> bool {
    name == "kernel.sem" || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix))
}

fn is_sysctl_name(name: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= MAX_SYSCTL
        && name.split(['.', '/']).all(|segment| match (segment.bytes().next(), segment.bytes().last()) {
            (Some(first), Some(last)) => {
                edge(first) && edge(last) && segment.bytes().all(|b| edge(b) || b == b'-' || b == b'_')
            }
            _ => false,
        })
}
