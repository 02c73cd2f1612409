//! Documents for a few resources: operations, schemas, references.

use super::*;
use crate::builtin;
use expect_test::expect;
use serde_json::Value;

fn resources() -> Vec<ServedResource> {
    let verbs = |words: &'static str| words.split(' ').map(Cow::Borrowed).collect::<Vec<_>>();
    let resource =
        |group: &'static str, version: &'static str, kind: &'static str, plural: &'static str, namespaced| {
            ServedResource {
                group: group.into(),
                version: version.into(),
                kind: kind.into(),
                plural: plural.into(),
                namespaced,
                verbs: verbs("create delete deletecollection get list patch update watch"),
                returns_deleted: kind == "Pod",
                subresources: Vec::new(),
                custom: None,
            }
        };
    let scale = ServedSubresource {
        name: "scale".into(),
        group: "autoscaling".into(),
        version: "v1".into(),
        kind: "Scale".into(),
        verbs: verbs("get patch update"),
    };
    let exec = ServedSubresource {
        name: "exec".into(),
        group: "".into(),
        version: "v1".into(),
        kind: "PodExecOptions".into(),
        verbs: verbs("connect"),
    };
    vec![
        ServedResource { subresources: vec![exec], ..resource("", "v1", "Pod", "pods", true) },
        resource("", "v1", "Node", "nodes", false),
        ServedResource { subresources: vec![scale], ..resource("apps", "v1", "Deployment", "deployments", true) },
        resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false),
    ]
}

fn document(path: &str) -> Value {
    let resources = resources();
    serde_json::from_slice(&OpenApi::new(builtin(), &resources, "v1.36.0").v3_document(path).unwrap()).unwrap()
}

#[test]
fn index() {
    let resources = resources();
    let api = OpenApi::new(builtin(), &resources, "v1.36.0");
    let index: Value = serde_json::from_slice(&api.v3_index()).unwrap();
    let url = index.pointer("/paths/apis~1apps~1v1/serverRelativeURL").and_then(Value::as_str).unwrap();
    assert!(url.starts_with("/openapi/v3/apis/apps/v1?hash=") && url.len() == 94, "{url}");
    assert_eq!(
        api.v3_paths(),
        [
            ".well-known/openid-configuration",
            "api",
            "api/v1",
            "apis",
            "apis/apiextensions.k8s.io",
            "apis/apiextensions.k8s.io/v1",
            "apis/apps",
            "apis/apps/v1",
            "openid/v1/jwks",
            "version",
        ]
    );
    let group: Value = serde_json::from_slice(&api.v3_document("apis/apps").unwrap()).unwrap();
    assert_eq!(group["paths"]["/apis/apps/"]["get"]["operationId"], "getAppsAPIGroup");
    assert!(group["components"]["schemas"]["io.k8s.apimachinery.pkg.apis.meta.v1.APIGroup"].is_object());
    for path in api.v3_paths() {
        let document: Value = serde_json::from_slice(&api.v3_document(&path).unwrap()).unwrap();
        check_references(&document, &document);
    }
    assert_ne!(api.v3_hash("api/v1"), api.v3_hash("apis/apps/v1"));
    assert_eq!(api.v3_document("apis/nope/v1"), None);
}

