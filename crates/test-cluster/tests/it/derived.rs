//! A custom resource as kube-rs derives it: definition, schema, and a typed client.

use futures::TryStreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, CustomResource, CustomResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use test_cluster::TestCluster;

#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[kube(group = "library.example.com", version = "v1", kind = "Document", namespaced, status = "DocumentStatus")]
#[kube(shortname = "doc", category = "paper")]
#[kube(printcolumn = r#"{"name": "Title", "type": "string", "jsonPath": ".spec.title"}"#)]
#[kube(scale(spec_replicas_path = ".spec.copies", status_replicas_path = ".status.copies"))]
struct DocumentSpec {
    /// What stands on the cover.
    #[schemars(length(min = 1, max = 20))]
    title: String,
    #[serde(default)]
    copies: i32,
    mood: Option<Mood>,
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
enum Mood {
    Merry,
    Grave,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
struct Part {
    name: String,
    pages: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
struct DocumentStatus {
    copies: i32,
}

#[tokio::test]
async fn a_derived_kind_lives_its_life() {
    let cluster = TestCluster::start().await.unwrap();
    let client = cluster.https_client().await.unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = Document::crd_name();
    let apply = PatchParams::apply("derived").force();
    definitions.patch(name, &apply, &Patch::Apply(Document::crd())).await.unwrap();
    let watch = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = Box::pin(definitions.watch(&watch, "0").await.unwrap());
    while let Some(event) = events.try_next().await.unwrap() {
        let (WatchEvent::Added(definition) | WatchEvent::Modified(definition)) = event else { continue };
        let conditions = definition.status.and_then(|status| status.conditions).unwrap_or_default();
        if conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True") {
            break;
        }
    }

    let documents: Api<Document> = Api::default_namespaced(client);
    let parts = vec![Part { name: "one".to_owned(), pages: Some(3) }, Part { name: "two".to_owned(), pages: None }];
    let spec = DocumentSpec { title: "Emma".to_owned(), copies: 1, mood: Some(Mood::Merry), parts };
    let created = documents.create(&PostParams::default(), &Document::new("a", spec.clone())).await.unwrap();
    assert_eq!((created.spec, created.metadata.generation), (spec, Some(1)));
    let long = json!({"spec": {"title": "a title that is longer than the cover"}});
    let error = documents.patch("a", &PatchParams::default(), &Patch::Merge(&long)).await.unwrap_err();
    assert!(error.to_string().contains("spec.title: Too long: may not be more than 20 bytes"), "{error}");
    let grey = json!({"spec": {"mood": "Grey"}});
    let error = documents.patch("a", &PatchParams::default(), &Patch::Merge(&grey)).await.unwrap_err();
    assert!(error.to_string().contains("spec.mood: Unsupported value: \"Grey\""), "{error}");

    let status = json!({"status": {"copies": 1}});
    let with_status = documents.patch_status("a", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    assert_eq!(with_status.status, Some(DocumentStatus { copies: 1 }));
    let scale = json!({"spec": {"replicas": 4}});
    documents.patch_scale("a", &PatchParams::default(), &Patch::Merge(&scale)).await.unwrap();
    let applied = json!({
        "apiVersion": "library.example.com/v1", "kind": "Document", "metadata": {"name": "b"},
        "spec": {"title": "Persuasion", "parts": []},
    });
    documents.patch("b", &PatchParams::apply("other"), &Patch::Apply(&applied)).await.unwrap();
    let list = documents.list(&ListParams::default()).await.unwrap();
    let copies: Vec<(String, i32)> =
        list.into_iter().map(|document| (document.metadata.name.unwrap_or_default(), document.spec.copies)).collect();
    assert_eq!(copies, [("a".to_owned(), 4), ("b".to_owned(), 0)]);
    documents.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(documents.get_opt("a").await.unwrap().is_none());
}
