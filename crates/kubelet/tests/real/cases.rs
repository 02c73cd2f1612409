//! What a user relies on, seen from inside containers.

use std::future::Future;
use std::pin::Pin;

use expect_test::expect;
use k8s_openapi::api::core::v1::{ConfigMap, ContainerStatus, Pod, Secret};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::bench;
use crate::fixture::{Fixture, phase, ready};

type Case = fn() -> Pin<Box<dyn Future<Output = ()>>>;

pub(crate) const ALL: &[(&str, Case)] = &[
    ("environment_and_files", || Box::pin(environment_and_files())),
    ("volumes", || Box::pin(volumes())),
    ("identity_and_limits", || Box::pin(identity_and_limits())),
    ("last_words_and_restarts", || Box::pin(last_words_and_restarts())),
    ("stops_within_its_grace", || Box::pin(stops_within_its_grace())),
    ("init_containers_and_sidecars", || Box::pin(init_containers_and_sidecars())),
    ("probes", || Box::pin(probes())),
    ("the_agent_is_replaced", || Box::pin(the_agent_is_replaced())),
    ("a_service_account_token", || Box::pin(a_service_account_token())),
];

/// Run when they are named.
pub(crate) const IGNORED: &[(&str, Case)] = &[("latency", || Box::pin(bench::latency()))];

/// A pod of one container that runs a script.
fn script(text: &str, extra: Value) -> Value {
    let mut container =
        json!({"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", text]});
    container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({"terminationGracePeriodSeconds": 2, "containers": [container]})
}

fn status(pod: &Pod) -> ContainerStatus {
    pod.status.clone().unwrap_or_default().container_statuses.unwrap_or_default().first().cloned().unwrap_or_default()
}

async fn gone(fixture: &Fixture, names: &[&str]) {
    for name in names {
        fixture.delete(name).await;
        fixture.wait_gone(name).await;
    }
}

