//! Every kind through the server: who may not, may not; and what a cluster has from its start.

use std::time::Duration;

use http::Request;
use k8s_openapi::api::core::v1::{Namespace, Pod, ResourceQuota, Service};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use test_cluster::TestCluster;

/// The status code and body of a request.
async fn ask(client: &Client, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request =
        Request::builder().method(method).uri(path).header("content-type", "application/json").body(body.into());
    let response = client.send(request.unwrap()).await.unwrap();
    let code = response.status().as_u16();
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or_default())
}

/// Each resource of the server with its path and what can be done to it.
async fn resources(client: &Client) -> Vec<(String, String, Vec<String>)> {
    let mut all = Vec::new();
    let (_, groups) = ask(client, "GET", "/apis", &Value::Null).await;
    let of_groups = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| format!("/apis/{}", group["preferredVersion"]["groupVersion"].as_str().unwrap()));
    for root in ["/api/v1".to_owned()].into_iter().chain(of_groups) {
        let (_, list) = ask(client, "GET", &root, &Value::Null).await;
        for resource in list["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            let verbs: Vec<String> =
                resource["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap().to_owned()).collect();
            if name.contains('/') || !verbs.iter().any(|verb| verb == "list") {
                continue;
            }
            let namespaced = resource["namespaced"] == true;
            let path = if namespaced { format!("{root}/namespaces/default/{name}") } else { format!("{root}/{name}") };
            all.push((name.to_owned(), path, verbs));
        }
    }
    all
}

#[tokio::test]
async fn every_kind_is_guarded() {
    let cluster = TestCluster::start().await.unwrap();
    let (admin, nobody) = (cluster.client(), cluster.client_as("nobody", &["system:authenticated"]));
    let reader = cluster.client_as("reader", &["readers"]);
    let role =
        json!({"metadata": {"name": "read"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["list"]}]});
    let binding = json!({"metadata": {"name": "read"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "read"}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "readers"}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    assert_eq!(ask(&admin, "POST", &format!("{rbac}/clusterroles"), &role).await.0, 201);
    assert_eq!(ask(&admin, "POST", &format!("{rbac}/clusterrolebindings"), &binding).await.0, 201);
    let all = resources(&admin).await;
    assert!(all.len() > 50, "{} kinds", all.len());
    for (name, path, verbs) in all {
        for (verb, method, path) in [
            ("list", "GET", path.clone()),
            ("get", "GET", format!("{path}/x")),
            ("create", "POST", path.clone()),
            ("update", "PUT", format!("{path}/x")),
            ("delete", "DELETE", format!("{path}/x")),
            ("deletecollection", "DELETE", path.clone()),
        ] {
            if !verbs.iter().any(|known| known == verb) {
                continue;
            }
            let body = if method == "GET" { Value::Null } else { json!({}) };
            let (code, status) = ask(&nobody, method, &path, &body).await;
            assert_eq!(code, 403, "{verb} {name}: {status}");
            let message = status["message"].as_str().unwrap();
            assert!(message.contains(&format!("cannot {verb} resource \"{name}\"")), "{message}");
        }
        assert_eq!(ask(&reader, "GET", &path, &Value::Null).await.0, 200, "list {name}");
        assert_eq!(ask(&reader, "POST", &path, &json!({})).await.0 / 100, 4, "create {name}");
    }
}

