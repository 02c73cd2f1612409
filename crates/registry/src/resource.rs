//! One registered kind with its type erased: what the pipeline works with, compiled once for all kinds.
//!
//! `impl<S: Strategy> Resource for S` is the only place where types are lost and found again.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1::Scale;
use serde_json::Value;

use apimachinery::{ApiError, field::ErrorList};
use fieldmanager::Filter;

use crate::{
    Column, Companion, Custom, Durability, GcPolicy, Info, NameRule, Object, PrintCx, RequestCx, Reservation,
    SelectableField, Strategy, Subresource, action::Action, convert::Converted, object::AnyObject,
};

/// A column without its cell function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnHeader {
    pub name: String,
    pub kind: String,
    pub format: String,
    pub description: String,
    pub priority: i32,
}

/// Which rules an update follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateKind<'a> {
    Object,
    Status,
    /// A `Handler::Update` subresource.
    Subresource(&'a str),
}

/// A registered kind, built in or made at run time.
#[derive(Clone)]
pub enum ResourceHandle {
    Static(&'static dyn Resource),
    Shared(Arc<dyn Resource>),
}

impl std::ops::Deref for ResourceHandle {
    type Target = dyn Resource;

    fn deref(&self) -> &(dyn Resource + 'static) {
        match self {
            Self::Static(resource) => *resource,
            Self::Shared(resource) => &**resource,
        }
    }
}

impl From<&'static dyn Resource> for ResourceHandle {
    fn from(resource: &'static dyn Resource) -> Self {
        Self::Static(resource)
    }
}

impl From<Arc<dyn Resource>> for ResourceHandle {
    fn from(resource: Arc<dyn Resource>) -> Self {
        Self::Shared(resource)
    }
}

impl<R: Resource + 'static> From<Arc<R>> for ResourceHandle {
    fn from(resource: Arc<R>) -> Self {
        Self::Shared(resource)
    }
}

/// A kind served by the registry.
pub trait Resource: Send + Sync {
    fn info(&self) -> &Info;

    fn subresources(&self) -> &[Subresource] {
        &[]
    }

    fn selectable(&self) -> &[SelectableField] {
        &[]
    }

    fn name_rule(&self) -> NameRule {
        NameRule::DnsSubdomain
    }

    fn durability(&self) -> Durability {
        Durability::Synced
    }

    fn gc_policy(&self) -> GcPolicy {
        GcPolicy::DeleteDependents
    }

    fn verbs(&self) -> &'static [&'static str] {
        &crate::info::ALL_VERBS
    }

    fn returns_deleted_object(&self) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether `reserve` gives out what no two objects may have.
    fn allocates(&self) -> bool {
        false
    }

    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// Set on kinds that are not stored: POST runs it, and no other verb exists.
    fn create_action(&self) -> Option<Arc<dyn Action>> {
        None
    }

    fn decode(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, serde_json::Error>;

    /// Of the stored spelling, where it is another.
    fn decode_stored(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, serde_json::Error> {
        self.decode(json)
    }

    /// Set on kinds that are stored as another.
    fn hub(&self) -> Option<&Converted> {
        None
    }

    /// Set on kinds made at run time.
    fn custom(&self) -> Option<&dyn Custom> {
        None
    }

    /// The kind's fields, as the walkers of crate `schema` read them. None: nothing is known of them.
    fn schema_type(&self) -> Option<schema::Type<'_>> {
        let info = self.info();
        schema::builtin().kind(info.group, info.version, info.kind)
    }

    /// What a write through an endpoint (`""`, `status`, …) sets, of all that it says.
    fn reset_fields(&self, subresource: &str) -> Filter {
        default_reset_fields(self.subresources(), subresource)
    }

    /// Where the replicas are that the scale subresource shows. None: the kind has no scale.
    fn replicas_path(&self) -> Option<Vec<String>> {
        if let Some(custom) = self.custom() {
            let steps = custom.replicas_path().split('.').filter(|step| !step.is_empty());
            return Some(steps.map(str::to_owned).collect::<Vec<_>>()).filter(|path| !path.is_empty());
        }
        let scales = self.subresources().iter().any(|subresource| subresource.handler == crate::Handler::Scale);
        scales.then(|| vec!["spec".to_owned(), "replicas".to_owned()])
    }

    fn set_defaults(&self, _object: &mut dyn AnyObject) {}

    fn reserve(
        &self,
        _cx: &RequestCx,
        _new: &mut dyn AnyObject,
        _old: Option<&dyn AnyObject>,
    ) -> Result<Option<Box<dyn Reservation>>, ApiError> {
        Ok(None)
    }

    fn warnings(&self, _cx: &RequestCx, _new: &dyn AnyObject, _old: Option<&dyn AnyObject>) -> Vec<String> {
        Vec::new()
    }

    fn status_warnings(&self, _new: &dyn AnyObject) -> Vec<String> {
        Vec::new()
    }

    fn prepare_for_create(&self, _cx: &RequestCx, _object: &mut dyn AnyObject) {}

    fn validate(&self, _cx: &RequestCx, _object: &dyn AnyObject) -> ErrorList {
        ErrorList::default()
    }

    fn generate_name(&self, base: &str) -> String {
        crate::names::generate(base)
    }

    fn prepare_for_update(
        &self,
        _kind: UpdateKind<'_>,
        _cx: &RequestCx,
        _new: &mut dyn AnyObject,
        _old: &dyn AnyObject,
    ) {
    }

    fn validate_update(
        &self,
        _kind: UpdateKind<'_>,
        _cx: &RequestCx,
        _new: &dyn AnyObject,
        _old: &dyn AnyObject,
    ) -> ErrorList {
        ErrorList::default()
    }

    fn scale(&self, _object: &dyn AnyObject) -> Option<Scale> {
        None
    }

    fn set_scale(&self, _object: &mut dyn AnyObject, _replicas: i32) {}

    fn action(&self, _name: &str) -> Option<Arc<dyn Action>> {
        None
    }

    fn graceful_deletion(&self, _cx: &RequestCx, _object: &mut dyn AnyObject, _requested: Option<i64>) -> Option<i64> {
        None
    }

    fn holds_deletion(&self, _object: &mut dyn AnyObject) -> bool {
        false
    }

    /// What goes in the transaction that deletes the object.
    fn released(&self, _cx: &RequestCx, _object: &dyn AnyObject) -> Vec<Companion> {
        Vec::new()
    }

    /// Empty: the default table.
    fn columns(&self) -> Vec<ColumnHeader> {
        Vec::new()
    }

    /// One row of the table, a cell for each of `columns`.
    fn cells(&self, _object: &dyn AnyObject, _now: Timestamp) -> Vec<Value> {
        Vec::new()
    }
}

