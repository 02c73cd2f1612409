//! What one kind does differently. Every hook has a default, so a kind states only its own.
//!
//! Hooks are pure over the object and the request; the order in which they run is written once, in `pipeline`.
//! Upstream counterpart: `rest.RESTCreateStrategy`, `RESTUpdateStrategy`, `RESTDeleteStrategy` and the `BeginCreate`/`AfterDelete` hooks of `registry.Store`.

use std::sync::Arc;

use apimachinery::{ApiError, field::ErrorList};
use fieldmanager::Filter;
use k8s_openapi::api::autoscaling::v1::Scale;

use crate::{
    Column, Durability, GcPolicy, Info, NameRule, Object, RequestCx, SelectableField, Subresource, action::Action,
    reader::Reader,
};

pub trait Strategy: Send + Sync + 'static {
    type Object: Object;

    const INFO: Info;

    /// Empty: name and creation time, as upstream's default table.
    const COLUMNS: &'static [Column<Self::Object>] = &[];
    const SUBRESOURCES: &'static [Subresource] = &[];
    const SELECTABLE: &'static [SelectableField] = &[];
    const NAME_RULE: NameRule = NameRule::DnsSubdomain;
    const DURABILITY: Durability = Durability::Synced;
    const GC_POLICY: GcPolicy = GcPolicy::DeleteDependents;
    /// What can be done to the kind.
    const VERBS: &'static [&'static str] = &crate::info::ALL_VERBS;
    /// Answer a finished deletion with the object instead of a Status (pods, services).
    const RETURN_DELETED_OBJECT: bool = false;
    /// PUT of an absent object creates it.
    const ALLOW_CREATE_ON_UPDATE: bool = false;
    /// PUT without `resourceVersion` overwrites.
    const ALLOW_UNCONDITIONAL_UPDATE: bool = true;
    /// `reserve` gives an object something that no two may have, across all servers: they take turns.
    const ALLOCATES: bool = false;

    /// Called once, before the first request, with what is stored: to fill allocators.
    fn start(&self, _reader: &Reader) -> Result<(), ApiError> {
        Ok(())
    }

    // --- every write

    /// Defaulting, on create and update alike; before mutating admission. Must be idempotent.
    fn set_defaults(&self, _object: &mut Self::Object) {}

    /// Takes things outside the object (addresses, ports) for it, writing them into `new`. The reservation is committed
    /// when the write has succeeded and otherwise dropped. Runs on create before `prepare_for_create`, on update before
    /// `prepare_for_update`; `old` is none on create. With `cx.dry_run` nothing may be kept.
    fn reserve(
        &self,
        _cx: &RequestCx,
        _new: &mut Self::Object,
        _old: Option<&Self::Object>,
    ) -> Result<Option<Box<dyn Reservation>>, ApiError> {
        Ok(None)
    }

    /// Texts for `Warning` headers.
    fn warnings(&self, _cx: &RequestCx, _new: &Self::Object, _old: Option<&Self::Object>) -> Vec<String> {
        Vec::new()
    }

    // --- create

    /// Drops what clients may not set (status) and starts the generation.
    fn prepare_for_create(&self, _cx: &RequestCx, _object: &mut Self::Object) {}

    /// Errors of the kind's own fields. Object metadata is validated by the pipeline, with `NAME_RULE`.
    fn validate(&self, _cx: &RequestCx, _object: &Self::Object) -> ErrorList {
        ErrorList::default()
    }

    /// A name from a prefix. Upstream: five random characters.
    fn generate_name(&self, base: &str) -> String {
        crate::names::generate(base)
    }

    // --- ownership

    /// What a write through an endpoint (`""`, `status`, …) sets, of all that it says. None: as most kinds, the status
    /// not through the object and the specification not through the status. Upstream: `GetResetFields`.
    fn reset_fields(&self, _subresource: &str) -> Option<Filter> {
        None
    }

    // --- update

    /// Puts back what clients may not change here (status) and counts the generation.
    fn prepare_for_update(&self, _cx: &RequestCx, _new: &mut Self::Object, _old: &Self::Object) {}

    /// Errors of the update. Upstream validates the whole new object here too; the default does.
    fn validate_update(&self, cx: &RequestCx, new: &Self::Object, _old: &Self::Object) -> ErrorList {
        self.validate(cx, new)
    }

    // --- subresources that show the whole object

    /// Puts back all but the status. The default does so through JSON; kinds whose status is written often override it
    /// with field moves.
    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut Self::Object, old: &Self::Object) {
        crate::status::keep_all_but_status(new, old);
    }

    fn validate_status_update(&self, _cx: &RequestCx, _new: &Self::Object, _old: &Self::Object) -> ErrorList {
        ErrorList::default()
    }

    /// As `prepare_for_update`, for the `Handler::Update` subresource `name` (`resize`, `ephemeralcontainers`, `finalize`, `approval`).
    fn prepare_for_subresource_update(
        &self,
        _name: &str,
        _cx: &RequestCx,
        _new: &mut Self::Object,
        _old: &Self::Object,
    ) {
    }

    fn validate_subresource_update(
        &self,
        _name: &str,
        _cx: &RequestCx,
        _new: &Self::Object,
        _old: &Self::Object,
    ) -> ErrorList {
        ErrorList::default()
    }

    // --- other subresources

    /// The object's scale; the pipeline fills in its metadata.
    fn scale(&self, _object: &Self::Object) -> Option<Scale> {
        None
    }

    /// Writes the wanted number of replicas.
    fn set_scale(&self, _object: &mut Self::Object, _replicas: i32) {}

    /// What serves the `Handler::Action` subresource `name`.
    fn action(&self, _name: &str) -> Option<Arc<dyn Action>> {
        None
    }

    // --- delete

    /// How long the object may take to go, in seconds; none: it goes at once. `requested` is what the client asked for.
    /// May write the object (a grace period's field). Called for deletes of objects not yet being deleted, and again when
    /// a shorter period is asked for.
    fn graceful_deletion(&self, _cx: &RequestCx, _object: &mut Self::Object, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// Whether the kind's own finalizers (a namespace's `spec.finalizers`) still hold the object. May mark it as going
    /// (phase `Terminating`).
    fn holds_deletion(&self, _object: &mut Self::Object) -> bool {
        false
    }

    // --- after the fact; must be quick, must not fail

    fn after_create(&self, _cx: &RequestCx, _object: &Self::Object) {}
    fn after_update(&self, _cx: &RequestCx, _new: &Self::Object, _old: &Self::Object) {}
    /// The object is gone: give back what it had reserved.
    fn after_delete(&self, _cx: &RequestCx, _object: &Self::Object) {}
}

/// Something taken for an object that is not yet written. Dropping it gives it back.
pub trait Reservation: Send {
    fn commit(self: Box<Self>);
}
