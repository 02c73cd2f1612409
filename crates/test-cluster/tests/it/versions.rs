//! Objects that are written through one version and then through another: who owns what, and what selectors find.
//! Upstream: `test/integration/apiserver/apply` and the conversion tests of `apiextensions-apiserver`.

use futures::StreamExt as _;
use serde_json::{Value, json};
use test_cluster::TestCluster;

use crate::{
    apply::{apply, owners},
    custom::{DEFINITIONS, convert, define, events, foos, patch},
    http::{Answer, Client},
    outside::Outside,
};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn put(client: &Client, url: &str, object: &Value) -> Answer {
    client.send("PUT", url, &[JSON], object.to_string()).await
}

/// A definition whose versions differ in nothing but their names.
fn widgets() -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer"}, "note": {"type": "string"},
            "items": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "value": {"type": "string"}}},
            },
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        }},
        "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
    }});
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "versions": [version("v1", true), version("v2", false)],
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        },
    })
}

fn widget(version: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": "w"}, "spec": spec})
}

fn widget_url(version: &str) -> String {
    format!("/apis/example.com/{version}/namespaces/default/widgets/w")
}

#[tokio::test]
async fn custom_objects_keep_their_owners_across_versions() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &widgets()).await;
    let (first, second) = (widget_url("v1"), widget_url("v2"));
    let list = first.trim_end_matches("/w");

    // Created through the one, replaced through the other: each entry speaks of its version.
    let created = client
        .post(&format!("{list}?fieldManager=creator"), &widget("v1", json!({"replicas": 1, "note": "n"})))
        .await
        .json();
    assert_eq!(
        owners(&created),
        [r#"creator Update example.com/v1 - {"f:spec":{".":{},"f:note":{},"f:replicas":{}}}"#]
    );
    let mut object = client.get(&second).await.json();
    assert_eq!(owners(&object), owners(&created));
    object["spec"]["replicas"] = json!(2);
    let replaced = put(&client, &format!("{second}?fieldManager=putter"), &object).await;
    assert_eq!(replaced.status, 200, "{}", replaced.message());
    let mut now = owners(&replaced.json());
    now.sort();
    let expected = [
        r#"creator Update example.com/v1 - {"f:spec":{".":{},"f:note":{}}}"#,
        r#"putter Update example.com/v2 - {"f:spec":{"f:replicas":{}}}"#,
    ];
    assert_eq!(now, expected);
    let conflict = apply(&client, &first, "fieldManager=one", &widget("v1", json!({"replicas": 3}))).await;
    assert_eq!(
        conflict.message(),
        r#"Apply failed with 1 conflict: conflict with "putter" using example.com/v2: .spec.replicas"#
    );

    // An applier is the same in every version, and what it leaves out in the next one goes.
    let spec = json!({"items": [{"name": "a", "value": "1"}, {"name": "b"}], "tags": ["x", "y"]});
    let applied = apply(&client, &first, "fieldManager=one", &widget("v1", spec)).await;
    assert_eq!(applied.status, 200, "{}", applied.message());
    let spec = json!({"items": [{"name": "a"}], "tags": ["y"]});
    let applied = apply(&client, &second, "fieldManager=one", &widget("v2", spec)).await;
    assert_eq!(applied.status, 200, "{}", applied.message());
    let object = applied.json();
    assert_eq!(object["spec"], json!({"replicas": 2, "note": "n", "items": [{"name": "a"}], "tags": ["y"]}));
    assert_eq!(
        owners(&object)[0],
        r#"one Apply example.com/v2 - {"f:spec":{"f:items":{"k:{\"name\":\"a\"}":{".":{},"f:name":{}}},"f:tags":{"v:\"y\"":{}}}}"#
    );
    // Shared with somebody who says it in the other version, it stays when the first leaves it out.
    let shared = widget("v1", json!({"items": [{"name": "a"}]}));
    assert_eq!(apply(&client, &first, "fieldManager=two", &shared).await.status, 200);
    let object = apply(&client, &second, "fieldManager=one", &widget("v2", json!({"tags": ["y"]}))).await.json();
    assert_eq!(object["spec"]["items"], json!([{"name": "a"}]));
}

