//! Custom resources as their clients meet them. The behaviours are those of upstream's conformance suite
//! (`custom_resource_definition.go`, `crd_conversion_webhook.go`, `crd_publish_openapi.go`) and of the integration tests
//! of `apiextensions-apiserver`.

use ::http::{Request, Response};
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use test_cluster::{Options, TestCluster};

use crate::{http::Client, outside::Outside};

pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(crate) const CRONTABS: &str = "/apis/stable.example.com/v1/namespaces/default/crontabs";
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

/// A definition with one version of everything.
pub(crate) fn crontabs() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "description": "A cron tab.", "properties": {
                    "spec": {
                        "type": "object", "required": ["cronSpec"],
                        "x-kubernetes-validations": [
                            {"rule": "self.replicas <= self.maxReplicas", "message": "replicas must not exceed maxReplicas"},
                            {"rule": "self.cronSpec == oldSelf.cronSpec", "messageExpression": "'cronSpec was ' + oldSelf.cronSpec"},
                        ],
                        "properties": {
                            "cronSpec": {"type": "string", "maxLength": 50},
                            "image": {"type": "string", "default": "busybox"},
                            "replicas": {"type": "integer", "minimum": 1, "default": 1},
                            "maxReplicas": {"type": "integer", "default": 10},
                            "port": {"x-kubernetes-int-or-string": true},
                            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                            "list": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                        },
                    },
                    "status": {"type": "object", "properties": {"replicas": {"type": "integer", "minimum": 0}, "selector": {"type": "string"}}},
                }}},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector",
                }},
                "selectableFields": [{"jsonPath": ".spec.image"}],
                "additionalPrinterColumns": [
                    {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"},
                    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "description": "how many"},
                ],
            }],
        },
    })
}

pub(crate) fn crontab(name: &str) -> Value {
    json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": {"cronSpec": "* * * * *"}})
}

/// Waits until a definition has a condition, by watching it.
pub(crate) async fn wait_for(client: &Client, name: &str, kind: &str, status: &str) -> Value {
    let url = format!("{DEFINITIONS}?watch=1&fieldSelector=metadata.name%3D{name}&timeoutSeconds=20");
    let mut events = events(client, &url).await;
    while let Some(event) = events.next().await {
        let conditions = event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == status) {
            return event["object"].clone();
        }
    }
    panic!("{name} was never {kind}={status}");
}

/// The events of a watch as they come.
pub(crate) async fn events(client: &Client, url: &str) -> std::pin::Pin<Box<dyn futures::Stream<Item = Value>>> {
    let mut body = client.open("GET", url, &[], "").await.into_body();
    let mut rest = Vec::new();
    Box::pin(futures::stream::poll_fn(move |cx| {
        use hyper::body::Body as _;
        loop {
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                return std::task::Poll::Ready(Some(serde_json::from_slice(&line).unwrap()));
            }
            match std::pin::Pin::new(&mut body).poll_frame(cx) {
                std::task::Poll::Pending => return std::task::Poll::Pending,
                std::task::Poll::Ready(Some(Ok(frame))) => {
                    rest.extend_from_slice(&frame.into_data().unwrap_or_default())
                }
                std::task::Poll::Ready(_) => return std::task::Poll::Ready(None),
            }
        }
    }))
}

pub(crate) async fn define(client: &Client, definition: &Value) {
    let answer = client.post(DEFINITIONS, definition).await;
    assert_eq!(answer.status, 201, "{}", answer.message());
    wait_for(client, definition["metadata"]["name"].as_str().unwrap(), "Established", "True").await;
}

pub(crate) async fn patch(client: &Client, url: &str, patch: Value) -> crate::http::Answer {
    client.send("PATCH", url, &[MERGE], patch.to_string()).await
}

#[tokio::test]
async fn an_established_definition_serves_at_once() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &crontabs()).await;
    let created = client.post(CRONTABS, &crontab("a")).await;
    assert_eq!(created.status, 201, "{}", created.message());
    let created = created.json();
    assert_eq!(created["spec"], json!({"cronSpec": "* * * * *", "image": "busybox", "replicas": 1, "maxReplicas": 10}));
    assert_eq!(created["metadata"]["generation"], 1);
    let list = client.get(CRONTABS).await.json();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("CronTabList"), 1));
}

