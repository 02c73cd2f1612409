//! Deployments, services and the plain verbs of kubectl.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use expect_test::expect;

use crate::{
    cluster::{Cluster, NODE},
    kubectl::{Kubectl, masked},
    machine,
};

fn manifest(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The first line of the answer to a request for `/`.
pub(crate) fn answer(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The example of the README, with a port that is free here.
pub(crate) fn example(kubectl: &Kubectl, cluster: &Cluster) {
    let port = machine::free_port();
    let service = manifest("service.yaml").replace("8086", &port.to_string());
    assert_eq!(
        kubectl.ok_with("apply -f -", &manifest("deployment.yaml")),
        "deployment.apps/demo-deployment created\n"
    );
    assert_eq!(kubectl.ok_with("apply -f -", &service), "service/demo-service created\n");
    assert_eq!(
        kubectl.ok_with("apply -f -", &manifest("deployment.yaml")),
        "deployment.apps/demo-deployment unchanged\n"
    );
    kubectl.ok("rollout status deployment/demo-deployment --timeout=60s");
    kubectl.ok("wait --for=jsonpath='{.status.loadBalancer.ingress[0].ip}' service/demo-service --timeout=30s");
    assert_eq!(answer(&format!("127.0.0.1:{port}")).unwrap(), "HTTP/1.1 200 OK");
    expect![[r"
        NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR
        demo-deployment 2/2 2 2 AGE nginx nginx:latest app=play-k8s"]]
    .assert_eq(&masked(&kubectl.ok("get deployments -o wide")));
    expect![[r"
        NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES
        demo-deployment-* 1/1 Running 0 AGE IP worker <none> <none>
        demo-deployment-* 1/1 Running 0 AGE IP worker <none> <none>"]]
    .assert_eq(&masked(&kubectl.ok("get pods -o wide")));
    let traces = cluster.traces();
    assert!(traces.processes.len() > 2, "{traces:#?}");
    expect![[r"
        Normal Scheduled AGE default-scheduler
        Normal Pulling AGE kubelet
        Normal Pulled AGE kubelet
        Normal Created AGE kubelet
        Normal Started AGE kubelet"]]
    .assert_eq(&events(kubectl, "describe pod -l app=play-k8s"));
    expect!["Normal ScalingReplicaSet AGE deployment-controller"]
        .assert_eq(&events(kubectl, "describe deployment demo-deployment"));
    kubectl.ok("delete service/demo-service deployment/demo-deployment --cascade=foreground --timeout=60s");
    assert!(answer(&format!("127.0.0.1:{port}")).is_err(), "the Service answers although it is deleted");
}

/// The first four columns of the last described object's events.
fn events(kubectl: &Kubectl, line: &str) -> String {
    let text = kubectl.ok(line);
    let (_, table) = text.rsplit_once("Events:").expect("events");
    let rows = table.lines().skip(3).take_while(|row| !row.is_empty()).map(masked);
    rows.map(|row| row.split(' ').take(4).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}

/// What only reads.
pub(crate) fn reads(kubectl: &Kubectl) {
    expect![[r"
        NAME STATUS ROLES AGE VERSION
        worker Ready <none> AGE v1.36.0"]]
    .assert_eq(&masked(&kubectl.ok("get nodes")));
    expect![[r"
        NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE
        service/kubernetes ClusterIP IP <none> 443/TCP AGE"]]
    .assert_eq(&masked(&kubectl.ok("get all")));
    let node = kubectl.ok(&format!("describe node {NODE}"));
    for line in ["KubeletReady", "NodeReady", "NodeHasSufficientMemory", "NodeAllocatableEnforced", "RegisteredNode"] {
        assert!(node.contains(line), "{line} is missing in {node}");
    }
    assert!(node.contains(&format!("kubernetes.io/hostname={NODE}")), "{node}");
    assert!(masked(&kubectl.ok("api-resources")).contains("\ndeployments deploy apps/v1 true Deployment\n"));
    assert!(kubectl.ok("api-versions").lines().any(|line| line == "rbac.authorization.k8s.io/v1"));
    assert!(kubectl.ok("explain pod.spec.containers.resources").contains("FIELD: resources <ResourceRequirements>"));
    assert!(kubectl.ok("explain deployment --recursive").contains("progressDeadlineSeconds\t<integer>"));
    assert_eq!(kubectl.ok("auth can-i create pods"), "yes\n");
    assert_eq!(kubectl.fails("get pod nope", ""), "Error from server (NotFound): pods \"nope\" not found\n");
    assert_eq!(kubectl.fails("get nope", ""), "error: the server doesn't have a resource type \"nope\"\n");
    assert_eq!(kubectl.ok("get namespaces -o name").lines().count(), 4);
    assert!(kubectl.ok("cluster-info").contains("is running at"));
    assert_eq!(kubectl.fails("top node", ""), "error: Metrics API not available\n");
}

const FIRST: &str =
    "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, labels: {one: a, two: b}}, data: {k: v, l: w}}";
const SECOND: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, labels: {one: a}}, data: {k: x}}";

/// What changes one object.
pub(crate) fn changes(kubectl: &Kubectl) {
    kubectl.namespace("changes");
    let data = || kubectl.ok("get configmap c -n changes -o jsonpath='{.data}'");
    kubectl.ok_with("apply -n changes -f -", FIRST);
    kubectl.ok("label configmap c kept=1 -n changes");
    let difference = kubectl.run_with("diff -n changes -f -", SECOND.as_bytes());
    assert_eq!(difference.code, Some(1));
    assert!(difference.stdout.contains("-  l: w") && difference.stdout.contains("+  k: x"), "{difference:?}");
    assert_eq!(kubectl.ok_with("apply -n changes -f -", SECOND), "configmap/c configured\n");
    assert_eq!(data(), r#"{"k":"x"}"#);
    let labels = kubectl.ok("get configmap c -n changes -o jsonpath='{.metadata.labels}'");
    assert_eq!(labels, r#"{"kept":"1","one":"a"}"#, "a field that the manifest lost goes, a field of others stays");
    assert_eq!(kubectl.ok_with("apply --server-side -n changes -f -", SECOND), "configmap/c serverside-applied\n");
    assert_eq!(data(), r#"{"k":"x"}"#);

    kubectl.ok(r#"patch configmap c -n changes -p '{"data":{"s":"1"}}'"#);
    kubectl.ok(r#"patch configmap c -n changes --type=merge -p '{"data":{"k":null}}'"#);
    kubectl.ok(r#"patch configmap c -n changes --type=json -p '[{"op":"add","path":"/data/j","value":"2"}]'"#);
    assert_eq!(data(), r#"{"j":"2","s":"1"}"#);
    kubectl.fails(r#"patch configmap c -n changes --type=json -p '[{"op":"test","path":"/data/j","value":"3"}]'"#, "");
    assert_eq!(
        kubectl.fails("label configmap c one=z -n changes", ""),
        "error: 'one' already has a value (a), and --overwrite is false\n"
    );
    kubectl.ok("annotate configmap c note=x -n changes");
    let edited =
        kubectl.command("edit configmap c -n changes").env("EDITOR", "sed -i s/te:.x/te:\\ \\\"y\\\"/").output();
    assert_eq!(String::from_utf8_lossy(&edited.unwrap().stdout), "configmap/c edited\n");
    assert_eq!(kubectl.ok("get configmap c -n changes -o jsonpath='{.metadata.annotations.note}'"), "y");
    let stale = kubectl.ok("get configmap c -n changes -o yaml");
    kubectl.ok_with("replace -f -", &stale);
    kubectl.ok("annotate configmap c note- -n changes");
    assert!(kubectl.fails("replace -f -", &stale).contains("the object has been modified; please apply your changes"));
    assert!(kubectl.fails("create -n changes -f -", FIRST).contains("(AlreadyExists)"));

    kubectl.ok("create role reader --verb=get,list --resource=pods -n changes");
    kubectl.ok("create serviceaccount robot -n changes");
    kubectl.ok("create rolebinding robot --role=reader --serviceaccount=changes:robot -n changes");
    let robot = "-n changes --as system:serviceaccount:changes:robot";
    assert_eq!(kubectl.ok(&format!("auth can-i list pods {robot}")), "yes\n");
    assert_eq!(kubectl.run(&format!("auth can-i delete pods {robot}")).stdout, "no\n");
    let forbidden = kubectl.fails(&format!("delete pod x {robot}"), "");
    assert!(
        forbidden.contains(
            r#"(Forbidden): pods "x" is forbidden: User "system:serviceaccount:changes:robot" cannot delete resource "pods" in API group "" in the namespace "changes""#
        ),
        "{forbidden}"
    );
    kubectl.drop_namespace("changes");
    assert!(kubectl.fails("get namespace changes", "").contains("(NotFound)"));
}

/// The life of a Deployment.
pub(crate) fn rollouts(kubectl: &Kubectl) {
    kubectl.namespace("rollouts");
    let run = |line: &str| kubectl.ok(&format!("{line} -n rollouts"));
    let done = || run("rollout status deployment/web --timeout=90s");
    run("create deployment web --image=nginx --replicas=2 --port=80");
    done();
    run("scale deployment web --replicas=3");
    done();
    let unmet = kubectl.fails("scale deployment web --current-replicas=2 --replicas=1 -n rollouts", "");
    assert_eq!(unmet, "error: Expected replicas to be 2, was 3\n");
    assert_eq!(run("set image deployment/web nginx=nginx:latest"), "deployment.apps/web image updated\n");
    assert!(done().ends_with("deployment \"web\" successfully rolled out\n"));
    run("set env deployment/web COLOUR=blue");
    run("set resources deployment/web --limits=memory=64Mi");
    done();
    expect![[r"
        deployment.apps/web
        REVISION CHANGE-CAUSE
        1 <none>
        2 <none>
        3 <none>
        4 <none>
    "]]
    .assert_eq(&masked(&run("rollout history deployment/web")));
    run("rollout pause deployment/web");
    assert!(
        kubectl.fails("rollout undo deployment/web -n rollouts", "").contains("cannot rollback a paused deployment")
    );
    run("rollout resume deployment/web");
    assert_eq!(run("rollout undo deployment/web --to-revision=2"), "deployment.apps/web rolled back\n");
    done();
    let template = run("get deployment web -o jsonpath='{.spec.template.spec.containers[0].env}'");
    assert_eq!(template, "", "revision 2 has no environment");
    run("rollout restart deployment/web");
    done();
    let sets = masked(&run("get replicasets -l app=web"));
    assert_eq!(sets.lines().filter(|line| line.starts_with("web-* 3 3 3 ")).count(), 1, "{sets}");
    assert_eq!(sets.lines().filter(|line| line.starts_with("web-* 0 0 0 ")).count(), 4, "{sets}");
    assert_eq!(run("expose deployment web --port=80"), "service/web exposed\n");
    let ready = "-o jsonpath='{.endpoints[*].conditions.ready}{\"\\n\"}'";
    let slices = format!("get endpointslices -n rollouts -l kubernetes.io/service-name=web --watch {ready}");
    kubectl.watch(&slices, |_, seen| seen.lines().any(|line| line == "true true true"));
    // A deleted pod is replaced.
    let pod = run("get pods -l app=web -o jsonpath='{.items[0].metadata.name}'");
    run(&format!("delete pod {pod} --timeout=60s"));
    run("wait --for=jsonpath='{.status.readyReplicas}'=3 deployment/web --timeout=60s");
    kubectl.drop_namespace("rollouts");
}

/// Deleting with and without what belongs to an object.
pub(crate) fn cascades(kubectl: &Kubectl) {
    kubectl.namespace("cascades");
    let run = |line: &str| kubectl.ok(&format!("{line} -n cascades"));
    run("create deployment web --image=nginx");
    run("rollout status deployment/web --timeout=60s");
    run("delete deployment web --cascade=orphan --timeout=30s");
    assert_eq!(run("get replicasets -o name").lines().count(), 1, "orphans stay");
    assert_eq!(run("get pods -o jsonpath='{.items[*].status.phase}'"), "Running");
    assert_eq!(run("get replicasets -o jsonpath='{.items[*].metadata.ownerReferences}'"), "");
    run("delete replicasets --all --cascade=foreground --timeout=60s");
    assert_eq!(run("get pods -o name"), "", "foreground deletion waits for dependents");
    kubectl.ok("create job once --image=busybox -n cascades -- true");
    run("wait --for=condition=complete job/once --timeout=60s");
    run("delete job once --timeout=30s");
    kubectl.drop_namespace("cascades");
}

const TUTORIAL: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: tutorial}
spec:
  selector: {matchLabels: {app: tutorial}}
  template:
    metadata: {labels: {app: tutorial}}
    spec:
      imagePullPolicy: IfNotPresent
      containers: [{name: tutorial, image: registry.invalid/getting-started}]
";

/// A field in the wrong place, and an image that cannot be had.
pub(crate) fn tutorial(kubectl: &Kubectl) {
    kubectl.namespace("tutorial");
    let refused = kubectl.fails("create -n tutorial -f -", TUTORIAL);
    assert!(
        refused.contains(
            "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.template.spec.imagePullPolicy\""
        ),
        "{refused}"
    );
    kubectl.ok_with("apply -n tutorial --validate=false -f -", TUTORIAL);
    kubectl.ok("wait --for=jsonpath='{.status.replicas}'=1 deployment/tutorial -n tutorial --timeout=30s");
    let waiting = "{.status.containerStatuses[0].state.waiting.reason}";
    kubectl
        .ok(&format!("wait --for=jsonpath='{waiting}'=ImagePullBackOff pod -l app=tutorial -n tutorial --timeout=90s"));
    let messages = "-o jsonpath='{.message}{\"\\n\"}'";
    kubectl.watch(&format!("get events -n tutorial --watch {messages}"), |_, seen| {
        [
            "Pulling image \"registry.invalid/getting-started\"",
            "Error: ErrImagePull",
            "Back-off pulling image \"registry.invalid/getting-started\"",
            "Error: ImagePullBackOff",
        ]
        .iter()
        .all(|message| seen.lines().any(|line| line == *message))
    });
    kubectl.drop_namespace("tutorial");
}

/// Taking a node out of service, and a watch that sees it.
pub(crate) fn nodes(kubectl: &Kubectl) {
    let seen = kubectl.watch("get nodes --watch --no-headers", |kubectl, seen| {
        if seen.lines().count() == 1 {
            kubectl.ok(&format!("cordon {NODE}"));
        }
        seen.contains(" Ready,SchedulingDisabled ")
    });
    assert!(seen.lines().next().is_some_and(|line| line.contains(" Ready ")), "{seen}");
    kubectl.ok("create deployment stuck --image=nginx");
    kubectl.ok("wait --for=jsonpath='{.status.replicas}'=1 deployment/stuck --timeout=30s");
    kubectl.ok("wait --for=jsonpath='{.status.conditions[0].reason}'=Unschedulable pod -l app=stuck --timeout=30s");
    kubectl.ok(&format!("uncordon {NODE}"));
    kubectl.ok("rollout status deployment/stuck --timeout=60s");
    kubectl.ok(&format!("drain {NODE} --ignore-daemonsets --force --delete-emptydir-data --timeout=60s"));
    kubectl.ok(&format!("uncordon {NODE}"));
    kubectl.ok(&format!("taint node {NODE} k=v:NoSchedule"));
    kubectl.ok(&format!("taint node {NODE} k-"));
    kubectl.ok("delete deployment stuck --timeout=60s");
}
