//! What an endpoint puts back, and what nobody owns through it, are the same for every kind. Upstream: the strategies'
//! `GetResetFields` and `PrepareForUpdate`, and `TestFieldsWipingConsistency`, which compares them.

use std::sync::Arc;

use jiff::Timestamp;
use registry::{AnyObject, Filter, Nothing, Reader, RequestCx, Resource, UpdateKind, UserInfo, Verb};
use serde_json::{Value, json};

use super::{Options, all, completeness::refused};

/// Kinds whose status takes labels, annotations, finalizers and owners along. Upstream lets no more of them come.
const METADATA_THROUGH_STATUS: &[&str] = &[
    "certificatesigningrequests.certificates.k8s.io",
    "cronjobs.batch",
    "customresourcedefinitions.apiextensions.k8s.io",
    "daemonsets.apps",
    "deployments.apps",
    "horizontalpodautoscalers.autoscaling",
    "ingresses.networking.k8s.io",
    "jobs.batch",
    "namespaces",
    "nodes",
    "persistentvolumeclaims",
    "persistentvolumes",
    "poddisruptionbudgets.policy",
    "pods",
    "replicasets.apps",
    "replicationcontrollers",
    "resourcequotas",
    "services",
    "statefulsets.apps",
];

/// Parts of metadata that a client may change.
const MUTABLE: [&str; 4] = ["annotations", "finalizers", "labels", "ownerReferences"];

