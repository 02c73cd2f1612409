//! Admission policies, as the documentation of Kubernetes shows them, against a whole control plane.

use serde_json::{Value, json};
use test_cluster::TestCluster;

use crate::{
    apply::owners,
    custom::define,
    http::{Answer, Client},
};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

struct World {
    _cluster: TestCluster,
    client: Client,
}

async fn world() -> World {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    World { _cluster: cluster, client }
}

fn rule(group: &str, resource: &str) -> Value {
    json!({"operations": ["CREATE", "UPDATE"], "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource]})
}

impl World {
    async fn create(&self, plural: &str, kind: &str, name: &str, spec: Value) -> Answer {
        let object = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec,
        });
        self.client.post(&format!("{GROUP}/{plural}"), &object).await
    }

    async fn validating(&self, name: &str, spec: Value) {
        let answer = self.create("validatingadmissionpolicies", "ValidatingAdmissionPolicy", name, spec).await;
        assert_eq!(answer.status, 201, "{}", answer.message());
    }

    async fn bind(&self, name: &str, spec: Value) {
        let kind = "ValidatingAdmissionPolicyBinding";
        let answer = self.create("validatingadmissionpolicybindings", kind, name, spec).await;
        assert_eq!(answer.status, 201, "{}", answer.message());
    }

    async fn mutating(&self, name: &str, mut spec: Value) {
        spec["reinvocationPolicy"] = "IfNeeded".into();
        let answer = self.create("mutatingadmissionpolicies", "MutatingAdmissionPolicy", name, spec).await;
        assert_eq!(answer.status, 201, "{}", answer.message());
        let kind = "MutatingAdmissionPolicyBinding";
        let answer = self.create("mutatingadmissionpolicybindings", kind, name, json!({"policyName": name})).await;
        assert_eq!(answer.status, 201, "{}", answer.message());
    }

    async fn map(&self, name: &str, data: Value) -> Answer {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        self.client.post(MAPS, &map).await
    }

    async fn deployment(&self, name: &str, replicas: u32) -> Answer {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            },
        });
        self.client.post(DEPLOYMENTS, &deployment).await
    }
}

#[tokio::test]
async fn a_policy_without_binding_does_nothing_and_with_one_refuses() {
    let world = world().await;
    let spec = json!({
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule("apps", "deployments")]},
        "validations": [{"expression": "object.spec.replicas <= 5"}],
    });
    world.validating("demo-policy.example.com", spec).await;
    assert_eq!(world.deployment("before", 6).await.status, 201);
    world.bind("demo-binding", json!({"policyName": "demo-policy.example.com", "validationActions": ["Deny"]})).await;
    let answer = world.deployment("after", 6).await;
    assert_eq!(answer.status, 422);
    assert_eq!(
        answer.message(),
        "deployments.apps \"after\" is forbidden: ValidatingAdmissionPolicy 'demo-policy.example.com' with binding \
         'demo-binding' denied request: failed expression: object.spec.replicas <= 5"
    );
    assert_eq!(answer.json()["reason"], "Invalid");
    let cause = &answer.json()["details"]["causes"][0]["message"];
    assert_eq!(
        cause.as_str().unwrap(),
        "ValidatingAdmissionPolicy 'demo-policy.example.com' with binding 'demo-binding' denied request: failed \
         expression: object.spec.replicas <= 5"
    );
    assert_eq!(world.deployment("after", 5).await.status, 201);
}

