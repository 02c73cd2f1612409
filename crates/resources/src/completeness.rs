//! For every kind an object that its validation refuses, and columns: a kind without either is a red test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use registry::{ColumnHeader, Nothing, Reader, RequestCx, UserInfo, Verb};
use serde_json::{Value, json};

use super::{Options, all};

/// Kinds whose table is upstream's default one: name and creation time.
const DEFAULT_TABLE: &[&str] =
    &["clusterroles.rbac.authorization.k8s.io", "limitranges", "roles.rbac.authorization.k8s.io"];

/// Kinds of which upstream validates nothing but the metadata.
const METADATA_ONLY: &[&str] = &["serviceaccounts"];

/// By group and resource: an object, and where its error is.
pub(super) fn refused() -> Vec<(&'static str, Value, &'static str)> {
    let selector = json!({"matchLabels": {"a": "b"}});
    let bad_template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}});
    let controller = json!({"spec": {"selector": selector, "template": bad_template}});
    let containers = "spec.template.spec.containers";
    vec![
        ("componentstatuses", json!({"conditions": [{"type": "x", "status": "True"}]}), "conditions[0].type"),
        ("configmaps", json!({"data": {"a b": ""}}), "data[a b]"),
        ("endpoints", json!({"subsets": [{"addresses": [{"ip": "x"}]}]}), "subsets[0].addresses[0].ip"),
        (
            "events",
            json!({"metadata": {"name": "e", "namespace": "other"}, "involvedObject": {"namespace": "ns"}}),
            "involvedObject.namespace",
        ),
        (
            "limitranges",
            json!({"spec": {"limits": [{"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}}),
            "spec.limits[0].min[cpu]",
        ),
        ("namespaces", json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["a b"]}}), "spec.finalizers"),
        ("nodes", json!({"spec": {"podCIDR": "x", "podCIDRs": ["x"]}}), "spec.podCIDRs[0]"),
        ("persistentvolumeclaims", json!({"spec": {}}), "spec.accessModes"),
        ("persistentvolumes", json!({"spec": {}}), "spec.accessModes"),
        ("pods", json!({"spec": {"containers": []}}), "spec.containers"),
        ("podtemplates", json!({"template": bad_template}), "template.spec.containers"),
        ("replicationcontrollers", json!({"spec": {"selector": {"a": "b"}, "template": bad_template}}), containers),
        ("resourcequotas", json!({"spec": {"hard": {"cpu": "-1"}}}), "spec.hard[cpu]"),
        ("secrets", json!({"type": "kubernetes.io/tls"}), "data[tls.crt]"),
        ("services", json!({"spec": {"ports": [], "type": "ClusterIP"}}), "spec.ports"),
        (
            "apiservices.apiregistration.k8s.io",
            json!({"spec": {"group": "g.example", "version": "v1", "versionPriority": 1}}),
            "spec.groupPriorityMinimum",
        ),
        ("controllerrevisions.apps", json!({"revision": -1, "data": {}}), "revision"),
        ("daemonsets.apps", controller.clone(), containers),
        ("deployments.apps", controller.clone(), containers),
        ("replicasets.apps", controller.clone(), containers),
        ("statefulsets.apps", controller, containers),
        (
            "horizontalpodautoscalers.autoscaling",
            json!({"spec": {"maxReplicas": 0, "scaleTargetRef": {"kind": "", "name": ""}}}),
            "spec.maxReplicas",
        ),
        (
            "cronjobs.batch",
            json!({"spec": {"schedule": "x", "jobTemplate": {"spec": {"template": bad_template}}}}),
            "spec.schedule",
        ),
        ("jobs.batch", json!({"spec": {"template": bad_template}}), containers),
        (
            "certificatesigningrequests.certificates.k8s.io",
            json!({"spec": {"request": "", "signerName": "x"}}),
            "spec.request",
        ),
        ("ingressclasses.networking.k8s.io", json!({"spec": {"controller": "x"}}), "spec.controller"),
        ("ingresses.networking.k8s.io", json!({"spec": {}}), "spec"),
        (
            "ipaddresses.networking.k8s.io",
            json!({"metadata": {"name": "x"}, "spec": {"parentRef": {"resource": "", "name": ""}}}),
            "metadata.name",
        ),
        (
            "networkpolicies.networking.k8s.io",
            json!({"spec": {"podSelector": {}, "policyTypes": ["x"]}}),
            "spec.policyTypes[0]",
        ),
        ("servicecidrs.networking.k8s.io", json!({"spec": {"cidrs": []}}), "spec.cidrs"),
        ("poddisruptionbudgets.policy", json!({"spec": {"minAvailable": -1}}), "spec.minAvailable"),
        (
            "clusterrolebindings.rbac.authorization.k8s.io",
            json!({"roleRef": {"apiGroup": "x", "kind": "ClusterRole", "name": "a"}}),
            "roleRef.apiGroup",
        ),
        ("clusterroles.rbac.authorization.k8s.io", json!({"rules": [{"verbs": []}]}), "rules[0].verbs"),
        (
            "rolebindings.rbac.authorization.k8s.io",
            json!({"roleRef": {"apiGroup": "x", "kind": "Role", "name": "a"}}),
            "roleRef.apiGroup",
        ),
        ("roles.rbac.authorization.k8s.io", json!({"rules": [{"verbs": []}]}), "rules[0].verbs"),
        (
            "csidrivers.storage.k8s.io",
            json!({"metadata": {"name": "d"}, "spec": {"fsGroupPolicy": "x"}}),
            "spec.fsGroupPolicy",
        ),
        (
            "csinodes.storage.k8s.io",
            json!({"spec": {"drivers": [{"name": "", "nodeID": "a"}]}}),
            "spec.drivers[0].name",
        ),
        ("csistoragecapacities.storage.k8s.io", json!({"storageClassName": "A"}), "storageClassName"),
        ("storageclasses.storage.k8s.io", json!({"provisioner": ""}), "provisioner"),
        (
            "volumeattachments.storage.k8s.io",
            json!({"spec": {"attacher": "a", "nodeName": "n", "source": {}}}),
            "spec.source",
        ),
        ("volumeattributesclasses.storage.k8s.io", json!({"driverName": "d"}), "parameters"),
        ("mutatingadmissionpolicies.admissionregistration.k8s.io", json!({"spec": {}}), "spec.mutations"),
        ("mutatingadmissionpolicybindings.admissionregistration.k8s.io", json!({"spec": {}}), "spec.policyName"),
        (
            "mutatingwebhookconfigurations.admissionregistration.k8s.io",
            json!({"webhooks": [{"name": "", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {}}]}),
            "webhooks[0].name",
        ),
        ("validatingadmissionpolicies.admissionregistration.k8s.io", json!({"spec": {}}), "spec.validations"),
        (
            "validatingadmissionpolicybindings.admissionregistration.k8s.io",
            json!({"spec": {"policyName": "a", "validationActions": []}}),
            "spec.validationActions",
        ),
        (
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
            json!({"webhooks": [{"name": "", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {}}]}),
            "webhooks[0].name",
        ),
        (
            "customresourcedefinitions.apiextensions.k8s.io",
            json!({"spec": {"group": "", "names": {"plural": "a", "kind": "A"}, "scope": "Cluster", "versions": []}}),
            "spec.group",
        ),
        ("priorityclasses.scheduling.k8s.io", json!({"metadata": {"name": "p"}, "value": 2_000_000_000}), "value"),
        ("leases.coordination.k8s.io", json!({"spec": {"leaseDurationSeconds": 0}}), "spec.leaseDurationSeconds"),
        ("runtimeclasses.node.k8s.io", json!({"handler": "A"}), "handler"),
        ("endpointslices.discovery.k8s.io", json!({"addressType": "x", "endpoints": []}), "addressType"),
        (
            "flowschemas.flowcontrol.apiserver.k8s.io",
            json!({"spec": {"priorityLevelConfiguration": {"name": ""}}}),
            "spec.priorityLevelConfiguration.name",
        ),
        ("prioritylevelconfigurations.flowcontrol.apiserver.k8s.io", json!({"spec": {"type": "Exempt"}}), "spec.type"),
        ("deviceclasses.resource.k8s.io", json!({"spec": {"selectors": [{}]}}), "spec.selectors[0].cel"),
        (
            "resourceclaims.resource.k8s.io",
            json!({"spec": {"devices": {"requests": [{"name": "A"}]}}}),
            "spec.devices.requests[0].name",
        ),
        (
            "resourceclaimtemplates.resource.k8s.io",
            json!({"spec": {"spec": {"devices": {"requests": [{"name": "A"}]}}}}),
            "spec.spec.devices.requests[0].name",
        ),
        (
            "resourceslices.resource.k8s.io",
            json!({"spec": {"driver": "d", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}}),
            "spec",
        ),
    ]
}

/// By kind, as upstream has them.
fn upstreams_columns() -> BTreeMap<&'static str, Vec<ColumnHeader>> {
    let mut kinds: BTreeMap<&str, Vec<ColumnHeader>> = BTreeMap::new();
    let mut kind = "";
    for line in include_str!("testdata/columns.tsv").lines().filter(|line| !line.starts_with('#')) {
        let Some(column) = line.strip_prefix('\t') else {
            kind = line;
            continue;
        };
        let parts: Vec<&str> = column.split('\t').collect();
        let [name, r#type, format, priority, description] = parts[..] else { panic!("{line}") };
        kinds.entry(kind).or_default().push(ColumnHeader {
            name: name.to_owned(),
            kind: r#type.to_owned(),
            format: format.to_owned(),
            description: serde_json::from_str(description).expect(line),
            priority: priority.parse().expect(line),
        });
    }
    kinds
}

#[test]
fn every_kind_has_upstreams_columns() {
    let mut upstream = upstreams_columns();
    let mut wrong = Vec::new();
    for kind in all(&Options::default()) {
        let name = kind.info().group_resource();
        let columns = kind.columns();
        match upstream.remove(name.as_str()) {
            None if DEFAULT_TABLE.contains(&name.as_str()) && columns.is_empty() => {}
            Some(wanted) if columns == wanted => {}
            Some(wanted) => {
                let differing = columns.iter().zip(&wanted).filter(|(own, wanted)| own != wanted);
                wrong.push(format!(
                    "{name}: {} of {}: {:#?}",
                    columns.len(),
                    wanted.len(),
                    differing.collect::<Vec<_>>()
                ));
            }
            None => wrong.push(format!("{name}: nothing is known of its columns")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(upstream.is_empty(), "no such kinds: {:?}", upstream.keys());
}

#[test]
fn every_kind_refuses_something() {
    let table = refused();
    let kinds = all(&Options::default());
    let names: BTreeSet<String> = kinds.iter().map(|kind| kind.info().group_resource()).collect();
    for (name, ..) in &table {
        assert!(names.contains(*name), "{name} is no kind");
    }
    let cx = RequestCx::new(
        Arc::new(UserInfo::loopback()),
        Verb::Create,
        Timestamp::UNIX_EPOCH,
        Reader::new(Arc::new(Nothing)),
    );
    let mut wrong = Vec::new();
    for kind in kinds {
        let name = kind.info().group_resource();
        let Some((_, object, field)) = table.iter().find(|(known, ..)| *known == name) else {
            if !METADATA_ONLY.contains(&name.as_str()) {
                wrong.push(format!("{name}: nothing in the table"));
            }
            continue;
        };
        let mut object = object.clone();
        object["apiVersion"] = json!(kind.info().api_version());
        object["kind"] = json!(kind.info().kind);
        if object["metadata"].is_null() {
            object["metadata"] = json!({"name": "a", "namespace": "ns"});
        }
        let mut decoded = match kind.decode(object.to_string().as_bytes()) {
            Ok(decoded) => decoded,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        kind.set_defaults(&mut *decoded);
        let errors = kind.validate(&cx, &*decoded);
        if !errors.iter().any(|error| error.field == *field) {
            wrong.push(format!("{name}: no error at {field}, but {:?}", errors.aggregate()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