async fn environment_and_files() {
    let fixture = Fixture::start().await;
    let spec = script(
        "echo $A $B $NODE $HOSTNAME; hostname; grep -v '^[f:]' /etc/hosts; cat /etc/resolv.conf | head -3; echo $KUBERNETES_SERVICE_HOST",
        json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]}),
    );
    expect![[r#"
        1 12 node-1 a
        a
        # Kubernetes-managed hosts file.
        127.0.0.1	localhost
        127.0.0.1	a
        search default.svc.cluster.local svc.cluster.local cluster.local
        nameserver 10.43.0.10
        options ndots:5
        10.43.0.1
    "#]]
    .assert_eq(&fixture.output("a", spec).await);
    gone(&fixture, &["a"]).await;
    fixture.finish().await;
}

async fn volumes() {
    let fixture = Fixture::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(fixture.client.clone(), "default");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "value", "other": "x"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(fixture.client.clone(), "default");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"p": "hush"}});
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let mut spec = script(
        "cat /m/sub/file; echo; ls /m; cat /s/p; echo; stat -c '%a %g' /s/..data/p; cat /d/labels; echo; echo hi > /e/x; cat /sub/x; \
         touch /m/new 2>/dev/null || echo read-only; df -t tmpfs /t | tail -1 | tr -s ' ' | cut -d' ' -f2; cat /one; stat -c %g /e; cat /h/busybox-host; echo $S",
        json!({"env": [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}}],
            "volumeMounts": [{"name": "m", "mountPath": "/m", "readOnly": true}, {"name": "s", "mountPath": "/s"}, {"name": "d", "mountPath": "/d"},
                {"name": "e", "mountPath": "/e", "subPath": "deep/er"}, {"name": "e", "mountPath": "/sub", "subPathExpr": "deep/$(DIR)"}, {"name": "t", "mountPath": "/t"},
                {"name": "m2", "mountPath": "/one", "subPath": "k"}, {"name": "h", "mountPath": "/h"}]}),
    );
    spec["containers"][0]["env"].as_array_mut().unwrap().push(json!({"name": "DIR", "value": "er"}));
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("busybox-host"), "from the host\n").unwrap();
    spec["securityContext"] = json!({"fsGroup": 1234});
    spec["volumes"] = json!([
        {"name": "m", "configMap": {"name": "m", "items": [{"key": "k", "path": "sub/file"}]}},
        {"name": "m2", "configMap": {"name": "m"}},
        {"name": "s", "secret": {"secretName": "s", "defaultMode": 256}},
        {"name": "d", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"name": "e", "emptyDir": {}}, {"name": "t", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "h", "hostPath": {"path": host.path(), "type": "Directory"}}]);
    expect![[r#"
        value
        sub
        hush
        440 1234
        app="a"
        hi
        read-only
        1024
        value1234
        from the host
        hush
    "#]]
    .assert_eq(&fixture.output("a", spec).await);
    gone(&fixture, &["a"]).await;
    fixture.finish().await;
}

async fn identity_and_limits() {
    let fixture = Fixture::start().await;
    let mut spec = script(
        "id; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; touch /x 2>&1; cat /proc/self/oom_score_adj",
        json!({"securityContext": {"runAsUser": 1000, "runAsGroup": 1001, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true},
            "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}, "requests": {"memory": "1Mi", "cpu": "250m"}}}),
    );
    spec["securityContext"] = json!({"supplementalGroups": [7]});
    expect![[r#"
        uid=1000 gid=1001 groups=7,1001
        NoNewPrivs:	1
        Seccomp:	2
        touch: /x: Read-only file system
        999
    "#]]
    .assert_eq(&fixture.output("a", spec).await);
    let mut refused = script("true", json!({"securityContext": {"runAsNonRoot": true}}));
    refused["restartPolicy"] = json!("Never");
    fixture.create("b", refused).await;
    let pod = fixture
        .wait("b", "refused", |pod| {
            status(pod)
                .state
                .and_then(|state| state.waiting)
                .is_some_and(|waiting| waiting.reason.as_deref() == Some("CreateContainerConfigError"))
        })
        .await;
    let message = status(&pod).state.unwrap().waiting.unwrap().message.unwrap();
    assert!(
        message.starts_with("container has runAsNonRoot and image will run as root (pod: \"b_default("),
        "{message}"
    );
    gone(&fixture, &["a", "b"]).await;
    fixture.finish().await;
}

async fn last_words_and_restarts() {
    let fixture = Fixture::start().await;
    fixture.create("a", script("echo bye > /dev/termination-log; exit 3", json!({}))).await;
    let pod = fixture
        .wait("a", "restarted", |pod| {
            status(pod).restart_count >= 1 && status(pod).last_state.is_some_and(|last| last.terminated.is_some())
        })
        .await;
    let last = status(&pod).last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref(), last.message.as_deref()), (3, Some("Error"), Some("bye\n")));
    fixture
        .create("b", script("echo to the log; exit 1", json!({"terminationMessagePolicy": "FallbackToLogsOnError"})))
        .await;
    let pod = fixture
        .wait("b", "restarted", |pod| status(pod).last_state.is_some_and(|last| last.terminated.is_some()))
        .await;
    assert_eq!(status(&pod).last_state.unwrap().terminated.unwrap().message.as_deref(), Some("to the log\n"));
    let mut spec = script("true", json!({}));
    spec["containers"][0]["command"] = json!(["nonsense"]);
    fixture.create("d", spec).await;
    let pod =
        fixture.wait("d", "failed", |pod| status(pod).last_state.is_some_and(|last| last.terminated.is_some())).await;
    let last = status(&pod).last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (128, Some("StartError")), "{:?}", last.message);
    gone(&fixture, &["a", "b", "d"]).await;
    fixture.finish().await;
}

async fn stops_within_its_grace() {
    let fixture = Fixture::start().await;
    let hook = json!({"lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /proc/1/fd/1"]}}}});
    fixture.create("kind", script("trap 'echo term; exit 0' TERM; while true; do sleep 0.05; done", hook)).await;
    fixture.create("stubborn", script("trap '' TERM; while true; do sleep 0.05; done", json!({}))).await;
    for name in ["kind", "stubborn"] {
        fixture.wait(name, "ready", ready).await;
    }
    let exit_code = |pod: &Pod| status(pod).state.and_then(|state| state.terminated).map(|ended| ended.exit_code);
    fixture.delete("kind").await;
    fixture.wait("kind", "ended by itself", |pod| exit_code(pod) == Some(0)).await;
    fixture.wait_gone("kind").await;
    let started = std::time::Instant::now();
    fixture.delete("stubborn").await;
    fixture.wait("stubborn", "killed", |pod| exit_code(pod) == Some(137)).await;
    assert!(started.elapsed().as_millis() >= 1900, "it had two seconds");
    fixture.wait_gone("stubborn").await;
    fixture.finish().await;
}

