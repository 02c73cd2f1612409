//! What a node's identity reaches: what its own pods need, and nothing else.

use std::collections::BTreeSet;

use registry::UserInfo;
use serde_json::{Value, json};
use test_cluster::TestCluster;

use super::generated::Dice;
use crate::http::Client;

const NODES: [&str; 3] = ["n0", "n1", "n2"];

/// By namespace, resource and name: what the pods of a node refer to.
type Reach = BTreeSet<(String, &'static str, String)>;

fn references(pod: &Value) -> Reach {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap().to_owned();
    let mut all = Reach::new();
    let mut add = |resource: &'static str, name: &Value| {
        if let Some(name) = name.as_str() {
            all.insert((namespace.clone(), resource, name.to_owned()));
        }
    };
    add("serviceaccounts", &pod["spec"]["serviceAccountName"]);
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        add("secrets", &volume["secret"]["secretName"]);
        add("configmaps", &volume["configMap"]["name"]);
        add("persistentvolumeclaims", &volume["persistentVolumeClaim"]["claimName"]);
        for source in volume["projected"]["sources"].as_array().into_iter().flatten() {
            add("configmaps", &source["configMap"]["name"]);
            add("secrets", &source["secret"]["name"]);
        }
    }
    for secret in pod["spec"]["imagePullSecrets"].as_array().into_iter().flatten() {
        add("secrets", &secret["name"]);
    }
    for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
        for source in container["envFrom"].as_array().into_iter().flatten() {
            add("secrets", &source["secretRef"]["name"]);
            add("configmaps", &source["configMapRef"]["name"]);
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            add("secrets", &variable["valueFrom"]["secretKeyRef"]["name"]);
            add("configmaps", &variable["valueFrom"]["configMapKeyRef"]["name"]);
        }
    }
    all
}

fn pod(dice: &mut Dice, number: usize) -> Value {
    let name = |dice: &mut Dice| format!("x{}", dice.roll(6));
    let mut spec =
        json!({"serviceAccountName": name(dice), "containers": [{"name": "c", "image": "i"}], "volumes": []});
    for volume in 0..dice.roll(3) {
        let source = match dice.roll(4) {
            0 => json!({"secret": {"secretName": name(dice)}}),
            1 => json!({"configMap": {"name": name(dice)}}),
            2 => json!({"persistentVolumeClaim": {"claimName": name(dice)}}),
            _ => {
                json!({"projected": {"sources": [{"secret": {"name": name(dice)}}, {"configMap": {"name": name(dice)}}]}})
            }
        };
        let mut source = source;
        source["name"] = json!(format!("v{volume}"));
        spec["volumes"].as_array_mut().unwrap().push(source);
    }
    match dice.roll(3) {
        0 => spec["imagePullSecrets"] = json!([{"name": name(dice)}]),
        1 => spec["containers"][0]["envFrom"] = json!([{"secretRef": {"name": name(dice)}}]),
        _ => {
            let variable = json!({"name": "A", "valueFrom": {"configMapKeyRef": {"name": name(dice), "key": "k"}}});
            spec["containers"][0]["env"] = json!([variable]);
        }
    }
    json!({"metadata": {"name": format!("p{number}"), "namespace": if number.is_multiple_of(2) { "one" } else { "two" }}, "spec": spec})
}

async fn cluster(dice: &mut Dice) -> (TestCluster, Client, Vec<(usize, Value)>) {
    let cluster = TestCluster::start().await.unwrap();
    let admin = Client::admin(&cluster);
    for node in NODES {
        assert_eq!(admin.post("/api/v1/nodes", &json!({"metadata": {"name": node}})).await.status, 201);
    }
    for namespace in ["one", "two"] {
        admin.post("/api/v1/namespaces", &json!({"metadata": {"name": namespace}})).await;
        for number in 0..6 {
            let object = json!({"metadata": {"name": format!("x{number}")}});
            for plural in ["secrets", "configmaps", "serviceaccounts"] {
                let answer = admin.post(&format!("/api/v1/namespaces/{namespace}/{plural}"), &object).await;
                assert_eq!(answer.status, 201, "{}", answer.json());
            }
        }
    }
    let mut pods = Vec::new();
    for number in 0..12 {
        let (pod, node) = (pod(dice, number), dice.roll(3));
        let url = format!("/api/v1/namespaces/{}/pods", pod["metadata"]["namespace"].as_str().unwrap());
        let answer = admin.post(&url, &pod).await;
        assert_eq!(answer.status, 201, "{pod}: {}", answer.json());
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": NODES[node]}});
        assert_eq!(admin.post(&format!("{url}/{name}/binding"), &binding).await.status, 201);
        pods.push((node, admin.get(&format!("{url}/{name}")).await.json()));
    }
    (cluster, admin, pods)
}