#[tokio::test]
async fn bodies_are_pruned_told_of_and_refused() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &crontabs()).await;
    let mut object = crontab("a");
    object["spec"]["foo"] = json!({"deep": 1});
    object["spec"]["free"] = json!({"anything": [1, {"goes": true}]});
    object["metadata"]["bar"] = 1.into();
    let strict = client.post(&format!("{CRONTABS}?fieldValidation=Strict"), &object).await;
    assert_eq!(
        (strict.status.as_u16(), strict.message().as_str()),
        (
            400,
            r#"CronTab in version "v1" cannot be handled as a CronTab: strict decoding error: unknown field "metadata.bar", unknown field "spec.foo""#
        )
    );
    let warned = client.post(&format!("{CRONTABS}?fieldValidation=Warn"), &object).await;
    let warnings: Vec<_> =
        warned.headers.get_all("warning").iter().map(|text| text.to_str().unwrap().to_owned()).collect();
    assert_eq!(warnings, [r#"299 - "unknown field \"metadata.bar\"""#, r#"299 - "unknown field \"spec.foo\"""#]);
    let stored = warned.json();
    assert_eq!(stored["spec"].get("foo"), None);
    assert_eq!(stored["spec"]["free"], json!({"anything": [1, {"goes": true}]}));

    let mut bad = crontab("b");
    bad["spec"] = json!({"replicas": 0, "image": 5, "port": true, "list": ["x", "x"]});
    let refused = client.post(CRONTABS, &bad).await;
    assert_eq!(refused.status, 422);
    let causes: Vec<String> = refused.json()["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| format!("{}: {}", cause["field"].as_str().unwrap(), cause["message"].as_str().unwrap()))
        .collect();
    assert_eq!(
        causes,
        [
            r#"spec.image: Invalid value: "integer": spec.image in body must be of type string: "integer""#,
            r#"spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean""#,
            "spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1",
            "spec.cronSpec: Required value",
            r#"spec.list[1]: Duplicate value: "x""#,
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ]
    );
}

#[tokio::test]
async fn rules_are_held_and_compare_with_what_was() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &crontabs()).await;
    let mut object = crontab("a");
    object["spec"]["replicas"] = 11.into();
    let refused = client.post(CRONTABS, &object).await;
    assert_eq!(
        refused.message(),
        r#"CronTab.stable.example.com "a" is invalid: spec: Invalid value: replicas must not exceed maxReplicas"#
    );
    object["spec"]["replicas"] = 3.into();
    assert_eq!(client.post(CRONTABS, &object).await.status, 201);
    let refused = patch(&client, &format!("{CRONTABS}/a"), json!({"spec": {"cronSpec": "1 * * * *"}})).await;
    assert_eq!(
        refused.message(),
        r#"CronTab.stable.example.com "a" is invalid: spec: Invalid value: cronSpec was * * * * *"#
    );
    let mut broken = crontabs();
    broken["metadata"]["name"] = "others.stable.example.com".into();
    broken["spec"]["names"] = json!({"plural": "others", "kind": "Other"});
    let schema = &mut broken["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    schema["x-kubernetes-validations"] = json!([{"rule": "self.nope > 1"}]);
    let refused = client.post(DEFINITIONS, &broken).await;
    assert_eq!(refused.status, 422);
    let message = refused.message();
    assert!(
        message.contains(
            "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value"
        ) && message.contains("undefined field 'nope'"),
        "{message}"
    );
    let schema = &mut broken["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    schema["x-kubernetes-validations"] =
        json!([{"rule": "self.list.all(x, self.list.all(y, self.list.all(z, x + y + z != '')))"}]);
    let message = client.post(DEFINITIONS, &broken).await.message();
    assert!(message.contains("estimated rule cost exceeds budget by factor of more than 100x"), "{message}");
}

#[tokio::test]
async fn status_and_scale_are_their_own() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &crontabs()).await;
    let mut object = crontab("a");
    object["status"] = json!({"replicas": 5});
    assert_eq!(client.post(CRONTABS, &object).await.json().get("status"), None);
    let url = format!("{CRONTABS}/a");
    let written = patch(
        &client,
        &format!("{url}/status"),
        json!({"spec": {"image": "x"}, "status": {"replicas": 2, "selector": "a=b"}}),
    )
    .await
    .json();
    assert_eq!(
        (&written["status"], &written["spec"]["image"]),
        (&json!({"replicas": 2, "selector": "a=b"}), &json!("busybox"))
    );
    assert_eq!(written["metadata"]["generation"], 1);
    let refused = patch(&client, &format!("{url}/status"), json!({"status": {"replicas": -1}})).await;
    assert!(
        refused
            .message()
            .contains("status.replicas: Invalid value: -1: replicas in body should be greater than or equal to 0"),
        "{}",
        refused.message()
    );
    let scale = client.get(&format!("{url}/scale")).await.json();
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({"replicas": 1}), &json!({"replicas": 2, "selector": "a=b"}))
    );
    let scaled = patch(&client, &format!("{url}/scale"), json!({"spec": {"replicas": 4}})).await;
    assert_eq!(scaled.status, 200, "{}", scaled.message());
    let object = client.get(&url).await.json();
    assert_eq!((&object["spec"]["replicas"], &object["metadata"]["generation"]), (&json!(4), &json!(2)));
    let too_many = patch(&client, &format!("{url}/scale"), json!({"spec": {"replicas": 40}})).await;
    assert_eq!(too_many.status, 422);
}

