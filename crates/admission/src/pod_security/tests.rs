//! Pods against the standards.

use api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Pod},
};
use expect_test::{Expect, expect};
use registry::Info;
use serde_json::{Value, json};

use super::{
    Configuration, PodSecurity, checks,
    level::{Level, LevelVersion, Policy, Version},
};
use crate::testing::{Case, PODS};

const NAMESPACES: Info = Info::cluster("", "v1", "Namespace", "namespaces");
const DEPLOYMENTS: Info = Info::namespaced("apps", "v1", "Deployment", "deployments");

/// A pod that every level allows, changed.
fn pod(change: &Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "ns"},
        "spec": {
            "containers": [{"name": "c", "image": "i", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
            "initContainers": [{"name": "init", "image": "i", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        },
    });
    for (path, value) in change.as_object().expect("paths and values") {
        let at = pod.pointer_mut(path.rsplit_once('/').expect("a path").0).expect("a place");
        at[path.rsplit_once('/').expect("a path").1] = value.clone();
    }
    pod
}

fn violations(level: &str, version: &str, change: &Value) -> String {
    let pod: Pod = serde_json::from_value(pod(change)).expect("a pod");
    let policy = LevelVersion {
        level: Level::parse(level).expect("a level"),
        version: Version::parse(version).expect("a version"),
    };
    let all = checks::evaluate(policy, &pod.metadata, pod.spec.as_ref().expect("a spec"));
    all.iter().map(|violation| format!("{}: {}\n", violation.reason, violation.detail)).collect()
}

fn check(level: &str, version: &str, change: Value, expected: &Expect) {
    expected.assert_eq(&violations(level, version, &change));
}

#[test]
fn a_plain_pod_is_fine_everywhere() {
    for minor in 0..=40 {
        check("restricted", &format!("v1.{minor}"), json!({}), &expect![""]);
    }
}

#[test]
fn the_node_is_out_of_reach() {
    check(
        "baseline",
        "latest",
        json!({
            "/spec/hostNetwork": true, "/spec/hostPID": true,
            "/spec/volumes": [{"name": "v", "hostPath": {"path": "/"}}],
            "/spec/containers/0/ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 9}],
            "/spec/containers/0/securityContext/privileged": true,
            "/spec/containers/0/securityContext/capabilities": {"add": ["SYS_ADMIN", "KILL"]},
            "/spec/containers/0/livenessProbe": {"httpGet": {"host": "h", "port": 1}},
            "/spec/securityContext/sysctls": [{"name": "kernel.msgmax", "value": "1"}, {"name": "net.ipv4.tcp_rmem", "value": "1"}],
            "/spec/securityContext/seLinuxOptions": {"type": "x", "user": "u"},
        }),
        &expect![[r#"
            non-default capabilities: container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add
            host namespaces: hostNetwork=true, hostPID=true
            hostPath volumes: volume "v"
            hostPort: container "c" uses hostPorts 80, 9
            probe or lifecycle host: container "c" uses probe or lifecycle host "h"
            privileged: container "c" must not set securityContext.privileged=true
            seLinuxOptions: pod set forbidden securityContext.seLinuxOptions: type "x"; user may not be set
            forbidden sysctls: kernel.msgmax
        "#]],
    );
}

#[test]
fn what_is_not_said_is_not_restricted_enough() {
    check(
        "restricted",
        "latest",
        json!({"/spec/securityContext": {}, "/spec/containers/0/securityContext": {}, "/spec/volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
        &expect![[r#"
            allowPrivilegeEscalation != false: container "c" must set securityContext.allowPrivilegeEscalation=false
            unrestricted capabilities: container "c" must set securityContext.capabilities.drop=["ALL"]
            restricted volume types: volume "v" uses restricted volume type "hostPath"
            runAsNonRoot != true: pod or containers "init", "c" must set securityContext.runAsNonRoot=true
            seccompProfile: pod or containers "init", "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"
        "#]],
    );
}

#[test]
fn versions_read_differently() {
    let user = json!({"/spec/securityContext/runAsUser": 0, "/spec/hostUsers": false});
    check("restricted", "v1.22", user.clone(), &expect![""]);
    check(
        "restricted",
        "v1.34",
        user.clone(),
        &expect![[r#"
        runAsUser=0: pod must not set runAsUser=0
    "#]],
    );
    check("restricted", "v1.35", user, &expect![""]);
    let windows = json!({"/spec/os": {"name": "windows"}, "/spec/containers/0/securityContext": {}});
    check(
        "restricted",
        "v1.24",
        windows.clone(),
        &expect![[r#"
        allowPrivilegeEscalation != false: container "c" must set securityContext.allowPrivilegeEscalation=false
        unrestricted capabilities: container "c" must set securityContext.capabilities.drop=["ALL"]
    "#]],
    );
    check("restricted", "v1.25", windows, &expect![""]);
    let proc = json!({"/spec/containers/0/securityContext/procMount": "Unmasked", "/spec/hostUsers": false});
    check(
        "baseline",
        "v1.34",
        proc.clone(),
        &expect![[r#"
        procMount: container "c" must not set securityContext.procMount to "Unmasked"
    "#]],
    );
    check("baseline", "latest", proc.clone(), &expect![""]);
    check(
        "restricted",
        "latest",
        proc,
        &expect![[r#"
        procMount: container "c" must not set securityContext.procMount to "Unmasked"
    "#]],
    );
    let annotated = json!({"/metadata/annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}});
    check(
        "baseline",
        "v1.18",
        annotated.clone(),
        &expect![[r#"
        seccompProfile: forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined"
    "#]],
    );
    check("baseline", "v1.19", annotated, &expect![""]);
}

fn namespace(labels: &str) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"ns","labels":{{{labels}}}}}}}"#)
}

#[test]
fn the_namespace_says_what_is_refused_and_what_warned_about() {
    let restricted = namespace(
        r#""pod-security.kubernetes.io/enforce":"baseline","pod-security.kubernetes.io/warn":"restricted","pod-security.kubernetes.io/warn-version":"v1.30""#,
    );
    let run = |change: Value| Case::create(PODS, &[&restricted], pod(&change)).run::<Pod>(&PodSecurity::default());
    let refused = run(json!({"/spec/hostIPC": true}));
    assert_eq!(
        refused.object.expect_err("refused"),
        r#"pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostIPC=true)"#
    );
    assert!(refused.warnings.is_empty(), "{:?}", refused.warnings);
    let warned = run(json!({"/spec/containers/0/securityContext/allowPrivilegeEscalation": true}));
    assert!(warned.object.is_ok());
    assert_eq!(
        warned.warnings,
        [
            r#"would violate PodSecurity "restricted:v1.30": allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)"#
        ]
    );
}

#[test]
fn what_makes_pods_is_only_warned_about() {
    let restricted = namespace(r#""pod-security.kubernetes.io/enforce":"restricted""#);
    let deployment = json!({
        "metadata": {"name": "d", "namespace": "ns"},
        "spec": {"selector": {}, "template": {"spec": {"hostPID": true, "containers": []}}},
    });
    let outcome = Case::create(DEPLOYMENTS, &[&restricted], deployment).run::<Deployment>(&PodSecurity::default());
    assert!(outcome.object.is_ok());
    assert_eq!(outcome.warnings.len(), 1, "warnings follow what is enforced");
    assert!(outcome.warnings[0].starts_with(r#"would violate PodSecurity "restricted:latest": host namespaces"#));
}

#[test]
fn labels_must_be_readable_and_pods_are_looked_at() {
    let labelled =
        |value: &str| json!({"metadata": {"name": "ns", "labels": {"pod-security.kubernetes.io/enforce": value}}});
    let plugin = PodSecurity::default();
    let refused = Case::create(NAMESPACES, &[], labelled("strict")).run::<Namespace>(&plugin);
    assert_eq!(
        refused.object.expect_err("refused"),
        r#"Namespace "ns" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted"#
    );
    let pods: Vec<String> = ["b", "a", "c"]
        .map(|name| {
            let mut pod = pod(&json!({"/spec/hostPID": name != "c", "/metadata/name": name}));
            pod["apiVersion"] = json!("v1");
            pod["kind"] = json!("Pod");
            pod.to_string()
        })
        .into();
    let stored: Vec<&str> = pods.iter().map(String::as_str).collect();
    let outcome =
        Case::update(NAMESPACES, &stored, labelled("privileged"), labelled("baseline")).run::<Namespace>(&plugin);
    assert_eq!(
        outcome.warnings,
        [
            r#"existing pods in namespace "ns" violate the new PodSecurity enforce level "baseline:latest""#,
            "a (and 1 other pod): host namespaces",
        ]
    );
}

#[test]
fn some_are_exempt() {
    let restricted = namespace(r#""pod-security.kubernetes.io/enforce":"restricted""#);
    let change = json!({"/spec/hostPID": true, "/spec/runtimeClassName": "vm"});
    let run = |configuration: Configuration| {
        let plugin = PodSecurity::new(configuration);
        Case::create(PODS, &[&restricted], pod(&change)).run::<Pod>(&plugin).object.is_ok()
    };
    assert!(!run(Configuration::default()));
    assert!(run(Configuration { usernames: vec!["ada".to_owned()], ..Configuration::default() }));
    assert!(run(Configuration { namespaces: vec!["ns".to_owned()], ..Configuration::default() }));
    assert!(run(Configuration { runtime_classes: vec!["vm".to_owned()], ..Configuration::default() }));
    let strict = LevelVersion { level: Level::Restricted, version: Version::Latest };
    let defaults = Policy { enforce: strict, ..Policy::default() };
    assert!(!run(Configuration { defaults, ..Configuration::default() }));
}

/// Upstream's own pods: a folder with `<level>/<version>/<pass|fail>/*.json`.
#[test]
fn upstreams_pods_are_judged_as_upstream_judges_them() {
    let Some(root) = std::env::var_os("TIPHYS_POD_SECURITY_TESTDATA") else { return };
    let mut wrong = Vec::new();
    let children = |path: &std::path::Path| -> Vec<std::path::PathBuf> {
        std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
    };
    let name = |path: &std::path::Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let mut count = 0;
    for level in children(std::path::Path::new(&root)) {
        for version in children(&level) {
            for outcome in children(&version) {
                for file in children(&outcome) {
                    let bytes = std::fs::read(&file).expect("a file");
                    let mut pod: Value = serde_json::from_slice(&bytes).expect("JSON");
                    // A volume without a source is an empty directory by default.
                    for volume in pod["spec"]["volumes"].as_array_mut().into_iter().flatten() {
                        if volume.as_object().is_some_and(|fields| fields.len() == 1) {
                            volume["emptyDir"] = json!({});
                        }
                    }
                    let pod: Pod = serde_json::from_value(pod).expect("a pod");
                    let policy = LevelVersion {
                        level: Level::parse(&name(&level)).expect("a level"),
                        version: Version::parse(&name(&version)).expect("a version"),
                    };
                    let found = checks::evaluate(policy, &pod.metadata, pod.spec.as_ref().expect("a spec"));
                    count += 1;
                    if found.is_empty() != (name(&outcome) == "pass") {
                        wrong.push(file);
                    }
                }
            }
        }
    }
    assert!(count > 1000, "{count} pods");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
