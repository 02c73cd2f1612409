//! What decoding reports, refuses and prints, in upstream's words.

use super::*;
use crate::builtin;
use expect_test::{Expect, expect};

fn check(group: &str, version: &str, kind: &str, body: &str, expected: Expect) {
    let kind = builtin().kind(group, version, kind).unwrap();
    let text = match decode(kind, body.as_bytes(), &Limits::default()) {
        Ok(decoded) => {
            let mut lines: Vec<String> = decoded.strict.iter().map(StrictError::to_string).collect();
            lines.push(String::from_utf8(decoded.object.to_json()).unwrap());
            lines.join("\n")
        }
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&text);
}

#[test]
fn unknown_and_duplicate_fields() {
    check(
        "apps",
        "v1",
        "Deployment",
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","name":"b","labels":{"x":"1","x":"2"}},"nope":1,"nope":2,
            "spec":{"selector":{},"template":{"spec":{"imagePullPolicy":"Always","containers":[{"name":"c"},{"name":"d","Image":"x","ports":[{"port":1}]}]}}}}"#,
        expect![[r#"
            duplicate field "metadata.name"
            duplicate field "metadata.labels.x"
            unknown field "nope"
            unknown field "spec.template.spec.imagePullPolicy"
            unknown field "spec.template.spec.containers[1].Image"
            unknown field "spec.template.spec.containers[1].ports[0].port"
            {"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"b","labels":{"x":"2"}},"spec":{"selector":{},"template":{"metadata":{},"spec":{"containers":[{"name":"c","resources":{}},{"name":"d","ports":[{"containerPort":0}],"resources":{}}]}},"strategy":{}},"status":{}}"#]],
    );
}

#[test]
fn strict_error_is_one_message() {
    let kind = builtin().kind("", "v1", "ConfigMap").unwrap();
    let decoded = decode(kind, br#"{"a":1,"b":2,"data":{}}"#, &Limits::default()).unwrap();
    assert_eq!(
        decoded.strict_error().as_deref(),
        Some(r#"strict decoding error: unknown field "a", unknown field "b""#)
    );
    let body = format!("{{{}}}", (0..500).map(|index| format!("\"u{index}\":1")).collect::<Vec<_>>().join(","));
    assert_eq!(decode(kind, body.as_bytes(), &Limits::default()).unwrap().strict.len(), 100);
}

#[test]
fn canonical_form() {
    check(
        "",
        "v1",
        "Pod",
        r#"{"kind":"Pod","apiVersion":"v1","metadata":{"creationTimestamp":null,"generateName":"","annotations":{}},
            "spec":{"hostNetwork":false,"terminationGracePeriodSeconds":0,"containers":null,"volumes":[],
            "tolerations":[{"tolerationSeconds":0}],"overhead":{"cpu":"1000m","memory":1024,"x":"1024Mi"}},
            "status":{"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2024-01-01T02:00:00+01:00"}],"startTime":null}}"#,
        expect![[
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{},"spec":{"containers":null,"terminationGracePeriodSeconds":0,"tolerations":[{"tolerationSeconds":0}],"overhead":{"cpu":"1","memory":"1024","x":"1Gi"}},"status":{"conditions":[{"type":"Ready","status":"True","lastProbeTime":null,"lastTransitionTime":"2024-01-01T01:00:00Z"}]}}"#
        ]],
    );
    check(
        "",
        "v1",
        "Service",
        r#"{"spec":{"ports":[{"port":80}]}}"#,
        expect![[r#"{"metadata":{},"spec":{"ports":[{"port":80,"targetPort":0}]},"status":{"loadBalancer":{}}}"#]],
    );
}

#[test]
fn type_mismatches() {
    let deployment = |body: &str, expected: Expect| check("apps", "v1", "Deployment", body, expected);
    deployment(
        r#"{"spec":{"replicas":"2"}}"#,
        expect!["error: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"],
    );
    deployment(
        r#"{"spec":{"replicas":1.5}}"#,
        expect![
            "error: json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32"
        ],
    );
    deployment(
        r#"{"spec":{"replicas":3000000000}}"#,
        expect![
            "error: json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32"
        ],
    );
    deployment(
        r#"{"metadata":{"labels":{"a":1}}}"#,
        expect!["error: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"],
    );
    deployment(
        r#"{"spec":{"template":{"spec":{"containers":{}}}}}"#,
        expect![
            "error: json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container"
        ],
    );
    deployment(
        r#"{"spec":{"template":{"spec":{"containers":[{"ports":[{"containerPort":"x"}]}]}}}}"#,
        expect![
            "error: json: cannot unmarshal string into Go struct field ContainerPort.spec.template.spec.containers.ports.containerPort of type int32"
        ],
    );
    deployment(r#"[]"#, expect!["error: json: cannot unmarshal array into Go value of type v1.Deployment"]);
    deployment(
        r#"{"spec":1}"#,
        expect!["error: json: cannot unmarshal number into Go struct field Deployment.spec of type v1.DeploymentSpec"],
    );
    deployment(
        r#"{"kind":1}"#,
        expect!["error: json: cannot unmarshal number into Go struct field Deployment.kind of type string"],
    );
    check("", "v1", "Secret", r#"{"data":{"a":"!!!"}}"#, expect!["error: illegal base64 data at input byte 0"]);
    check(
        "",
        "v1",
        "Secret",
        r#"{"data":{"a":1}}"#,
        expect!["error: json: cannot unmarshal number into Go struct field Secret.data of type []uint8"],
    );
    check(
        "",
        "v1",
        "Pod",
        r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"lots"}}}]}}"#,
        expect!["error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"],
    );
    check(
        "",
        "v1",
        "Pod",
        r#"{"metadata":{"creationTimestamp":"today"}}"#,
        expect![[r#"error: parsing time "today" as "2006-01-02T15:04:05Z07:00": cannot parse "today" as "2006""#]],
    );
}

#[test]
fn null_elements_become_zero_values() {
    check(
        "",
        "v1",
        "Pod",
        r#"{"spec":{"containers":[null,{"args":[null,"x"]}]}}"#,
        expect![[
            r#"{"metadata":{},"spec":{"containers":[{"name":"","resources":{}},{"name":"","args":["","x"],"resources":{}}]},"status":{}}"#
        ]],
    );
}

#[test]
fn custom_resource_definitions_nest() {
    check(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        r#"{"spec":{"group":"g","versions":[{"name":"v1","schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"items":[{"type":"string"}],"default":{"z":[1]}},"b":{"additionalProperties":false,"bogus":1},"c":{"additionalProperties":{"type":"string"}}},"x-kubernetes-preserve-unknown-fields":true}}}]}}"#,
        expect![[r#"
            unknown field "spec.versions[0].schema.openAPIV3Schema.properties.b.bogus"
            {"metadata":{},"spec":{"group":"g","names":{"plural":"","kind":""},"scope":"","versions":[{"name":"v1","served":false,"storage":false,"schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"default":{"z":[1]},"items":[{"type":"string"}]},"b":{"additionalProperties":false},"c":{"additionalProperties":{"type":"string"}}},"x-kubernetes-preserve-unknown-fields":true}}}]},"status":{"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":null}}"#]],
    );
}

#[test]
fn a_small_body_cannot_grow_without_bound() {
    let kind = builtin().kind("", "v1", "Pod").unwrap();
    let body = format!(r#"{{"status":{{"containerStatuses":[{}{{}}]}}}}"#, "{},".repeat(200_000));
    assert!(matches!(
        decode(kind, body.as_bytes(), &Limits { nodes: 300_000, ..Limits::default() }),
        Err(DecodeError::Nodes { .. })
    ));
}

proptest::proptest! {
    #[test]
    fn mutated_objects_never_panic(position in 0..400usize, byte: u8) {
        let mut body = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"y"},"creationTimestamp":"2008-01-01T01:01:01Z"},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"1"}},"ports":[{"containerPort":80,"protocol":"TCP"}]}],"tolerations":[{"key":"k","tolerationSeconds":5}]},"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#.to_vec();
        let length = body.len();
        body[position % length] = byte;
        let kind = builtin().kind("", "v1", "Pod").unwrap();
        if let Ok(decoded) = decode(kind, &body, &Limits::default()) {
            // Canonical means that decoding again changes nothing.
            let text = decoded.object.to_json();
            let again = decode(kind, &text, &Limits::default()).unwrap();
            proptest::prop_assert_eq!(&again.object.to_json(), &text);
            proptest::prop_assert_eq!(again.strict, vec![]);
        }
    }
}