#[tokio::test]
async fn fields_that_nobody_declared_are_not_applied() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &widgets()).await;
    let url = widget_url("v1");
    // An apply is typed by the schema, so that every way to validate comes to the same.
    for validation in ["Strict", "Warn", "Ignore"] {
        let query = format!("fieldManager=one&fieldValidation={validation}");
        let refused = apply(&client, &url, &query, &widget("v1", json!({"nope": 1}))).await;
        assert_eq!(
            (refused.status.as_u16(), refused.message().as_str()),
            (
                500,
                "failed to create typed patch object (/w; example.com/v1, Kind=Widget): .spec.nope: field not declared in schema"
            )
        );
    }
    // Other writes are pruned, with or without a word.
    let list = url.trim_end_matches("/w");
    assert_eq!(client.post(list, &widget("v1", json!({"note": "n"}))).await.status, 201);
    let unknown = json!({"spec": {"nope": 1}});
    let merge = [("content-type", "application/merge-patch+json")];
    let send = async |validation: &str| {
        client.send("PATCH", &format!("{url}?fieldValidation={validation}"), &merge, unknown.to_string()).await
    };
    let strict = send("Strict").await;
    assert_eq!(strict.status, 422, "{}", strict.message());
    assert!(strict.message().contains(r#"strict decoding error: unknown field "spec.nope""#), "{}", strict.message());
    let warned = send("Warn").await;
    assert_eq!(warned.headers["warning"], r#"299 - "unknown field \"spec.nope\"""#);
    let ignored = send("Ignore").await;
    assert_eq!((ignored.status.as_u16(), ignored.headers.get("warning")), (200, None));
    assert_eq!(ignored.json()["spec"], json!({"note": "n"}));
}

#[tokio::test]
async fn the_status_of_a_custom_object_is_applied_by_itself() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &widgets()).await;
    let url = widget_url("v1");
    let absent = apply(&client, &format!("{url}/status"), "fieldManager=st", &widget("v1", json!({}))).await;
    assert_eq!(absent.status, 404, "{}", absent.message());
    let mut config = widget("v1", json!({"replicas": 1}));
    config["status"] = json!({"phase": "Ignored"});
    let created = apply(&client, &url, "fieldManager=one", &config).await.json();
    assert_eq!(created.get("status"), None);
    assert_eq!(owners(&created), [r#"one Apply example.com/v1 - {"f:spec":{"f:replicas":{}}}"#]);
    // Nothing but the status is written, and nothing else is owned through it.
    let mut config = widget("v2", json!({"replicas": 9}));
    config["metadata"]["labels"] = json!({"l": "1"});
    config["status"] = json!({"phase": "Ready"});
    let applied = apply(&client, &format!("{}/status", widget_url("v2")), "fieldManager=st", &config).await;
    assert_eq!(applied.status, 200, "{}", applied.message());
    let object = applied.json();
    assert_eq!((&object["spec"], &object["status"]), (&json!({"replicas": 1}), &json!({"phase": "Ready"})));
    assert_eq!((object["metadata"].get("labels"), &object["metadata"]["generation"]), (None, &json!(1)));
    assert_eq!(owners(&object)[1], r#"st Apply example.com/v2 status {"f:status":{"f:phase":{}}}"#);
    // An update of the status has an entry of its own, and takes the field away from the applier.
    let merge = [("content-type", "application/merge-patch+json")];
    let body = json!({"metadata": {"annotations": {"a": "b"}}, "status": {"phase": "Gone"}}).to_string();
    let patched = client.send("PATCH", &format!("{url}/status?fieldManager=up"), &merge, body).await.json();
    assert_eq!(patched["metadata"].get("annotations"), None);
    assert_eq!(
        owners(&patched),
        [
            r#"one Apply example.com/v1 - {"f:spec":{"f:replicas":{}}}"#,
            r#"up Update example.com/v1 status {"f:status":{"f:phase":{}}}"#,
        ]
    );
}

/// A cluster with `foos`, whose versions a webhook converts; the second one can be selected by its host.
async fn converted() -> (TestCluster, Client, Outside) {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let webhook = Outside::serve(&["convert.default.svc"], None, |request, _| Box::pin(convert(request))).await;
    let conversion = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": {"url": webhook.url("/convert"), "caBundle": webhook.bundle()}, "conversionReviewVersions": ["v1"],
    }});
    let mut definition = foos(conversion, "v1");
    definition["spec"]["versions"][1]["selectableFields"] = json!([{"jsonPath": ".host"}]);
    define(&client, &definition).await;
    (cluster, client, webhook)
}

