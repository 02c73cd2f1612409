//! What one kind does differently. Every hook has a default, so a kind states only its own.
//!
//! Hooks are pure over the object and the request; the order in which they run is written once, in `pipeline`.
//! Upstream counterpart: `rest.RESTCreateStrategy`, `RESTUpdateStrategy`, `RESTDeleteStrategy` and the `BeginCreate`/`AfterDelete` hooks of `registry.Store`.

use std::sync::Arc;

use apimachinery::{ApiError, field::ErrorList};
use bytes::Bytes;
use fieldmanager::Filter;
use k8s_openapi::api::autoscaling::v1::Scale;

use crate::{
    Column, Durability, GcPolicy, Info, NameRule, Object, RequestCx, SelectableField, Subresource, action::Action,
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
    /// `reserve` gives an object something that no two may have. Where somebody else was faster, it is done again, on
    /// the object as it was.
    const ALLOCATES: bool = false;

    // --- every write

    /// Defaulting, on create and update alike; before mutating admission. Must be idempotent.
    fn set_defaults(&self, _object: &mut Self::Object) {}

    /// Takes things outside the object (addresses, ports) for it, writing them into `new`. Runs on create before
    /// `prepare_for_create`, on update of the object before `prepare_for_update`; `old` is none on create.
    fn reserve(
        &self,
        _cx: &RequestCx,
        _new: &mut Self::Object,
        _old: Option<&Self::Object>,
    ) -> Result<Option<Box<dyn Reservation>>, ApiError> {
        Ok(None)
    }

    /// Texts for `Warning` headers about a write of the object.
    fn warnings(&self, _cx: &RequestCx, _new: &Self::Object, _old: Option<&Self::Object>) -> Vec<String> {
        Vec::new()
    }

    /// Texts for `Warning` headers about a write of the status.
    fn status_warnings(&self, _new: &Self::Object) -> Vec<String> {
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

    /// What goes in the transaction that deletes the object: what `reserve` has taken for it.
    fn released(&self, _cx: &RequestCx, _object: &Self::Object) -> Vec<Companion> {
        Vec::new()
    }
}

/// Something taken for an object that is not yet written. It is dropped when the write is over, whatever became of it:
/// until then other writes of this process keep away from what was taken, afterwards what is stored says who has it.
pub trait Reservation: Send {
    /// What is written and deleted in the transaction that writes the object.
    fn companions(&self) -> &[Companion];
}

/// A cluster-wide record that comes or goes with an object.
#[derive(Clone, Debug)]
pub struct Companion {
    /// As the store calls it. Where a kind of that name is served, the record is an object of it.
    pub resource: &'static str,
    pub name: String,
    pub change: CompanionChange,
}

#[derive(Clone, Debug)]
pub enum CompanionChange {
    /// JSON of the record, which may not be there yet.
    Put(Bytes),
    /// It goes, if nobody has written it since.
    Delete { revision: u64 },
}