#[tokio::test]
async fn parameters_variables_messages_and_the_namespace() {
    let world = world().await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": {"resourceRules": [rule("apps", "deployments")]},
        "matchConditions": [{"name": "not-exempt", "expression": "!object.metadata.name.startsWith('exempt')"}],
        "variables": [
            {"name": "max", "expression": "int(params.data.max)"},
            {"name": "over", "expression": "object.spec.replicas - variables.max"},
        ],
        "validations": [{
            "expression": "variables.over <= 0 || namespaceObject.metadata.name != 'default'",
            "messageExpression": "'too many by ' + string(variables.over)",
            "reason": "Forbidden",
        }],
    });
    world.validating("limit", spec).await;
    let bind = json!({
        "policyName": "limit", "validationActions": ["Deny"],
        "paramRef": {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"},
    });
    world.bind("limit", bind).await;
    let answer = world.deployment("a", 3).await;
    assert_eq!(
        answer.message(),
        "deployments.apps \"a\" is forbidden: ValidatingAdmissionPolicy 'limit' with binding 'limit' denied request: \
         failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    assert_eq!(world.map("limits", json!({"max": "2"})).await.status, 201);
    let answer = world.deployment("a", 3).await;
    assert_eq!((answer.status.as_u16(), answer.json()["reason"].as_str()), (403, Some("Forbidden")));
    assert!(answer.message().ends_with("denied request: too many by 1"), "{}", answer.message());
    assert_eq!(world.deployment("a", 2).await.status, 201);
    assert_eq!(world.deployment("exempt-a", 9).await.status, 201);
}

#[tokio::test]
async fn warnings_are_warnings_and_errors_follow_the_failure_policy() {
    let world = world().await;
    let spec = |expression: &str, failure_policy: &str| {
        json!({
            "failurePolicy": failure_policy,
            "matchConstraints": {"resourceRules": [rule("", "configmaps")]},
            "validations": [{"expression": expression, "message": "no a"}],
        })
    };
    world.validating("warn", spec("!has(object.data.a)", "Fail")).await;
    world.bind("warn", json!({"policyName": "warn", "validationActions": ["Warn", "Audit"]})).await;
    let answer = world.map("m", json!({"a": "b"})).await;
    assert_eq!(answer.status, 201);
    let warning = answer.headers.get("warning").unwrap().to_str().unwrap();
    assert_eq!(warning, "299 - \"Validation failed for ValidatingAdmissionPolicy 'warn' with binding 'warn': no a\"");
    world.validating("ignore", spec("object.data.missing == 'x'", "Ignore")).await;
    world.bind("ignore", json!({"policyName": "ignore", "validationActions": ["Deny"]})).await;
    assert_eq!(world.map("n", json!({"b": "b"})).await.status, 201);
    world.validating("fail", spec("object.data.missing == 'x'", "Fail")).await;
    world.bind("fail", json!({"policyName": "fail", "validationActions": ["Deny"]})).await;
    let answer = world.map("o", json!({"b": "b"})).await;
    assert!(
        answer.message().ends_with(
            "'fail' with binding 'fail' denied request: expression 'object.data.missing == 'x'' resulted in error: no such key: missing"
        ),
        "{}",
        answer.message()
    );
}

#[tokio::test]
async fn the_authorizer_can_be_asked() {
    let world = world().await;
    let spec = json!({
        "matchConstraints": {"resourceRules": [rule("", "configmaps")]},
        // A check costs 350,000 of the million that one expression has.
        "validations": [
            {
                "expression": "authorizer.group('').resource('secrets').namespace('default').check('get').allowed() && \
                    !authorizer.serviceAccount('default', 'default').group('').resource('secrets').check('get').allowed()",
            },
            {"expression": "authorizer.requestResource.check('create').allowed()"},
        ],
    });
    world.validating("ask", spec).await;
    world.bind("ask", json!({"policyName": "ask", "validationActions": ["Deny"]})).await;
    let answer = world.map("m", json!({})).await;
    assert_eq!(answer.status, 201, "{}", answer.message());
}

#[tokio::test]
async fn expressions_are_compiled_when_they_are_written() {
    let world = world().await;
    let spec = json!({
        "matchConstraints": {"resourceRules": [rule("apps", "deployments")]},
        "validations": [{"expression": "object.spec.replicas + "}, {"expression": "params.x == 1"}, {"expression": "1"}],
    });
    let answer = world.create("validatingadmissionpolicies", "ValidatingAdmissionPolicy", "bad", spec).await;
    assert_eq!(answer.status, 422);
    let message = answer.message();
    for part in [
        "spec.validations[0].expression: Invalid value: \"object.spec.replicas + \": compilation failed: ERROR: <input>:1:24: Syntax error: mismatched input '<EOF>' expecting",
        "undeclared reference to 'params' (in container '')",
        "spec.validations[2].expression: Invalid value: \"1\": must evaluate to bool but got int",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn mutations_apply_configurations_and_patches() {
    let world = world().await;
    let apply = json!({
        "matchConstraints": {"resourceRules": [rule("apps", "deployments")]},
        "matchConditions": [{"name": "no-sidecar", "expression": "!object.spec.template.spec.containers.exists(c, c.name == 'sidecar')"}],
        "mutations": [{
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": "Object{spec: Object.spec{template: Object.spec.template{spec: \
                Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'sidecar', image: 'mesh:1'}]}}}}"},
        }],
    });
    world.mutating("sidecar", apply).await;
    let patch = json!({
        "matchConstraints": {"resourceRules": [rule("", "configmaps")]},
        "mutations": [{
            "patchType": "JSONPatch",
            "jsonPatch": {"expression": "[JSONPatch{op: 'test', path: '/data/a', value: 'b'}, \
                JSONPatch{op: 'add', path: '/metadata/labels', value: {'made.by/policy': request.operation}}, \
                JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('x/y'), value: 'z'}]"},
        }],
    });
    world.mutating("label", patch).await;
    let answer = world.deployment("d", 1).await;
    assert_eq!(answer.status, 201, "{}", answer.message());
    let containers = answer.json()["spec"]["template"]["spec"]["containers"].clone();
    let names: Vec<_> = containers.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["c", "sidecar"]);
    assert_eq!(containers[1]["imagePullPolicy"], "IfNotPresent", "what is added is defaulted");
    let answer = world.map("m", json!({"a": "b"})).await;
    assert_eq!(answer.json()["metadata"]["labels"], json!({"made.by/policy": "CREATE", "x/y": "z"}));
    let answer = world.map("n", json!({"a": "c"})).await;
    assert_eq!(answer.json()["metadata"]["labels"], Value::Null, "a failing test leaves the object alone");
}