async fn init_containers_and_sidecars() {
    let fixture = Fixture::start().await;
    let busybox = |name: &str, text: &str| json!({"name": name, "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", text], "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let mut side = busybox("side", "echo side >> /v/log; trap 'exit 0' TERM; while true; do sleep 0.05; done");
    side["restartPolicy"] = json!("Always");
    let spec = json!({"terminationGracePeriodSeconds": 2, "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [busybox("first", "echo first >> /v/log"), side, busybox("second", "while ! grep -q side /v/log; do sleep 0.05; done; echo second >> /v/log")],
        "containers": [busybox("c", "cat /v/log")]});
    assert_eq!(fixture.output("a", spec).await, "first\nside\nsecond\n");
    gone(&fixture, &["a"]).await;
    fixture.finish().await;
}

async fn probes() {
    let fixture = Fixture::start().await;
    let spec = script(
        "while ! test -e /asked; do sleep 0.05; done; touch /ready; sleep 1000",
        json!({"readinessProbe": {"exec": {"command": ["sh", "-c", "cat /ready || { touch /asked; exit 1; }"]}, "periodSeconds": 1},
            "livenessProbe": {"exec": {"command": ["sh", "-c", "! test -e /dead"]}, "periodSeconds": 1, "failureThreshold": 1}}),
    );
    fixture.create("a", spec).await;
    fixture.wait("a", "running but not ready", |pod| phase(pod) == "Running" && !ready(pod)).await;
    fixture.wait("a", "ready", ready).await;
    let events = fixture.events("a").await;
    assert!(
        events.iter().any(|event| event.starts_with("Unhealthy: Readiness probe failed: cat: can't open '/ready'")),
        "{events:?}"
    );
    gone(&fixture, &["a"]).await;
    fixture.finish().await;
}

async fn the_agent_is_replaced() {
    let mut fixture = Fixture::start().await;
    fixture.create("a", script("echo $$; sleep 1000", json!({}))).await;
    let before = status(&fixture.wait("a", "ready", ready).await);
    fixture.create("b", script("sleep 1; exit 4", json!({}))).await;
    fixture.wait("b", "ready", ready).await;
    fixture.restart().await;
    fixture.wait("b", "restarted", |pod| status(pod).restart_count == 1).await;
    let after = status(&fixture.wait("a", "ready", ready).await);
    assert_eq!((before.container_id, before.restart_count), (after.container_id, after.restart_count));
    gone(&fixture, &["a", "b"]).await;
    fixture.finish().await;
}

async fn a_service_account_token() {
    let fixture = Fixture::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(fixture.client.clone(), "default");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "certificate"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let mut spec = script(
        "cd /var/run/secrets/kubernetes.io/serviceaccount; ls; cat ca.crt; echo; cat namespace; echo; cut -c1-2 token",
        json!({}),
    );
    spec["automountServiceAccountToken"] = json!(true);
    assert_eq!(fixture.output("a", spec).await, "ca.crt\nnamespace\ntoken\ncertificate\ndefault\ney\n");
    gone(&fixture, &["a"]).await;
    fixture.finish().await;
}
