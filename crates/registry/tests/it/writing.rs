//! Create, update and patch.

use registry::{UpdateKind, pipeline::PatchKind};
use serde_json::json;

use crate::fixture::{Fixture, map};

#[tokio::test]
async fn a_created_object_has_system_metadata() {
    let fixture = Fixture::new();
    let created = fixture.create(map("a")).await.unwrap();
    let metadata = &created["metadata"];
    assert_eq!((&metadata["name"], &metadata["namespace"]), (&json!("a"), &json!("default")));
    assert!(metadata["uid"].as_str().unwrap().len() == 36);
    assert!(metadata["creationTimestamp"].is_string() && metadata["resourceVersion"].is_string());
    assert_eq!(fixture.get("a").unwrap(), created);
    let again = fixture.create(map("a")).await.unwrap_err();
    assert_eq!((again.code, again.message.as_str()), (409, "configmaps \"a\" already exists"));
}

#[tokio::test]
async fn names_are_generated() {
    let fixture = Fixture::new();
    let object = json!({"metadata": {"generateName": "web-"}});
    let created = fixture.create(object).await.unwrap();
    let name = created["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
}

#[tokio::test]
async fn invalid_objects_are_refused_in_upstreams_words() {
    let fixture = Fixture::new();
    let mut object = map("A_b");
    object["data"] = json!({"bad key": "x"});
    let error = fixture.create(object).await.unwrap_err();
    assert_eq!(error.code, 422);
    assert!(
        error.message.starts_with(
            "ConfigMap \"A_b\" is invalid: [metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain"
        ),
        "{}",
        error.message
    );
    assert!(
        error.message.ends_with("data[bad key]: Invalid value: \"bad key\": a valid config key is needed]"),
        "{}",
        error.message
    );
    assert_eq!(error.details.unwrap().causes.len(), 2);

    let mut other = map("x");
    other["metadata"]["namespace"] = json!("other");
    let error = fixture.create(other).await.unwrap_err();
    assert_eq!(error.message, "the namespace of the provided object does not match the namespace sent on the request");

    let error =
        fixture.create(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}})).await.unwrap_err();
    assert!(error.message.starts_with("Pod in version \"v1\" cannot be handled as a ConfigMap"), "{}", error.message);
    let error = fixture.create(json!({"metadata": {"name": "x"}, "data": {"a": 1}})).await.unwrap_err();
    assert_eq!(
        error.message,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
    );
}

#[tokio::test]
async fn an_update_needs_the_version_it_started_from() {
    let fixture = Fixture::new();
    let first = fixture.create(map("a")).await.unwrap();
    let mut changed = first.clone();
    changed["data"]["a"] = json!("2");
    let second = fixture.update("a", changed.clone()).await.unwrap();
    assert_ne!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let error = fixture.update("a", changed).await.unwrap_err();
    assert_eq!(error.code, 409);
    assert_eq!(
        error.message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    // Without a version it overwrites; without a change it writes nothing.
    let third = fixture.update("a", map("a")).await.unwrap();
    assert_eq!(third["data"]["a"], "1");
    assert_eq!(third["metadata"]["uid"], first["metadata"]["uid"]);
    let fourth = fixture.update("a", map("a")).await.unwrap();
    assert_eq!(third, fourth);
    assert_eq!(fixture.update("b", map("b")).await.unwrap_err().message, "configmaps \"b\" not found");
    assert_eq!(fixture.update("b", map("c")).await.unwrap_err().code, 400);
}

#[tokio::test]
async fn patches_apply_to_what_is_stored() {
    let fixture = Fixture::new();
    fixture.create(map("a")).await.unwrap();
    let merged = fixture.patch("a", PatchKind::Merge, json!({"data": {"a": null, "b": "2"}})).await.unwrap();
    assert_eq!(merged["data"], json!({"b": "2"}));
    let patched = fixture
        .patch("a", PatchKind::Json, json!([{"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]))
        .await
        .unwrap();
    assert_eq!(patched["metadata"]["labels"], json!({"x": "y"}));
    let error = fixture.patch("a", PatchKind::Json, json!([{"op": "test", "path": "/data/b", "value": "3"}])).await;
    assert_eq!(error.unwrap_err().code, 422);
    let error = fixture.patch("a", PatchKind::Merge, json!({"metadata": {"resourceVersion": "1"}})).await;
    assert_eq!(error.unwrap_err().code, 409);
}

#[tokio::test]
async fn status_and_spec_have_separate_doors() {
    let fixture = Fixture::new();
    let gadgets = fixture.gadgets();
    let object = json!({"metadata": {"name": "g"}, "spec": {"size": 1}, "status": {"seen": true}});
    let created = fixture.create_in(&gadgets, object).await.unwrap();
    assert_eq!((&created["status"], &created["metadata"]["generation"]), (&json!(null), &json!(1)));
    let object = json!({"metadata": {"name": "g"}, "spec": {"size": 2}, "status": {"seen": true}});
    let status = fixture.update_in(&gadgets, UpdateKind::Status, "g", object.clone()).await.unwrap();
    assert_eq!((&status["spec"]["size"], &status["status"]["seen"]), (&json!(1), &json!(true)));
    assert_eq!(status["metadata"]["generation"], 1);
    let mut object = object;
    object["status"] = json!({"seen": false});
    let updated = fixture.update_in(&gadgets, UpdateKind::Object, "g", object).await.unwrap();
    assert_eq!((&updated["spec"]["size"], &updated["status"]["seen"]), (&json!(2), &json!(true)));
    assert_eq!(updated["metadata"]["generation"], 2);
}
