//! What schemas of custom resources do to objects: formats, defaults, nulls, lists, embedded objects, rules, columns; and
//! what becomes of stored versions. Upstream: the integration tests of `apiextensions-apiserver`.

use ::http::Response;
use http_body_util::Full;
use serde_json::{Value, json};
use test_cluster::TestCluster;

use crate::{
    apply::apply,
    custom::{CRONTABS, DEFINITIONS, crontab, crontabs, define, foos, patch},
    http::{Answer, Client},
    outside::Outside,
};

const GADGETS: &str = "/apis/example.com/v1/namespaces/default/gadgets";

/// A definition of `gadgets` with this schema of `spec`.
fn gadgets(spec: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gadgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": spec},
            }}}],
        },
    })
}

fn gadget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": name}, "spec": spec})
}

async fn served(spec: Value) -> (TestCluster, Client) {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &gadgets(spec)).await;
    (cluster, client)
}

/// `field: message` of each cause.
fn causes(answer: &Answer) -> Vec<String> {
    let causes = answer.json()["details"]["causes"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    causes.iter().map(|cause| format!("{}: {}", text(&cause["field"]), text(&cause["message"]))).collect()
}

#[tokio::test]
async fn bodies_without_a_protobuf_form_are_not_taken_as_protobuf() {
    let (_cluster, client) = served(json!({"type": "object"})).await;
    let headers = [("content-type", "application/vnd.kubernetes.protobuf")];
    for (method, url) in [("POST", GADGETS.to_owned()), ("PUT", format!("{GADGETS}/a"))] {
        let refused = client.send(method, &url, &headers, "k8s\0\n\0").await;
        assert_eq!((refused.status.as_u16(), &refused.json()["reason"]), (415, &json!("UnsupportedMediaType")));
        assert!(
            refused
                .message()
                .ends_with("accepted media types include: application/json, application/yaml, application/cbor"),
            "{}",
            refused.message()
        );
    }
}

#[tokio::test]
async fn nulls_and_defaults_meet_as_upstream_has_them() {
    let (_cluster, client) = served(json!({"type": "object", "default": {}, "properties": {
        "plain": {"type": "string"},
        "plainDefault": {"type": "string", "default": "d"},
        "nullable": {"type": "string", "nullable": true},
        "nullableDefault": {"type": "string", "nullable": true, "default": "d"},
        "deep": {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}},
        "list": {"type": "array", "items": {"type": "object", "default": {"x": 1}, "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 2}}}},
        "map": {"type": "object", "additionalProperties": {"type": "string", "default": "m"}},
        "either": {"x-kubernetes-int-or-string": true, "default": "80%"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "known": {"type": "object", "properties": {"kept": {"type": "string"}}},
        }},
    }})).await;
    let nulls = json!({
        "plain": null, "plainDefault": null, "nullable": null, "nullableDefault": null, "deep": {},
        "list": [{}, {"x": null, "y": null}], "map": {"a": null, "b": "b"}, "either": 5,
        "free": {"known": {"kept": "k", "gone": 1}, "any": [{"thing": null}]},
    });
    let created = client.post(GADGETS, &gadget("a", nulls)).await;
    assert_eq!(created.status, 201, "{}", created.message());
    assert_eq!(
        created.json()["spec"],
        json!({
            "plainDefault": "d", "nullable": null, "nullableDefault": null, "deep": {"a": 1},
            "list": [{"y": 2}, {"y": 2}], "map": {"a": "m", "b": "b"}, "either": 5,
            "free": {"known": {"kept": "k"}, "any": [{"thing": null}]},
        })
    );
    // The specification itself has a default, and that has defaults.
    let mut bare = gadget("b", json!({}));
    bare.as_object_mut().unwrap().remove("spec");
    let created = client.post(GADGETS, &bare).await.json();
    assert_eq!(created["spec"], json!({"plainDefault": "d", "nullableDefault": "d", "either": "80%"}));
}

#[tokio::test]
async fn lists_of_maps_are_keyed_by_defaults_too() {
    let (_cluster, client) = served(json!({"type": "object", "properties": {
        "ports": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
            "items": {"type": "object", "required": ["port"], "properties": {
                "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"},
            }},
        },
        "sets": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}},
    }})).await;
    let twice = json!({"ports": [{"port": 80}, {"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "UDP"}], "sets": [1, 2, 1, 1]});
    let refused = client.post(GADGETS, &gadget("a", twice.clone())).await;
    assert_eq!(
        causes(&refused),
        [r#"spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}"#, "spec.sets[2]: Duplicate value: 1",]
    );
    // An applied list is keyed before anything is defaulted: by the schema's defaults.
    let url = format!("{GADGETS}/a");
    let refused = apply(&client, &url, "fieldManager=one", &gadget("a", json!({"ports": twice["ports"]}))).await;
    assert_eq!(
        (refused.status.as_u16(), refused.message().as_str()),
        (
            500,
            r#"failed to create typed patch object (/a; example.com/v1, Kind=Gadget): .spec.ports: duplicate entries for key [port=80,protocol="TCP"]"#
        )
    );
    let one = gadget("a", json!({"ports": [{"port": 80, "name": "one"}]}));
    assert_eq!(apply(&client, &url, "fieldManager=one", &one).await.status, 201);
    let two = gadget("a", json!({"ports": [{"port": 80, "protocol": "UDP"}, {"port": 81}]}));
    let merged = apply(&client, &url, "fieldManager=two", &two).await.json();
    assert_eq!(
        merged["spec"]["ports"],
        json!([{"port": 80, "name": "one", "protocol": "TCP"}, {"port": 80, "protocol": "UDP"}, {"port": 81, "protocol": "TCP"}])
    );
    let conflict = gadget("a", json!({"ports": [{"port": 80, "name": "two"}]}));
    let conflict = apply(&client, &url, "fieldManager=two", &conflict).await;
    assert_eq!(
        conflict.message(),
        r#"Apply failed with 1 conflict: conflict with "one": .spec.ports[port=80,protocol="TCP"].name"#
    );
}

#[tokio::test]
async fn embedded_objects_are_objects() {
    let (_cluster, client) = served(json!({"type": "object", "properties": {
        "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        "strict": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}},
    }})).await;
    let good = json!({
        "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}, "unknown": 1}, "anything": {"goes": 1}},
        "strict": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"a": "b", "gone": 1}, "gone": 1},
    });
    let created = client.post(GADGETS, &gadget("a", good)).await;
    assert_eq!(created.status, 201, "{}", created.message());
    assert_eq!(
        created.json()["spec"],
        json!({
            "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}, "anything": {"goes": 1}},
            "strict": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"a": "b"}},
        })
    );
    let bad = json!({"template": {"kind": "Pod", "metadata": {"name": "A B", "labels": {"a b": "c"}}}});
    let refused = client.post(GADGETS, &gadget("b", bad)).await;
    assert_eq!(refused.status, 422, "{}", refused.message());
    let causes = causes(&refused);
    assert!(causes.iter().any(|cause| cause.starts_with("spec.template.apiVersion: Required value")), "{causes:#?}");
    assert!(
        causes.iter().any(|cause| cause.starts_with("spec.template.metadata.labels: Invalid value: \"a b\"")),
        "{causes:#?}"
    );
}

