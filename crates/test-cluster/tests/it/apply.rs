//! Server-side apply and ownership, as clients meet them: plain requests, and every kubectl that is installed.

use std::path::PathBuf;

use registry::UserInfo;
use serde_json::{Value, json};
use test_cluster::TestCluster;

use crate::http::{Answer, Client};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn deployment(name: &str, replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "i", "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}

pub(crate) async fn apply(client: &Client, url: &str, query: &str, object: &Value) -> Answer {
    client.send("PATCH", &format!("{url}?{query}"), &[APPLY], object.to_string()).await
}

/// `manager operation version subresource fields` of each entry.
pub(crate) fn owners(object: &Value) -> Vec<String> {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or("-").to_owned();
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            assert_eq!(entry["fieldsType"], "FieldsV1");
            let names = ["manager", "operation", "apiVersion", "subresource"].map(|name| text(entry, name));
            format!("{} {}", names.join(" "), entry["fieldsV1"])
        })
        .collect()
}

#[tokio::test]
async fn every_write_has_an_owner() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let named = [("content-type", "application/json"), ("user-agent", "curl/8.0 (x)")];
    let created = client.send("POST", MAPS, &named, map("a", json!({"k": "v", "l": "w"})).to_string()).await.json();
    assert_eq!(owners(&created), [r#"curl Update v1 - {"f:data":{".":{},"f:k":{},"f:l":{}}}"#]);

    // Nothing changes: nothing is written, whoever says it.
    let url = format!("{MAPS}/a");
    let same = client.send("PUT", &format!("{url}?fieldManager=other"), &named, created.to_string()).await.json();
    assert_eq!(same["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);

    let patch = [("content-type", "application/merge-patch+json")];
    let body = json!({"data": {"k": "new"}, "metadata": {"labels": {"x": "y"}}}).to_string();
    let patched = client.send("PATCH", &format!("{url}?fieldManager=patcher"), &patch, body).await.json();
    let mut now = owners(&patched);
    now.sort();
    assert_eq!(
        now,
        [
            r#"curl Update v1 - {"f:data":{".":{},"f:l":{}}}"#,
            r#"patcher Update v1 - {"f:data":{"f:k":{}},"f:metadata":{"f:labels":{".":{},"f:x":{}}}}"#,
        ]
    );

    // Nonsense is ignored, an empty entry forgets everything, and then nobody starts to count.
    let nonsense = json!({"metadata": {"managedFields": [{"manager": "m", "operation": "Nonsense"}]}}).to_string();
    let kept = client.send("PATCH", &url, &patch, nonsense).await.json();
    assert_eq!(owners(&kept).len(), 2);
    let reset = json!({"metadata": {"managedFields": [{}]}}).to_string();
    let none = client.send("PATCH", &url, &patch, reset).await.json();
    assert_eq!(none["metadata"].get("managedFields"), None);
    let changed = client.send("PATCH", &url, &patch, json!({"data": {"k": "again"}}).to_string()).await.json();
    assert_eq!(changed["metadata"].get("managedFields"), None);

    // The first apply finds an owner for what was there before.
    let applied = apply(&client, &url, "fieldManager=applier", &map("a", json!({"m": "1"}))).await.json();
    assert_eq!(
        owners(&applied),
        [
            r#"applier Apply v1 - {"f:data":{"f:m":{}}}"#,
            r#"before-first-apply Update v1 - {"f:data":{".":{},"f:k":{},"f:l":{}},"f:metadata":{"f:labels":{".":{},"f:x":{}}}}"#,
        ]
    );
}

#[tokio::test]
async fn appliers_create_share_drop_and_conflict() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let url = format!("{MAPS}/a");
    let created = apply(&client, &url, "fieldManager=one", &map("a", json!({"k": "v", "l": "w"}))).await;
    assert_eq!(created.status, 201);
    let again = apply(&client, &url, "fieldManager=one", &map("a", json!({"k": "v", "l": "w"}))).await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &created.body));

    let conflict = apply(&client, &url, "fieldManager=two", &map("a", json!({"k": "2"}))).await;
    assert_eq!(conflict.status, 409);
    let status = conflict.json();
    assert_eq!(status["reason"], "Conflict");
    assert_eq!(status["message"], r#"Apply failed with 1 conflict: conflict with "one": .data.k"#);
    assert_eq!(
        status["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.k"}])
    );
    let dry = apply(&client, &url, "fieldManager=two&force=true&dryRun=All", &map("a", json!({"k": "2"}))).await.json();
    assert_eq!(dry["data"], json!({"k": "2", "l": "w"}));
    assert_eq!(client.get(&url).await.json()["data"], json!({"k": "v", "l": "w"}));
    let forced = apply(&client, &url, "fieldManager=two&force=true", &map("a", json!({"k": "2"}))).await.json();
    assert_eq!(
        owners(&forced),
        [r#"one Apply v1 - {"f:data":{"f:l":{}}}"#, r#"two Apply v1 - {"f:data":{"f:k":{}}}"#,]
    );
    let dropped = apply(&client, &url, "fieldManager=one", &map("a", json!({}))).await.json();
    assert_eq!(dropped["data"], json!({"k": "2"}));

    // YAML, with a key that is there twice.
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\ndata:\n  k: one\n  k: two\n";
    let twice = client.send("PATCH", &format!("{MAPS}/b?fieldManager=y"), &[APPLY], yaml).await;
    assert_eq!((twice.status.as_u16(), &twice.json()["data"]["k"]), (201, &json!("two")));
    assert!(twice.headers["warning"].to_str().unwrap().contains("line 7: key \\\"k\\\" already set in map"));
    let strict = client.send("PATCH", &format!("{MAPS}/b?fieldManager=y&fieldValidation=Strict"), &[APPLY], yaml).await;
    assert_eq!((strict.status.as_u16(), strict.message().contains("error strict decoding YAML")), (400, true));
}

