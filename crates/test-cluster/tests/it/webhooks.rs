//! Admission webhooks, against a webhook server over TLS. The behaviours are those of upstream's conformance suite
//! (`test/e2e/apimachinery/webhook.go`) and what its integration tests look at.

use std::sync::{Arc, Mutex};

use ::http::{Request, Response};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use test_cluster::TestCluster;

use crate::{
    apply::{apply, owners},
    custom::{convert, define, foos},
    http::Client,
    outside::{Counts, Outside, own_address},
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const JSON: (&str, &str) = ("content-type", "application/json");

struct World {
    _cluster: TestCluster,
    client: Client,
    hooks: Outside,
    counts: Counts,
    /// What was asked last, by path.
    last: Arc<Mutex<Value>>,
}

async fn world() -> World {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let (counts, last) = (Counts::default(), Arc::new(Mutex::new(Value::Null)));
    let (counted, seen) = (counts.clone(), last.clone());
    let hooks = Outside::serve(&["hook.default.svc"], None, move |request, shown| {
        assert!(shown.0.is_none(), "nothing is shown to who is not configured to be shown it");
        Box::pin(answer(request, counted.clone(), seen.clone()))
    });
    World { _cluster: cluster, client, hooks: hooks.await, counts, last }
}

async fn answer(request: Request<Incoming>, counts: Counts, last: Arc<Mutex<Value>>) -> Response<Full<bytes::Bytes>> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    counts.add(&path);
    *last.lock().unwrap() = review.clone();
    let object = &review["request"]["object"];
    let patched = |patch: Value| json!({"allowed": true, "patchType": "JSONPatch", "patch": BASE64_STANDARD.encode(patch.to_string())});
    let add = |key: &str| patched(json!([{"op": "add", "path": format!("/data/{key}"), "value": "yes"}]));
    let mut response = match path.as_str() {
        "/allow" => json!({"allowed": true, "warnings": ["beware"], "auditAnnotations": {"seen": "true"}}),
        "/deny" => json!({"allowed": false, "status": {"message": "not today", "reason": "Nope", "code": 418}}),
        "/deny-bare" => json!({"allowed": false}),
        "/stage1" if object["data"]["mutation-start"] == "yes" => add("mutation-stage-1"),
        "/stage2" if object["data"]["mutation-stage-1"] == "yes" => add("mutation-stage-2"),
        "/init" => {
            patched(json!([{"op": "add", "path": "/spec/initContainers", "value": [{"name": "i", "image": "i"}]}]))
        }
        "/max" => patched(json!([{"op": "replace", "path": "/spec/maxReplicas", "value": 7}])),
        "/scale" => patched(json!([{"op": "replace", "path": "/spec/replicas", "value": 3}])),
        "/inject" if object["spec"].get("injected").is_none() => {
            patched(json!([{"op": "add", "path": "/spec/injected", "value": "yes"}]))
        }
        "/rename-owners" => {
            patched(json!([{"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "hook"}]))
        }
        "/spoil-owners" => {
            patched(json!([{"op": "replace", "path": "/metadata/managedFields/0/operation", "value": "Nonsense"}]))
        }
        "/convert-note" => patched(json!([{"op": "replace", "path": "/port", "value": "7"}])),
        "/bad-patch" => patched(json!([{"op": "remove", "path": "/data/missing"}])),
        "/patch-only" => json!({"allowed": true, "patch": "W10="}),
        "/no-response" => Value::Null,
        "/hang" => std::future::pending().await,
        _ => json!({"allowed": true}),
    };
    if response.is_object() {
        response["uid"] = review["request"]["uid"].clone();
    }
    let review = json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response});
    Response::new(Full::from(review.to_string()))
}

fn rule(operations: &[&str], group: &str, version: &str, resource: &str) -> Value {
    json!({"operations": operations, "apiGroups": [group], "apiVersions": [version], "resources": [resource]})
}

impl World {
    fn hook(&self, name: &str, path: &str, rules: Value) -> Value {
        json!({
            "name": format!("{name}.example.com"), "rules": rules, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": self.hooks.url(path), "caBundle": self.hooks.bundle()},
        })
    }

    async fn configure(&self, url: &str, name: &str, webhooks: Value) {
        let kind = if url == MUTATING { "MutatingWebhookConfiguration" } else { "ValidatingWebhookConfiguration" };
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": name, "labels": {"of": "test"}}, "webhooks": webhooks,
        });
        let answer = self.client.post(url, &configuration).await;
        assert_eq!(answer.status, 201, "{}", answer.message());
    }

    async fn create_map(&self, name: &str, data: Value) -> crate::http::Answer {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        self.client.post(MAPS, &map).await
    }

    fn asked(&self) -> Value {
        self.last.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn mutations_follow_the_order_of_names() {
    let world = world().await;
    let rules = json!([rule(&["CREATE"], "", "v1", "configmaps")]);
    world.configure(MUTATING, "b", json!([world.hook("two", "/stage2", rules.clone())])).await;
    world.configure(MUTATING, "a", json!([world.hook("one", "/stage1", rules)])).await;
    let answer = world.create_map("m", json!({"mutation-start": "yes"})).await;
    assert_eq!(answer.status, 201, "{}", answer.message());
    let data = json!({"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"});
    assert_eq!(answer.json()["data"], data);
    let asked = world.asked();
    assert_eq!(asked["apiVersion"], "admission.k8s.io/v1");
    let request = &asked["request"];
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(request["requestResource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!(
        (&request["name"], &request["namespace"], &request["operation"]),
        (&"m".into(), &"default".into(), &"CREATE".into())
    );
    assert_eq!(request["userInfo"]["username"], "admin");
    assert_eq!((&request["oldObject"], &request["dryRun"]), (&Value::Null, &false.into()));
    assert_eq!(request["options"]["kind"], "CreateOptions");
    assert_eq!(request["object"]["kind"], "ConfigMap");
}

#[tokio::test]
async fn what_is_configured_holds_at_once() {
    let world = world().await;
    let rules = |operation: &str| json!([rule(&[operation], "", "v1", "configmaps")]);
    world.configure(VALIDATING, "a", json!([world.hook("deny", "/deny", rules("CREATE"))])).await;
    assert_eq!(world.create_map("m", json!({})).await.status, 418);
    let merge = ("content-type", "application/merge-patch+json");
    let patch = json!({"webhooks": [world.hook("deny", "/deny", rules("UPDATE"))]}).to_string();
    assert_eq!(world.client.send("PATCH", &format!("{VALIDATING}/a"), &[merge], patch).await.status, 200);
    assert_eq!(world.create_map("m", json!({})).await.status, 201);
    let answer = world.client.send("PATCH", &format!("{MAPS}/m"), &[merge], r#"{"data":{"a":"b"}}"#).await;
    assert_eq!(answer.message(), "admission webhook \"deny.example.com\" denied the request: not today");
    assert_eq!((answer.json()["reason"].as_str(), answer.json()["code"].as_u64()), (Some("Nope"), Some(418)));
    assert_eq!(world.asked()["request"]["oldObject"]["metadata"]["name"], "m");
    let gone = world.client.send("DELETE", &format!("{VALIDATING}?labelSelector=of%3Dtest"), &[], "").await;
    assert_eq!(gone.status, 200);
    let answer = world.client.send("PATCH", &format!("{MAPS}/m"), &[merge], r#"{"data":{"a":"b"}}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.message());
}

#[tokio::test]
async fn deletes_and_streams_are_asked_about() {
    let world = world().await;
    let rules = json!([
        rule(&["DELETE"], "", "v1", "configmaps"),
        rule(&["CONNECT"], "", "v1", "pods/attach"),
        rule(&["CONNECT"], "*", "*", "pods/exec"),
    ]);
    world.create_map("m", json!({})).await;
    world.configure(VALIDATING, "a", json!([world.hook("deny", "/deny-bare", rules)])).await;
    let answer = world.client.send("DELETE", &format!("{MAPS}/m"), &[JSON], r#"{"gracePeriodSeconds":0}"#).await;
    assert_eq!(answer.message(), "admission webhook \"deny.example.com\" denied the request without explanation");
    assert_eq!(answer.status, 400);
    let request = world.asked()["request"].clone();
    assert_eq!((&request["object"], &request["oldObject"]["kind"]), (&Value::Null, &"ConfigMap".into()));
    assert_eq!(request["options"]["gracePeriodSeconds"], 0);
    let url = "/api/v1/namespaces/default/pods/p/attach?container=c&stdin=true";
    let answer = world.client.send("POST", url, &[], "").await;
    assert!(answer.message().contains("denied the request"), "{}", answer.message());
    let request = world.asked()["request"].clone();
    assert_eq!((&request["operation"], &request["subResource"]), (&"CONNECT".into(), &"attach".into()));
    let options = json!({"kind": "PodAttachOptions", "apiVersion": "v1", "stdin": true, "container": "c"});
    assert_eq!((&request["object"], &request["kind"]["kind"]), (&options, &"PodAttachOptions".into()));
    let answer = world.client.send("DELETE", MAPS, &[], "").await;
    assert!(answer.message().contains("denied the request"), "{}", answer.message());
}

#[tokio::test]
async fn who_decides_about_admission_is_not_asked_about() {
    let world = world().await;
    let rules = json!([rule(&["*"], "*", "*", "*/*"), rule(&["*"], "*", "*", "*")]);
    world.configure(VALIDATING, "a", json!([world.hook("deny", "/deny", rules.clone())])).await;
    world.configure(MUTATING, "b", json!([world.hook("deny", "/deny", rules)])).await;
    world.configure(VALIDATING, "c", json!([])).await;
    assert_eq!(world.create_map("m", json!({})).await.status, 418);
    for url in [format!("{VALIDATING}/a"), format!("{MUTATING}/b"), format!("{VALIDATING}/c")] {
        assert_eq!(world.client.send("DELETE", &url, &[], "").await.status, 200);
    }
    assert_eq!(world.create_map("m", json!({})).await.status, 201);
}

#[tokio::test]
async fn a_webhook_that_cannot_be_called_fails_closed_or_open() {
    let world = world().await;
    let rules = json!([rule(&["CREATE"], "", "v1", "configmaps")]);
    let mut hook = world.hook("closed", "/allow", rules.clone());
    hook["clientConfig"]["caBundle"].take();
    world.configure(VALIDATING, "a", json!([hook])).await;
    let answer = world.create_map("m", json!({})).await;
    let expected = format!(
        "Internal error occurred: failed calling webhook \"closed.example.com\": failed to call webhook: Post \"{}?timeout=10s\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        world.hooks.url("/allow")
    );
    assert_eq!((answer.status.as_u16(), answer.message()), (500, expected));
    hook["failurePolicy"] = "Ignore".into();
    let patch = json!({"webhooks": [hook]}).to_string();
    let merge = ("content-type", "application/merge-patch+json");
    assert_eq!(world.client.send("PATCH", &format!("{VALIDATING}/a"), &[merge], patch).await.status, 200);
    assert_eq!(world.create_map("m", json!({})).await.status, 201);
}

#[tokio::test]
async fn timeouts_are_kept() {
    let world = world().await;
    let rules = json!([rule(&["CREATE"], "", "v1", "configmaps")]);
    let mut hook = world.hook("slow", "/hang", rules);
    hook["timeoutSeconds"] = 1.into();
    world.configure(MUTATING, "a", json!([hook])).await;
    let answer = world.create_map("m", json!({})).await;
    assert!(answer.message().contains("context deadline exceeded"), "{}", answer.message());
    assert!(answer.message().contains("?timeout=1s"), "{}", answer.message());
    hook["failurePolicy"] = "Ignore".into();
    let patch = json!({"webhooks": [hook]}).to_string();
    let merge = ("content-type", "application/merge-patch+json");
    assert_eq!(world.client.send("PATCH", &format!("{MUTATING}/a"), &[merge], patch).await.status, 200);
    assert_eq!(world.create_map("m", json!({})).await.status, 201);
}

#[tokio::test]
async fn what_is_added_is_defaulted() {
    let world = world().await;
    let rules = json!([rule(&["CREATE"], "", "v1", "pods")]);
    world.configure(MUTATING, "a", json!([world.hook("init", "/init", rules)])).await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    world.client.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let answer = world.client.post("/api/v1/namespaces/default/pods", &pod).await;
    assert_eq!(answer.status, 201, "{}", answer.message());
    assert_eq!(answer.json()["spec"]["initContainers"][0]["terminationMessagePolicy"], "File");
}

#[tokio::test]
async fn another_version_of_the_object_is_asked_about() {
    let world = world().await;
    let rules = json!([rule(&["CREATE"], "autoscaling", "v1", "horizontalpodautoscalers")]);
    world.configure(MUTATING, "a", json!([world.hook("max", "/max", rules)])).await;
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "maxReplicas": 2,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]},
    });
    let answer =
        world.client.post("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", &autoscaler).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["spec"]["maxReplicas"]),
        (201, &7.into()),
        "{}",
        answer.message()
    );
    assert_eq!(answer.json()["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    let request = world.asked()["request"].clone();
    assert_eq!((&request["kind"]["version"], &request["requestKind"]["version"]), (&"v1".into(), &"v2".into()));
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(request["object"]["spec"]["targetCPUUtilizationPercentage"], 50);
}

#[tokio::test]
async fn who_wants_it_is_asked_again_after_a_change() {
    let world = world().await;
    let rules = json!([rule(&["CREATE"], "", "v1", "configmaps")]);
    let mut first = world.hook("first", "/allow", rules.clone());
    first["reinvocationPolicy"] = "IfNeeded".into();
    let never = world.hook("never", "/never", rules.clone());
    world.configure(MUTATING, "a", json!([first, never, world.hook("one", "/stage1", rules)])).await;
    let answer = world.create_map("m", json!({"mutation-start": "yes"})).await;
    assert_eq!(answer.status, 201, "{}", answer.message());
    assert_eq!((world.counts.of("/allow"), world.counts.of("/never"), world.counts.of("/stage1")), (2, 1, 1));
    assert_eq!(answer.headers["warning"], "299 - \"beware\"");
    world.create_map("n", json!({})).await;
    assert_eq!((world.counts.of("/allow"), world.counts.of("/stage1")), (3, 2));
}

#[tokio::test]
async fn selectors_choose_namespaces_and_objects() {
    let world = world().await;
    let mut hook = world.hook("deny", "/deny", json!([rule(&["CREATE", "UPDATE", "DELETE"], "", "v1", "configmaps")]));
    hook["namespaceSelector"] = json!({"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]});
    hook["objectSelector"] = json!({"matchLabels": {"check": "me"}});
    world.configure(VALIDATING, "a", json!([hook])).await;
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "free", "labels": {"skip": "yes"}}});
    world.client.post("/api/v1/namespaces", &namespace).await;
    let map = |name: &str, labels: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}});
    let checked = map("m", json!({"check": "me"}));
    assert_eq!(world.client.post("/api/v1/namespaces/free/configmaps", &checked).await.status, 201);
    assert_eq!(world.client.post(MAPS, &checked).await.status, 418);
    assert_eq!(world.client.post(MAPS, &map("m", json!({}))).await.status, 201);
    // Either side of an update may carry the label.
    let answer = world.client.send("PUT", &format!("{MAPS}/m"), &[JSON], checked.to_string()).await;
    assert_eq!(answer.status, 418);
}