#[tokio::test]
async fn rules_see_what_was_and_forgive_what_stays() {
    let (_cluster, client) = served(json!({"type": "object", "properties": {
        "size": {"type": "integer", "x-kubernetes-validations": [
            {"rule": "self >= 3", "reason": "FieldValueForbidden", "message": "too small"},
        ]},
        "name": {"type": "string", "maxLength": 20, "x-kubernetes-validations": [
            {"rule": "!oldSelf.hasValue() || oldSelf.value() == self", "optionalOldSelf": true, "message": "set once"},
        ]},
        "note": {"type": "string", "maxLength": 3},
        "other": {"type": "integer"},
        "map": {"type": "object", "maxProperties": 5, "additionalProperties": {"type": "integer"}, "x-kubernetes-validations": [
            {"rule": "self.all(k, self[k] < 10)", "messageExpression": "'have %d'.format([self.size()])", "fieldPath": "['x']"},
        ]},
    }})).await;
    let refused = client.post(GADGETS, &gadget("a", json!({"size": 1, "map": {"x": 11}}))).await;
    assert_eq!(causes(&refused), ["spec.map.[x]: Invalid value: have 1", "spec.size: Forbidden: too small"]);
    let old = json!({"size": 5, "name": "n", "note": "abc", "other": 1});
    assert_eq!(client.post(GADGETS, &gadget("a", old)).await.status, 201);
    let url = format!("{GADGETS}/a");
    let refused = patch(&client, &url, json!({"spec": {"name": "m"}})).await;
    assert_eq!(causes(&refused), [r#"spec.name: Invalid value: "m": set once"#]);
    // Rules become stricter: what was stored before may stay, and a writer is told of rules it would break.
    let stricter = json!([
        {"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size/x-kubernetes-validations/0/rule", "value": "self >= 9"},
        {"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/note/maxLength", "value": 2},
    ]);
    let headers = [("content-type", "application/json-patch+json")];
    let definition = format!("{DEFINITIONS}/gadgets.example.com");
    let mut watched = crate::custom::events(&client, &format!("{GADGETS}?watch=1&timeoutSeconds=20")).await;
    use futures::StreamExt as _;
    assert_eq!(watched.next().await.unwrap()["type"], "ADDED");
    let changed = client.send("PATCH", &definition, &headers, stricter.to_string()).await;
    assert_eq!(changed.status, 200, "{}", changed.message());
    assert!(watched.next().await.is_none());
    let kept = patch(&client, &url, json!({"spec": {"other": 2}})).await;
    assert_eq!(kept.status, 200, "{}", kept.message());
    assert_eq!(kept.headers["warning"], r#"299 - "spec.size: Forbidden: too small""#);
    let refused = patch(&client, &url, json!({"spec": {"size": 6, "note": "abcd"}})).await;
    assert_eq!(
        causes(&refused),
        [
            "spec.note: Too long: may not be more than 2 bytes",
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ]
    );
}

#[tokio::test]
async fn metadata_can_be_ruled() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let mut definition = gadgets(json!({"type": "object"}));
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["metadata"] =
        json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 5, "pattern": "^[a-z-.]+$"}}});
    schema["x-kubernetes-validations"] = json!([{"rule": "self.metadata.name.startsWith('a') || self.metadata.generateName == 'b'", "message": "begins with a"}]);
    define(&client, &definition).await;
    assert_eq!(client.post(GADGETS, &gadget("a-b", json!({}))).await.status, 201);
    let refused = client.post(GADGETS, &gadget("bbb", json!({}))).await;
    assert!(
        refused.message().contains("begins with a") || refused.message().contains("no such key"),
        "{}",
        refused.message()
    );
    let refused = client.post(GADGETS, &gadget("aaaaaa", json!({}))).await;
    assert_eq!(causes(&refused)[0], "metadata.name: Too long: may not be more than 5 bytes");
    let refused = client.post(GADGETS, &gadget("a1", json!({}))).await;
    assert_eq!(
        causes(&refused)[0],
        r#"metadata.name: Invalid value: "a1": metadata.name in body should match '^[a-z-.]+$'"#
    );
}

