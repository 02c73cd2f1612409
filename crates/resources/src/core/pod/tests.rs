//! Pods through defaults, validation and printing: JSON in, text out.

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use registry::PrintCx;
use serde_json::{Value, json};

use super::{columns, defaults, prepare, resources, validation, warnings};

fn pod(value: Value) -> Pod {
    serde_json::from_value(value).expect("a pod")
}

/// A valid pod with `spec` merged over it.
fn defaulted(spec: Value) -> Pod {
    let mut value = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "web", "image": "nginx"}]},
    });
    apimachinery::patch::merge_patch(&mut value["spec"], spec);
    let mut pod = pod(value);
    defaults::set_defaults(&mut pod);
    pod
}

fn errors(pod: &Pod) -> String {
    validation::validate(pod).iter().map(|error| format!("{error}\n")).collect()
}

#[track_caller]
fn check(spec: Value, expected: Expect) {
    expected.assert_eq(&errors(&defaulted(spec)));
}

#[track_caller]
fn check_container(container: Value, expected: Expect) {
    let mut full = json!({"name": "web", "image": "nginx"});
    apimachinery::patch::merge_patch(&mut full, container);
    check(json!({"containers": [full]}), expected);
}

#[test]
fn a_minimal_pod_gets_upstreams_defaults() {
    let pod = defaulted(json!({}));
    assert_eq!(errors(&pod), "");
    expect![[r#"
        {
          "containers": [
            {
              "image": "nginx",
              "imagePullPolicy": "Always",
              "name": "web",
              "resources": {},
              "terminationMessagePath": "/dev/termination-log",
              "terminationMessagePolicy": "File"
            }
          ],
          "dnsPolicy": "ClusterFirst",
          "enableServiceLinks": true,
          "restartPolicy": "Always",
          "schedulerName": "default-scheduler",
          "securityContext": {},
          "terminationGracePeriodSeconds": 30
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&json!(pod.spec)).expect("JSON"));
}

#[test]
fn defaulting_twice_changes_nothing() {
    let once = defaulted(json!({
        "serviceAccount": "builder",
        "hostNetwork": true,
        "volumes": [{"name": "a"}, {"name": "b", "hostPath": {"path": "/x"}}],
        "containers": [{
            "name": "web", "image": "nginx:1.25",
            "ports": [{"containerPort": 80}],
            "env": [{"name": "N", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
            "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}},
            "livenessProbe": {"httpGet": {"port": 80}},
        }],
    }));
    let mut twice = once.clone();
    defaults::set_defaults(&mut twice);
    assert_eq!(once, twice);
    assert_eq!(errors(&once), "");
    let spec = json!(once.spec);
    assert_eq!(spec["serviceAccountName"], "builder");
    assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
    assert_eq!(spec["volumes"][1]["hostPath"]["type"], "");
    let container = &spec["containers"][0];
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert_eq!(container["resources"]["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
    assert_eq!(container["ports"][0], json!({"containerPort": 80, "hostPort": 80, "protocol": "TCP"}));
    assert_eq!(container["env"][0]["valueFrom"]["resourceFieldRef"]["divisor"], "0");
    assert_eq!(container["livenessProbe"]["periodSeconds"], 10);
    assert_eq!(container["livenessProbe"]["httpGet"]["scheme"], "HTTP");
}

#[test]
fn names_images_and_ports_are_checked() {
    check_container(
        json!({"name": "Web_1", "image": " nginx", "ports": [
            {"containerPort": 0}, {"containerPort": 70000, "name": "HTTP"}, {"containerPort": 80, "protocol": "tcp"},
        ]}),
        expect![[r#"
            spec.containers[0].name: Invalid value: "Web_1": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.containers[0].ports[0].containerPort: Required value
            spec.containers[0].ports[1].name: Invalid value: "HTTP": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
            spec.containers[0].ports[1].name: Invalid value: "HTTP": must contain at least one letter (a-z)
            spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
            spec.containers[0].ports[2].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"
            spec.containers[0].image: Invalid value: " nginx": must not have leading or trailing whitespace
        "#]],
    );
    check(
        json!({"containers": []}),
        expect![[r#"
        spec.containers: Required value
    "#]],
    );
}

#[test]
fn requests_stay_within_limits() {
    check_container(
        json!({"resources": {
            "requests": {"cpu": "2", "example.com/gpu": "1", "hugepages-2Mi": "3Mi", "bogus": "1"},
            "limits": {"cpu": "1", "hugepages-2Mi": "4Mi", "memory": "-1"},
        }}),
        expect![[r#"
            spec.containers[0].resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0
            spec.containers[0].resources.requests[bogus]: Invalid value: "bogus": must be a standard resource type or fully qualified
            spec.containers[0].resources.requests[bogus]: Invalid value: "bogus": must be a standard resource for containers
            spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1
            spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources
            spec.containers[0].resources.requests: Invalid value: "3Mi": must be equal to hugepages-2Mi limit of 4Mi
            spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi
            spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0
        "#]],
    );
}

#[test]
fn mounts_name_volumes_of_the_pod() {
    check(
        json!({
            "volumes": [
                {"name": "a", "emptyDir": {}, "hostPath": {"path": "/x"}},
                {"name": "b", "configMap": {"items": [{"key": "k", "path": "../x"}]}},
                {"name": "c", "hostPath": {"path": "/a/../b", "type": "Pipe"}},
            ],
            "containers": [{"name": "web", "image": "nginx", "volumeMounts": [
                {"name": "nope", "mountPath": "/x"}, {"name": "a", "mountPath": "/x", "subPath": "/abs"},
            ]}],
        }),
        expect![[r#"
            spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type
            spec.volumes[1].configMap.name: Required value
            spec.volumes[1].configMap.items[0].path: Invalid value: "../x": must not contain '..'
            spec.volumes[2].hostPath.path: Invalid value: "/a/../b": must not contain '..'
            spec.volumes[2].hostPath.type: Unsupported value: "Pipe": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"
            spec.containers[0].volumeMounts[0].name: Not found: "nope"
            spec.containers[0].volumeMounts[1].name: Not found: "a"
            spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/x": must be unique
            spec.containers[0].volumeMounts.subPath: Invalid value: "/abs": must be a relative path
        "#]],
    );
}

#[test]
fn environment_sources_are_checked() {
    check_container(
        json!({
            "env": [
                {"name": ""},
                {"name": "A=B", "value": "x"},
                {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "metadata.nope"}}},
                {"name": "G", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}},
                {"name": "H", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "I", "valueFrom": {}},
                {"name": "J", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            ],
            "envFrom": [{}, {"configMapRef": {"name": "Upper"}}],
        }),
        expect![[r#"
            spec.containers[0].env[0].name: Required value
            spec.containers[0].env[1].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than '=' (regex used for validation is '^[ -<>-~]+$')
            spec.containers[0].env[2].valueFrom.fieldRef.fieldPath: Invalid value: "metadata.nope": error converting fieldPath: field label not supported: metadata.nope
            spec.containers[0].env[3].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"
            spec.containers[0].env[4].valueFrom: Invalid value: "": may not be specified when `value` is not empty
            spec.containers[0].env[5].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`
            spec.containers[0].envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`
            spec.containers[0].envFrom[1].configMapRef.name: Invalid value: "Upper": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        "#]],
    );
}

#[test]
fn probes_and_hooks_have_one_handler() {
    check_container(
        json!({
            "livenessProbe": {"exec": {"command": []}, "tcpSocket": {"port": 0}, "successThreshold": 2},
            "readinessProbe": {"periodSeconds": -1, "terminationGracePeriodSeconds": 5, "grpc": {"port": 99999}},
            "lifecycle": {"preStop": {"sleep": {"seconds": 100}}, "postStart": {}},
        }),
        expect![[r#"
            spec.containers[0].lifecycle.postStart: Required value: must specify a handler type
            spec.containers[0].lifecycle.preStop.sleep: Invalid value: 100: must be non-negative and less than terminationGracePeriodSeconds (30)
            spec.containers[0].livenessProbe.exec.command: Required value
            spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type
            spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1
            spec.containers[0].readinessProbe.grpc.port: Invalid value: 99999: must be between 1 and 65535, inclusive
            spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0
            spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes
        "#]],
    );
}

#[test]
fn init_containers_have_probes_only_as_sidecars() {
    check(
        json!({"initContainers": [
            {"name": "plain", "image": "a", "readinessProbe": {"exec": {"command": ["x"]}}},
            {"name": "side", "image": "a", "restartPolicy": "Always", "readinessProbe": {"exec": {"command": ["x"]}}},
            {"name": "web", "image": "a", "restartPolicy": "Sometimes"},
        ]}),
        expect![[r#"
            spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always
            spec.initContainers[2].restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"
            spec.initContainers[2].name: Duplicate value: "web"
        "#]],
    );
}

#[test]
fn scheduling_constraints_are_checked() {
    check(
        json!({
            "tolerations": [{"key": "a", "operator": "Exists", "value": "x"}, {"effect": "Nope", "tolerationSeconds": 1}],
            "topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "Maybe", "minDomains": 0}],
            "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "preference": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}],
            }},
            "schedulingGates": [{"name": "a"}, {"name": "a"}],
        }),
        expect![[r#"
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term
            spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100
            spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator
            spec.schedulingGates[1]: Duplicate value: "a"
            spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero
            spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty
            spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Maybe": supported values: "DoNotSchedule", "ScheduleAnyway"
            spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than zero
            spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not Maybe
            spec.tolerations[0].operator: Invalid value: "x": value must be empty when `operator` is 'Exists'
            spec.tolerations[1].operator: Invalid value: "": operator must be Exists when `key` is empty, which means "match all values and all keys"
            spec.tolerations[1].effect: Invalid value: "Nope": effect must be 'NoExecute' when `tolerationSeconds` is set
            spec.tolerations[1].effect: Unsupported value: "Nope": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
        "#]],
    );
}

#[test]
fn network_and_security_settings_are_checked() {
    check(
        json!({
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["1.2.3"], "searches": ["_ok.local", "bad_-.local"], "options": [{"value": "x"}]},
            "hostAliases": [{"ip": "x", "hostnames": ["UP"]}],
            "hostname": "a.b", "restartPolicy": "Maybe", "activeDeadlineSeconds": 0,
            "securityContext": {"runAsUser": -1, "seccompProfile": {"type": "Localhost"}, "sysctls": [{"name": "Net.x", "value": "1"}]},
        }),
        expect![[r#"
            spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"
            spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive
            spec.securityContext.sysctls[0].name: Invalid value: "Net.x": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$
            spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost
            spec.dnsConfig.nameservers[0]: Invalid value: "1.2.3": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.dnsConfig.searches[1]: Invalid value: "bad_-.local": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?(\.[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?)*')
            spec.dnsConfig.options[0]: Required value: must not be empty
            spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive
            spec.hostname: Invalid value: "a.b": must not contain dots
            spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.hostAliases[0].hostnames[0]: Invalid value: "UP": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        "#]],
    );
}

#[test]
fn updates_change_images_and_little_else() {
    let old = defaulted(json!({}));
    let image = defaulted(json!({"containers": [{"name": "web", "image": "nginx:2", "imagePullPolicy": "Always"}]}));
    assert!(validation::validate_update(&image, &old).is_empty());
    let command = defaulted(json!({"containers": [{"name": "web", "image": "nginx", "command": ["x"]}]}));
    expect![[r#"
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
        + 	containers[0].command: ["x"]
    "#]]
    .assert_eq(&validation::validate_update(&command, &old).aggregate());
    let more = defaulted(json!({"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]}));
    assert_eq!(
        validation::validate_update(&more, &old).aggregate(),
        "spec.containers: Forbidden: pod updates may not add or remove containers"
    );
}

#[test]
fn a_resize_keeps_the_quality_of_service() {
    let with = |request: &str, limit: &str| {
        let resources = json!({"requests": {"cpu": request}, "limits": {"cpu": limit}});
        defaulted(json!({"containers": [{"name": "web", "image": "nginx", "resources": resources}]}))
    };
    let old = with("1", "2");
    assert_eq!(validation::validate_resize(&with("1500m", "2"), &old).aggregate(), "[]");
    let mut other = with("1", "2");
    other.spec.as_mut().expect("spec").containers[0].image = Some("x".to_owned());
    assert_eq!(
        validation::validate_resize(&other, &old).aggregate(),
        "spec: Forbidden: only cpu and memory resources are mutable"
    );
    let removed = defaulted(json!({}));
    expect![[r#"[spec: Invalid value: "": Pod QOS Class may not change as a result of resizing, spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed, spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed]"#]]
        .assert_eq(&validation::validate_resize(&removed, &old).aggregate());
    let mut resized = other.clone();
    prepare::keep_all_but_resources(&mut resized, &old);
    assert_eq!(resized.spec, old.spec);
}

#[test]
fn a_finished_container_stays_finished() {
    let state = |state: Value| {
        let mut pod = defaulted(json!({"restartPolicy": "Never"}));
        let status = json!({"containerStatuses": [{"name": "web", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]});
        pod.status = serde_json::from_value(status).expect("a status");
        pod
    };
    let done = state(json!({"terminated": {"exitCode": 0}}));
    let running = state(json!({"running": {}}));
    assert!(validation::validate_status_update(&done, &running).is_empty());
    assert_eq!(
        validation::validate_status_update(&running, &done).aggregate(),
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    );
}

#[test]
fn quality_of_service_follows_from_resources() {
    let class = |resources: Value| {
        let pod = defaulted(json!({"containers": [{"name": "web", "image": "nginx", "resources": resources}]}));
        resources::qos_class(pod.spec.as_ref().expect("spec"))
    };
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})), "Burstable");
}

#[test]
fn doubtful_pods_are_warned_about() {
    let mut doubtful = defaulted(json!({
        "nodeSelector": {"beta.kubernetes.io/os": "linux"},
        "imagePullSecrets": [{"name": "a"}, {"name": "a"}],
        "containers": [{"name": "web", "image": "nginx", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
            "ports": [{"containerPort": 80}, {"containerPort": 80}]}],
        "volumes": [
            {"name": "g", "gitRepo": {"repository": "x"}},
            {"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "100m"}}}}}},
            {"name": "c", "configMap": {"name": "m", "items": [{"key": "a", "path": "x"}, {"key": "b", "path": "x/y/"}]}},
            {"name": "p", "projected": {"sources": [
                {},
                {"secret": {"name": "s", "items": [{"key": "a", "path": "token"}]}},
                {"configMap": {"name": "m"}},
                {"serviceAccountToken": {"path": "token"}},
            ]}},
        ],
    }));
    doubtful.metadata.name = Some("a.b".to_owned());
    expect![[r#"
        metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
        spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead
        spec.volumes[0].gitRepo: deprecated in v1.11
        spec.volumes[1].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value "100m" is invalid, must be an integer
        volume "c" (ConfigMap "m"): overlapping paths: "x/y" with "x"
        volume "p" (Projected) has no sources provided
        volume "p" (Projected ServiceAccountToken): overlapping paths: "token" with "token"
        spec.imagePullSecrets[1].name: duplicate name "a"
        spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply
        spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"#]]
    .assert_eq(&warnings::pod(&doubtful).join("\n"));
}

/// One line as `kubectl get pods -o wide` prints it.
#[track_caller]
fn check_row(status: Value, spec: Value, expected: Expect) {
    let mut value = json!({
        "metadata": {"name": "web", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
        "status": status,
    });
    apimachinery::patch::merge_patch(&mut value, spec);
    let pod = pod(value);
    let now: Timestamp = "2026-01-01T01:00:00Z".parse().expect("a time");
    let cells: Vec<String> = columns::COLUMNS
        .iter()
        .map(|column| match (column.cell)(&pod, &PrintCx { now }) {
            Value::String(text) => text,
            other => other.to_string(),
        })
        .collect();
    expected.assert_eq(&cells.join(" | "));
}

#[test]
fn the_status_column_says_what_goes_on() {
    let container = |name: &str, ready: bool, restarts: i32, state: Value| {
        json!({"name": name, "image": "", "imageID": "", "ready": ready, "restartCount": restarts, "state": state,
            "lastState": if restarts > 0 { json!({"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:55:00Z"}}) } else { json!({}) }})
    };
    let running = json!({"running": {}});
    check_row(
        json!({"phase": "Pending"}),
        json!({}),
        expect!["web | 0/2 | Pending | 0 | 60m | <none> | <none> | <none> | <none>"],
    );
    check_row(
        json!({"phase": "Running", "podIP": "10.42.0.5", "podIPs": [{"ip": "10.42.0.5"}], "containerStatuses": [
            container("a", true, 0, running.clone()),
            container("b", false, 3, json!({"waiting": {"reason": "CrashLoopBackOff"}})),
        ]}),
        json!({"spec": {"nodeName": "n1"}}),
        expect!["web | 1/2 | CrashLoopBackOff | 3 (5m ago) | 60m | 10.42.0.5 | n1 | <none> | <none>"],
    );
    check_row(
        json!({"phase": "Pending", "initContainerStatuses": [
            container("i", false, 0, json!({"terminated": {"exitCode": 0}})), container("j", false, 0, running.clone()),
        ]}),
        json!({"spec": {"initContainers": [{"name": "i"}, {"name": "j"}]}}),
        expect!["web | 0/2 | Init:1/2 | 0 | 60m | <none> | <none> | <none> | <none>"],
    );
    check_row(
        json!({"phase": "Failed", "initContainerStatuses": [container("i", false, 0, json!({"terminated": {"exitCode": 3}}))]}),
        json!({"spec": {"initContainers": [{"name": "i"}]}}),
        expect!["web | 0/2 | Init:ExitCode:3 | 0 | 60m | <none> | <none> | <none> | <none>"],
    );
    check_row(
        json!({"phase": "Succeeded", "containerStatuses": [
            container("a", false, 0, json!({"terminated": {"exitCode": 0, "reason": "Completed"}})),
            container("b", false, 0, json!({"terminated": {"exitCode": 0, "reason": "Completed"}})),
        ]}),
        json!({}),
        expect!["web | 0/2 | Completed | 0 | 60m | <none> | <none> | <none> | <none>"],
    );
    check_row(
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [
            container("a", false, 0, json!({"terminated": {"exitCode": 0, "reason": "Completed"}})), container("b", true, 0, running.clone()),
        ]}),
        json!({}),
        expect!["web | 1/2 | Running | 0 | 60m | <none> | <none> | <none> | <none>"],
    );
    check_row(
        json!({"phase": "Running", "containerStatuses": [container("a", true, 0, running.clone())]}),
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:59:00Z"}, "spec": {"readinessGates": [{"conditionType": "x/y"}]}}),
        expect!["web | 1/2 | Terminating | 0 | 60m | <none> | <none> | <none> | 0/1"],
    );
    check_row(
        json!({"phase": "Running", "containerStatuses": [container("a", true, 0, running.clone()), container("b", true, 0, running.clone())],
            "initContainerStatuses": [{"name": "s", "image": "", "imageID": "", "ready": true, "started": true, "restartCount": 2, "state": running}]}),
        json!({"spec": {"initContainers": [{"name": "s", "restartPolicy": "Always"}]}}),
        expect!["web | 3/3 | Running | 2 | 60m | <none> | <none> | <none> | <none>"],
    );
}

#[test]
fn only_running_pods_get_time_to_end() {
    let grace = |spec: Value, phase: &str, requested: Option<i64>| {
        let mut pod = defaulted(spec);
        pod.status.as_mut().expect("status").phase = Some(phase.to_owned());
        super::grace_period(&pod, requested)
    };
    assert_eq!(grace(json!({}), "Pending", None), 0);
    assert_eq!(grace(json!({"nodeName": "n"}), "Running", None), 30);
    assert_eq!(grace(json!({"nodeName": "n"}), "Running", Some(5)), 5);
    assert_eq!(grace(json!({"nodeName": "n"}), "Running", Some(-1)), 1);
    assert_eq!(grace(json!({"nodeName": "n"}), "Failed", None), 0);
}