#[tokio::test]
async fn a_mutation_that_fails_refuses() {
    let world = world().await;
    let spec = json!({
        "matchConstraints": {"resourceRules": [rule("apps", "deployments")]},
        "mutations": [{
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": "Object{spec: Object.spec{selector: Object.spec.selector{}}}"},
        }],
    });
    world.mutating("atomic", spec).await;
    let answer = world.deployment("d", 1).await;
    assert_eq!(
        answer.message(),
        "policy 'atomic' with binding 'atomic' denied request: error applying patch: invalid ApplyConfiguration: may \
         not mutate atomic arrays, maps or structs: .spec.selector"
    );
    assert_eq!((answer.status.as_u16(), answer.json()["reason"].as_str()), (403, Some("Invalid")));
}

/// `gadgets`, of which policies are made and which they are about.
fn gadgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gadgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "size": {"type": "integer"}, "limit": {"type": "integer", "default": 5},
                    "parts": {
                        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object", "required": ["name"], "properties": {
                            "name": {"type": "string"}, "weight": {"type": "integer", "default": 1},
                        }},
                    },
                }}},
            }}}],
        },
    })
}

#[tokio::test]
async fn custom_objects_are_ruled_and_are_parameters() {
    let world = world().await;
    define(&world.client, &gadgets()).await;
    let url = "/apis/example.com/v1/namespaces/default/gadgets";
    let gadget = |name: &str, spec: Value| json!({"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": name}, "spec": spec});
    assert_eq!(world.client.post(url, &gadget("limits", json!({}))).await.status, 201);
    let spec = json!({
        "paramKind": {"apiVersion": "example.com/v1", "kind": "Gadget"},
        "matchConstraints": {"resourceRules": [rule("example.com", "gadgets")]},
        "matchConditions": [{"name": "sized", "expression": "has(object.spec.size)"}],
        // A default of the schema is seen of the parameter as well as of the object.
        "validations": [{"expression": "object.spec.size <= params.spec.limit && object.spec.limit == 5", "message": "too large"}],
    });
    world.validating("limit", spec).await;
    let bind = json!({
        "policyName": "limit", "validationActions": ["Deny"],
        "paramRef": {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"},
    });
    world.bind("limit", bind).await;
    let refused = world.client.post(url, &gadget("a", json!({"size": 6}))).await;
    assert_eq!(
        refused.message(),
        "gadgets.example.com \"a\" is forbidden: ValidatingAdmissionPolicy 'limit' with binding 'limit' denied request: too large"
    );
    let merge = ("content-type", "application/merge-patch+json");
    let raised = world.client.send("PATCH", &format!("{url}/limits"), &[merge], r#"{"spec":{"limit":9}}"#).await;
    assert_eq!(raised.status, 200, "{}", raised.message());
    assert_eq!(world.client.post(url, &gadget("a", json!({"size": 6}))).await.status, 201);
}

#[tokio::test]
async fn policies_change_custom_objects_by_their_schema() {
    let world = world().await;
    define(&world.client, &gadgets()).await;
    let configuration = json!({
        "matchConstraints": {"resourceRules": [rule("example.com", "gadgets")]},
        "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
                "Object{spec: Object.spec{parts: [Object.spec.parts{name: 'frame'}], size: 3}}"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression":
                "[JSONPatch{op: 'add', path: '/metadata/labels', value: {'made': 'here'}}]"}},
        ],
    });
    world.mutating("frame", configuration).await;
    let url = "/apis/example.com/v1/namespaces/default/gadgets/a";
    let config = json!({
        "apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "a"},
        "spec": {"parts": [{"name": "wheel", "weight": 4}]},
    });
    let created = crate::apply::apply(&world.client, url, "fieldManager=one", &config).await;
    assert_eq!(created.status, 201, "{}", created.message());
    let object = created.json();
    assert_eq!(
        object["spec"],
        json!({"limit": 5, "size": 3, "parts": [{"name": "wheel", "weight": 4}, {"name": "frame", "weight": 1}]})
    );
    assert_eq!(object["metadata"]["labels"], json!({"made": "here"}));
    // What a policy adds is nobody's, and the next apply leaves it.
    let expected = [
        r#"one Apply example.com/v1 - {"f:spec":{"f:parts":{"k:{\"name\":\"wheel\"}":{".":{},"f:name":{},"f:weight":{}}}}}"#,
    ];
    assert_eq!(owners(&object), expected);
    let again = crate::apply::apply(&world.client, url, "fieldManager=one", &config).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, object));
}