#[tokio::test]
async fn a_dry_run_asks_only_who_has_no_side_effects() {
    let world = world().await;
    let rules = json!([rule(&["CREATE"], "", "v1", "configmaps")]);
    let mut hook = world.hook("effects", "/allow", rules);
    hook["sideEffects"] = "NoneOnDryRun".into();
    world.configure(VALIDATING, "a", json!([hook])).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    let answer = world.client.post(&format!("{MAPS}?dryRun=All"), &map).await;
    assert_eq!((answer.status.as_u16(), &world.asked()["request"]["dryRun"]), (201, &true.into()));
    assert_eq!(world.asked()["request"]["options"]["dryRun"], json!(["All"]));
}

#[tokio::test]
async fn answers_that_are_not_valid_are_refused() {
    let world = world().await;
    let rules = json!([rule(&["CREATE"], "", "v1", "configmaps")]);
    for (url, path, expected) in [
        (MUTATING, "/bad-patch", "Internal error occurred: "),
        (
            MUTATING,
            "/patch-only",
            "failed calling webhook \"x.example.com\": received invalid webhook response: webhook returned response.patch but not response.patchType",
        ),
        (VALIDATING, "/stage1", "received invalid webhook response: validating webhook may not return response.patch"),
        (VALIDATING, "/no-response", "received invalid webhook response: webhook response was absent"),
    ] {
        world.configure(url, "a", json!([world.hook("x", path, rules.clone())])).await;
        let answer = world.create_map("m", json!({"mutation-start": "yes"})).await;
        assert!(answer.status == 500 && answer.message().contains(expected), "{path}: {}", answer.message());
        world.client.send("DELETE", &format!("{url}/a"), &[], "").await;
    }
}