/// What an endpoint of a kind resets.
fn expected(name: &str, subresource: &str, has_status: bool) -> Filter {
    let exclude = |paths: &[&[&'static str]]| Filter::exclude(paths.iter().copied());
    match (name, subresource) {
        ("certificatesigningrequests.certificates.k8s.io", "") => exclude(&[&["spec"], &["status"]]),
        ("certificatesigningrequests.certificates.k8s.io", "approval") => {
            exclude(&[&["spec"], &["status", "certificate"]])
        }
        ("certificatesigningrequests.certificates.k8s.io", "status") => {
            exclude(&[&["spec"], &["status", "conditions"]])
        }
        ("deployments.apps", "status") => exclude(&[&["spec"], &["metadata", "labels"]]),
        ("pods", "ephemeralcontainers") => Filter::include([["spec", "ephemeralContainers"].as_slice()]),
        ("pods", "resize") => Filter::include([
            ["spec", "containers", "*", "resources"].as_slice(),
            &["spec", "containers", "*", "resizePolicy"],
            &["spec", "initContainers", "*", "resources"],
            &["spec", "initContainers", "*", "resizePolicy"],
        ]),
        ("pods", "status") => {
            exclude(&[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]])
        }
        (name, "status") if METADATA_THROUGH_STATUS.contains(&name) => exclude(&[&["spec"]]),
        (_, "status") => exclude(&[&["spec"], &["metadata"]]),
        _ if has_status => exclude(&[&["status"]]),
        _ => Filter::Everything,
    }
}

#[test]
fn every_endpoint_resets_what_upstream_resets() {
    for kind in all(&Options::default()) {
        let name = kind.info().group_resource();
        let subresources: Vec<&str> = kind.subresources().iter().map(|subresource| subresource.name).collect();
        let has_status = subresources.contains(&"status");
        for subresource in std::iter::once("").chain(subresources) {
            assert_eq!(
                kind.reset_fields(subresource),
                expected(&name, subresource, has_status),
                "{name}, endpoint {subresource:?}"
            );
        }
    }
}

/// A status that no object begins with.
fn status_of(name: &str) -> Value {
    match name {
        "namespaces" => json!({"phase": "Terminating"}),
        "persistentvolumeclaims" | "persistentvolumes" => json!({"phase": "Bound"}),
        "pods" | "nodes" => json!({"phase": "Running"}),
        "ingresses.networking.k8s.io" => json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}),
        "resourcequotas" => json!({"used": {"pods": "1"}}),
        "horizontalpodautoscalers.autoscaling" => json!({"currentReplicas": 3, "desiredReplicas": 3}),
        "cronjobs.batch" => json!({"active": [{"name": "j"}]}),
        "certificatesigningrequests.certificates.k8s.io" => json!({"certificate": "YQ=="}),
        "volumeattachments.storage.k8s.io" => json!({"attached": true}),
        "poddisruptionbudgets.policy" => {
            json!({"currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 1, "expectedPods": 1})
        }
        "resourceclaims.resource.k8s.io" => json!({"reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]}),
        "validatingadmissionpolicies.admissionregistration.k8s.io" => json!({"observedGeneration": 7}),
        "customresourcedefinitions.apiextensions.k8s.io" => json!({"storedVersions": ["v1"]}),
        "daemonsets.apps" => {
            json!({"currentNumberScheduled": 1, "desiredNumberScheduled": 1, "numberMisscheduled": 1, "numberReady": 1})
        }
        "deployments.apps" | "replicasets.apps" | "statefulsets.apps" | "replicationcontrollers" => {
            json!({"replicas": 3})
        }
        "jobs.batch" => json!({"active": 1}),
        _ => {
            let time = "2026-01-01T00:00:00Z";
            json!({"conditions": [{"type": "T", "status": "True", "lastTransitionTime": time, "reason": "R", "message": "m"}]})
        }
    }
}

fn object(kind: &dyn Resource, metadata: Value, spec: &Value, status: &Value) -> Box<dyn AnyObject> {
    let info = kind.info();
    let mut object = json!({"apiVersion": info.api_version(), "kind": info.kind, "metadata": metadata});
    if !spec.is_null() {
        object["spec"] = spec.clone();
    }
    if !status.is_null() {
        object["status"] = status.clone();
    }
    kind.decode(object.to_string().as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", info.kind))
}

fn value(object: &dyn AnyObject) -> Value {
    serde_json::from_slice(&object.to_json().unwrap()).unwrap()
}

/// Whether everything in `part` is in `whole`.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| holds(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| holds(whole, part))
        }
        (whole, part) => whole == part,
    }
}

/// Whether somebody who writes this through the endpoint owns it.
fn owns(filter: &Filter, path: &[&'static str]) -> bool {
    !filter.apply(fieldmanager::Set::of_fields([path])).is_empty()
}

#[test]
fn what_is_put_back_is_owned_by_nobody() {
    let cx = RequestCx::new(
        Arc::new(UserInfo::loopback()),
        Verb::Update,
        Timestamp::UNIX_EPOCH,
        Reader::new(Arc::new(Nothing)),
    );
    let specs = refused();
    let with_status = |kind: &Arc<dyn Resource>| kind.subresources().iter().any(|one| one.name == "status");
    for kind in all(&Options::default()).into_iter().filter(with_status) {
        let name = kind.info().group_resource();
        let (_, sample, _) = specs.iter().find(|(known, ..)| *known == name).expect("an object of every kind");
        let (spec, status) = (&sample["spec"], status_of(&name));
        let plain = json!({"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "1"});
        let mut marked = plain.clone();
        marked["labels"] = json!({"l": "v"});
        marked["annotations"] = json!({"a": "v"});
        marked["finalizers"] = json!(["example.com/f"]);
        marked["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "o"}]);

        // Who creates an object says nothing of its status, but of a node.
        let mut created = object(&*kind, json!({"name": "a", "namespace": "ns"}), spec, &status);
        kind.prepare_for_create(&cx, &mut *created);
        assert_eq!(holds(&value(&*created)["status"], &status), name == "nodes", "{name}: {}", value(&*created));

        // The object's endpoint leaves the status.
        let old = object(&*kind, plain.clone(), spec, &status);
        let mut new = object(&*kind, plain.clone(), spec, &Value::Null);
        kind.prepare_for_update(UpdateKind::Object, &cx, &mut *new, &*old);
        assert!(holds(&value(&*new)["status"], &status), "{name}: {}", value(&*new));
        assert!(!owns(&kind.reset_fields(""), &["status"]), "{name}");

        // The status's endpoint leaves the rest.
        let mut new = object(&*kind, marked, &Value::Null, &status);
        kind.prepare_for_update(UpdateKind::Status, &cx, &mut *new, &*old);
        let new = value(&*new);
        assert_eq!(new["spec"], value(&*old)["spec"], "{name}");
        let filter = kind.reset_fields("status");
        assert!(!owns(&filter, &["spec"]), "{name}");
        for part in MUTABLE {
            let changed = new["metadata"].get(part).is_some();
            assert_eq!(changed, owns(&filter, &["metadata", part]), "{name}: metadata.{part} through the status");
        }
    }
}
