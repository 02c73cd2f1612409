//! Events in both groups.

use expect_test::expect;
use k8s_openapi::api::core::v1::Event;
use serde_json::{Value, json};

use super::conversion;
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

#[test]
fn both_groups_say_the_same() {
    let new = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a", "namespace": "b"},
        "regarding": {"kind": "Pod"}, "note": "text", "reportingController": "c", "deprecatedCount": 3,
        "eventTime": "2026-01-01T00:00:00.000000Z",
    });
    let Value::Object(map) = new.clone() else { unreachable!("an object") };
    let stored = conversion::json_to_core(map);
    let typed: k8s_openapi::api::events::v1::Event = serde_json::from_value(new.clone()).expect("an event");
    assert_eq!(json!(conversion::to_core(typed)), Value::Object(stored.clone()));
    assert_eq!(Value::Object(conversion::json_to_events(stored)), new);
}