#[tokio::test]
async fn a_scale_is_asked_about_as_such() {
    let world = world().await;
    let rules = json!([rule(&["UPDATE"], "apps", "v1", "deployments/scale")]);
    world.configure(MUTATING, "a", json!([world.hook("scale", "/scale", rules)])).await;
    let url = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
    });
    assert_eq!(world.client.post(url, &deployment).await.status, 201);
    let merge = ("content-type", "application/merge-patch+json");
    let answer = world.client.send("PATCH", &format!("{url}/d/scale"), &[merge], r#"{"spec":{"replicas":9}}"#).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["spec"]["replicas"]), (200, &3.into()), "{}", answer.message());
    let request = world.asked()["request"].clone();
    assert_eq!(request["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!(
        (&request["object"]["spec"]["replicas"], &request["oldObject"]["spec"]["replicas"]),
        (&9.into(), &1.into())
    );
}

#[tokio::test]
async fn a_service_is_called_at_its_endpoint() {
    let world = world().await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"}, "spec": {"ports": [{"port": 443, "name": "https"}]}});
    assert_eq!(world.client.post("/api/v1/namespaces/default/services", &service).await.status, 201);
    let mut hook = world.hook("service", "/deny", json!([rule(&["CREATE"], "", "v1", "configmaps")]));
    hook["clientConfig"] =
        json!({"service": {"namespace": "default", "name": "hook", "path": "/deny"}, "caBundle": world.hooks.bundle()});
    world.configure(VALIDATING, "a", json!([hook])).await;
    let answer = world.create_map("m", json!({})).await;
    let expected = "Internal error occurred: failed calling webhook \"service.example.com\": failed to call webhook: Post \"https://hook.default.svc:443/deny?timeout=10s\": no endpoints available for service \"hook\"";
    assert_eq!(answer.message(), expected);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "endpoints": [{"addresses": [own_address().to_string()]}],
        "ports": [{"name": "https", "port": world.hooks.address.port(), "protocol": "TCP"}],
    });
    let answer = world.client.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
    assert_eq!(answer.status, 201, "{}", answer.message());
    assert_eq!(world.create_map("m", json!({})).await.status, 418);
}