#[tokio::test]
async fn tables_selectors_and_media_types() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &crontabs()).await;
    for (name, image) in [("a", "x"), ("b", "y")] {
        let mut object = crontab(name);
        object["spec"]["image"] = image.into();
        client.post(CRONTABS, &object).await;
    }
    let accept = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let table = client.send("GET", CRONTABS, &accept, "").await.json();
    let names: Vec<&Value> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|column| &column["name"]).collect();
    assert_eq!(names, ["Name", "Spec", "Replicas"]);
    assert_eq!(table["columnDefinitions"][2]["description"], "how many");
    assert_eq!(table["rows"][0]["cells"], json!(["a", "* * * * *", 1]));
    let selected = client.get(&format!("{CRONTABS}?fieldSelector=spec.image%3Dy")).await.json();
    assert_eq!(selected["items"][0]["metadata"]["name"], "b");
    let unknown = client.get(&format!("{CRONTABS}?fieldSelector=spec.cronSpec%3Dy")).await;
    assert_eq!(
        (unknown.status.as_u16(), unknown.message().as_str()),
        (400, "field label not supported: spec.cronSpec")
    );

    let protobuf = "application/vnd.kubernetes.protobuf";
    assert_eq!(client.send("GET", CRONTABS, &[("accept", protobuf)], "").await.status, 406);
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    let refused = client.send("PATCH", &format!("{CRONTABS}/a"), &strategic, "{}").await;
    assert_eq!(refused.status, 415);
    assert!(
        refused
            .message()
            .contains("application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"),
        "{}",
        refused.message()
    );
}

/// A definition of two versions, the second one with other fields.
pub(crate) fn foos(conversion: Value, storage: &str) -> Value {
    let version = |name: &str, properties: Value| {
        json!({
            "name": name, "served": true, "storage": name == storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster", "names": {"plural": "foos", "kind": "Foo"},
            "conversion": conversion,
            "versions": [
                version("v1", json!({"hostPort": {"type": "string"}, "same": {"type": "string"}})),
                version("v2", json!({"host": {"type": "string"}, "port": {"type": "string"}, "same": {"type": "string"}})),
            ],
        },
    })
}