#[tokio::test]
async fn what_an_apply_may_not_say() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let url = format!("{MAPS}/a");
    let long = "x".repeat(129);
    for (query, object, code, message) in [
        (
            "",
            map("a", json!({})),
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
        (&*format!("fieldManager={long}"), map("a", json!({})), 422, "may not be more than 128 bytes"),
        ("fieldManager=a%07b", map("a", json!({})), 422, "invalid character U+0007 (at position 1)"),
        ("fieldManager=m", json!({"apiVersion": "v1", "kind": "Secret"}), 400, "invalid object type: /v1, Kind=Secret"),
        (
            "fieldManager=m",
            map("b", json!({})),
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            "fieldManager=m",
            map("a", json!({"k": 1})),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data.k: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            "fieldManager=m",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "nope": 1}),
            500,
            ".nope: field not declared in schema",
        ),
        (
            "fieldManager=m",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "managedFields": []}}),
            400,
            "metadata.managedFields must be nil",
        ),
        (
            "fieldManager=m",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "u"}}),
            409,
            "uid mismatch: the provided object specified uid u, and no existing object was found",
        ),
        ("fieldManager=m", json!([]), 400, "error decoding YAML"),
    ] {
        let answer = apply(&client, &url, query, &object).await;
        assert_eq!(answer.status, code, "{object}: {}", answer.message());
        assert!(answer.message().contains(message), "{object}: {}", answer.message());
    }
    let forced = [("content-type", "application/merge-patch+json")];
    let answer = client.send("PATCH", &format!("{url}?force=true"), &forced, "{}").await;
    assert!(answer.message().contains("force: Forbidden: may not be specified for non-apply patch"));
    // Who may patch may not thereby create.
    let patcher = Client::of(&cluster, UserInfo::new("patcher", [UserInfo::AUTHENTICATED_GROUP]));
    let role = json!({"metadata": {"name": "patcher"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}]});
    client.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await;
    let binding = json!({
        "metadata": {"name": "patcher"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "patcher"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "patcher"},
    });
    client.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
    let answer = apply(&patcher, &url, "fieldManager=m", &map("a", json!({}))).await;
    assert_eq!(
        (answer.status.as_u16(), answer.message().contains("cannot create")),
        (403, true),
        "{}",
        answer.message()
    );
}