impl<S: Strategy> Resource for S {
    fn info(&self) -> &Info {
        &S::INFO
    }

    fn subresources(&self) -> &[Subresource] {
        S::SUBRESOURCES
    }

    fn selectable(&self) -> &[SelectableField] {
        S::SELECTABLE
    }

    fn name_rule(&self) -> NameRule {
        S::NAME_RULE
    }

    fn durability(&self) -> Durability {
        S::DURABILITY
    }

    fn gc_policy(&self) -> GcPolicy {
        S::GC_POLICY
    }

    fn verbs(&self) -> &'static [&'static str] {
        S::VERBS
    }

    fn returns_deleted_object(&self) -> bool {
        S::RETURN_DELETED_OBJECT
    }

    fn allow_create_on_update(&self) -> bool {
        S::ALLOW_CREATE_ON_UPDATE
    }

    fn allow_unconditional_update(&self) -> bool {
        S::ALLOW_UNCONDITIONAL_UPDATE
    }

    fn allocates(&self) -> bool {
        S::ALLOCATES
    }

    fn reset_fields(&self, subresource: &str) -> Filter {
        Strategy::reset_fields(self, subresource).unwrap_or_else(|| default_reset_fields(S::SUBRESOURCES, subresource))
    }

    fn decode(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, serde_json::Error> {
        apimachinery::json::from_bytes::<S::Object>(json).map(|object| Box::new(object) as Box<dyn AnyObject>)
    }

    fn set_defaults(&self, object: &mut dyn AnyObject) {
        Strategy::set_defaults(self, typed_mut::<S>(object));
    }

    fn reserve(
        &self,
        cx: &RequestCx,
        new: &mut dyn AnyObject,
        old: Option<&dyn AnyObject>,
    ) -> Result<Option<Box<dyn Reservation>>, ApiError> {
        Strategy::reserve(self, cx, typed_mut::<S>(new), old.map(typed::<S>))
    }

    fn warnings(&self, cx: &RequestCx, new: &dyn AnyObject, old: Option<&dyn AnyObject>) -> Vec<String> {
        Strategy::warnings(self, cx, typed::<S>(new), old.map(typed::<S>))
    }

    fn status_warnings(&self, new: &dyn AnyObject) -> Vec<String> {
        Strategy::status_warnings(self, typed::<S>(new))
    }

    fn prepare_for_create(&self, cx: &RequestCx, object: &mut dyn AnyObject) {
        Strategy::prepare_for_create(self, cx, typed_mut::<S>(object));
    }

    fn validate(&self, cx: &RequestCx, object: &dyn AnyObject) -> ErrorList {
        Strategy::validate(self, cx, typed::<S>(object))
    }

    fn generate_name(&self, base: &str) -> String {
        Strategy::generate_name(self, base)
    }

    fn prepare_for_update(&self, kind: UpdateKind<'_>, cx: &RequestCx, new: &mut dyn AnyObject, old: &dyn AnyObject) {
        let (new, old) = (typed_mut::<S>(new), typed::<S>(old));
        match kind {
            UpdateKind::Object => Strategy::prepare_for_update(self, cx, new, old),
            UpdateKind::Status => self.prepare_for_status_update(cx, new, old),
            UpdateKind::Subresource(name) => self.prepare_for_subresource_update(name, cx, new, old),
        }
    }

    fn validate_update(
        &self,
        kind: UpdateKind<'_>,
        cx: &RequestCx,
        new: &dyn AnyObject,
        old: &dyn AnyObject,
    ) -> ErrorList {
        let (new, old) = (typed::<S>(new), typed::<S>(old));
        match kind {
            UpdateKind::Object => Strategy::validate_update(self, cx, new, old),
            UpdateKind::Status => self.validate_status_update(cx, new, old),
            UpdateKind::Subresource(name) => self.validate_subresource_update(name, cx, new, old),
        }
    }

    fn scale(&self, object: &dyn AnyObject) -> Option<Scale> {
        Strategy::scale(self, typed::<S>(object))
    }

    fn set_scale(&self, object: &mut dyn AnyObject, replicas: i32) {
        Strategy::set_scale(self, typed_mut::<S>(object), replicas);
    }

    fn action(&self, name: &str) -> Option<Arc<dyn Action>> {
        Strategy::action(self, name)
    }

    fn graceful_deletion(&self, cx: &RequestCx, object: &mut dyn AnyObject, requested: Option<i64>) -> Option<i64> {
        Strategy::graceful_deletion(self, cx, typed_mut::<S>(object), requested)
    }

    fn holds_deletion(&self, object: &mut dyn AnyObject) -> bool {
        Strategy::holds_deletion(self, typed_mut::<S>(object))
    }

    fn released(&self, cx: &RequestCx, object: &dyn AnyObject) -> Vec<Companion> {
        Strategy::released(self, cx, typed::<S>(object))
    }

    fn columns(&self) -> Vec<ColumnHeader> {
        S::COLUMNS.iter().map(Column::header).collect()
    }

    fn cells(&self, object: &dyn AnyObject, now: Timestamp) -> Vec<Value> {
        let (object, cx) = (typed::<S>(object), PrintCx { now });
        S::COLUMNS.iter().map(|column| (column.cell)(object, &cx)).collect()
    }
}

