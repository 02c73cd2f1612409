//! Life of objects through `kube::Client`, as the agents use it.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use test_cluster::{Options, TestCluster};

#[tokio::test]
async fn an_object_lives_and_dies() {
    let cluster = TestCluster::start().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let object: ConfigMap =
        serde_json::from_value(json!({"metadata": {"generateName": "m-"}, "data": {"a": "1"}})).unwrap();
    let created = maps.create(&PostParams::default(), &object).await.unwrap();
    let name = created.metadata.name.unwrap();
    let patch = Patch::Strategic(json!({"data": {"b": "2"}}));
    let patched = maps.patch(&name, &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data.unwrap().len(), 2);
    let mut replaced = maps.get(&name).await.unwrap();
    replaced.data = None;
    maps.replace(&name, &PostParams::default(), &replaced).await.unwrap();
    let error = maps.replace(&name, &PostParams::default(), &replaced).await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 409));
    maps.delete(&name, &DeleteParams::default()).await.unwrap();
    assert!(maps.get_opt(&name).await.unwrap().is_none());
}

#[tokio::test]
async fn dry_run_changes_nothing() {
    let cluster = TestCluster::start().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let object: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
    let created = maps.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.resource_version.is_none());
    assert!(maps.get_opt("a").await.unwrap().is_none());
    maps.create(&PostParams::default(), &object).await.unwrap();
    maps.delete("a", &DeleteParams { dry_run: true, ..DeleteParams::default() }).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_some());
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let cluster = TestCluster::start().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    for (name, on) in [("a", "yes"), ("b", "no"), ("c", "yes")] {
        let object = serde_json::from_value(json!({"metadata": {"name": name, "labels": {"on": on}}})).unwrap();
        maps.create(&PostParams::default(), &object).await.unwrap();
    }
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("on=yes")).await.unwrap();
    let left: Vec<_> = maps.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(left.iter().map(|map| map.metadata.name.as_deref().unwrap()).collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn system_objects_are_there() {
    let cluster = TestCluster::start().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    let names: Vec<_> = namespaces
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .into_iter()
        .filter_map(|ns| ns.metadata.name)
        .collect();
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    let services: Api<Service> = Api::namespaced(cluster.client(), "default");
    let service = services.get("kubernetes").await.unwrap();
    assert_eq!(service.spec.unwrap().cluster_ip.as_deref(), Some("10.43.0.1"));
}

#[tokio::test]
async fn a_long_list_is_streamed_whole() {
    let cluster = TestCluster::start().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    for index in 0..300 {
        let object =
            serde_json::from_value(json!({"metadata": {"name": format!("m{index}")}, "data": {"a": "x".repeat(2000)}}))
                .unwrap();
        maps.create(&PostParams::default(), &object).await.unwrap();
    }
    let https: Api<ConfigMap> = Api::namespaced(cluster.https_client().await.unwrap(), "default");
    for api in [&maps, &https] {
        assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 300);
        let page = api.list(&ListParams::default().limit(100)).await.unwrap();
        assert_eq!((page.items.len(), page.metadata.remaining_item_count), (100, Some(200)));
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_restart() {
    let cluster = TestCluster::start_with(Options { durable: true, ..Options::default() }).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let object: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "kept"}})).unwrap();
    let created = maps.create(&PostParams::default(), &object).await.unwrap();
    let cluster = cluster.restart().await.unwrap();
    let client: Client = cluster.client();
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    assert_eq!(maps.get("kept").await.unwrap().metadata.uid, created.metadata.uid);
}

/// Upstream: `ReturnDeletedObject` of the strategies.
#[tokio::test]
async fn a_deletion_answers_with_the_object_or_a_status() {
    let cluster = TestCluster::start().await.unwrap();
    let client = crate::http::Client::admin(&cluster);
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    for (path, object, kind) in [
        (accounts, json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "x"}}), "ServiceAccount"),
        (
            "/api/v1/namespaces/default/configmaps",
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}}),
            "Status",
        ),
    ] {
        assert_eq!(client.post(path, &object).await.status, 201);
        let answer = client.send("DELETE", &format!("{path}/x"), &[], "").await;
        assert_eq!((answer.status.as_u16(), &answer.json()["kind"]), (200, &json!(kind)));
    }
}

/// There are clients that compare an error's text.
#[tokio::test]
async fn a_status_is_written_in_upstreams_order() {
    let cluster = TestCluster::start().await.unwrap();
    let client = crate::http::Client::admin(&cluster);
    let missing = client.get("/api/v1/namespaces/default/services/x").await;
    assert_eq!(
        String::from_utf8_lossy(&missing.body),
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"services \"x\" not found","reason":"NotFound","details":{"name":"x","kind":"services"},"code":404}
"#
    );
    let map = json!({"metadata": {"name": "x", "uid": "u"}});
    assert_eq!(client.post("/api/v1/namespaces/default/configmaps", &map).await.status, 201);
    let deleted = client.send("DELETE", "/api/v1/namespaces/default/configmaps/x", &[], "").await;
    let text = String::from_utf8_lossy(&deleted.body).into_owned();
    let start = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"x","kind":"configmaps","uid":""#;
    assert!(text.starts_with(start), "{text}");
}
