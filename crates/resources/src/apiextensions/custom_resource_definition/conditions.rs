//! Conditions of a definition. Upstream: `pkg/apihelpers`.

use jiff::Timestamp;
use registry::DynamicObject;
use serde_json::{Value, json};

pub const ESTABLISHED: &str = "Established";
pub const NAMES_ACCEPTED: &str = "NamesAccepted";
pub const NON_STRUCTURAL: &str = "NonStructuralSchema";
pub const TERMINATING: &str = "Terminating";
pub const APPROVED: &str = "KubernetesAPIApprovalPolicyConformant";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: &'static str,
    pub status: &'static str,
    pub reason: &'static str,
    pub message: String,
}

impl Condition {
    pub fn new(kind: &'static str, status: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, status, reason, message: message.into() }
    }
}

pub fn find<'a>(definition: &'a DynamicObject, kind: &str) -> Option<&'a Value> {
    let conditions = super::fields::list(super::fields::status(definition), "conditions");
    conditions.iter().find(|condition| condition["type"] == kind)
}

pub fn is_true(definition: &DynamicObject, kind: &str) -> bool {
    find(definition, kind).is_some_and(|condition| condition["status"] == "True")
}

/// Whether the definition says this already; times do not count.
pub fn says(definition: &DynamicObject, condition: &Condition) -> bool {
    find(definition, condition.kind).is_some_and(|known| {
        known["status"] == condition.status
            && super::fields::text(known, "reason") == condition.reason
            && super::fields::text(known, "message") == condition.message
    })
}

pub fn set(definition: &mut DynamicObject, condition: &Condition, now: Timestamp) {
    let Some(list) = list_mut(definition) else { return };
    let time = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let Some(known) = list.iter_mut().find(|known| known["type"] == condition.kind) else {
        list.push(json!({
            "type": condition.kind, "status": condition.status, "lastTransitionTime": time,
            "reason": condition.reason, "message": condition.message,
        }));
        return;
    };
    if known["status"] != condition.status || known["lastTransitionTime"].is_null() {
        known["lastTransitionTime"] = time;
    }
    known["status"] = condition.status.into();
    known["reason"] = condition.reason.into();
    known["message"] = condition.message.clone().into();
}

pub fn remove(definition: &mut DynamicObject, kind: &str) {
    if let Some(list) = list_mut(definition) {
        list.retain(|condition| condition["type"] != kind);
    }
}

fn list_mut(definition: &mut DynamicObject) -> Option<&mut Vec<Value>> {
    let status = definition.fields.entry("status").or_insert_with(|| json!({})).as_object_mut()?;
    let list = status.entry("conditions").or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut()
}
