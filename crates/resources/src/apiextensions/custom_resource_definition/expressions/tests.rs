//! Rules over objects; facts of upstream's `schema/cel/validation_test.go`.

use apimachinery::field::Path;
use serde_json::{Value, json};

use super::Validator;

fn told(schema: &Value, value: Value, old: Option<Value>) -> Vec<String> {
    let validator = Validator::new(schema, false).expect("rules");
    let run = validator.validate(&value, old.as_ref(), old.is_some(), &Path::new("root"));
    run.errors.iter().map(ToString::to_string).collect()
}

fn with_rule(rule: Value) -> Value {
    json!({"type": "object", "x-kubernetes-validations": [rule], "properties": {
        "min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string"},
        "port": {"x-kubernetes-int-or-string": true}, "when": {"type": "string", "format": "date-time"},
        "list": {"type": "array", "items": {"type": "string"}},
    }})
}

#[test]
fn rules_hold_or_are_told() {
    for (rule, value, wanted) in [
        ("self.min < self.max", json!({"min": 1, "max": 2}), ""),
        ("self.min < self.max", json!({"min": 3, "max": 2}), "root: Invalid value: failed rule: self.min < self.max"),
        (
            "self.min < self.max",
            json!({"min": 3}),
            "root: Invalid value: \"object\": no such key: max evaluating rule: self.min < self.max",
        ),
        ("has(self.name) && self.name.startsWith('a')", json!({"name": "abc"}), ""),
        ("type(self.port) == int ? self.port > 1 : self.port == '10%'", json!({"port": "10%"}), ""),
        ("self.when.getFullYear() == 2020", json!({"when": "2020-01-02T03:04:05Z"}), ""),
        (
            "self.list.all(x, x.size() < 3)",
            json!({"list": ["ab", "abc"]}),
            "root: Invalid value: failed rule: self.list.all(x, x.size() < 3)",
        ),
    ] {
        let found = told(&with_rule(json!({"rule": rule})), value, None);
        assert_eq!(found.join("|"), wanted, "{rule}");
    }
}

#[test]
fn messages_reasons_and_paths_are_the_rules() {
    let value = json!({"min": 3, "max": 2, "name": "x"});
    let one = |extra: Value| {
        let mut rule = json!({"rule": "self.min < self.max"});
        rule.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        told(&with_rule(rule), value.clone(), None).join("|")
    };
    assert_eq!(one(json!({"message": " too small "})), "root: Invalid value: too small");
    assert_eq!(
        one(json!({"messageExpression": "'min ' + string(self.min) + ' is too large'"})),
        "root: Invalid value: min 3 is too large"
    );
    assert_eq!(one(json!({"messageExpression": "''", "message": "m"})), "root: Invalid value: m");
    assert_eq!(one(json!({"reason": "FieldValueRequired", "message": "m"})), "root: Required value: m");
    assert_eq!(one(json!({"reason": "FieldValueForbidden", "message": "m"})), "root: Forbidden: m");
    assert_eq!(one(json!({"fieldPath": ".min", "message": "m"})), "root.min: Invalid value: m");
}

#[test]
fn transitions_compare_with_what_was() {
    let schema = with_rule(json!({"rule": "self.min >= oldSelf.min", "message": "only up"}));
    assert_eq!(told(&schema, json!({"min": 1}), None), [""; 0]);
    assert_eq!(told(&schema, json!({"min": 2}), Some(json!({"min": 1}))), [""; 0]);
    assert_eq!(told(&schema, json!({"min": 0}), Some(json!({"min": 1}))), ["root: Invalid value: only up"]);
    let schema = with_rule(json!({
        "rule": "oldSelf.hasValue() ? oldSelf.value().min == self.min : self.min == 0", "optionalOldSelf": true, "message": "m",
    }));
    assert_eq!(told(&schema, json!({"min": 0}), None), [""; 0]);
    assert_eq!(told(&schema, json!({"min": 1}), None), ["root: Invalid value: m"]);
    assert_eq!(told(&schema, json!({"min": 1}), Some(json!({"min": 1}))), [""; 0]);
}

#[test]
fn elements_are_found_again_by_their_keys() {
    let schema = json!({"type": "object", "properties": {"list": {
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
        "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
                  "x-kubernetes-validations": [{"rule": "self.v == oldSelf.v", "message": "fixed"}]},
    }}});
    let old = json!({"list": [{"k": "a", "v": 1}, {"k": "b", "v": 2}]});
    let new = json!({"list": [{"k": "b", "v": 2}, {"k": "a", "v": 9}, {"k": "c", "v": 3}]});
    assert_eq!(told(&schema, new, Some(old)), ["root.list[1]: Invalid value: fixed"]);
}

#[test]
fn what_did_not_change_is_only_warned_of() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "integer", "x-kubernetes-validations": [{"rule": "self < 5"}]}, "b": {"type": "integer"},
    }});
    let validator = Validator::new(&schema, false).unwrap();
    let (old, new) = (json!({"a": 9, "b": 1}), json!({"a": 9, "b": 2}));
    let run = validator.validate(&new, Some(&old), true, &Path::root());
    assert!(run.errors.is_empty());
    assert_eq!(run.warnings, ["a: Invalid value: 9: failed rule: self < 5"]);
    assert_eq!(validator.validate(&new, None, false, &Path::root()).errors.len(), 1);
}

#[test]
fn a_budget_ends_the_run() {
    let items = json!({"type": "integer"});
    let schema = json!({"type": "object", "properties": {"list": {"type": "array", "items": items, "x-kubernetes-validations": [
        {"rule": "self.all(x, self.all(y, self.all(z, x + y + z >= 0)))"},
    ]}}});
    let value = json!({"list": (0..200).collect::<Vec<_>>()});
    let found = told(&schema, value, None);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("no further validation rules will be run due to call cost exceeds limit"), "{found:?}");
}

#[test]
fn a_resource_sees_its_names() {
    let schema = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.name == 'a' && self.kind == 'K'"}],
                        "properties": {"spec": {"type": "object"}}});
    let validator = Validator::new(&schema, true).unwrap();
    let object = |name: &str| json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": name}, "spec": {}});
    assert!(validator.validate(&object("a"), None, false, &Path::root()).errors.is_empty());
    assert_eq!(validator.validate(&object("b"), None, false, &Path::root()).errors.len(), 1);
}