#[tokio::test]
async fn without_a_webhook_only_the_version_changes_and_restarts_change_nothing() {
    let cluster = TestCluster::start_with(Options { durable: true, ..Options::default() }).await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &foos(json!({"strategy": "None"}), "v1")).await;
    let object = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"}, "hostPort": "h:1", "same": "s"});
    assert_eq!(client.post("/apis/example.com/v1/foos", &object).await.status, 201);
    let second = client.get("/apis/example.com/v2/foos/a").await.json();
    assert_eq!(
        (&second["apiVersion"], &second["same"], second.get("hostPort")),
        (&json!("example.com/v2"), &json!("s"), None)
    );
    // A default that comes later is read, but not written.
    let defaulted = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/late",
                            "value": {"type": "string", "default": "later"}}]);
    let mut watched = events(&client, "/apis/example.com/v1/foos?watch=1&timeoutSeconds=20").await;
    assert_eq!(watched.next().await.unwrap()["type"], "ADDED");
    let headers = [("content-type", "application/json-patch+json")];
    let url = format!("{DEFINITIONS}/foos.example.com");
    let answer = client.send("PATCH", &url, &headers, defaulted.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.message());
    // The watch ends when the new rules are in force.
    assert!(watched.next().await.is_none());
    assert_eq!(client.get("/apis/example.com/v1/foos/a").await.json()["late"], "later");
    drop(watched);
    drop(client);
    let cluster = cluster.restart().await.unwrap();
    let client = Client::admin(&cluster);
    let object = client.get("/apis/example.com/v1/foos/a").await.json();
    assert_eq!((&object["late"], &object["hostPort"]), (&json!("later"), &json!("h:1")));
    let list = client.get("/apis/example.com/v2/foos").await.json();
    assert_eq!(list["items"][0]["apiVersion"], "example.com/v2");
}

pub(crate) async fn convert(request: Request<Incoming>) -> Response<Full<bytes::Bytes>> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let wanted = &review["request"]["desiredAPIVersion"];
    let converted: Vec<Value> = review["request"]["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| {
            let mut object = object.clone();
            object["apiVersion"] = wanted.clone();
            let members = object.as_object_mut().unwrap();
            if wanted == "example.com/v2" {
                let host_port = members.remove("hostPort").unwrap_or_default();
                let (host, port) = host_port.as_str().unwrap().split_once(':').unwrap();
                members.insert("host".to_owned(), host.into());
                members.insert("port".to_owned(), port.into());
            } else {
                let (host, port) = (members.remove("host").unwrap(), members.remove("port").unwrap());
                let host_port = format!("{}:{}", host.as_str().unwrap(), port.as_str().unwrap());
                members.insert("hostPort".to_owned(), host_port.into());
            }
            object
        })
        .collect();
    let answer = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "response": {"uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": converted},
    });
    Response::new(Full::from(answer.to_string()))
}

#[tokio::test]
async fn a_webhook_converts_for_every_verb() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let webhook = Outside::serve(&["convert.default.svc"], None, |request, _| Box::pin(convert(request))).await;
    let conversion = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": {"url": webhook.url("/convert"), "caBundle": webhook.bundle()}, "conversionReviewVersions": ["v1"],
    }});
    define(&client, &foos(conversion.clone(), "v1")).await;
    let (first, second) = ("/apis/example.com/v1/foos", "/apis/example.com/v2/foos");
    let object = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"}, "hostPort": "h:1"});
    assert_eq!(client.post(first, &object).await.status, 201);
    let read = client.get(&format!("{second}/a")).await.json();
    assert_eq!((&read["host"], &read["port"], read.get("hostPort")), (&json!("h"), &json!("1"), None));
    // Written in a version that is not stored.
    let object =
        json!({"apiVersion": "example.com/v2", "kind": "Foo", "metadata": {"name": "b"}, "host": "i", "port": "2"});
    let created = client.post(second, &object).await;
    assert_eq!(created.status, 201, "{}", created.message());
    assert_eq!(created.json()["host"], "i");
    assert_eq!(client.get(&format!("{first}/b")).await.json()["hostPort"], "i:2");
    let patched = patch(&client, &format!("{second}/b"), json!({"port": "3"})).await.json();
    assert_eq!((&patched["port"], &patched["apiVersion"]), (&json!("3"), &json!("example.com/v2")));
    assert_eq!(client.get(&format!("{first}/b")).await.json()["hostPort"], "i:3");

    // The other version becomes the stored one: lists hold objects of both.
    let url = format!("{DEFINITIONS}/foos.example.com");
    let mut definition = client.get(&url).await.json();
    definition["spec"] = foos(conversion, "v2")["spec"].clone();
    let body = definition.to_string();
    let updated = client.send("PUT", &url, &[("content-type", "application/json")], body).await;
    assert_eq!(updated.status, 200, "{}", updated.message());
    assert_eq!(updated.json()["status"]["storedVersions"], json!(["v1", "v2"]));
    let object =
        json!({"apiVersion": "example.com/v2", "kind": "Foo", "metadata": {"name": "c"}, "host": "k", "port": "4"});
    assert_eq!(client.post(second, &object).await.status, 201);
    let hosts = |list: Value| -> Vec<Value> {
        list["items"].as_array().unwrap().iter().map(|item| item["host"].clone()).collect()
    };
    assert_eq!(hosts(client.get(second).await.json()), ["h", "i", "k"]);
    let table = client.send("GET", second, &[("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")], "").await;
    assert_eq!(table.json()["rows"].as_array().unwrap().len(), 3);
    let mut watched = events(&client, &format!("{first}?watch=1&timeoutSeconds=20")).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(watched.next().await.unwrap()["object"]["hostPort"].clone());
    }
    assert_eq!(seen, ["h:1", "i:3", "k:4"]);
    let deleted = client.send("DELETE", &format!("{second}/c"), &[], "").await;
    assert_eq!(deleted.status, 200, "{}", deleted.message());
    let event = watched.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["hostPort"]), (&json!("DELETED"), &json!("k:4")));
}