#[tokio::test]
async fn conditions_decide_who_is_asked() {
    let world = world().await;
    let mut hook = world.hook("deny", "/deny", json!([rule(&["CREATE"], "", "v1", "configmaps")]));
    let condition = |name: &str, expression: &str| json!({"name": name, "expression": expression});
    hook["matchConditions"] = json!([
        condition("named", "object.metadata.name.startsWith('x')"),
        condition("may", "authorizer.group('').resource('secrets').namespace('default').check('get').allowed()"),
        condition("own", "request.userInfo.username == 'admin' && request.operation == 'CREATE' && oldObject == null"),
    ]);
    world.configure(VALIDATING, "a", json!([hook])).await;
    assert_eq!(world.create_map("m", json!({})).await.status, 201);
    assert_eq!(world.create_map("x", json!({})).await.status, 418);
    hook["matchConditions"] = json!([condition("broken", "object.data.missing == 'a'")]);
    let patch = |hook: &Value| json!({"webhooks": [hook]}).to_string();
    let merge = ("content-type", "application/merge-patch+json");
    assert_eq!(world.client.send("PATCH", &format!("{VALIDATING}/a"), &[merge], patch(&hook)).await.status, 200);
    let answer = world.create_map("y", json!({"a": "b"})).await;
    let expected = "configmaps \"y\" is forbidden: expression 'object.data.missing == 'a'' resulted in error: no such key: missing";
    assert_eq!((answer.status.as_u16(), answer.message()), (403, expected.to_owned()));
    hook["failurePolicy"] = "Ignore".into();
    assert_eq!(world.client.send("PATCH", &format!("{VALIDATING}/a"), &[merge], patch(&hook)).await.status, 200);
    assert_eq!(world.create_map("y", json!({"a": "b"})).await.status, 201);
}