#[tokio::test]
async fn columns_show_what_paths_find() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let mut definition = gadgets(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    definition["spec"]["versions"][0]["additionalPrinterColumns"] = json!([
        {"name": "First", "type": "string", "jsonPath": ".spec.list[0].name"},
        {"name": "All", "type": "string", "jsonPath": ".spec.list[*].name"},
        {"name": "Chosen", "type": "string", "jsonPath": r#".spec.list[?(@.name=="b")].value"#},
        {"name": "Flag", "type": "boolean", "jsonPath": ".spec.flag"},
        {"name": "Ratio", "type": "number", "jsonPath": ".spec.ratio"},
        {"name": "Since", "type": "date", "jsonPath": ".spec.since"},
        {"name": "Dotted", "type": "string", "jsonPath": r".metadata.labels.a\.b"},
        {"name": "Object", "type": "string", "jsonPath": ".spec.object", "priority": 1, "description": "a whole one"},
        {"name": "Wrong", "type": "integer", "jsonPath": ".spec.text"},
    ]);
    define(&client, &definition).await;
    let mut object = gadget(
        "a",
        json!({
            "list": [{"name": "a", "value": 1}, {"name": "b", "value": 2}], "flag": true, "ratio": 1.5, "since": "2000-01-01T00:00:00Z",
            "object": {"k": "v"}, "text": "five",
        }),
    );
    object["metadata"]["labels"] = json!({"a.b": "dots"});
    assert_eq!(client.post(GADGETS, &object).await.status, 201);
    assert_eq!(client.post(GADGETS, &gadget("b", json!({}))).await.status, 201);
    let accept = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let table = client.send("GET", GADGETS, &accept, "").await.json();
    let column = |name: &str| {
        table["columnDefinitions"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap().clone()
    };
    assert_eq!(
        (&column("Object")["priority"], &column("Object")["description"], &column("Since")["type"]),
        (&json!(1), &json!("a whole one"), &json!("date"))
    );
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[..6], [json!("a"), json!("a"), json!("a"), json!("2"), json!(true), json!(1.5)]);
    assert!(cells[6].as_str().unwrap().ends_with('y'), "{cells:?}");
    assert_eq!(cells[7..], [json!("dots"), json!(r#"{"k":"v"}"#), json!(null)]);
    assert_eq!(
        table["rows"][1]["cells"].as_array().unwrap()[1..],
        [
            json!(null),
            json!(null),
            json!(null),
            json!(null),
            json!(null),
            json!(null),
            json!(null),
            json!(null),
            json!(null)
        ]
    );
}

#[tokio::test]
async fn a_stored_version_goes_when_nothing_is_stored_in_it() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &foos(json!({"strategy": "None"}), "v1")).await;
    let url = format!("{DEFINITIONS}/foos.example.com");
    let json_patch = [("content-type", "application/json-patch+json")];
    let move_on = json!([
        {"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true},
    ]);
    let moved = client.send("PATCH", &url, &json_patch, move_on.to_string()).await;
    assert_eq!(moved.json()["status"]["storedVersions"], json!(["v1", "v2"]), "{}", moved.message());
    let drop = json!([{"op": "remove", "path": "/spec/versions/0"}]).to_string();
    let refused = client.send("PATCH", &url, &json_patch, drop.clone()).await;
    assert_eq!(
        causes(&refused),
        [
            r#"status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions"#
        ]
    );
    let migrated = json!([{"op": "replace", "path": "/status/storedVersions", "value": ["v2"]}]).to_string();
    let migrated = client.send("PATCH", &format!("{url}/status"), &json_patch, migrated).await;
    assert_eq!(migrated.status, 200, "{}", migrated.message());
    let dropped = client.send("PATCH", &url, &json_patch, drop).await;
    assert_eq!(dropped.status, 200, "{}", dropped.message());
    assert_eq!(dropped.json()["status"]["storedVersions"], json!(["v2"]));
    let old = json!([{"op": "add", "path": "/spec/preserveUnknownFields", "value": true}]).to_string();
    let refused = client.send("PATCH", &url, &json_patch, old).await;
    assert!(refused.message().contains("spec.preserveUnknownFields: Invalid value: true"), "{}", refused.message());
}

#[tokio::test]
async fn a_conversion_that_fails_says_so() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let webhook = Outside::serve(&["convert.default.svc"], None, |request, _| {
        Box::pin(async move {
            use http_body_util::BodyExt as _;
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let review: Value = serde_json::from_slice(&body).unwrap();
            let mut objects = review["request"]["objects"].as_array().cloned().unwrap();
            for object in &mut objects {
                object["apiVersion"] = review["request"]["desiredAPIVersion"].clone();
                match path.as_str() {
                    "/rename" => object["metadata"]["name"] = "other".into(),
                    "/labels" => object["metadata"]["labels"] = json!({"a": "b"}),
                    "/finalizers" => object["metadata"]["finalizers"] = json!(["example.com/x"]),
                    _ => {}
                }
            }
            let mut response =
                json!({"uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": objects});
            match path.as_str() {
                "/refuse" => response["result"] = json!({"status": "Failure", "message": "not these"}),
                "/none" => response["convertedObjects"] = json!([]),
                "/uid" => response["uid"] = "x".into(),
                _ => {}
            }
            let answer =
                json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response});
            Response::new(Full::from(answer.to_string()))
        })
    })
    .await;
    let conversion = |path: &str| {
        json!({"strategy": "Webhook", "webhook": {
            "clientConfig": {"url": webhook.url(path), "caBundle": webhook.bundle()}, "conversionReviewVersions": ["v1"],
        }})
    };
    define(&client, &foos(conversion("/"), "v1")).await;
    let object = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"}, "same": "s"});
    assert_eq!(client.post("/apis/example.com/v1/foos", &object).await.status, 201);
    let definition = format!("{DEFINITIONS}/foos.example.com");
    let url = "/apis/example.com/v2/foos/a";
    for (path, expected) in [
        ("/refuse", "conversion webhook for example.com/v1, Kind=Foo failed: not these"),
        ("/none", "conversion webhook for example.com/v1, Kind=Foo returned 0 objects, expected 1"),
        (
            "/rename",
            "conversion webhook for example.com/v1, Kind=Foo returned invalid converted object at index 0: must have the same name: a != other",
        ),
        ("/uid", "conversion webhook for example.com/v1, Kind=Foo failed: expected response.uid="),
    ] {
        let mut watched = crate::custom::events(&client, "/apis/example.com/v1/foos?watch=1&timeoutSeconds=20").await;
        use futures::StreamExt as _;
        watched.next().await.unwrap();
        let changed = patch(&client, &definition, json!({"spec": {"conversion": conversion(path)}})).await;
        assert_eq!(changed.status, 200, "{}", changed.message());
        assert!(watched.next().await.is_none());
        let failed = client.get(url).await;
        assert_eq!(failed.status, 500, "{path}: {}", failed.message());
        assert!(failed.message().starts_with(expected), "{path}: {}", failed.message());
    }
    // Of metadata a conversion may change labels and annotations, and nothing else.
    for path in ["/labels", "/finalizers"] {
        let mut watched = crate::custom::events(&client, "/apis/example.com/v1/foos?watch=1&timeoutSeconds=20").await;
        use futures::StreamExt as _;
        watched.next().await.unwrap();
        patch(&client, &definition, json!({"spec": {"conversion": conversion(path)}})).await;
        assert!(watched.next().await.is_none());
        let read = client.get(url).await.json();
        let labels = (path == "/labels").then(|| json!({"a": "b"}));
        assert_eq!((read["metadata"].get("labels"), read["metadata"].get("finalizers")), (labels.as_ref(), None));
        let found = client.get("/apis/example.com/v2/foos?labelSelector=a%3Db").await.json();
        assert_eq!(found["items"].as_array().unwrap().len(), usize::from(path == "/labels"));
    }
}