#[tokio::test]
async fn status_and_scale_have_owners_of_their_own() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let url = format!("{DEPLOYMENTS}/web");
    let created = apply(&client, &url, "fieldManager=one", &deployment("web", 1)).await;
    assert_eq!(created.status, 201, "{}", created.message());
    let status = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 9}, "status": {"conditions": [{"type": "Available", "status": "True"}], "replicas": 1},
    });
    let applied = apply(&client, &format!("{url}/status"), "fieldManager=st", &status).await.json();
    assert_eq!((&applied["spec"]["replicas"], &applied["status"]["replicas"]), (&json!(1), &json!(1)));
    assert_eq!(
        owners(&applied)[1],
        r#"st Apply apps/v1 status {"f:status":{"f:conditions":{"k:{\"type\":\"Available\"}":{".":{},"f:status":{},"f:type":{}}},"f:replicas":{}}}"#
    );

    let put = [("content-type", "application/json")];
    let mut scale = client.get(&format!("{url}/scale")).await.json();
    scale["spec"]["replicas"] = json!(3);
    let scaled = client.send("PUT", &format!("{url}/scale?fieldManager=hpa"), &put, scale.to_string()).await;
    assert_eq!(scaled.json()["spec"]["replicas"], 3, "{}", scaled.message());
    let object = client.get(&url).await.json();
    assert!(owners(&object).contains(&r#"hpa Update apps/v1 scale {"f:spec":{"f:replicas":{}}}"#.to_owned()));
    let conflict = apply(&client, &url, "fieldManager=one", &deployment("web", 2)).await;
    assert_eq!(
        conflict.message(),
        r#"Apply failed with 1 conflict: conflict with "hpa" with subresource "scale" using apps/v1: .spec.replicas"#
    );
    let config =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 4}});
    let conflict = apply(&client, &format!("{url}/scale"), "fieldManager=two", &config).await;
    assert_eq!(conflict.status, 409, "{}", conflict.message());
    let applied = apply(&client, &format!("{url}/scale"), "fieldManager=two&force=true", &config).await;
    assert_eq!(applied.json()["spec"]["replicas"], 4, "{}", applied.message());
    let object = client.get(&url).await.json();
    let of_replicas: Vec<String> = owners(&object)
        .into_iter()
        .filter(|owner| owner.contains("f:replicas") && !owner.contains("f:status"))
        .collect();
    assert_eq!(of_replicas, [r#"two Apply apps/v1 scale {"f:spec":{"f:replicas":{}}}"#]);
}

#[tokio::test]
async fn the_eleventh_updater_makes_ancient_changes() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    client.post(&format!("{MAPS}?fieldManager=creator"), &map("a", json!({"k": "0"}))).await;
    let patch = [("content-type", "application/merge-patch+json")];
    let mut object = Value::Null;
    for index in 0..12 {
        let body = json!({"data": {format!("k{index}"): "v"}}).to_string();
        object = client.send("PATCH", &format!("{MAPS}/a?fieldManager=m{index:02}"), &patch, body).await.json();
    }
    let owners = owners(&object);
    assert_eq!(owners.len(), 10, "{owners:#?}");
    assert!(owners.iter().any(|owner| owner.starts_with("ancient-changes Update v1 - ")));
}

