//! The committed table is read, and types made at run time work like it.

use super::*;
use expect_test::expect;

#[test]
fn the_committed_table_is_read() {
    let schema = read::read(include_str!("../../generated/table.txt"));
    assert_eq!(schema.err(), None);
    assert!(builtin().types().count() > 700);
}

#[test]
fn kinds_are_found() {
    let schema = builtin();
    let name = |group, version, kind| schema.kind(group, version, kind).map(|kind| kind.name());
    assert_eq!(name("", "v1", "Pod"), Some("io.k8s.api.core.v1.Pod"));
    assert_eq!(name("", "v1", "PodList"), Some("io.k8s.api.core.v1.PodList"));
    assert_eq!(name("apps", "v1", "Deployment"), Some("io.k8s.api.apps.v1.Deployment"));
    assert_eq!(name("apps", "v1", "DeleteOptions"), Some("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"));
    assert_eq!(name("apps", "v1", "Pod"), None);
    assert_eq!(schema.kind_of("apps/v1", "Deployment"), schema.kind("apps", "v1", "Deployment"));
}

#[test]
fn paths_are_followed() {
    let pod = builtin().kind("", "v1", "Pod").unwrap();
    let place = pod.at(&["spec", "containers", "0", "ports"]).unwrap();
    let field = place.field.unwrap();
    expect![[r#"
        (
            Some(
                Map {
                    keys: [
                        "containerPort",
                        "protocol",
                    ],
                },
            ),
            PatchStrategy {
                merge: true,
                replace: false,
                retain_keys: false,
                merge_key: Some(
                    "containerPort",
                ),
            },
        )
    "#]]
    .assert_debug_eq(&(&field.list, &field.patch));
    assert_eq!(pod.at(&["metadata", "labels", "app"]).unwrap().shape, &Shape::String);
    assert!(pod.at(&["spec", "imagePullPolicy"]).is_none());
    // Inlined: the JSON has no `volumeSource`.
    let volume = pod.at(&["spec", "volumes", "0", "hostPath"]).unwrap().field.unwrap();
    assert_eq!((volume.outer.as_slice(), volume.number), ([2].as_slice(), 1));
}

#[test]
fn descriptions_are_found() {
    let descriptions = descriptions();
    assert_eq!(descriptions.of_field("io.k8s.api.core.v1.Pod", "kind"), "");
    expect!["Pod is a collection of containers that can run on a host. This resource is created by clients and scheduled onto hosts."]
        .assert_eq(descriptions.of_type("io.k8s.api.core.v1.Pod"));
    assert!(
        descriptions
            .of_field("io.k8s.api.core.v1.PodSpec", "containers")
            .starts_with("List of containers belonging to the pod.")
    );
}

#[test]
fn types_can_be_made_at_run_time() {
    let mut schema = Schema::default();
    let id = schema.reserve("com.example.v1.Widget");
    let name = |text: &str| Name::Owned(text.to_owned());
    let parts = Shape::List(Box::new(Shape::Ref(id)));
    let widget = TypeDef {
        kinds: vec![Kind { group: name("example.com"), version: name("v1"), kind: name("Widget") }],
        type_meta: true,
        fields: vec![
            Field::new(name("size"), 0, Shape::Int64),
            Field { list: Some(ListType::Map { keys: vec![name("size")] }), ..Field::new(name("parts"), 0, parts) },
            Field::new(name("anything"), 0, Shape::Any),
        ],
        ..TypeDef::new(name("com.example.v1.Widget"))
    };
    schema.fill(id, widget);
    let kind = schema.kind_of("example.com/v1", "Widget").unwrap();
    assert_eq!(kind.at(&["parts", "0", "parts"]).unwrap().field.unwrap().list_map_keys(), ["size"]);
    let body = br#"{"kind":"Widget","size":0,"parts":[{"size":1,"nope":2}],"anything":{"b":null}}"#;
    let decoded = crate::decode(kind, body, &crate::Limits::default()).unwrap();
    assert_eq!(decoded.strict_error().as_deref(), Some(r#"strict decoding error: unknown field "parts[0].nope""#));
    let text = String::from_utf8(decoded.object.to_json()).unwrap();
    assert_eq!(text, r#"{"kind":"Widget","size":0,"parts":[{"size":1}],"anything":{"b":null}}"#);
}
