//! Every directive, kubectl's documented cases, and arbitrary patches.

use super::*;
use crate::builtin;
use expect_test::{Expect, expect};
use serde_json::json;

fn apply(kind: &str, original: Value, patch: Value) -> Result<Value, PatchError> {
    let kind = builtin().named(kind).unwrap();
    strategic(kind, original, patch)
}

fn pod(original: Value, patch: Value, expected: Expect) {
    check("io.k8s.api.core.v1.PodSpec", original, patch, expected);
}

fn check(kind: &str, original: Value, patch: Value, expected: Expect) {
    let text = match apply(kind, original, patch) {
        Ok(value) => value.to_string(),
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&text);
}

#[test]
fn containers_are_merged_by_name_and_tolerations_replaced() {
    // The example of kubectl's documentation.
    pod(
        json!({"containers":[{"name":"patch-demo-ctr","image":"nginx"}],"tolerations":[{"effect":"NoSchedule","key":"dedicated","value":"test-team"}]}),
        json!({"containers":[{"name":"patch-demo-ctr-2","image":"redis"}],"tolerations":[{"effect":"NoSchedule","key":"disktype","value":"ssd"}]}),
        expect![[
            r#"{"containers":[{"image":"redis","name":"patch-demo-ctr-2"},{"image":"nginx","name":"patch-demo-ctr"}],"tolerations":[{"effect":"NoSchedule","key":"disktype","value":"ssd"}]}"#
        ]],
    );
    pod(
        json!({"containers":[{"name":"a","image":"1","args":["x"]},{"name":"b","image":"1"}]}),
        json!({"containers":[{"name":"b","image":"2"},{"name":"a","args":null,"env":[{"name":"E","value":"v"}]}]}),
        expect![[
            r#"{"containers":[{"image":"2","name":"b"},{"env":[{"name":"E","value":"v"}],"image":"1","name":"a"}]}"#
        ]],
    );
}