#[tokio::test]
async fn who_scales_finds_the_selector() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    define(&client, &crontabs()).await;
    assert_eq!(client.post(CRONTABS, &crontab("a")).await.status, 201);
    let url = format!("{CRONTABS}/a");
    let status = json!({"status": {"replicas": 1, "selector": "app=a,tier in (x,y)"}});
    assert_eq!(patch(&client, &format!("{url}/status"), status).await.status, 200);
    let scale = client.get(&format!("{url}/scale")).await.json();
    assert_eq!(scale["status"]["selector"], "app=a,tier in (x,y)");
    assert_eq!((&scale["metadata"]["name"], &scale["apiVersion"]), (&json!("a"), &json!("autoscaling/v1")));
    // A stale scale is refused, and a current one is written with the object's own rules.
    let put = [("content-type", "application/json")];
    let mut stale = scale.clone();
    stale["metadata"]["resourceVersion"] = json!("1");
    let refused = client.send("PUT", &format!("{url}/scale"), &put, stale.to_string()).await;
    assert_eq!(refused.status, 409, "{}", refused.message());
    let mut next = client.get(&format!("{url}/scale")).await.json();
    next["spec"]["replicas"] = json!(0);
    let refused = client.send("PUT", &format!("{url}/scale"), &put, next.to_string()).await;
    assert_eq!(refused.status, 422, "{}", refused.message());
    next["spec"]["replicas"] = json!(7);
    let written = client.send("PUT", &format!("{url}/scale?fieldManager=hpa"), &put, next.to_string()).await;
    assert_eq!(written.json()["spec"]["replicas"], 7, "{}", written.message());
    let object = client.get(&url).await.json();
    assert_eq!(
        crate::apply::owners(&object).iter().filter(|owner| owner.starts_with("hpa")).collect::<Vec<_>>(),
        [r#"hpa Update stable.example.com/v1 scale {"f:spec":{"f:replicas":{}}}"#]
    );
}