#[tokio::test]
async fn patches_are_refused_in_upstreams_words() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    client.post(DEPLOYMENTS, &deployment("web", 1)).await;
    let url = format!("{DEPLOYMENTS}/web");
    let json_patch = "application/json-patch+json";
    let merge = "application/merge-patch+json";
    let strategic = "application/strategic-merge-patch+json";
    let many = vec![json!({"op": "test", "path": "/kind", "value": "Deployment"}); 10_001];
    for (kind, query, body, code, message) in [
        (json_patch, "", "{", 400, "invalid JSON patch"),
        (
            json_patch,
            "",
            "{}",
            400,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ),
        (
            json_patch,
            "",
            r#"[{"op":"remove","path":"/nope"}]"#,
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            json_patch,
            "",
            &*json!(many).to_string(),
            413,
            "The allowed maximum operations in a JSON patch is 10000, got 10001",
        ),
        (
            merge,
            "",
            "[]",
            400,
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            merge,
            "fieldValidation=Strict",
            r#"{"spec":{"nope":1,"replicas":1,"replicas":2}}"#,
            422,
            r#"strict decoding error: duplicate field "spec.replicas", unknown field "spec.nope""#,
        ),
        (
            strategic,
            "fieldValidation=Strict",
            r#"{"spec":{"nope":1}}"#,
            422,
            r#" "" is invalid: patch: Invalid value: "map[spec:map[nope:1]]": strict decoding error: unknown field "spec.nope""#,
        ),
        (
            strategic,
            "",
            r#"{"spec":{"replicas":"x"}}"#,
            422,
            r#" "" is invalid: patch: Invalid value: "map[spec:map[replicas:x]]": unrecognized type: int32"#,
        ),
        (
            strategic,
            "",
            r#"{"spec":{"template":{"spec":{"containers":[{"image":"x"}]}}}}"#,
            500,
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            strategic,
            "",
            r#"{"spec":{"strategy":{"$retainKeys":["x"],"type":"Recreate"}}}"#,
            400,
            "invalid patch format of retainKeys",
        ),
        (
            "application/x",
            "",
            "{}",
            415,
            "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
        ),
    ] {
        let answer = client.send("PATCH", &format!("{url}?{query}"), &[("content-type", kind)], body.to_owned()).await;
        let shown: String = body.chars().take(100).collect();
        assert_eq!(answer.status, code, "{shown}: {}", answer.message());
        assert!(answer.message().contains(message), "{shown}: {}", answer.message());
    }
    let warned = client.send("PATCH", &url, &[("content-type", merge)], r#"{"spec":{"nope":1}}"#).await;
    assert_eq!(warned.headers["warning"], r#"299 - "unknown field \"spec.nope\"""#);
}

/// The installed kubectl programs.
fn programs() -> Vec<PathBuf> {
    let listed = std::fs::read_dir("/usr/lib/google-cloud-sdk/bin").into_iter().flatten().flatten();
    let mut programs: Vec<PathBuf> = listed
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("kubectl.1."))
        .map(|entry| entry.path())
        .collect();
    programs.sort();
    programs
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_on_the_server() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let kubeconfig = cluster.write_kubeconfig().unwrap();
    for (index, program) in programs().into_iter().enumerate() {
        let name = format!("web{index}");
        let file = |replicas: i32| {
            let path = cluster.directory().join(format!("{name}-{replicas}.json"));
            std::fs::write(&path, deployment(&name, replicas).to_string()).unwrap();
            path.display().to_string()
        };
        let run = async |words: &[&str]| {
            let mut command = tokio::process::Command::new(&program);
            command.arg("--kubeconfig").arg(&kubeconfig).arg("--cache-dir").arg(cluster.directory().join("cache"));
            let output = command.args(words).output().await.unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
        };
        let managers = async || {
            let object = client.get(&format!("{DEPLOYMENTS}/{name}")).await.json();
            let owners = owners(&object);
            let heads = owners.iter().map(|owner| owner.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" "));
            heads.collect::<Vec<_>>()
        };
        // From the client's side to the server's, and back.
        let (code, out, error) = run(&["apply", "-f", &file(1)]).await;
        assert_eq!(code, 0, "{program:?}: {out}{error}");
        assert_eq!(managers().await, ["kubectl-client-side-apply Update"]);
        let (code, out, error) = run(&["apply", "--server-side", "-f", &file(2)]).await;
        assert_eq!(code, 0, "{program:?}: {out}{error}");
        assert!(out.contains("serverside-applied"), "{out}");
        let now = managers().await;
        assert!(now.contains(&"kubectl Apply".to_owned()), "{now:?}");
        // Programs from 1.26 on take the old entry over.
        assert!(!now.contains(&"kubectl-client-side-apply Update".to_owned()), "{program:?}: {now:?}");
        let (_, last, _) = run(&["apply", "view-last-applied", "deployment", &name, "-o", "json"]).await;
        assert!(last.contains("\"replicas\": 2"), "{program:?}: {last}");

        let (code, _, error) = run(&["apply", "--server-side", "--field-manager=other", "-f", &file(3)]).await;
        assert_eq!(code, 1, "{error}");
        assert!(error.contains(r#"Apply failed with 1 conflict: conflict with "kubectl": .spec.replicas"#), "{error}");
        let (code, out, _) =
            run(&["diff", "--server-side", "--force-conflicts", "--field-manager=other", "-f", &file(3)]).await;
        assert_eq!((code, out.contains("+  replicas: 3")), (1, true), "{program:?}: {out}");
        let forced = ["apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", &file(3)];
        let (code, out, error) = run(&forced).await;
        assert_eq!(code, 0, "{program:?}: {out}{error}");
        let (_, shown, _) = run(&["get", "deployment", &name, "-o", "yaml", "--show-managed-fields"]).await;
        assert!(shown.contains("manager: other"), "{shown}");
        let (_, hidden, _) = run(&["get", "deployment", &name, "-o", "yaml"]).await;
        assert!(!hidden.contains("managedFields"), "{hidden}");
        let (code, out, error) = run(&["apply", "-f", &file(4)]).await;
        assert_eq!(code, 0, "{program:?}: {out}{error}");
        assert_eq!(client.get(&format!("{DEPLOYMENTS}/{name}")).await.json()["spec"]["replicas"], 4);
        let (code, out, error) = run(&["scale", "deployment", &name, "--replicas=5"]).await;
        assert_eq!(code, 0, "{program:?}: {out}{error}");
        let (code, out, error) = run(&["label", "deployment", &name, "x=y"]).await;
        assert_eq!(code, 0, "{program:?}: {out}{error}");
        let now = managers().await;
        assert!(now.contains(&"kubectl-label Update".to_owned()), "{now:?}");
    }
}

#[tokio::test]
async fn custom_objects_are_applied_by_their_schema() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer"},
            "items": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "value": {"type": "string"}}},
            },
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "one": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
    }});
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
        })
    };
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "versions": [version("v1", true), version("v2", false)],
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        },
    });
    let made = client.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    assert_eq!(made.status, 201, "{}", made.message());
    let url = |version: &str| format!("/apis/example.com/{version}/namespaces/default/widgets/w");
    while client.get("/apis/example.com/v2/namespaces/default/widgets").await.status != 200 {
        tokio::task::yield_now().await;
    }
    let widget = |version: &str, spec: Value| json!({"apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": "w", "labels": {"l": "1"}}, "spec": spec});
    let one = json!({
        "replicas": 1, "items": [{"name": "a", "value": "1"}, {"name": "b"}], "tags": ["x"], "one": {"k": "v"}, "free": {"f": [1]},
    });
    let created = apply(&client, &url("v1"), "fieldManager=one", &widget("v1", one)).await;
    assert_eq!(created.status, 201, "{}", created.message());
    assert_eq!(
        owners(&created.json()),
        [
            r#"one Apply example.com/v1 - {"f:metadata":{"f:labels":{"f:l":{}}},"f:spec":{"f:free":{"f:f":{}},"f:items":{"k:{\"name\":\"a\"}":{".":{},"f:name":{},"f:value":{}},"k:{\"name\":\"b\"}":{".":{},"f:name":{}}},"f:one":{},"f:replicas":{},"f:tags":{"v:\"x\"":{}}}}"#
        ]
    );
    // Through another version, whose entry is told from what the objects are there.
    let two = json!({"items": [{"name": "c"}], "tags": ["y"]});
    let shared = apply(&client, &url("v2"), "fieldManager=two", &widget("v2", two)).await.json();
    assert_eq!(shared["spec"]["tags"], json!(["x", "y"]));
    let conflict = apply(&client, &url("v2"), "fieldManager=two", &widget("v2", json!({"one": {"k": "w"}}))).await;
    assert_eq!(conflict.message(), r#"Apply failed with 1 conflict: conflict with "one": .spec.one"#);
}

