//! A question as the `spec` of a SubjectAccessReview, for webhooks and their match conditions.
//! Upstream: `plugin/pkg/authorizer/webhook` and `authorization/cel`.

use apimachinery::{
    fields::FieldSelector,
    labels::{Operator, Requirement},
};
use registry::auth::Attributes;
use serde_json::{Map, Value, json};

/// With what is not said left out, as it goes out.
pub(super) fn spec(attributes: &Attributes) -> Value {
    let mut spec = Map::new();
    let user = &attributes.user;
    let mut set = |name: &str, value: Value, is_empty: bool| {
        if !is_empty {
            spec.insert(name.to_owned(), value);
        }
    };
    if attributes.is_resource_request {
        set("resourceAttributes", resource(attributes, false), false);
    } else {
        set("nonResourceAttributes", json!({"path": attributes.path, "verb": attributes.verb}), false);
    }
    set("user", json!(user.name), user.name.is_empty());
    set("groups", json!(user.groups), user.groups.is_empty());
    set("extra", json!(user.extra), user.extra.is_empty());
    set("uid", json!(user.uid), user.uid.is_empty());
    Value::Object(spec)
}

/// With all texts, empty ones too, as expressions see it.
pub(super) fn for_expressions(attributes: &Attributes) -> Value {
    let user = &attributes.user;
    let mut request = json!({"user": user.name, "groups": user.groups, "uid": user.uid, "extra": user.extra});
    if attributes.is_resource_request {
        request["resourceAttributes"] = resource(attributes, true);
    } else {
        request["nonResourceAttributes"] = json!({"path": attributes.path, "verb": attributes.verb});
    }
    request
}

fn resource(attributes: &Attributes, whole: bool) -> Value {
    let mut resource = Map::new();
    for (name, text) in [
        ("namespace", &attributes.namespace),
        ("verb", &attributes.verb),
        ("group", &attributes.api_group),
        ("version", &attributes.api_version),
        ("resource", &attributes.resource),
        ("subresource", &attributes.subresource),
        ("name", &attributes.name),
    ] {
        if whole || !text.is_empty() {
            resource.insert(name.to_owned(), json!(text));
        }
    }
    let fields = field_requirements(&attributes.field_selector);
    if !fields.is_empty() {
        resource.insert("fieldSelector".to_owned(), json!({ "requirements": fields }));
    }
    let labels = label_requirements(&attributes.label_selector);
    if !labels.is_empty() {
        resource.insert("labelSelector".to_owned(), json!({ "requirements": labels }));
    }
    Value::Object(resource)
}

/// A selector that cannot be read asks for more than it says, so it is left out.
fn field_requirements(selector: &str) -> Vec<Value> {
    let Ok(selector) = FieldSelector::parse(selector) else { return Vec::new() };
    let requirement = |term: &apimachinery::fields::Term| json!({"key": term.field, "operator": if term.negated { "NotIn" } else { "In" }, "values": [term.value]});
    selector.terms().iter().map(requirement).collect()
}

fn label_requirements(selector: &str) -> Vec<Value> {
    let Ok(selector) = apimachinery::Selector::parse(selector) else { return Vec::new() };
    let requirement = |requirement: &Requirement| {
        let operator = match requirement.operator {
            Operator::Equals | Operator::In => "In",
            Operator::NotEquals | Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            // Left out, so that more is asked for than is wanted.
            Operator::GreaterThan | Operator::LessThan => return None,
        };
        let mut value = json!({"key": requirement.key, "operator": operator});
        if !requirement.values.is_empty() {
            value["values"] = json!(requirement.values);
        }
        Some(value)
    };
    selector.requirements().iter().filter_map(requirement).collect()
}