/// `widgets` of a test's own, whose specification holds anything.
fn widgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 1}, "injected": {"type": "string"}}},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                },
            }}}],
        },
    })
}

const WIDGET: &str = "/apis/example.com/v1/namespaces/default/widgets/w";

fn widget(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec})
}

#[tokio::test]
async fn custom_objects_are_admitted_as_they_are_served() {
    let world = world().await;
    define(&world.client, &widgets()).await;
    let rules = json!([
        rule(&["CREATE", "UPDATE", "DELETE"], "example.com", "v1", "widgets"),
        rule(&["UPDATE"], "example.com", "v1", "widgets/status"),
    ]);
    world.configure(MUTATING, "a", json!([world.hook("inject", "/inject", rules.clone())])).await;
    world.configure(VALIDATING, "b", json!([world.hook("allow", "/allow", rules)])).await;

    // An apply that creates is a creation, with a creation's options; defaults are there already.
    let config = widget(json!({}));
    let created = apply(&world.client, WIDGET, "fieldManager=one&fieldValidation=Strict", &config).await;
    assert_eq!(created.status, 201, "{}", created.message());
    let request = world.asked()["request"].clone();
    assert_eq!((&request["operation"], &request["oldObject"]), (&"CREATE".into(), &Value::Null));
    assert_eq!(
        request["options"],
        json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "one", "fieldValidation": "Strict"})
    );
    assert_eq!(request["object"]["spec"], json!({"size": 1, "injected": "yes"}));
    assert_eq!(request["object"]["metadata"]["managedFields"][0]["manager"], "one");
    // What the webhook set is nobody's, and no apply takes it away.
    let created = created.json();
    assert_eq!(created["spec"], json!({"size": 1, "injected": "yes"}));
    assert_eq!(owners(&created), [r#"one Apply example.com/v1 - {"f:spec":{}}"#]);
    let applied = apply(&world.client, WIDGET, "fieldManager=one", &widget(json!({"size": 2}))).await.json();
    assert_eq!(applied["spec"], json!({"size": 2, "injected": "yes"}));
    assert_eq!(owners(&applied)[0], r#"one Apply example.com/v1 - {"f:spec":{"f:size":{}}}"#);
    let request = world.asked()["request"].clone();
    assert_eq!((&request["operation"], &request["options"]["kind"]), (&"UPDATE".into(), &"UpdateOptions".into()));
    assert_eq!(request["oldObject"]["spec"]["size"], 1);

    // So is a patch an update.
    let merge = ("content-type", "application/merge-patch+json");
    let body = r#"{"spec":{"size":3},"status":{"a":"b"}}"#;
    world.client.send("PATCH", &format!("{WIDGET}/status?fieldManager=st"), &[merge], body).await;
    let request = world.asked()["request"].clone();
    assert_eq!((&request["subResource"], &request["options"]["kind"]), (&"status".into(), &"UpdateOptions".into()));
    assert_eq!(request["options"]["fieldManager"], "st");
    world.client.send("DELETE", WIDGET, &[], "").await;
    let request = world.asked()["request"].clone();
    assert_eq!((&request["operation"], &request["options"]["kind"]), (&"DELETE".into(), &"DeleteOptions".into()));
    assert_eq!((&request["oldObject"]["status"]["a"], &request["object"]), (&"b".into(), &Value::Null));
}

#[tokio::test]
async fn webhooks_may_say_whose_a_field_is() {
    let world = world().await;
    define(&world.client, &widgets()).await;
    let rules = json!([rule(&["CREATE", "UPDATE"], "example.com", "v1", "widgets")]);
    world.configure(MUTATING, "a", json!([world.hook("rename", "/rename-owners", rules.clone())])).await;
    let created = apply(&world.client, WIDGET, "fieldManager=one", &widget(json!({"size": 2}))).await.json();
    assert_eq!(owners(&created), [r#"hook Apply example.com/v1 - {"f:spec":{"f:size":{}}}"#]);
    let conflict = world.client.send("DELETE", &format!("{MUTATING}/a"), &[], "").await;
    assert_eq!(conflict.status, 200);
    let conflict = apply(&world.client, WIDGET, "fieldManager=one", &widget(json!({"size": 3}))).await;
    assert_eq!(conflict.message(), r#"Apply failed with 1 conflict: conflict with "hook": .spec.size"#);
    // What cannot be read does not count, and the client is told.
    world.configure(MUTATING, "b", json!([world.hook("spoil", "/spoil-owners", rules)])).await;
    let forced = apply(&world.client, WIDGET, "fieldManager=one&force=true", &widget(json!({"size": 3}))).await;
    assert_eq!(forced.status, 200, "{}", forced.message());
    assert_eq!(owners(&forced.json()), [r#"one Apply example.com/v1 - {"f:spec":{"f:size":{}}}"#]);
    let warning = forced.headers["warning"].to_str().unwrap();
    assert!(warning.contains(".metadata.managedFields was in an invalid state after admission"), "{warning}");
}

#[tokio::test]
async fn webhooks_see_custom_objects_in_their_version() {
    let world = world().await;
    let converter = Outside::serve(&["convert.default.svc"], None, |request, _| Box::pin(convert(request))).await;
    let conversion = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": {"url": converter.url("/convert"), "caBundle": converter.bundle()}, "conversionReviewVersions": ["v1"],
    }});
    define(&world.client, &foos(conversion, "v1")).await;
    let rules = json!([rule(&["CREATE", "UPDATE"], "example.com", "v2", "foos")]);
    world.configure(MUTATING, "a", json!([world.hook("port", "/convert-note", rules)])).await;
    let foo = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"}, "hostPort": "h:1"});
    let created = world.client.post("/apis/example.com/v1/foos", &foo).await;
    assert_eq!((created.status.as_u16(), &created.json()["hostPort"]), (201, &"h:7".into()), "{}", created.message());
    let request = world.asked()["request"].clone();
    assert_eq!((&request["object"]["host"], &request["object"]["port"]), (&"h".into(), &"1".into()));
    assert_eq!((&request["resource"]["version"], &request["requestResource"]["version"]), (&"v2".into(), &"v1".into()));
}
