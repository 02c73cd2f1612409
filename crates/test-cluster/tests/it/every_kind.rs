//! Every entry of the resource list through the server: it can be applied, is seen in every form, says what is wrong
//! with a bad object, and nobody gets at it or its subresources without a right.
//!
//! The list is what discovery says; a kind that is not in [`cases`] is a red test.

use std::collections::BTreeSet;

use base64::Engine as _;
use registry::UserInfo;
use serde_json::{Value, json};
use test_cluster::TestCluster;

use crate::http::{Answer, Client};

const APPLY: &str = "application/apply-patch+yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const CBOR: &str = "application/cbor";

/// What a kind's test needs to know.
struct Case {
    /// `v1/pods`, `apps/v1/deployments`.
    resource: &'static str,
    /// Where names say something, the name.
    name: &'static str,
    /// A good object, without its name.
    object: Value,
    /// What makes it a bad one, merged into it; null where only the metadata is looked at.
    wrong: Value,
    /// Where the error is.
    field: &'static str,
}

fn case(resource: &'static str, object: Value, wrong: Value, field: &'static str) -> Case {
    Case { resource, name: "it", object, wrong, field }
}

fn named(name: &'static str, case: Case) -> Case {
    Case { name, ..case }
}

fn cases() -> Vec<Case> {
    let labels = json!({"a": "b"});
    let selector = json!({"matchLabels": labels});
    let containers = json!([{"name": "c", "image": "i"}]);
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": containers}});
    let once = json!({"spec": {"containers": containers, "restartPolicy": "Never"}});
    let controller = json!({"spec": {"selector": selector, "template": template}});
    let no_containers = json!({"spec": {"template": {"spec": {"containers": []}}}});
    let in_template = "spec.template.spec.containers";
    let rules = json!([{"apiGroups": ["kinds.example"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["widgets"]}]);
    let webhook = json!({"webhooks": [{
        "name": "a.kinds.example", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://localhost/"}, "rules": rules,
    }]});
    let bad_webhook = json!({"webhooks": [{
        "name": "", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://localhost/"},
    }]});
    let scaler = json!({"spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}});
    let role_ref =
        |kind: &str| json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "view"}});
    let bad_role_ref = |kind: &str| json!({"roleRef": {"apiGroup": "x", "kind": kind, "name": "view"}});
    let device_request =
        |name: &str| json!({"devices": {"requests": [{"name": name, "exactly": {"deviceClassName": "x"}}]}});
    vec![
        case("v1/configmaps", json!({"data": {"k": "v"}}), json!({"data": {"a b": ""}}), "data[a b]"),
        case(
            "v1/endpoints",
            json!({"subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]}),
            json!({"subsets": [{"addresses": [{"ip": "x"}]}]}),
            "subsets[0].addresses[0].ip",
        ),
        case(
            "v1/events",
            json!({"involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "R", "message": "m", "type": "Normal"}),
            json!({"involvedObject": {"namespace": "other"}}),
            "involvedObject.namespace",
        ),
        named(
            "other",
            case(
                "events.k8s.io/v1/events",
                json!({
                    "regarding": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "R", "note": "m", "type": "Normal", "action": "A",
                    "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/x", "reportingInstance": "x",
                }),
                json!({"reason": ""}),
                "reason",
            ),
        ),
        case(
            "v1/limitranges",
            json!({"spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "1Ti"}}]}}),
            json!({"spec": {"limits": [{"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}}),
            "spec.limits[0].min[cpu]",
        ),
        case("v1/namespaces", json!({}), json!({"spec": {"finalizers": ["a b"]}}), "spec.finalizers"),
        case("v1/nodes", json!({}), json!({"spec": {"podCIDR": "x", "podCIDRs": ["x"]}}), "spec.podCIDRs[0]"),
        case(
            "v1/persistentvolumeclaims",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
            json!({"spec": {"accessModes": null}}),
            "spec.accessModes",
        ),
        case(
            "v1/persistentvolumes",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}}),
            json!({"spec": {"accessModes": null}}),
            "spec.accessModes",
        ),
        case(
            "v1/pods",
            json!({"spec": {"containers": containers}}),
            json!({"spec": {"containers": []}}),
            "spec.containers",
        ),
        case(
            "v1/podtemplates",
            json!({"template": template}),
            json!({"template": {"spec": {"containers": []}}}),
            "template.spec.containers",
        ),
        case(
            "v1/replicationcontrollers",
            json!({"spec": {"selector": labels, "template": template}}),
            no_containers.clone(),
            in_template,
        ),
        case(
            "v1/resourcequotas",
            json!({"spec": {"hard": {"count/widgets.kinds.example": "1"}}}),
            json!({"spec": {"hard": {"cpu": "-1"}}}),
            "spec.hard[cpu]",
        ),
        case("v1/secrets", json!({"data": {"k": "dg=="}}), json!({"type": "kubernetes.io/tls"}), "data[tls.crt]"),
        case("v1/serviceaccounts", json!({}), Value::Null, ""),
        case("v1/services", json!({"spec": {"ports": [{"port": 80}]}}), json!({"spec": {"ports": []}}), "spec.ports"),
        named(
            "v1.apis.kinds.example",
            case(
                "apiregistration.k8s.io/v1/apiservices",
                json!({"spec": {
                    "group": "apis.kinds.example", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 1,
                    "insecureSkipTLSVerify": true, "service": {"namespace": "default", "name": "none"},
                }}),
                json!({"spec": {"groupPriorityMinimum": 0}}),
                "spec.groupPriorityMinimum",
            ),
        ),
        case(
            "apps/v1/controllerrevisions",
            json!({"revision": 1, "data": {"a": 1}}),
            json!({"revision": -1}),
            "revision",
        ),
        case("apps/v1/daemonsets", controller.clone(), no_containers.clone(), in_template),
        case("apps/v1/deployments", controller.clone(), no_containers.clone(), in_template),
        case("apps/v1/replicasets", controller.clone(), no_containers.clone(), in_template),
        case("apps/v1/statefulsets", controller, no_containers.clone(), in_template),
        case(
            "autoscaling/v2/horizontalpodautoscalers",
            scaler.clone(),
            json!({"spec": {"maxReplicas": 0}}),
            "spec.maxReplicas",
        ),
        named(
            "other",
            case(
                "autoscaling/v1/horizontalpodautoscalers",
                scaler,
                json!({"spec": {"maxReplicas": 0}}),
                "spec.maxReplicas",
            ),
        ),
        case(
            "batch/v1/cronjobs",
            json!({"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": once}}}}),
            json!({"spec": {"schedule": "x"}}),
            "spec.schedule",
        ),
        case("batch/v1/jobs", json!({"spec": {"template": once}}), no_containers, in_template),
        case(
            "certificates.k8s.io/v1/certificatesigningrequests",
            json!({"spec": {"request": certificate_request(), "signerName": "kinds.example/x", "usages": ["client auth"]}}),
            json!({"spec": {"request": ""}}),
            "spec.request",
        ),
        case(
            "networking.k8s.io/v1/ingressclasses",
            json!({"spec": {"controller": "kinds.example/c"}}),
            json!({"spec": {"controller": "x"}}),
            "spec.controller",
        ),
        case(
            "networking.k8s.io/v1/ingresses",
            json!({"spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}}),
            json!({"spec": {"defaultBackend": null}}),
            "spec",
        ),
        named(
            "10.43.7.7",
            case(
                "networking.k8s.io/v1/ipaddresses",
                json!({"spec": {"parentRef": {"resource": "things", "name": "mine"}}}),
                json!({"spec": {"parentRef": {"resource": ""}}}),
                "spec.parentRef.resource",
            ),
        ),
        case(
            "networking.k8s.io/v1/networkpolicies",
            json!({"spec": {"podSelector": {}}}),
            json!({"spec": {"policyTypes": ["x"]}}),
            "spec.policyTypes[0]",
        ),
        case(
            "networking.k8s.io/v1/servicecidrs",
            json!({"spec": {"cidrs": ["10.99.0.0/24"]}}),
            json!({"spec": {"cidrs": []}}),
            "spec.cidrs",
        ),
        case(
            "policy/v1/poddisruptionbudgets",
            json!({"spec": {"minAvailable": 1, "selector": selector}}),
            json!({"spec": {"minAvailable": -1}}),
            "spec.minAvailable",
        ),
        case(
            "rbac.authorization.k8s.io/v1/clusterrolebindings",
            role_ref("ClusterRole"),
            bad_role_ref("ClusterRole"),
            "roleRef.apiGroup",
        ),
        case(
            "rbac.authorization.k8s.io/v1/clusterroles",
            json!({"rules": []}),
            json!({"rules": [{"verbs": []}]}),
            "rules[0].verbs",
        ),
        case(
            "rbac.authorization.k8s.io/v1/rolebindings",
            role_ref("ClusterRole"),
            bad_role_ref("ClusterRole"),
            "roleRef.apiGroup",
        ),
        case(
            "rbac.authorization.k8s.io/v1/roles",
            json!({"rules": []}),
            json!({"rules": [{"verbs": []}]}),
            "rules[0].verbs",
        ),
        case(
            "storage.k8s.io/v1/csidrivers",
            json!({"spec": {}}),
            json!({"spec": {"fsGroupPolicy": "x"}}),
            "spec.fsGroupPolicy",
        ),
        case(
            "storage.k8s.io/v1/csinodes",
            json!({"spec": {"drivers": []}}),
            json!({"spec": {"drivers": [{"name": "", "nodeID": "a"}]}}),
            "spec.drivers[0].name",
        ),
        case(
            "storage.k8s.io/v1/csistoragecapacities",
            json!({"storageClassName": "a"}),
            json!({"storageClassName": "A"}),
            "storageClassName",
        ),
        case(
            "storage.k8s.io/v1/storageclasses",
            json!({"provisioner": "p"}),
            json!({"provisioner": ""}),
            "provisioner",
        ),
        case(
            "storage.k8s.io/v1/volumeattachments",
            json!({"spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "p"}}}),
            json!({"spec": {"source": {"persistentVolumeName": null}}}),
            "spec.source",
        ),
        case(
            "storage.k8s.io/v1/volumeattributesclasses",
            json!({"driverName": "d", "parameters": {"a": "b"}}),
            json!({"parameters": null}),
            "parameters",
        ),
        case(
            "admissionregistration.k8s.io/v1/mutatingadmissionpolicies",
            json!({"spec": {
                "matchConstraints": {"resourceRules": rules}, "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}],
            }}),
            json!({"spec": {"mutations": null}}),
            "spec.mutations",
        ),
        case(
            "admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings",
            json!({"spec": {"policyName": "none"}}),
            json!({"spec": {"policyName": ""}}),
            "spec.policyName",
        ),
        case(
            "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
            webhook.clone(),
            bad_webhook.clone(),
            "webhooks[0].name",
        ),
        case(
            "admissionregistration.k8s.io/v1/validatingadmissionpolicies",
            json!({"spec": {"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "true"}]}}),
            json!({"spec": {"validations": null}}),
            "spec.validations",
        ),
        case(
            "admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
            json!({"spec": {"policyName": "none", "validationActions": ["Deny"]}}),
            json!({"spec": {"validationActions": []}}),
            "spec.validationActions",
        ),
        case(
            "admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
            webhook,
            bad_webhook,
            "webhooks[0].name",
        ),
        named(
            "gizmos.kinds.example",
            case(
                "apiextensions.k8s.io/v1/customresourcedefinitions",
                json!({"spec": {
                    "group": "kinds.example", "names": {"plural": "gizmos", "kind": "Gizmo"}, "scope": "Namespaced",
                    "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
                }}),
                json!({"spec": {"scope": "x"}}),
                "spec.scope",
            ),
        ),
        case("scheduling.k8s.io/v1/priorityclasses", json!({"value": 1}), json!({"value": 2_000_000_000}), "value"),
        case(
            "coordination.k8s.io/v1/leases",
            json!({"spec": {"leaseDurationSeconds": 1}}),
            json!({"spec": {"leaseDurationSeconds": 0}}),
            "spec.leaseDurationSeconds",
        ),
        case("node.k8s.io/v1/runtimeclasses", json!({"handler": "a"}), json!({"handler": "A"}), "handler"),
        case(
            "discovery.k8s.io/v1/endpointslices",
            json!({"addressType": "IPv4", "endpoints": []}),
            json!({"addressType": "x"}),
            "addressType",
        ),
        case(
            "flowcontrol.apiserver.k8s.io/v1/flowschemas",
            json!({"spec": {"priorityLevelConfiguration": {"name": "global-default"}, "matchingPrecedence": 500}}),
            json!({"spec": {"priorityLevelConfiguration": {"name": ""}}}),
            "spec.priorityLevelConfiguration.name",
        ),
        case(
            "flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
            json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}}),
            json!({"spec": {"type": "x"}}),
            "spec.type",
        ),
        case(
            "resource.k8s.io/v1/deviceclasses",
            json!({"spec": {}}),
            json!({"spec": {"selectors": [{}]}}),
            "spec.selectors[0].cel",
        ),
        case(
            "resource.k8s.io/v1/resourceclaims",
            json!({"spec": device_request("a")}),
            json!({"spec": device_request("A")}),
            "spec.devices.requests[0].name",
        ),
        case(
            "resource.k8s.io/v1/resourceclaimtemplates",
            json!({"spec": {"spec": device_request("a")}}),
            json!({"spec": {"spec": device_request("A")}}),
            "spec.spec.devices.requests[0].name",
        ),
        case(
            "resource.k8s.io/v1/resourceslices",
            json!({"spec": {"driver": "d", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}}),
            json!({"spec": {"nodeName": null}}),
            "spec",
        ),
    ]
}

/// One resource or subresource of discovery.
struct Entry {
    /// `v1`, `apps/v1`.
    version: String,
    /// `pods`, `pods/log`.
    name: String,
    kind: String,
    namespaced: bool,
    verbs: Vec<String>,
}

impl Entry {
    fn resource(&self) -> String {
        format!("{}/{}", self.version, self.name)
    }

    fn has(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// The path of the collection, or of an object, with its subresource.
    fn path(&self, name: &str) -> String {
        let root = if self.version.contains('/') { "apis" } else { "api" };
        let namespace = if self.namespaced { "/namespaces/default" } else { "" };
        let (plural, subresource) = self.name.split_once('/').unwrap_or((&self.name, ""));
        let parts = [plural, name, subresource].into_iter().filter(|part| !part.is_empty());
        format!("/{root}/{}{namespace}/{}", self.version, parts.collect::<Vec<_>>().join("/"))
    }
}

/// Everything that discovery knows, in every version.
async fn entries(client: &Client) -> Vec<Entry> {
    let groups = client.get("/apis").await.json();
    let versions = groups["groups"].as_array().unwrap().iter().flat_map(|group| group["versions"].as_array().unwrap());
    let versions = versions.map(|version| version["groupVersion"].as_str().unwrap().to_owned());
    let mut entries = Vec::new();
    for version in ["v1".to_owned()].into_iter().chain(versions) {
        let root = if version.contains('/') { "apis" } else { "api" };
        let list = client.get(&format!("/{root}/{version}")).await.json();
        for resource in list["resources"].as_array().unwrap() {
            let verbs = resource["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap().to_owned());
            entries.push(Entry {
                version: version.clone(),
                name: resource["name"].as_str().unwrap().to_owned(),
                kind: resource["kind"].as_str().unwrap().to_owned(),
                namespaced: resource["namespaced"] == true,
                verbs: verbs.collect(),
            });
        }
    }
    entries
}

fn told(answer: &Answer) -> String {
    format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body))
}

async fn apply(client: &Client, url: &str, manager: &str, object: &Value) -> Answer {
    let url = format!("{url}?fieldManager={manager}");
    client.send("PATCH", &url, &[("content-type", APPLY)], object.to_string()).await
}

#[tokio::test]
async fn every_kind_is_applied_shown_and_checked() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let accounts =
        client.post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    assert_eq!(accounts.status, 201, "{}", told(&accounts));
    let cases = cases();
    let stored: Vec<Entry> = entries(&client).await.into_iter().filter(|entry| entry.has("list")).collect();
    let known: BTreeSet<String> = stored.iter().map(Entry::resource).collect();
    let listed: BTreeSet<String> = cases.iter().map(|case| case.resource.to_owned()).collect();
    let differing: Vec<_> = known.symmetric_difference(&listed).collect();
    // Made by the server alone.
    assert_eq!(differing, ["v1/componentstatuses"]);

    let mut wrong = Vec::new();
    for case in &cases {
        let entry = stored.iter().find(|entry| entry.resource() == case.resource).unwrap();
        if let Err(what) = try_kind(&client, entry, case).await {
            wrong.push(format!("{}: {what}", case.resource));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What has to hold, or what does not.
fn check(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

async fn try_kind(client: &Client, entry: &Entry, case: &Case) -> Result<(), String> {
    let mut object = json!({
        "apiVersion": entry.version, "kind": entry.kind, "metadata": {"name": case.name, "labels": {"team": "a"}},
    });
    apimachinery::patch::merge_patch(&mut object, case.object.clone());
    let (collection, url) = (entry.path(""), entry.path(case.name));

    refuses(client, &collection, case, &object).await?;
    let created = apply(client, &url, "one", &object).await;
    check(created.status == 201, || told(&created))?;
    let again = apply(client, &url, "one", &object).await;
    check(
        again.status == 200 && again.json()["metadata"]["managedFields"] == created.json()["metadata"]["managedFields"],
        || format!("applied again: {}", told(&again)),
    )?;
    owns(&again.json(), &entry.version)?;
    let mut other = json!({"apiVersion": entry.version, "kind": entry.kind, "metadata": {"name": case.name, "labels": {"team": "b"}}});
    let conflict = apply(client, &url, "two", &other).await;
    let cause = conflict.json()["details"]["causes"][0].clone();
    check(
        conflict.status == 409
            && cause["reason"] == "FieldManagerConflict"
            && cause["field"] == ".metadata.labels.team",
        || format!("conflict: {}", told(&conflict)),
    )?;
    other["metadata"]["labels"] = json!({"other": "c"});
    let shared = apply(client, &url, "two", &other).await;
    let labels = shared.json()["metadata"]["labels"].clone();
    check(shared.status == 200 && labels["team"] == "a" && labels["other"] == "c", || {
        format!("shared: {}", told(&shared))
    })?;
    shows(client, entry, &collection, &url).await?;
    let deleted = client.send("DELETE", &format!("{url}?gracePeriodSeconds=0"), &[], "").await;
    check(deleted.status.is_success(), || format!("delete: {}", told(&deleted)))
}

/// A bad name and a bad object are refused, with the place of the mistake.
async fn refuses(client: &Client, collection: &str, case: &Case, object: &Value) -> Result<(), String> {
    let mut unnamed = object.clone();
    unnamed["metadata"]["name"] = json!("a/b");
    let mut bad = object.clone();
    apimachinery::patch::merge_patch(&mut bad, case.wrong.clone());
    let tries = [(unnamed, "metadata.name"), (bad, case.field)];
    for (object, field) in tries.iter().filter(|(_, field)| !field.is_empty()) {
        let refused = client.post(&format!("{collection}?dryRun=All"), object).await;
        let status = refused.json();
        let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
        check(
            refused.status == 422
                && status["reason"] == "Invalid"
                && causes.iter().any(|cause| cause["field"] == *field),
            || format!("no error at {field}: {}", told(&refused)),
        )?;
    }
    Ok(())
}

fn owns(object: &Value, version: &str) -> Result<(), String> {
    let fields = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let own = fields.iter().find(|entry| entry["manager"] == "one" && entry["operation"] == "Apply");
    check(
        own.is_some_and(|own| {
            own["apiVersion"] == version && own["fieldsV1"]["f:metadata"]["f:labels"]["f:team"].is_object()
        }),
        || format!("managed fields: {fields:?}"),
    )
}

/// An object and its list are the same in every encoding, and have their tables and bare metadata.
async fn shows(client: &Client, entry: &Entry, collection: &str, url: &str) -> Result<(), String> {
    let decode = |media: &str, answer: &Answer| -> Result<Value, String> {
        check(answer.status == 200, || format!("{media}: {}", told(answer)))?;
        let json = match media {
            PROTOBUF => {
                registry::wire::from_protobuf(&answer.body, None).map_err(|error| format!("{media}: {error}"))?
            }
            CBOR => registry::wire::from_cbor(&answer.body).map_err(|error| format!("{media}: {error}"))?,
            "application/yaml" => {
                let text = String::from_utf8(answer.body.to_vec()).map_err(|error| format!("{media}: {error}"))?;
                return serde_saphyr::from_str(&text).map_err(|error| format!("{media}: {error}"));
            }
            _ => answer.body.clone(),
        };
        serde_json::from_slice(&json).map_err(|error| format!("{media}: {error}"))
    };
    for (address, list) in [(url, ""), (collection, "List")] {
        let plain = client.get(address).await.json();
        let metadata = format!("PartialObjectMetadata{list}");
        for media in ["application/json", "application/yaml", PROTOBUF, CBOR] {
            let get = async |accept: &str| client.send("GET", address, &[("accept", accept)], "").await;
            let has_protobuf = registry::wire::has_protobuf(
                entry.version.split_once('/').map_or("", |(group, _)| group),
                entry.version.rsplit('/').next().unwrap_or_default(),
                &entry.kind,
            );
            let answer = get(media).await;
            if media == PROTOBUF && !has_protobuf {
                check(answer.status == 406, || format!("{media}: {}", told(&answer)))?;
            } else {
                let decoded = decode(media, &answer)?;
                let mut expected = without_nothing(plain.clone());
                // Objects in a list do not say again in protobuf what they are.
                for item in expected
                    .get_mut("items")
                    .and_then(Value::as_array_mut)
                    .into_iter()
                    .flatten()
                    .filter(|_| media == PROTOBUF)
                {
                    item.as_object_mut()
                        .expect("an object")
                        .retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind"));
                }
                check(without_nothing(decoded.clone()) == expected, || {
                    format!("{media} differs: {decoded} from {plain}")
                })?;
            }
            let bare = decode(media, &get(&format!("{media};as={metadata};g=meta.k8s.io;v=v1")).await)?;
            check(
                bare["kind"] == metadata.as_str() && bare["apiVersion"] == "meta.k8s.io/v1" && bare["spec"].is_null(),
                || format!("{media} metadata: {bare}"),
            )?;
            let table = get(&format!("{media};as=Table;g=meta.k8s.io;v=v1")).await;
            if media == PROTOBUF {
                check(table.status == 406, || format!("table as {media}: {}", told(&table)))?;
                continue;
            }
            let table = decode(media, &table)?;
            let columns = table["columnDefinitions"].as_array().map_or(0, Vec::len);
            let rows = table["rows"].as_array().cloned().unwrap_or_default();
            let even = rows.iter().all(|row| row["cells"].as_array().is_some_and(|cells| cells.len() == columns));
            check(table["kind"] == "Table" && columns > 0 && !rows.is_empty() && even, || {
                format!("{media} table: {table}")
            })?;
        }
        let other = if list.is_empty() { "PartialObjectMetadataList" } else { "PartialObjectMetadata" };
        let accept = format!("application/json;as={other};g=meta.k8s.io;v=v1");
        let refused = client.send("GET", address, &[("accept", accept.as_str())], "").await;
        check(refused.status == 406, || format!("{other} of {address}: {}", told(&refused)))?;
    }
    Ok(())
}

/// What protobuf cannot tell apart is left out: an empty value from none.
fn without_nothing(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().map(|(name, value)| (name, without_nothing(value)));
            Value::Object(kept.filter(|(_, value)| !is_nothing(value)).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nothing).collect()),
        other => other,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(flag) => !flag,
    }
}

/// What everybody who is known may ask (`system:basic-user`).
const FOR_EVERYBODY: [&str; 3] = [
    "authentication.k8s.io/v1/selfsubjectreviews",
    "authorization.k8s.io/v1/selfsubjectaccessreviews",
    "authorization.k8s.io/v1/selfsubjectrulesreviews",
];

#[tokio::test]
async fn nobody_gets_at_anything() {
    let cluster = TestCluster::start().await.unwrap();
    let nobody = Client::of(&cluster, UserInfo::new("nobody", [UserInfo::AUTHENTICATED_GROUP]));
    let mut tried = 0;
    for entry in entries(&Client::admin(&cluster)).await {
        for verb in &entry.verbs {
            let (method, url) = match verb.as_str() {
                "create" if entry.name.contains('/') => ("POST", entry.path("x")),
                "create" => ("POST", entry.path("")),
                "get" => ("GET", entry.path("x")),
                "list" => ("GET", entry.path("")),
                "watch" => ("GET", format!("{}?watch=1", entry.path(""))),
                "update" => ("PUT", entry.path("x")),
                "patch" => ("PATCH", entry.path("x")),
                "delete" => ("DELETE", entry.path("x")),
                "deletecollection" => ("DELETE", entry.path("")),
                other => panic!("{other} of {}", entry.resource()),
            };
            let answer = nobody.send(method, &url, &[("content-type", "application/json")], "{}").await;
            if FOR_EVERYBODY.contains(&entry.resource().as_str()) {
                assert_ne!(answer.status, 403, "{verb} {}: {}", entry.resource(), told(&answer));
                continue;
            }
            assert_eq!(answer.status, 403, "{verb} {}: {}", entry.resource(), told(&answer));
            let message = answer.message();
            assert!(message.contains(&format!("cannot {verb} resource \"{}\"", entry.name)), "{verb} {message}");
            tried += 1;
        }
    }
    assert!(tried > 600, "{tried}");
}

fn certificate_request() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let pem = parameters.serialize_request(&key).unwrap().pem().unwrap();
    base64::engine::general_purpose::STANDARD.encode(pem)
}