fn foo(version: &str, name: &str, fields: Value) -> Value {
    let mut object = json!({"apiVersion": format!("example.com/{version}"), "kind": "Foo", "metadata": {"name": name}});
    for (name, value) in fields.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

#[tokio::test]
async fn owners_follow_fields_through_a_conversion_webhook() {
    let (_cluster, client, _webhook) = converted().await;
    let (first, second) = ("/apis/example.com/v1/foos/a", "/apis/example.com/v2/foos/a");
    let config = foo("v1", "a", json!({"hostPort": "h:1", "same": "s"}));
    let created = apply(&client, first, "fieldManager=one", &config).await;
    assert_eq!(created.status, 201, "{}", created.message());
    // In the other version the fields have other names; the entry still speaks of its own.
    let shown = client.get(second).await.json();
    assert_eq!(owners(&shown), [r#"one Apply example.com/v1 - {"f:hostPort":{},"f:same":{}}"#]);
    let config = foo("v2", "a", json!({"host": "other", "port": "1"}));
    let conflict = apply(&client, second, "fieldManager=two", &config).await;
    assert_eq!(conflict.status, 409, "{}", conflict.message());
    assert_eq!(conflict.message(), r#"Apply failed with 1 conflict: conflict with "one": .hostPort"#);
    let forced = apply(&client, second, "fieldManager=two&force=true", &config).await;
    assert_eq!(forced.status, 200, "{}", forced.message());
    assert_eq!(
        owners(&forced.json()),
        [r#"one Apply example.com/v1 - {"f:same":{}}"#, r#"two Apply example.com/v2 - {"f:host":{},"f:port":{}}"#]
    );
    assert_eq!(client.get(first).await.json()["hostPort"], "other:1");
    // What an update through the first version changes is no longer the second one's.
    let merge = [("content-type", "application/merge-patch+json")];
    let body = json!({"hostPort": "third:3"}).to_string();
    let patched = client.send("PATCH", &format!("{first}?fieldManager=up"), &merge, body).await;
    assert_eq!(patched.status, 200, "{}", patched.message());
    assert_eq!(
        owners(&patched.json()),
        [r#"one Apply example.com/v1 - {"f:same":{}}"#, r#"up Update example.com/v1 - {"f:hostPort":{}}"#]
    );
    // The first applier goes on in the second version; what it had in the first and leaves out goes.
    let config = foo("v2", "a", json!({"host": "third", "port": "3"}));
    let applied = apply(&client, second, "fieldManager=one", &config).await;
    assert_eq!(applied.status, 200, "{}", applied.message());
    assert_eq!(applied.json().get("same"), None);
    assert_eq!(owners(&applied.json())[0], r#"one Apply example.com/v2 - {"f:host":{},"f:port":{}}"#);
}

#[tokio::test]
async fn selectors_look_at_what_the_version_shows() {
    let (_cluster, client, _webhook) = converted().await;
    let (first, second) = ("/apis/example.com/v1/foos", "/apis/example.com/v2/foos");
    for (name, host_port) in [("a", "h:1"), ("b", "i:2"), ("c", "h:3"), ("d", "h:4")] {
        let created = client.post(first, &foo("v1", name, json!({"hostPort": host_port}))).await;
        assert_eq!(created.status, 201, "{}", created.message());
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let selected = format!("{second}?fieldSelector=host%3Dh");
    assert_eq!(names(&client.get(&selected).await.json()), ["a", "c", "d"]);
    assert_eq!(names(&client.get(&format!("{selected},metadata.name%3Dc")).await.json()), ["c"]);
    // Page by page, each filled with what is found.
    let page = client.get(&format!("{selected}&limit=2")).await.json();
    assert_eq!(names(&page), ["a", "c"]);
    let next = page["metadata"]["continue"].as_str().unwrap();
    let page = client.get(&format!("{selected}&limit=2&continue={next}")).await.json();
    assert_eq!((names(&page), page["metadata"].get("continue")), (vec!["d".to_owned()], None));
    // The first version has no such field.
    let unknown = client.get(&format!("{first}?fieldSelector=host%3Dh")).await;
    assert_eq!((unknown.status.as_u16(), unknown.message().as_str()), (400, "field label not supported: host"));

    // A watcher sees objects come and go as they change in its version.
    let url = format!("{second}?watch=1&fieldSelector=host%3Di&timeoutSeconds=30");
    let mut watched = events(&client, &url).await;
    let seen = |event: Option<Value>| {
        let event = event.unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]), text(&event["object"]["host"]))
    };
    let event = |kind: &str, name: &str, host: &str| (kind.to_owned(), name.to_owned(), host.to_owned());
    assert_eq!(seen(watched.next().await), event("ADDED", "b", "i"));
    patch(&client, &format!("{first}/a"), json!({"hostPort": "i:9"})).await;
    assert_eq!(seen(watched.next().await), event("ADDED", "a", "i"));
    patch(&client, &format!("{first}/a"), json!({"hostPort": "i:8"})).await;
    assert_eq!(seen(watched.next().await), event("MODIFIED", "a", "i"));
    patch(&client, &format!("{first}/c"), json!({"hostPort": "h:8"})).await;
    patch(&client, &format!("{first}/b"), json!({"hostPort": "h:2"})).await;
    assert_eq!(seen(watched.next().await), event("DELETED", "b", "i"));
    client.send("DELETE", &format!("{first}/a"), &[], "").await;
    assert_eq!(seen(watched.next().await), event("DELETED", "a", "i"));

    // A collection is deleted by what the version shows, too.
    let deleted = client.send("DELETE", &format!("{second}?fieldSelector=host%3Dh"), &[], "").await;
    assert_eq!(deleted.status, 200, "{}", deleted.message());
    assert_eq!(names(&client.get(first).await.json()), [""; 0]);
}

#[tokio::test]
async fn a_default_that_came_later_can_be_selected() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let mut definition = foos(json!({"strategy": "None"}), "v1");
    definition["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".same"}]);
    define(&client, &definition).await;
    let url = "/apis/example.com/v1/foos";
    client.post(url, &foo("v1", "a", json!({"hostPort": "h:1"}))).await;
    let mut watched = events(&client, &format!("{url}?watch=1&timeoutSeconds=20")).await;
    assert_eq!(watched.next().await.unwrap()["type"], "ADDED");
    let defaulted = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/same/default", "value": "later"}]);
    let headers = [("content-type", "application/json-patch+json")];
    let changed =
        client.send("PATCH", &format!("{DEFINITIONS}/foos.example.com"), &headers, defaulted.to_string()).await;
    assert_eq!(changed.status, 200, "{}", changed.message());
    assert!(watched.next().await.is_none());
    let found = client.get(&format!("{url}?fieldSelector=same%3Dlater")).await.json();
    assert_eq!(found["items"][0]["same"], "later");
}

#[tokio::test]
async fn built_in_kinds_keep_their_owners_across_versions() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let url = |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers/h");
    let autoscaler = |version: &str, spec: Value| json!({"apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": spec});
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let config =
        autoscaler("v1", json!({"scaleTargetRef": target, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}));
    let created = apply(&client, &url("v1"), "fieldManager=one", &config).await;
    assert_eq!(created.status, 201, "{}", created.message());
    assert_eq!(
        owners(&created.json()),
        [
            r#"one Apply autoscaling/v1 - {"f:spec":{"f:maxReplicas":{},"f:scaleTargetRef":{},"f:targetCPUUtilizationPercentage":{}}}"#
        ]
    );
    let metrics = |percent: i32| json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}]);
    let same = autoscaler("v2", json!({"scaleTargetRef": target, "maxReplicas": 3, "metrics": metrics(50)}));
    let shared = apply(&client, &url("v2"), "fieldManager=two", &same).await;
    assert_eq!(shared.status, 200, "{}", shared.message());
    let two = r#"two Apply autoscaling/v2 - {"f:spec":{"f:maxReplicas":{},"f:metrics":{},"f:scaleTargetRef":{"f:apiVersion":{},"f:kind":{},"f:name":{}}}}"#;
    let now = owners(&shared.json());
    assert!(now.contains(&two.to_owned()), "{now:#?}");
    let other = autoscaler("v2", json!({"scaleTargetRef": target, "maxReplicas": 3, "metrics": metrics(60)}));
    let conflict = apply(&client, &url("v2"), "fieldManager=two", &other).await;
    assert_eq!(
        conflict.message(),
        r#"Apply failed with 1 conflict: conflict with "one": .spec.targetCPUUtilizationPercentage"#
    );
    let forced = apply(&client, &url("v2"), "fieldManager=two&force=true", &other).await;
    assert_eq!(forced.status, 200, "{}", forced.message());
    let one = r#"one Apply autoscaling/v1 - {"f:spec":{"f:maxReplicas":{},"f:scaleTargetRef":{}}}"#;
    let now = owners(&forced.json());
    assert!(now.contains(&one.to_owned()), "{now:#?}");
    assert_eq!(client.get(&url("v1")).await.json()["spec"]["targetCPUUtilizationPercentage"], 60);
    // An update through the first version takes it from the second one's owner.
    let merge = [("content-type", "application/merge-patch+json")];
    let body = json!({"spec": {"targetCPUUtilizationPercentage": 70}}).to_string();
    let patched = client.send("PATCH", &format!("{}?fieldManager=up", url("v1")), &merge, body).await;
    assert_eq!(patched.status, 200, "{}", patched.message());
    let now = owners(&patched.json());
    assert!(
        now.contains(&r#"up Update autoscaling/v1 - {"f:spec":{"f:targetCPUUtilizationPercentage":{}}}"#.to_owned()),
        "{now:#?}"
    );
    assert!(!now.iter().any(|entry| entry.contains("f:metrics")), "{now:#?}");
}

#[tokio::test]
async fn events_keep_their_owners_in_both_groups() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let old = "/api/v1/namespaces/default/events";
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"}, "type": "Normal",
        "reason": "Tried", "message": "m", "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reportingComponent": "c", "reportingInstance": "i", "action": "a", "eventTime": "2026-01-01T00:00:00.000000Z",
    });
    let created = apply(&client, &format!("{old}/e"), "fieldManager=one", &event).await;
    assert_eq!(created.status, 201, "{}", created.message());
    let config = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"}, "note": "other",
    });
    let conflict = apply(&client, &format!("{new}/e"), "fieldManager=two", &config).await;
    assert_eq!(conflict.message(), r#"Apply failed with 1 conflict: conflict with "one": .message"#);
    let series = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"}, "note": "m",
        "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"},
    });
    let applied = apply(&client, &format!("{new}/e"), "fieldManager=two", &series).await;
    assert_eq!(applied.status, 200, "{}", applied.message());
    let object = client.get(&format!("{old}/e")).await.json();
    assert_eq!((&object["message"], &object["series"]["count"]), (&json!("m"), &json!(2)));
    assert_eq!(
        owners(&object)[1],
        r#"two Apply events.k8s.io/v1 - {"f:note":{},"f:series":{"f:count":{},"f:lastObservedTime":{}}}"#
    );
}