#[tokio::test]
async fn watches_end_when_the_definition_changes_and_when_it_goes() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &crontabs()).await;
    client.post(CRONTABS, &crontab("a")).await;
    let url = format!("{CRONTABS}?watch=1&timeoutSeconds=30");
    let mut watched = events(&client, &url).await;
    assert_eq!(watched.next().await.unwrap()["type"], "ADDED");
    let definition = format!("{DEFINITIONS}/crontabs.stable.example.com");
    patch(&client, &definition, json!({"spec": {"names": {"shortNames": ["ct", "cts"]}}})).await;
    assert!(watched.next().await.is_none());

    // An object with a finalizer holds the definition.
    patch(&client, &format!("{CRONTABS}/a"), json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
    let mut watched = events(&client, &url).await;
    assert_eq!(watched.next().await.unwrap()["type"], "ADDED");
    let deleted = client.send("DELETE", &definition, &[], "").await;
    assert_eq!(deleted.status, 200);
    assert_eq!(deleted.json()["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    assert_eq!(watched.next().await.unwrap()["object"]["metadata"]["deletionGracePeriodSeconds"], 0);
    let refused = client.post(CRONTABS, &crontab("b")).await;
    assert_eq!(refused.status, 403);
    assert!(
        refused.message().ends_with("create not allowed while custom resource definition is terminating"),
        "{}",
        refused.message()
    );
    let gone = patch(&client, &format!("{CRONTABS}/a"), json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(gone.status, 200, "{}", gone.message());
    assert_eq!(watched.next().await.unwrap()["type"], "DELETED");
    assert!(watched.next().await.is_none());
    assert_eq!(client.get(CRONTABS).await.status, 404);
    assert_eq!(client.get(&definition).await.status, 404);
}

#[tokio::test]
async fn names_are_given_once() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &crontabs()).await;
    let mut other = crontabs();
    other["metadata"]["name"] = "others.stable.example.com".into();
    other["spec"]["names"] = json!({"plural": "others", "kind": "CronTab", "listKind": "OtherList"});
    assert_eq!(client.post(DEFINITIONS, &other).await.status, 201);
    let refused = wait_for(&client, "others.stable.example.com", "NamesAccepted", "False").await;
    let conditions = refused["status"]["conditions"].as_array().unwrap();
    let names = conditions.iter().find(|condition| condition["type"] == "NamesAccepted").unwrap();
    assert_eq!(
        (&names["reason"], &names["message"]),
        (&json!("KindConflict"), &json!("\"CronTab\" is already in use"))
    );
    assert_eq!(client.get("/apis/stable.example.com/v1/others").await.status, 404);
    client.send("DELETE", &format!("{DEFINITIONS}/crontabs.stable.example.com"), &[], "").await;
    wait_for(&client, "others.stable.example.com", "Established", "True").await;
    assert_eq!(client.get("/apis/stable.example.com/v1/others").await.status, 200);
}

#[tokio::test]
async fn documents_follow_the_definitions() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let aggregated = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let before = client.send("GET", "/apis", &aggregated, "").await;
    let v2_before = client.get("/openapi/v2").await;
    define(&client, &crontabs()).await;
    let after = client.send("GET", "/apis", &aggregated, "").await;
    assert_ne!(before.headers["etag"], after.headers["etag"]);
    let groups = after.json()["items"].clone();
    let group =
        groups.as_array().unwrap().iter().find(|group| group["metadata"]["name"] == "stable.example.com").unwrap();
    let resource = &group["versions"][0]["resources"][0];
    assert_eq!(
        (&resource["resource"], &resource["shortNames"], &resource["categories"]),
        (&json!("crontabs"), &json!(["ct"]), &json!(["all"]))
    );
    let subresources: Vec<&Value> =
        resource["subresources"].as_array().unwrap().iter().map(|one| &one["subresource"]).collect();
    assert_eq!(subresources, ["scale", "status"]);
    let plain = client.get("/apis/stable.example.com/v1").await.json();
    assert!(plain["resources"][0]["storageVersionHash"].is_string());

    let v2 = client.get("/openapi/v2").await;
    assert_ne!(v2_before.headers["etag"], v2.headers["etag"]);
    let kind = v2.json()["definitions"]["com.example.stable.v1.CronTab"].clone();
    assert_eq!(kind["description"], "A cron tab.");
    assert_eq!(kind["x-kubernetes-selectable-fields"], json!([{"fieldPath": "spec.image"}]));
    assert_eq!(
        kind["properties"]["spec"]["x-kubernetes-validations"][0]["message"],
        "replicas must not exceed maxReplicas"
    );
    let index = client.get("/openapi/v3").await.json();
    let url = index["paths"]["apis/stable.example.com/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = client.get(&url).await;
    assert_eq!(document.headers["cache-control"], "public, immutable");
    assert!(document.json()["components"]["schemas"]["com.example.stable.v1.CronTab"].is_object());

    // A version that is no longer served is no longer told.
    let unserved = json!([{"op": "replace", "path": "/spec/versions/0/served", "value": false}]);
    let headers = [("content-type", "application/json-patch+json")];
    let definition = format!("{DEFINITIONS}/crontabs.stable.example.com");
    let mut watched = events(&client, &format!("{CRONTABS}?watch=1&timeoutSeconds=20")).await;
    assert_eq!(client.send("PATCH", &definition, &headers, unserved.to_string()).await.status, 200);
    assert!(watched.next().await.is_none());
    // The watch ends when the version is taken away, which is when documents are made anew.
    let index = client.get("/openapi/v3").await.json();
    assert_eq!(index["paths"].get("apis/stable.example.com/v1"), None);
}

#[tokio::test]
async fn deprecated_versions_warn_whoever_uses_them() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let mut definition = foos(json!({"strategy": "None"}), "v2");
    definition["spec"]["versions"][0]["deprecated"] = true.into();
    define(&client, &definition).await;
    let answer = client.get("/apis/example.com/v1/foos").await;
    assert_eq!(answer.headers["warning"], "299 - \"example.com/v1 Foo is deprecated; use example.com/v2 Foo\"");
    assert_eq!(client.get("/apis/example.com/v2/foos").await.headers.get("warning"), None);
}

#[tokio::test]
async fn collections_are_deleted_by_namespace() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &crontabs()).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    client.post("/api/v1/namespaces", &namespace).await;
    let crontabs = "/apis/stable.example.com/v1/namespaces/n/crontabs";
    assert_eq!(client.post(crontabs, &crontab("a")).await.status, 201);
    let all = client.send("DELETE", crontabs, &[], "").await;
    assert_eq!(all.status, 200, "{}", all.message());
    assert_eq!(client.get(crontabs).await.json()["items"], json!([]));
}