impl<T: ?Sized> Column<T> {
    pub(crate) fn header(&self) -> ColumnHeader {
        ColumnHeader {
            name: self.name.to_owned(),
            kind: self.kind.to_owned(),
            format: self.format.to_owned(),
            description: self.description.to_owned(),
            priority: self.priority,
        }
    }
}

/// The status is not set through the object, and the rest not through the status.
fn default_reset_fields(subresources: &[Subresource], subresource: &str) -> Filter {
    let has_status = subresources.iter().any(|subresource| subresource.handler == crate::Handler::Status);
    match subresource {
        "status" => Filter::exclude([["spec"].as_slice()]),
        _ if has_status => Filter::exclude([["status"].as_slice()]),
        _ => Filter::Everything,
    }
}

/// The pipeline only ever hands a resource objects which that resource decoded.
#[expect(clippy::panic, reason = "a mismatch is a bug in the pipeline, never a matter of input")]
fn typed<S: Strategy>(object: &dyn AnyObject) -> &S::Object {
    match object.as_any().downcast_ref() {
        Some(object) => object,
        None => panic!("object of another resource given to {}", S::INFO.plural),
    }
}

#[expect(clippy::panic, reason = "a mismatch is a bug in the pipeline, never a matter of input")]
fn typed_mut<S: Strategy>(object: &mut dyn AnyObject) -> &mut S::Object {
    match object.as_any_mut().downcast_mut::<S::Object>() {
        Some(object) => object,
        None => panic!("object of another resource given to {}", S::INFO.plural),
    }
}

#[expect(dead_code, reason = "checks at compile time that the trait stays usable as an object")]
fn object_safe(_: &dyn Resource) {}

const _: fn() = || {
    fn assert_object<T: Object>() {}
    assert_object::<k8s_openapi::api::core::v1::ConfigMap>();
};
