//! Whether a FlowSchema names a priority level that there is: its condition `Dangling`.
//!
//! Upstream: `apf_controller.go` `presyncFlowSchemaStatus`.

use std::sync::Arc;

use bytes::Bytes;
use registry::{
    Registry, UpdateKind, UserInfo, Verb,
    options::WriteOptions,
    pipeline::{Change, Patch, PatchKind},
};
use serde_json::{Value, json};

/// Writes the conditions that are not as they should be.
pub(super) async fn write(registry: &Registry, schemas: &[Bytes], is_known: impl Fn(&str) -> bool) {
    let Some(kind) = registry.preferred_kind("flowcontrol.apiserver.k8s.io", "flowschemas") else { return };
    for bytes in schemas {
        let Ok(schema) = serde_json::from_slice::<Value>(bytes) else { continue };
        let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
        let Some(conditions) = wanted(&schema, level, is_known(level)) else { continue };
        let mut cx = registry.context(Arc::new(UserInfo::loopback()), Verb::Patch);
        schema["metadata"]["name"].as_str().unwrap_or_default().clone_into(&mut cx.name);
        "status".clone_into(&mut cx.subresource);
        let patch = Patch::new(PatchKind::Merge, json!({ "status": { "conditions": conditions } }));
        let options = WriteOptions {
            field_manager: "api-priority-and-fairness-config-consumer-v1".to_owned(),
            ..WriteOptions::default()
        };
        let written = registry.modify(&kind, &cx, UpdateKind::Status, Change::Patch(&patch), &options).await;
        if let Err(error) = written {
            // Deleted or changed meanwhile, most likely: the event of that brings us back here.
            tracing::debug!(%error, name = cx.name, "condition of a flow schema not written");
        }
    }
}

/// The conditions as they should be; nothing when they are.
fn wanted(schema: &Value, level: &str, known: bool) -> Option<Vec<Value>> {
    let mut conditions = schema["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let (status, reason, rest) =
        if known { ("False", "Found", "and it exists") } else { ("True", "NotFound", "but there is no such object") };
    let message = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {rest}");
    let is_it = |condition: &Value| condition["type"] == "Dangling";
    if let Some(current) = conditions.iter().find(|condition| is_it(condition))
        && current["status"] == status
        && current["reason"] == reason
        && current["message"] == message.as_str()
    {
        return None;
    }
    conditions.retain(|condition| !is_it(condition));
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    conditions.push(json!({
        "type": "Dangling", "status": status, "reason": reason, "message": message, "lastTransitionTime": now,
    }));
    Some(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_written_once() {
        let mut schema = json!({"spec": {}, "status": {"conditions": [{"type": "Other"}]}});
        let conditions = wanted(&schema, "x", false).unwrap();
        assert_eq!(conditions.len(), 2);
        assert_eq!((&conditions[1]["status"], &conditions[1]["reason"]), (&json!("True"), &json!("NotFound")));
        schema["status"]["conditions"] = conditions.into();
        assert!(wanted(&schema, "x", false).is_none());
        let conditions = wanted(&schema, "x", true).unwrap();
        assert_eq!(
            conditions[1]["message"],
            "This FlowSchema references the PriorityLevelConfiguration object named \"x\" and it exists"
        );
    }
}
