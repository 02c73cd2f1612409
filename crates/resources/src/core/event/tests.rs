//! Events in both groups.

use expect_test::expect;
use k8s_openapi::api::core::v1::Event;
use serde_json::{Value, json};

use super::validation::{Rules, validate};

fn event(value: Value) -> Event {
    serde_json::from_value(value).expect("an event")
}

#[test]
fn the_namespace_is_that_of_the_object() {
    let errors = |object: &str, namespace: &str| {
        validate(
            &event(json!({"metadata": {"namespace": namespace}, "involvedObject": {"namespace": object}})),
            Rules::Legacy,
        )
        .aggregate()
    };
    assert_eq!(errors("a", "a"), "[]");
    assert_eq!(errors("", "default"), "[]");
    expect![[r#"involvedObject.namespace: Invalid value: "a": does not match event.namespace"#]]
        .assert_eq(&errors("a", "b"));
}

#[test]
fn the_new_group_is_strict() {
    let legacy =
        event(json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"}, "count": 2, "type": "Odd"}));
    assert!(validate(&legacy, Rules::Legacy).is_empty());
    expect![[r#"
        [eventTime: Required value, type: Invalid value: "": has invalid value: Odd, count: Invalid value: "": needs to be unset]"#]]
    .assert_eq(&validate(&legacy, Rules::Strict).aggregate());
}
