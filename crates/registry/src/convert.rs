//! One set of objects served under a second group or version: the same storage and rules, another spelling.
//!
//! Upstream counterpart: internal versions and their conversions. Here one served version is the hub that is stored.

use std::sync::Arc;

use apimachinery::{ApiError, field::ErrorList};
use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1::Scale;
use serde_json::Value;

use crate::{
    Companion, Durability, GcPolicy, Info, NameRule, RequestCx, Reservation, Resource, ResourceHandle, SelectableField,
    Subresource, UpdateKind, action::Action, object::AnyObject, resource::ColumnHeader,
};

/// How objects of one spelling become those of the other. Both leave `metadata` alone but for annotations.
#[derive(Clone, Copy)]
pub struct Conversion {
    pub to_hub: fn(&mut Value),
    pub from_hub: fn(&mut Value),
}

/// A kind that is stored as another.
pub struct Converted {
    pub info: Info,
    pub hub: ResourceHandle,
    pub conversion: Conversion,
}

impl Converted {
    /// The served spelling of stored JSON.
    pub fn present(&self, hub: &[u8]) -> Result<Bytes, ApiError> {
        let mut value: Value = serde_json::from_slice(hub).map_err(ApiError::internal)?;
        (self.conversion.from_hub)(&mut value);
        name(&mut value, &self.info);
        serde_json::to_vec(&value).map(Bytes::from).map_err(ApiError::internal)
    }
}

fn name(value: &mut Value, info: &Info) {
    value["apiVersion"] = info.api_version().into();
    value["kind"] = info.kind.into();
}

impl Resource for Converted {
    fn info(&self) -> &Info {
        &self.info
    }

    fn hub(&self) -> Option<&Converted> {
        Some(self)
    }

    /// Of the served spelling.
    fn decode(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, serde_json::Error> {
        let mut value: Value = serde_json::from_slice(json)?;
        (self.conversion.to_hub)(&mut value);
        name(&mut value, self.hub.info());
        self.hub.decode(&serde_json::to_vec(&value)?)
    }

    fn decode_stored(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, serde_json::Error> {
        self.hub.decode(json)
    }

    fn subresources(&self) -> &[Subresource] {
        self.hub.subresources()
    }

    fn selectable(&self) -> &[SelectableField] {
        self.hub.selectable()
    }

    fn name_rule(&self) -> NameRule {
        self.hub.name_rule()
    }

    fn durability(&self) -> Durability {
        self.hub.durability()
    }

    fn gc_policy(&self) -> GcPolicy {
        self.hub.gc_policy()
    }

    fn verbs(&self) -> &'static [&'static str] {
        self.hub.verbs()
    }

    fn returns_deleted_object(&self) -> bool {
        self.hub.returns_deleted_object()
    }

    fn allow_create_on_update(&self) -> bool {
        self.hub.allow_create_on_update()
    }

    fn allow_unconditional_update(&self) -> bool {
        self.hub.allow_unconditional_update()
    }

    fn reset_fields(&self, subresource: &str) -> fieldmanager::Filter {
        self.hub.reset_fields(subresource)
    }

    fn replicas_path(&self) -> Option<Vec<String>> {
        self.hub.replicas_path()
    }

    fn set_defaults(&self, object: &mut dyn AnyObject) {
        self.hub.set_defaults(object);
    }

    fn reserve(
        &self,
        cx: &RequestCx,
        new: &mut dyn AnyObject,
        old: Option<&dyn AnyObject>,
    ) -> Result<Option<Box<dyn Reservation>>, ApiError> {
        self.hub.reserve(cx, new, old)
    }

    fn warnings(&self, cx: &RequestCx, new: &dyn AnyObject, old: Option<&dyn AnyObject>) -> Vec<String> {
        self.hub.warnings(cx, new, old)
    }

    fn status_warnings(&self, new: &dyn AnyObject) -> Vec<String> {
        self.hub.status_warnings(new)
    }

    fn prepare_for_create(&self, cx: &RequestCx, object: &mut dyn AnyObject) {
        self.hub.prepare_for_create(cx, object);
    }

    fn validate(&self, cx: &RequestCx, object: &dyn AnyObject) -> ErrorList {
        self.hub.validate(cx, object)
    }

    fn generate_name(&self, base: &str) -> String {
        self.hub.generate_name(base)
    }

    fn prepare_for_update(&self, kind: UpdateKind<'_>, cx: &RequestCx, new: &mut dyn AnyObject, old: &dyn AnyObject) {
        self.hub.prepare_for_update(kind, cx, new, old);
    }

    fn validate_update(
        &self,
        kind: UpdateKind<'_>,
        cx: &RequestCx,
        new: &dyn AnyObject,
        old: &dyn AnyObject,
    ) -> ErrorList {
        self.hub.validate_update(kind, cx, new, old)
    }

    fn scale(&self, object: &dyn AnyObject) -> Option<Scale> {
        self.hub.scale(object)
    }

    fn set_scale(&self, object: &mut dyn AnyObject, replicas: i32) {
        self.hub.set_scale(object, replicas);
    }

    fn action(&self, name: &str) -> Option<Arc<dyn Action>> {
        self.hub.action(name)
    }

    fn graceful_deletion(&self, cx: &RequestCx, object: &mut dyn AnyObject, requested: Option<i64>) -> Option<i64> {
        self.hub.graceful_deletion(cx, object, requested)
    }

    fn holds_deletion(&self, object: &mut dyn AnyObject) -> bool {
        self.hub.holds_deletion(object)
    }

    fn released(&self, cx: &RequestCx, object: &dyn AnyObject) -> Vec<Companion> {
        self.hub.released(cx, object)
    }

    fn columns(&self) -> Vec<ColumnHeader> {
        self.hub.columns()
    }

    fn cells(&self, object: &dyn AnyObject, now: Timestamp) -> Vec<Value> {
        self.hub.cells(object, now)
    }
}