async fn until(what: &str, client: &Client, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let (_, object) = ask(client, "GET", path, &Value::Null).await;
        if holds(&object) {
            return object;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what}: {object}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn flow_control_is_there_and_kept() {
    let cluster = TestCluster::start().await.unwrap();
    let client = cluster.client();
    let root = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let names = |list: &Value| -> Vec<String> {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let (_, levels) = ask(&client, "GET", &format!("{root}/prioritylevelconfigurations"), &Value::Null).await;
    assert_eq!(
        names(&levels),
        [
            "catch-all",
            "exempt",
            "global-default",
            "leader-election",
            "node-high",
            "system",
            "workload-high",
            "workload-low"
        ]
    );
    let (_, schemas) = ask(&client, "GET", &format!("{root}/flowschemas"), &Value::Null).await;
    assert_eq!(names(&schemas).len(), 11);
    assert_eq!(ask(&client, "DELETE", &format!("{root}/flowschemas/catch-all"), &Value::Null).await.0, 200);
    until("the mandatory schema comes back", &client, &format!("{root}/flowschemas/catch-all"), |schema| {
        schema["spec"]["matchingPrecedence"] == 10_000
    })
    .await;
    let (_, mut changed) = ask(&client, "GET", &format!("{root}/flowschemas/exempt"), &Value::Null).await;
    changed["spec"]["matchingPrecedence"] = json!(3);
    let (code, status) = ask(&client, "PUT", &format!("{root}/flowschemas/exempt"), &changed).await;
    assert_eq!(code, 422, "{status}");
    assert!(status["message"].as_str().unwrap().contains("spec of 'exempt' must equal the fixed value"), "{status}");
}

#[tokio::test]
async fn addresses_of_services_are_objects() {
    let cluster = TestCluster::start().await.unwrap();
    let client = cluster.client();
    let root = "/apis/networking.k8s.io/v1";
    let (_, range) = ask(&client, "GET", &format!("{root}/servicecidrs/kubernetes"), &Value::Null).await;
    assert_eq!(range["spec"]["cidrs"], json!(["10.43.0.0/16"]));
    assert_eq!(range["status"]["conditions"][0]["type"], "Ready");
    until("the API's own address", &client, &format!("{root}/ipaddresses/10.43.0.1"), |object| {
        object["spec"]["parentRef"] == json!({"resource": "services", "namespace": "default", "name": "kubernetes"})
    })
    .await;
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    let service =
        serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})).unwrap();
    let created = services.create(&PostParams::default(), &service).await.unwrap();
    let address = created.spec.unwrap().cluster_ip.unwrap();
    let path = format!("{root}/ipaddresses/{address}");
    until("the address's object", &client, &path, |object| object["spec"]["parentRef"]["name"] == "web").await;
    // Who deletes it gets it back; with its service it goes.
    ask(&client, "DELETE", &path, &Value::Null).await;
    until("the object again", &client, &path, |object| object["spec"]["parentRef"]["name"] == "web").await;
    services.delete("web", &DeleteParams::default()).await.unwrap();
    until("the end of the object", &client, &path, |object| object["code"] == 404).await;

    let kept =
        json!({"metadata": {"name": "10.43.0.77"}, "spec": {"parentRef": {"resource": "things", "name": "mine"}}});
    assert_eq!(ask(&client, "POST", &format!("{root}/ipaddresses"), &kept).await.0, 201);
    let wanted = json!({"metadata": {"name": "other"}, "spec": {"clusterIP": "10.43.0.77", "ports": [{"port": 80}]}});
    let (code, status) = ask(&client, "POST", "/api/v1/namespaces/default/services", &wanted).await;
    assert_eq!(code, 422, "{status}");
    assert!(status["message"].as_str().unwrap().contains("provided IP is already allocated"), "{status}");
}

#[tokio::test]
async fn quotas_hold_under_many_requests() {
    let cluster = TestCluster::start().await.unwrap();
    let client = cluster.client();
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), "default");
    let quota = serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "3"}}})).unwrap();
    quotas.create(&PostParams::default(), &quota).await.unwrap();
    let status = Patch::Merge(json!({"status": {"hard": {"pods": "3"}, "used": {"pods": "0"}}}));
    quotas.patch_status("q", &PatchParams::default(), &status).await.unwrap();
    let accounts = json!({"metadata": {"name": "default"}});
    ask(&client, "POST", "/api/v1/namespaces/default/serviceaccounts", &accounts).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let pod: Pod = serde_json::from_value(
        json!({"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
    )
    .unwrap();
    let outcomes =
        futures::future::join_all((0..8).map(|_| async { pods.create(&PostParams::default(), &pod).await })).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 3, "{outcomes:?}");
    let refused = outcomes.into_iter().find_map(Result::err).unwrap().to_string();
    assert!(refused.contains("exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3"), "{refused}");
    let used = quotas.get("q").await.unwrap().status.unwrap().used.unwrap();
    assert_eq!(used["pods"].0, "3");
}

#[tokio::test]
async fn pod_security_and_closed_doors() {
    let cluster = TestCluster::start().await.unwrap();
    let client = cluster.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let strict = Patch::Merge(json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}));
    namespaces.patch("default", &PatchParams::default(), &strict).await.unwrap();
    ask(&client, "POST", "/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "i"}]}});
    let (code, status) = ask(&client, "POST", "/api/v1/namespaces/default/pods", &pod).await;
    assert_eq!(code, 403, "{status}");
    let message = status["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            r#"pods "p" is forbidden: violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)"#
        ),
        "{message}"
    );
    // CVE-2020-8554, through the server.
    let service = json!({"metadata": {"name": "s"}, "spec": {"externalIPs": ["1.1.1.1"], "ports": [{"port": 80}]}});
    let (code, status) = ask(&client, "POST", "/api/v1/namespaces/default/services", &service).await;
    assert_eq!(code, 403, "{status}");
}
