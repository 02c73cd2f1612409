//! Validation of `spec.os` and of options that exist on one operating system only.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{PodSpec, SecurityContext, WindowsSecurityContextOptions};

use crate::check::{self, Report};
use crate::optional::{Flag, Items};

const NOT_ON_WINDOWS: &str = "cannot be set for a windows pod";
const NOT_ON_LINUX: &str = "windows options cannot be set for a linux pod";

pub(super) fn validate(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    match spec.os.as_ref().map(|os| os.name.as_str()) {
        None => {}
        Some("linux") => linux(spec, path, errors),
        Some("windows") => windows(spec, path, errors),
        Some("") => errors.required(&path.child("os").child("name"), "cannot be empty"),
        Some(other) => errors.not_supported(&path.child("os"), other, &["linux", "windows"]),
    }
}

/// All containers with their paths, in upstream's order: init, regular, ephemeral.
pub(super) fn containers<'a>(
    spec: &'a PodSpec,
    path: &Path,
) -> impl Iterator<Item = (&'a str, Option<&'a SecurityContext>, Path)> {
    let init = spec.init_containers.items().iter().map(|c| (c.name.as_str(), c.security_context.as_ref()));
    let regular = spec.containers.iter().map(|c| (c.name.as_str(), c.security_context.as_ref()));
    let ephemeral = spec.ephemeral_containers.items().iter().map(|c| (c.name.as_str(), c.security_context.as_ref()));
    let [init_path, regular_path, ephemeral_path] =
        ["initContainers", "containers", "ephemeralContainers"].map(|field| path.child(field));
    init.enumerate()
        .map(move |(index, (name, context))| (name, context, init_path.index(index)))
        .chain(regular.enumerate().map(move |(index, (name, context))| (name, context, regular_path.index(index))))
        .chain(ephemeral.enumerate().map(move |(index, (name, context))| (name, context, ephemeral_path.index(index))))
}

fn linux(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    if spec.security_context.as_ref().is_some_and(|context| context.windows_options.is_some()) {
        errors.forbidden(&path.child("securityContext").child("windowsOptions"), NOT_ON_LINUX);
    }
    for (_, context, path) in containers(spec, path) {
        if context.is_some_and(|context| context.windows_options.is_some()) {
            errors.forbidden(&path.child("securityContext").child("windowsOptions"), NOT_ON_LINUX);
        }
    }
}

fn windows(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let context_path = path.child("securityContext");
    if let Some(context) = &spec.security_context {
        for (in_context, field, set) in [
            (true, "appArmorProfile", context.app_armor_profile.is_some()),
            (true, "seLinuxOptions", context.se_linux_options.is_some()),
            (false, "hostUsers", spec.host_users.is_some()),
            (false, "hostPID", spec.host_pid.is_set()),
            (false, "hostIPC", spec.host_ipc.is_set()),
            (true, "seccompProfile", context.seccomp_profile.is_some()),
            (true, "fsGroup", context.fs_group.is_some()),
            (true, "fsGroupChangePolicy", context.fs_group_change_policy.is_some()),
            (true, "sysctls", !context.sysctls.items().is_empty()),
            (false, "shareProcessNamespace", spec.share_process_namespace.is_some()),
            (true, "runAsUser", context.run_as_user.is_some()),
            (true, "runAsGroup", context.run_as_group.is_some()),
            (true, "supplementalGroups", context.supplemental_groups.is_some()),
            (true, "supplementalGroupsPolicy", context.supplemental_groups_policy.is_some()),
            (true, "seLinuxChangePolicy", context.se_linux_change_policy.is_some()),
        ] {
            if set {
                let parent = if in_context { &context_path } else { path };
                errors.forbidden(&parent.child(field), NOT_ON_WINDOWS);
            }
        }
    }
    for (_, context, path) in containers(spec, path) {
        let Some(context) = context else { continue };
        let path = path.child("securityContext");
        for (field, set) in [
            ("appArmorProfile", context.app_armor_profile.is_some()),
            ("seLinuxOptions", context.se_linux_options.is_some()),
            ("seccompProfile", context.seccomp_profile.is_some()),
            ("capabilities", context.capabilities.is_some()),
            ("readOnlyRootFilesystem", context.read_only_root_filesystem.is_some()),
            ("privileged", context.privileged.is_some()),
            ("allowPrivilegeEscalation", context.allow_privilege_escalation.is_some()),
            ("procMount", context.proc_mount.is_some()),
            ("runAsUser", context.run_as_user.is_some()),
            ("runAsGroup", context.run_as_group.is_some()),
        ] {
            if set {
                errors.forbidden(&path.child(field), NOT_ON_WINDOWS);
            }
        }
    }
}

/// Either all containers are host processes or none is (`validateWindowsHostProcessPod`).
pub(super) fn host_process(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let of_pod = spec
        .security_context
        .as_ref()
        .and_then(|context| context.windows_options.as_ref())
        .and_then(|options| options.host_process);
    let (mut count, mut host_processes) = (0, 0);
    for (_, context, path) in containers(spec, path) {
        count += 1;
        let own = context.and_then(|context| context.windows_options.as_ref()).and_then(|options| options.host_process);
        if let (Some(of_pod), Some(own)) = (of_pod, own)
            && of_pod != own
        {
            let path = path.child("securityContext").child("windowsOptions").child("hostProcess");
            let message = format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
            errors.invalid(&path, own, message);
        }
        host_processes += usize::from(own.or(of_pod).unwrap_or(false));
    }
    if host_processes == 0 {
        return;
    }
    if host_processes != count {
        let message = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(path, "", message);
    }
    if !spec.host_network.is_set() {
        let message = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&path.child("hostNetwork"), false, message);
    }
}

pub(super) fn windows_options(options: &WindowsSecurityContextOptions, path: &Path, errors: &mut ErrorList) {
    const MAX_SPEC: usize = 64 * 1024;
    if let Some(name) = &options.gmsa_credential_spec_name {
        check::dns_subdomain(name, &path.child("gmsaCredentialSpecName"), errors);
    }
    if let Some(spec) = &options.gmsa_credential_spec {
        let path = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.invalid(&path, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > MAX_SPEC {
            errors.invalid(&path, spec, "gmsaCredentialSpec size must be under 64 KiB");
        }
    }
    if let Some(name) = &options.run_as_user_name {
        run_as_user_name(name, &path.child("runAsUserName"), errors);
    }
}

/// `user` or `domain\user`.
fn run_as_user_name(name: &str, path: &Path, errors: &mut ErrorList) {
    let mut wrong = |message: &str| errors.invalid(path, name, message);
    if name.is_empty() {
        return wrong("runAsUserName cannot be an empty string");
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return wrong("runAsUserName cannot contain control characters");
    }
    let (domain, user) = match name.split_once('\\') {
        Some((_, rest)) if rest.contains('\\') => {
            return wrong("runAsUserName cannot contain more than one backslash");
        }
        Some((domain, user)) => (Some(domain), user),
        None => (None, name),
    };
    if let Some(domain) = domain {
        if domain.len() >= 256 {
            wrong("runAsUserName's Domain length must be under 256 characters");
        }
        if !is_net_bios_name(domain) && !is_dns_name(domain) {
            wrong("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
        }
    }
    if user.is_empty() {
        wrong("runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        wrong("runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        wrong("runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains(|c| r#""/\:;|=,+*?<>@[]"#.contains(c)) {
        wrong(r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#);
    }
}

fn is_net_bios_name(domain: &str) -> bool {
    (1..=15).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(|c| r#"\/:*?"<>|"#.contains(c))
}

fn is_dns_name(domain: &str) -> bool {
    domain.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}