#[test]
fn v3_operations() {
    let document = document("apis/apps/v1");
    let paths: Vec<&String> = document.get("paths").unwrap().as_object().unwrap().keys().collect();
    expect![[r#"
        [
            "/apis/apps/v1/",
            "/apis/apps/v1/deployments",
            "/apis/apps/v1/namespaces/{namespace}/deployments",
            "/apis/apps/v1/namespaces/{namespace}/deployments/{name}",
            "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale",
            "/apis/apps/v1/watch/deployments",
            "/apis/apps/v1/watch/namespaces/{namespace}/deployments",
            "/apis/apps/v1/watch/namespaces/{namespace}/deployments/{name}",
        ]
    "#]]
    .assert_debug_eq(&paths);
    let patch =
        document.pointer("/paths/~1apis~1apps~1v1~1namespaces~1{namespace}~1deployments~1{name}/patch").unwrap();
    assert_eq!(patch.get("operationId").unwrap(), "patchAppsV1NamespacedDeployment");
    assert_eq!(
        patch.get("x-kubernetes-group-version-kind").unwrap(),
        &serde_json::json!({"group":"apps","kind":"Deployment","version":"v1"})
    );
    let names: Vec<&str> = patch
        .get("parameters")
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|parameter| parameter.get("name").unwrap().as_str().unwrap())
        .collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
}

#[test]
fn v3_schemas() {
    let document = document("apis/apps/v1");
    let schema = |name: &str| document.pointer(&format!("/components/schemas/{name}")).unwrap();
    expect![[r##"{"allOf":[{"$ref":"#/components/schemas/io.k8s.api.apps.v1.DeploymentStrategy"}],"default":{},"description":"The deployment strategy to use to replace existing pods with new ones.","x-kubernetes-patch-strategy":"retainKeys"}"##]]
        .assert_eq(&schema("io.k8s.api.apps.v1.DeploymentSpec/properties/strategy").to_string());
    expect![[r##"{"description":"List of containers belonging to the pod. Containers cannot currently be added or removed. There must be at least one container in a Pod. Cannot be updated.","items":{"allOf":[{"$ref":"#/components/schemas/io.k8s.api.core.v1.Container"}],"default":{}},"type":"array","x-kubernetes-list-map-keys":["name"],"x-kubernetes-list-type":"map","x-kubernetes-patch-merge-key":"name","x-kubernetes-patch-strategy":"merge"}"##]]
        .assert_eq(&schema("io.k8s.api.core.v1.PodSpec/properties/containers").to_string());
    expect![[r##"{"additionalProperties":{"$ref":"#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"},"description":"Limits describes the maximum amount of compute resources allowed. More info: https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/","type":"object"}"##]]
        .assert_eq(&schema("io.k8s.api.core.v1.ResourceRequirements/properties/limits").to_string());
    assert_eq!(
        schema("io.k8s.apimachinery.pkg.util.intstr.IntOrString/oneOf").to_string(),
        r#"[{"type":"integer"},{"type":"string"}]"#
    );
    assert_eq!(schema("io.k8s.api.core.v1.ContainerPort/properties/protocol/default"), "TCP");
    assert_eq!(
        schema("io.k8s.api.apps.v1.Deployment/x-kubernetes-group-version-kind").to_string(),
        r#"[{"group":"apps","kind":"Deployment","version":"v1"}]"#
    );
}

#[test]
fn enums_are_told() {
    let document = document("api/v1");
    let schema = |name: &str| document.pointer(&format!("/components/schemas/io.k8s.api.core.v1.{name}")).unwrap();
    expect![[r#"{"description":"Restart policy for all containers within the pod. One of Always, OnFailure, Never. In some contexts, only a subset of those values may be permitted. Default to Always. More info: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy\n\nPossible enum values:\n - `\"Always\"`\n - `\"Never\"`\n - `\"OnFailure\"`","enum":["Always","Never","OnFailure"],"type":"string"}"#]].assert_eq(&schema("PodSpec/properties/restartPolicy").to_string());
    let modes = schema("HostPathVolumeSource/properties/type/enum").to_string();
    assert_eq!(
        modes,
        r#"["","BlockDevice","CharDevice","Directory","DirectoryOrCreate","File","FileOrCreate","Socket"]"#
    );
}

/// Every reference of a document leads to something.
fn check_references(node: &Value, document: &Value) {
    match node {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            members.values().for_each(|value| check_references(value, document));
        }
        Value::Array(items) => items.iter().for_each(|value| check_references(value, document)),
        _ => {}
    }
}

#[test]
fn references_lead_somewhere() {
    for path in ["api/v1", "apis/apps/v1", "apis/apiextensions.k8s.io/v1"] {
        let document = document(path);
        check_references(&document, &document);
    }
    let resources = resources();
    let v2: Value = serde_json::from_slice(&OpenApi::new(builtin(), &resources, "v1.36.0").v2_json(&[])).unwrap();
    check_references(&v2, &v2);
    expect![[r##"{"$ref":"#/definitions/io.k8s.api.core.v1.PodSpec","description":"Specification of the desired behavior of the pod. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#spec-and-status"}"##]]
        .assert_eq(&v2.pointer("/definitions/io.k8s.api.core.v1.Pod/properties/spec").unwrap().to_string());
}

/// Names, order and places of parameters are upstream's: api/openapi-spec/swagger.json.
#[test]
fn parameters_are_told_once() {
    let resources = resources();
    let v2: Value = serde_json::from_slice(&OpenApi::new(builtin(), &resources, "v1.36.0").v2_json(&[])).unwrap();
    for name in
        ["pretty-tJGM1-ng", "limit-1NfNmdNH", "namespace-vgWSWtn3", "body-2Y1dVQaQ", "body-78PwaGsr", "tty-s0flW37O"]
    {
        assert!(v2["parameters"][name].is_object(), "{name}");
    }
    let names = |parameters: &Value| -> Vec<String> {
        let name = |parameter: &Value| {
            let own = parameter["name"].as_str().or_else(|| parameter["$ref"].as_str());
            own.unwrap().trim_start_matches("#/parameters/").to_owned()
        };
        parameters.as_array().unwrap().iter().map(name).collect()
    };
    let pod = &v2["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"];
    assert_eq!(names(&pod["parameters"]), ["name", "namespace-vgWSWtn3", "pretty-tJGM1-ng"]);
    assert_eq!(pod["get"].get("parameters"), None);
    assert_eq!(
        names(&pod["delete"]["parameters"]),
        [
            "body-2Y1dVQaQ",
            "dryRun",
            "gracePeriodSeconds--K5HaBOS",
            "ignoreStoreReadErrorWithClusterBreakingPotential-QbNkfIqj",
            "orphanDependents-uRB25kX5",
            "propagationPolicy-6jk3prlO",
        ]
    );
    let deleted = &pod["delete"]["responses"]["202"]["schema"]["$ref"];
    assert_eq!(deleted, "#/definitions/io.k8s.api.core.v1.Pod");
    let exec = &v2["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/exec"];
    assert_eq!(exec["get"]["description"], "connect GET requests to exec of Pod");
    assert!(names(&exec["parameters"]).contains(&"command-Py3eQybp".to_owned()));
}

#[test]
fn v2_protobuf_holds_paths_and_definitions() {
    let resources = resources();
    let bytes = OpenApi::new(builtin(), &resources, "v1.36.0").v2_protobuf(&[]);
    let mut cursor = crate::protobuf::wire::Cursor::new(&bytes);
    let mut numbers = Vec::new();
    let mut definitions = 0;
    while let Some((number, payload)) = cursor.field().unwrap() {
        numbers.push(number);
        if let (9, crate::protobuf::wire::Payload::Bytes(bytes)) = (number, payload) {
            let mut cursor = crate::protobuf::wire::Cursor::new(bytes);
            while cursor.field().unwrap().is_some() {
                definitions += 1;
            }
        }
    }
    assert_eq!(numbers, [1, 2, 8, 9, 10, 12, 13]);
    let json: Value = serde_json::from_slice(&OpenApi::new(builtin(), &resources, "v1.36.0").v2_json(&[])).unwrap();
    assert_eq!(definitions, json.get("definitions").unwrap().as_object().unwrap().len());
}

#[test]
fn custom_kinds_are_merged_in() {
    let schema = serde_json::json!({"type": "object", "description": "A cron tab.", "properties": {
        "spec": {"type": "object", "required": ["cronSpec"], "properties": {
            "cronSpec": {"type": "string", "pattern": "^a$", "maxLength": 3},
            "replicas": {"type": "integer", "minimum": 1, "default": 1},
        }},
    }});
    let custom = CustomKind { list_kind: "CronTabList".to_owned(), schema: Some(schema), ..CustomKind::default() };
    let mut resources = resources();
    resources.push(ServedResource {
        group: "stable.example.com".into(),
        version: "v1".into(),
        kind: "CronTab".into(),
        plural: "crontabs".into(),
        custom: Some(Arc::new(custom)),
        ..resources[0].clone()
    });
    let api = OpenApi::new(builtin(), &resources, "v1.36.0");
    let v3: Value = serde_json::from_slice(&api.v3_document("apis/stable.example.com/v1").unwrap()).unwrap();
    let schemas = &v3["components"]["schemas"];
    assert_eq!(schemas["com.example.stable.v1.CronTab"]["properties"]["spec"]["properties"]["replicas"]["default"], 1);
    assert!(schemas.get("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").is_some());
    let path = &v3["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"];
    let patch: Vec<&String> = path["patch"]["requestBody"]["content"].as_object().unwrap().keys().collect();
    assert!(!patch.iter().any(|media| media.contains("strategic")), "{patch:?}");
    assert_eq!(
        path["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/com.example.stable.v1.CronTab"
    );
    let v2: Value = serde_json::from_slice(&api.v2_json(&[])).unwrap();
    let names: Vec<&String> = v2["definitions"].as_object().unwrap().keys().collect();
    assert!(names.is_sorted() && names.iter().any(|name| *name == "com.example.stable.v1.CronTabList"));
    assert!(api.v2_protobuf(&[]).windows(13).any(|window| window == b"stable.v1.Cro"));
}