#[test]
fn retain_keys_change_a_union() {
    // kubectl's documentation: strategy from RollingUpdate to Recreate.
    check(
        "io.k8s.api.apps.v1.DeploymentSpec",
        json!({"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}),
        json!({"strategy":{"$retainKeys":["type"],"type":"Recreate"}}),
        expect![[r#"{"strategy":{"type":"Recreate"}}"#]],
    );
    check(
        "io.k8s.api.apps.v1.DeploymentSpec",
        json!({"strategy":{"type":"RollingUpdate"}}),
        json!({"strategy":{"$retainKeys":["other"],"type":"Recreate"}}),
        expect!["error: invalid patch format of retainKeys"],
    );
    pod(
        json!({"volumes":[{"name":"a","emptyDir":{}},{"name":"b","hostPath":{"path":"/"}}]}),
        json!({"volumes":[{"name":"a","$retainKeys":["name","configMap"],"configMap":{"name":"c"}}]}),
        expect![[r#"{"volumes":[{"configMap":{"name":"c"},"name":"a"},{"hostPath":{"path":"/"},"name":"b"}]}"#]],
    );
}

#[test]
fn directives_on_elements() {
    let original = json!({"containers":[{"name":"a"},{"name":"b"},{"name":"c"}]});
    pod(
        original.clone(),
        json!({"containers":[{"name":"b","$patch":"delete"}]}),
        expect![[r#"{"containers":[{"name":"a"},{"name":"c"}]}"#]],
    );
    pod(
        original.clone(),
        json!({"containers":[{"name":"z"},{"$patch":"replace"}]}),
        expect![[r#"{"containers":[{"name":"z"}]}"#]],
    );
    pod(
        original.clone(),
        json!({"containers":[{"name":"b","$patch":"merge"}]}),
        expect!["error: merging lists cannot yet be specified in the patch"],
    );
    pod(
        original.clone(),
        json!({"containers":[{"name":"b","$patch":"bogus"}]}),
        expect!["error: unknown patch type: bogus in map: map[$patch:bogus name:b]"],
    );
    pod(
        original.clone(),
        json!({"containers":[{"image":"x"}]}),
        expect!["error: map: map[image:x] does not contain declared merge key: name"],
    );
    pod(
        original.clone(),
        json!({"containers":[{"$patch":"delete"}]}),
        expect!["error: map: map[$patch:delete] does not contain declared merge key: name"],
    );
    pod(
        original.clone(),
        json!({"containers":["x"]}),
        expect!["error: list element types are not identical: [[map[name:a] map[name:b] map[name:c]] [x]]"],
    );
    pod(original, json!({"containers":null}), expect!["{}"]);
}

#[test]
fn directives_on_maps() {
    pod(
        json!({"securityContext":{"runAsUser":1,"fsGroup":2}}),
        json!({"securityContext":{"$patch":"replace","runAsUser":5}}),
        expect![[r#"{"securityContext":{"runAsUser":5}}"#]],
    );
    pod(
        json!({"securityContext":{"runAsUser":1}}),
        json!({"securityContext":{"$patch":"delete"}}),
        expect![[r#"{"securityContext":{}}"#]],
    );
    pod(json!({}), json!({"securityContext":{"$patch":"delete"},"hostname":"h"}), expect![[r#"{"hostname":"h"}"#]]);
    pod(
        json!({"securityContext":{}}),
        json!({"securityContext":{"$patch":"merge"}}),
        expect!["error: unknown patch type: merge in map: map[$patch:merge]"],
    );
    pod(
        json!({"nodeSelector":{"a":"1","b":"2"}}),
        json!({"nodeSelector":{"b":null,"c":"3"}}),
        expect![[r#"{"nodeSelector":{"a":"1","c":"3"}}"#]],
    );
}

#[test]
fn primitive_lists() {
    let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    check(
        meta,
        json!({"finalizers":["a","b"]}),
        json!({"finalizers":["b","c"]}),
        expect![[r#"{"finalizers":["a","b","c"]}"#]],
    );
    check(
        meta,
        json!({"finalizers":["a","b","c"]}),
        json!({"$deleteFromPrimitiveList/finalizers":["b"]}),
        expect![[r#"{"finalizers":["a","c"]}"#]],
    );
    check(
        meta,
        json!({"finalizers":["a","b"]}),
        json!({"$deleteFromPrimitiveList/finalizers":["a"],"$setElementOrder/finalizers":["z","b"],"finalizers":["z"]}),
        expect![[r#"{"finalizers":["z","b"]}"#]],
    );
    check(
        meta,
        json!({"finalizers":["a"]}),
        json!({"$deleteFromPrimitiveList":["b"]}),
        expect!["error: invalid patch format of primitive list"],
    );
    check(meta, json!({}), json!({"$deleteFromPrimitiveList/finalizers":["b"]}), expect!["{}"]);
}

#[test]
fn element_order() {
    pod(
        json!({"containers":[{"name":"a"},{"name":"b"},{"name":"server"}]}),
        json!({"$setElementOrder/containers":[{"name":"c"},{"name":"b"},{"name":"a"}],"containers":[{"name":"c"},{"name":"a","image":"i"}]}),
        expect![[r#"{"containers":[{"name":"c"},{"name":"b"},{"image":"i","name":"a"},{"name":"server"}]}"#]],
    );
    pod(
        json!({"containers":[{"name":"a"},{"name":"b"}]}),
        json!({"$setElementOrder/containers":[{"name":"b"},{"name":"a"}]}),
        expect![[r#"{"containers":[{"name":"b"},{"name":"a"}]}"#]],
    );
    pod(
        json!({"containers":[{"name":"a"}]}),
        json!({"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"z"}]}),
        expect![[r#"
            error: The order in patch list:
            [map[name:z]]
             doesn't match $setElementOrder list:
            [map[name:a]]
        "#]],
    );
    pod(
        json!({"containers":[]}),
        json!({"$setElementOrder/containers":"x"}),
        expect!["error: expected a []interface {}, but received a string"],
    );
    pod(
        json!({"containers":[{"name":"a"}]}),
        json!({"$setElementOrder":[]}),
        expect!["error: invalid patch format of setElementOrder list"],
    );
    pod(json!({}), json!({"$setElementOrder/containers":[{"name":"a"}]}), expect!["{}"]);
}

#[test]
fn ports_of_a_service_are_merged_by_port() {
    check(
        "io.k8s.api.core.v1.ServiceSpec",
        json!({"ports":[{"port":80,"name":"http"},{"port":443,"name":"https"}]}),
        json!({"ports":[{"port":443,"targetPort":8443}]}),
        expect![[r#"{"ports":[{"name":"http","port":80},{"name":"https","port":443,"targetPort":8443}]}"#]],
    );
}

#[test]
fn a_raw_object_cannot_be_merged() {
    check(
        "io.k8s.api.apps.v1.ControllerRevision",
        json!({"data":{"spec":{"a":1}}}),
        json!({"data":{"spec":{"b":1}}}),
        expect![[r#"error: unable to find api field in struct RawExtension for the json field "spec""#]],
    );
    assert_eq!(apply("io.k8s.api.core.v1.Pod", json!({}), json!([])), Err(PatchError::BadDocument));
}

#[test]
fn a_large_patch_is_linear() {
    let names =
        |from: usize| (from..from + 20_000).map(|index| json!({"name": format!("e{index}")})).collect::<Vec<_>>();
    let merged =
        apply("io.k8s.api.core.v1.Container", json!({"env": names(0)}), json!({"env": names(10_000)})).unwrap();
    assert_eq!(merged.get("env").and_then(Value::as_array).map(Vec::len), Some(30_000));
}

fn any_value() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        "delete|replace|merge|a|b".prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let key = "name|\\$patch|\\$retainKeys|containers|\\$setElementOrder/containers|\\$deleteFromPrimitiveList/args|args|env|spec|metadata|finalizers|\\$setElementOrder/x";
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key, inner, 0..5).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn arbitrary_patches_never_panic(original in any_value(), patch in any_value()) {
        for kind in ["io.k8s.api.core.v1.Pod", "io.k8s.api.core.v1.PodSpec", "io.k8s.api.core.v1.Container"] {
            apply(kind, original.clone(), patch.clone()).ok();
        }
    }
}