/// As many fields and descriptions as the definition of an operator that embeds a pod template.
fn large_schema() -> Value {
    let description = "What this is for, in as many words as generated documentation has for each and every field, so that the \
        whole definition is as large as those that embed templates of pods are. ";
    let leaf = |index: usize| match index % 4 {
        0 => {
            json!({"type": "string", "description": description, "maxLength": 253, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"})
        }
        1 => json!({"type": "integer", "description": description, "format": "int32", "minimum": 0}),
        2 => json!({"description": description, "x-kubernetes-int-or-string": true}),
        _ => json!({"type": "object", "description": description, "additionalProperties": {"type": "string"}}),
    };
    let fields: serde_json::Map<String, Value> = (0..20).map(|index| (format!("field{index}"), leaf(index))).collect();
    let mut keyed = fields.clone();
    keyed.insert("name".to_owned(), json!({"type": "string"}));
    let section = |index: usize| match index % 2 {
        0 => json!({"type": "object", "description": description, "properties": fields}),
        _ => json!({
            "type": "array", "description": description, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": keyed},
        }),
    };
    let sections: serde_json::Map<String, Value> =
        (0..60).map(|index| (format!("section{index}"), section(index))).collect();
    json!({"type": "object", "properties": sections})
}

#[tokio::test]
async fn a_definition_as_large_as_an_operators_is_served() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let definition = gadgets(large_schema());
    assert!(definition.to_string().len() > 250_000);
    let url = format!("{DEFINITIONS}/gadgets.example.com");
    let created = apply(&client, &url, "fieldManager=one&fieldValidation=Strict", &definition).await;
    assert_eq!(created.status, 201, "{}", created.message());
    crate::custom::wait_for(&client, "gadgets.example.com", "Established", "True").await;
    let before = client.get(&url).await.json();
    let again = apply(&client, &url, "fieldManager=one", &definition).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, before));

    let spec = json!({
        "section0": {"field0": "a-b", "field1": 3, "field2": "50%", "field3": {"k": "v"}},
        "section1": [{"name": "x", "field1": 1}, {"name": "y", "field0": "c"}],
    });
    let object = format!("{GADGETS}/a");
    let applied = apply(&client, &object, "fieldManager=one", &gadget("a", spec)).await;
    assert_eq!(applied.status, 201, "{}", applied.message());
    let changed = json!({"section1": [{"name": "y", "field0": "d"}], "section59": [{"name": "z", "field2": 9}]});
    let conflict = apply(&client, &object, "fieldManager=two", &gadget("a", changed.clone())).await;
    assert_eq!(
        conflict.message(),
        r#"Apply failed with 1 conflict: conflict with "one": .spec.section1[name="y"].field0"#
    );
    let forced = apply(&client, &object, "fieldManager=two&force=true", &gadget("a", changed)).await.json();
    assert_eq!(forced["spec"]["section1"], json!([{"name": "x", "field1": 1}, {"name": "y", "field0": "d"}]));
    let refused =
        patch(&client, &object, json!({"spec": {"section58": {"field0": "A", "field1": -1, "field2": true}}})).await;
    assert_eq!(causes(&refused).len(), 3, "{}", refused.message());
    let index = client.get("/openapi/v3").await.json();
    let document = index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let schemas = client.get(&document).await.json()["components"]["schemas"].clone();
    let spec = &schemas["com.example.v1.Gadget"]["properties"]["spec"];
    assert_eq!(spec["properties"]["section59"]["items"]["properties"]["field1"]["format"], "int32");
}