#[tokio::test]
async fn configurations_come_as_cbor_too() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let config = deployment("web", 2);
    let body = schema::cbor::document(&schema::Node::from_value(&config), None);
    let headers = [("content-type", "application/apply-patch+cbor")];
    let url = format!("{DEPLOYMENTS}/web?fieldManager=one");
    let created = client.send("PATCH", &url, &headers, body.clone()).await;
    assert_eq!(created.status, 201, "{}", created.message());
    let yaml = apply(&client, &format!("{DEPLOYMENTS}/web"), "fieldManager=one", &config).await;
    assert_eq!((yaml.status.as_u16(), &yaml.body), (200, &created.body), "the same configuration changes nothing");
    for (body, code) in [(b"\xa1".to_vec(), 400), (b"{}".to_vec(), 400), (Vec::new(), 400)] {
        let refused = client.send("PATCH", &url, &headers, body).await;
        assert_eq!(refused.status, code, "{}", refused.message());
        assert!(refused.message().starts_with("error decoding YAML: "), "{}", refused.message());
    }
    let wrong = schema::cbor::document(&schema::Node::from_value(&json!({"apiVersion": "v1", "kind": "Secret"})), None);
    assert_eq!(client.send("PATCH", &url, &headers, wrong).await.message(), "invalid object type: /v1, Kind=Secret");
}