fn node(cluster: &TestCluster, number: usize) -> Client {
    Client::of(cluster, UserInfo::new(format!("system:node:{}", NODES[number]), ["system:nodes"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_reaches_what_its_pods_need_and_nothing_else() {
    let mut dice = Dice(7);
    let (cluster, admin, pods) = cluster(&mut dice).await;
    let mut reached = 0;
    for (number, name_of_node) in NODES.iter().enumerate() {
        let client = node(&cluster, number);
        let reach: Reach =
            pods.iter().filter(|(node, _)| *node == number).flat_map(|(_, pod)| references(pod)).collect();
        for namespace in ["one", "two"] {
            for plural in ["secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts"] {
                for name in (0..6).map(|name| format!("x{name}")) {
                    let expected = reach.contains(&(namespace.to_owned(), plural, name.clone()));
                    let url = format!("/api/v1/namespaces/{namespace}/{plural}/{name}");
                    let answer = client.get(&url).await;
                    assert_eq!(answer.status != 403, expected, "{name_of_node} {url}: {}", answer.status);
                    reached += usize::from(expected);
                    if plural != "persistentvolumeclaims" {
                        let merge = [("content-type", "application/merge-patch+json")];
                        assert_eq!(
                            client.send("PATCH", &format!("{url}?dryRun=All"), &merge, "{}").await.status,
                            403,
                            "{url}"
                        );
                        assert_eq!(
                            client.send("DELETE", &format!("{url}?dryRun=All"), &[], "").await.status,
                            403,
                            "{url}"
                        );
                    }
                }
                assert_eq!(client.get(&format!("/api/v1/namespaces/{namespace}/{plural}")).await.status, 403);
                assert_eq!(client.get(&format!("/api/v1/{plural}")).await.status, 403);
            }
        }
        // Tokens: only bound to a pod of its own, only of that pod's account.
        for (of, pod) in &pods {
            let namespace = pod["metadata"]["namespace"].as_str().unwrap();
            let own = pod["spec"]["serviceAccountName"].as_str().unwrap();
            for account in (0..6).map(|name| format!("x{name}")) {
                let url = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
                let bound = json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1",
                    "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}}});
                let answer = client.post(&url, &bound).await;
                let expected = *of == number && account == own;
                assert_eq!(answer.status == 201, expected, "{} {url}: {}", NODES[number], answer.json());
                assert_ne!(
                    client.post(&url, &json!({"spec": {}})).await.status,
                    201,
                    "a token that is bound to nothing"
                );
                let to_node =
                    json!({"spec": {"boundObjectRef": {"kind": "Node", "apiVersion": "v1", "name": NODES[number]}}});
                assert_ne!(client.post(&url, &to_node).await.status, 201, "a token that is bound to the node");
            }
        }
        // Pods: its own, and only their status.
        for (of, pod) in &pods {
            let namespace = pod["metadata"]["namespace"].as_str().unwrap();
            let url = format!("/api/v1/namespaces/{namespace}/pods/{}", pod["metadata"]["name"].as_str().unwrap());
            assert_eq!(client.get(&url).await.status == 200, *of == number, "{url}");
            let merge = [("content-type", "application/merge-patch+json")];
            let status = client
                .send("PATCH", &format!("{url}/status?dryRun=All"), &merge, r#"{"status":{"message":"m"}}"#)
                .await;
            assert_eq!(status.status == 200, *of == number, "{url}: {}", status.json());
            assert_eq!(
                client
                    .send("PATCH", &format!("{url}?dryRun=All"), &merge, r#"{"metadata":{"labels":{"a":"b"}}}"#)
                    .await
                    .status,
                403
            );
            let deleted = client.send("DELETE", &format!("{url}?dryRun=All"), &[], "").await;
            assert_eq!(deleted.status.is_success(), *of == number, "DELETE {url}: {}", deleted.json());
        }
    }
    assert!(reached > 30, "only {reached} things were reached: says little");
    drop(admin);
}

#[tokio::test]
async fn a_node_writes_about_itself_only() {
    let mut dice = Dice(8);
    let (cluster, admin, pods) = cluster(&mut dice).await;
    let client = node(&cluster, 0);
    let merge = [("content-type", "application/merge-patch+json")];
    let patch =
        async |url: &str, body: Value| client.send("PATCH", url, &merge, body.to_string()).await.status.as_u16();
    assert_eq!(patch("/api/v1/nodes/n0", json!({"metadata": {"labels": {"example.com/a": "b"}}})).await, 200);
    assert_eq!(patch("/api/v1/nodes/n1", json!({"metadata": {"labels": {"example.com/a": "b"}}})).await, 403);
    assert_eq!(patch("/api/v1/nodes/n1/status", json!({"status": {"phase": "x"}})).await, 403);
    for label in ["node-restriction.kubernetes.io/x", "node-role.kubernetes.io/control-plane", "kubernetes.io/other"] {
        assert_eq!(patch("/api/v1/nodes/n0", json!({"metadata": {"labels": {label: "b"}}})).await, 403, "{label}");
    }
    let taint = json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}});
    assert_eq!(patch("/api/v1/nodes/n0", taint).await, 403);
    assert_eq!(client.send("DELETE", "/api/v1/nodes/n0", &[], "").await.status, 403);
    assert_eq!(client.post("/api/v1/nodes", &json!({"metadata": {"name": "n9"}})).await.status, 403);

    let lease = |name: &str, namespace: &str| json!({"metadata": {"name": name, "namespace": namespace}, "spec": {}});
    let leases = |namespace: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    assert_eq!(client.post(&leases("kube-node-lease"), &lease("n0", "kube-node-lease")).await.status, 201);
    assert_eq!(client.post(&leases("kube-node-lease"), &lease("n1", "kube-node-lease")).await.status, 403);
    assert_eq!(client.post(&leases("kube-system"), &lease("n0", "kube-system")).await.status, 403);
    assert_eq!(client.get(&format!("{}/n0", leases("kube-node-lease"))).await.status, 200);
    assert_eq!(client.get(&format!("{}/n1", leases("kube-node-lease"))).await.status, 403);
    assert_eq!(client.get(&leases("kube-node-lease")).await.status, 403);

    let csi = |name: &str| json!({"metadata": {"name": name}, "spec": {"drivers": []}});
    assert_eq!(client.post("/apis/storage.k8s.io/v1/csinodes", &csi("n0")).await.status, 201);
    assert_eq!(client.post("/apis/storage.k8s.io/v1/csinodes", &csi("n1")).await.status, 403);
    assert_eq!(client.get("/apis/storage.k8s.io/v1/csinodes/n1").await.status, 403);

    // Pods that it makes itself are mirrors bound to it, and give it nothing.
    let own_uid = admin.get("/api/v1/nodes/n0").await.json()["metadata"]["uid"].clone();
    let mirror = |node: &str, annotated: bool, spec: Value| {
        let mut spec = spec;
        spec["nodeName"] = json!(node);
        spec["containers"] = json!([{"name": "c", "image": "i"}]);
        let annotations = if annotated { json!({"kubernetes.io/config.mirror": "h"}) } else { json!({}) };
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n0", "uid": own_uid, "controller": true});
        json!({"metadata": {"name": "m", "namespace": "one", "annotations": annotations, "ownerReferences": [owner]},
            "spec": spec})
    };
    let pods_url = "/api/v1/namespaces/one/pods";
    assert_eq!(client.post(pods_url, &mirror("n0", false, json!({}))).await.status, 403, "not a mirror");
    assert_eq!(client.post(pods_url, &mirror("n1", true, json!({}))).await.status, 403, "of another node");
    for spec in [
        json!({"serviceAccountName": "x1"}),
        json!({"volumes": [{"name": "v", "secret": {"secretName": "x1"}}]}),
        json!({"volumes": [{"name": "v", "configMap": {"name": "x1"}}]}),
        json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "x1"}}]}),
    ] {
        let answer = client.post(&format!("{pods_url}?dryRun=All"), &mirror("n0", true, spec.clone())).await;
        assert_eq!(answer.status, 403, "{spec}: {}", answer.json());
    }
    let plain = client.post(&format!("{pods_url}?dryRun=All"), &mirror("n0", true, json!({}))).await;
    assert_eq!(plain.status, 201, "a mirror that refers to nothing: {}", plain.json());
    let mut ownerless = mirror("n0", true, json!({}));
    ownerless["metadata"]["ownerReferences"] = json!([]);
    assert_eq!(client.post(pods_url, &ownerless).await.status, 403, "it would outlive its node");
    let others: Vec<_> = pods.iter().filter(|(of, _)| *of != 0).collect();
    for (_, pod) in others {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap();
        let name = pod["metadata"]["name"].as_str().unwrap();
        let url = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
        let answer = client.post(&url, &json!({"metadata": {"name": name}})).await;
        assert_eq!(answer.status, 403, "evict {name}: {}", answer.json());
        let url = format!("/api/v1/namespaces/{namespace}/pods/{name}/binding");
        let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n0"}});
        assert_eq!(client.post(&url, &binding).await.status, 403);
    }
    // What is watched is limited by selectors.
    for (url, code) in [
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn0", 200),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", 403),
        ("/api/v1/pods?fieldSelector=spec.nodeName!%3Dn1", 403),
        ("/api/v1/pods", 403),
        ("/api/v1/nodes?fieldSelector=metadata.name%3Dn0", 200),
        ("/api/v1/nodes", 403),
        ("/api/v1/services", 200),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", 403),
    ] {
        assert_eq!(client.get(url).await.status, code, "{url}");
    }
    drop(admin);
}
