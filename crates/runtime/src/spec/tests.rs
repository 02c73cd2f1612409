//! Merging of command and environment, and the guards against libcontainer's traps.

use cri::{ContainerConfig, PodSandboxConfig, SecurityProfile};
use images::ImageConfig;
use serde_json::Value;

use super::*;

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[track_caller]
fn check_arguments(image: (&[&str], &[&str]), pod: (&[&str], &[&str]), expected: &[&str]) {
    let image = ImageConfig { entrypoint: strings(image.0), cmd: strings(image.1), ..ImageConfig::default() };
    let container = ContainerConfig { command: strings(pod.0), args: strings(pod.1), ..ContainerConfig::default() };
    assert_eq!(arguments(&container, &image).expect("a command"), expected);
}

#[test]
fn command_and_args_replace_entrypoint_and_cmd() {
    check_arguments((&["e"], &["c"]), (&[], &[]), &["e", "c"]);
    check_arguments((&["e"], &["c"]), (&["p"], &[]), &["p"]);
    check_arguments((&["e"], &["c"]), (&[], &["a"]), &["e", "a"]);
    check_arguments((&["e"], &["c"]), (&["p"], &["a"]), &["p", "a"]);
    check_arguments((&[], &["c"]), (&[], &[]), &["c"]);
    assert!(arguments(&ContainerConfig::default(), &ImageConfig::default()).is_err());
}

#[test]
fn environment_keeps_order_and_odd_names() {
    let image = ImageConfig { env: strings(&["PATH=/bin", "A=1", "B=2"]), ..ImageConfig::default() };
    let envs = vec![("A".to_owned(), "3".to_owned()), ("data-1".to_owned(), "x=y".to_owned())];
    let container = ContainerConfig { envs, ..ContainerConfig::default() };
    assert_eq!(environment(&container, &image), ["PATH=/bin", "A=3", "B=2", "data-1=x=y"]);
    assert_eq!(environment(&ContainerConfig::default(), &ImageConfig::default()), [DEFAULT_PATH]);
}

fn spec(container: &ContainerConfig) -> Value {
    let sources = Sources {
        pins: "/pins".into(),
        directory: "/sandbox".into(),
        network: true,
        ipc: true,
        uts: true,
        volumes: Vec::new(),
        images: Vec::new(),
    };
    build(&Inputs {
        sandbox: &PodSandboxConfig::default(),
        container,
        image: &ImageConfig { cmd: strings(&["sh"]), ..ImageConfig::default() },
        sources: &sources,
        init_pid: None,
        cgroup: "/kubepods/pod1/c1",
        rootfs: "/rootfs".into(),
        cgroups: &crate::cgroup::Hierarchies::default(),
    })
    .expect("a configuration")
}

#[test]
fn no_new_privileges_is_only_written_when_true() {
    let mut container = ContainerConfig::default();
    assert!(spec(&container)["process"].get("noNewPrivileges").is_none());
    container.security_context.no_new_privs = true;
    assert_eq!(spec(&container)["process"]["noNewPrivileges"], true);
}

#[test]
fn apparmor_is_left_out_where_the_kernel_has_none() {
    let mut container = ContainerConfig::default();
    container.security_context.apparmor = Some(SecurityProfile::Localhost("custom".to_owned()));
    let written = spec(&container)["process"].get("apparmorProfile").is_some();
    assert_eq!(written, apparmor_enabled());
}

#[test]
fn cgroup_path_is_absolute_and_the_parser_of_libcontainer_agrees() {
    let container = ContainerConfig::default();
    let mut spec = spec(&container);
    spec["process"]["user"] = serde_json::json!({"uid": 0, "gid": 0});
    assert_eq!(spec["linux"]["cgroupsPath"], "/kubepods/pod1/c1");
    serde_json::from_value::<libcontainer::oci_spec::runtime::Spec>(spec).expect("parses");
}

#[test]
fn the_default_filter_is_understood() {
    let mut container = ContainerConfig::default();
    assert_eq!(default_filter(&container).expect("no error"), None);
    container.security_context.seccomp = Some(SecurityProfile::RuntimeDefault);
    let profile = default_filter(&container).expect("no error").expect("a filter");
    let parsed: libcontainer::oci_spec::runtime::LinuxSeccomp = serde_json::from_value(profile).expect("parses");
    assert!(parsed.syscalls().as_ref().is_some_and(|rules| rules.len() > 5));
    container.security_context.privileged = true;
    assert_eq!(default_filter(&container).expect("no error"), None);
}

#[test]
fn privileged_containers_are_not_confined() {
    let mut container = ContainerConfig::default();
    container.security_context.privileged = true;
    let spec = spec(&container);
    assert_eq!(spec["linux"]["maskedPaths"], serde_json::json!([]));
    assert_eq!(spec["linux"]["resources"]["devices"][0]["allow"], true);
}
