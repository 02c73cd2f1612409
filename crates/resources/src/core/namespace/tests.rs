//! Namespaces come and go through their finalizers.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use registry::{Nothing, Reader, RequestCx, Strategy, UserInfo, Verb};
use serde_json::json;

use super::Namespaces;

fn cx() -> RequestCx {
    RequestCx::new(Arc::new(UserInfo::loopback()), Verb::Create, Timestamp::UNIX_EPOCH, Reader::new(Arc::new(Nothing)))
}

fn created() -> Namespace {
    let mut namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "a"}})).expect("a namespace");
    Namespaces.set_defaults(&mut namespace);
    Namespaces.prepare_for_create(&cx(), &mut namespace);
    namespace
}

#[test]
fn a_new_namespace_is_active_and_held() {
    let namespace = created();
    assert_eq!(
        json!(namespace),
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a"}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        })
    );
    assert!(Namespaces.validate(&cx(), &namespace).is_empty());
}

#[test]
fn deletion_waits_for_the_finalizer() {
    let mut namespace = created();
    assert!(Namespaces.holds_deletion(&mut namespace));
    assert_eq!(namespace.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Terminating"));
    let mut update = namespace.clone();
    update.spec = None;
    Namespaces.prepare_for_update(&cx(), &mut update, &namespace);
    assert_eq!(update.spec, namespace.spec, "an update does not touch finalizers");
    update.spec = None;
    Namespaces.prepare_for_subresource_update("finalize", &cx(), &mut update, &namespace);
    assert!(!Namespaces.holds_deletion(&mut update), "finalize does");
}

#[test]
fn the_phase_follows_the_deletion() {
    let mut namespace = created();
    namespace.status.as_mut().expect("status").phase = Some("Terminating".to_owned());
    assert_eq!(
        Namespaces.validate_status_update(&cx(), &namespace, &namespace).aggregate(),
        r#"status.Phase: Invalid value: "Terminating": may only be 'Active' if `deletionTimestamp` is empty"#
    );
}
