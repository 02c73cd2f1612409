//! The pipeline itself: every request to a resource goes through here, once its caller is known and allowed.
//!
//! Order of a write: decode, defaults, mutating admission, prepare, validate, validating admission, store.
//! Upstream counterpart: `registry/generic/registry/store.go` and `endpoints/handlers`.

mod companions;
mod create;
mod custom;
mod decode;
mod delete;
mod list;
mod metadata;
mod modify;
mod patch;
mod scale;
mod select;
mod watch;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use apimachinery::{ApiError, Gvk, Gvr};
use arc_swap::ArcSwap;
use bytes::Bytes;
use jiff::Timestamp;
use metrics::{Family, Histogram, Stability};
use store::{EngineError, Entry, Expect, Key, Revision, Store, StoreError, Template, Txn};

use self::companions::Outcome;
use crate::{
    Companion, Durability, Info, ReadObjects, Reader, RequestCx, ResourceHandle, UserInfo, Verb,
    admission::{Admission, AdmissionRequest, Operation},
    object::AnyObject,
};

pub use delete::Deleted;
pub use list::{Items, ListPage, Presented};
pub use modify::{ApplyPatch, Change};
pub use patch::{Patch, PatchKind};
pub use scale::ScaleChange;
pub(crate) use scale::scale_json;
pub use select::Selection;
pub use watch::{EventType, WatchItem, WatchStream};

/// Largest object that is stored. Upstream: etcd's default request limit.
const MAX_OBJECT_BYTES: usize = 1_572_864;

/// Whose the fields are that the server itself sets.
const OWN_FIELD_MANAGER: &str = "kube-apiserver";

/// All registered kinds and what serves them. A clone is a reference count.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    kinds: ArcSwap<Kinds>,
    /// Counts changes of `kinds`.
    generation: AtomicU64,
    admission: Vec<Arc<dyn Admission>>,
}

#[derive(Clone, Default)]
struct Kinds {
    /// By group, version and plural: nested, so that a look-up borrows its key.
    by_resource: HashMap<String, HashMap<String, HashMap<String, Arc<Kind>>>>,
    /// Group and plural to the kind in its preferred version.
    preferred: HashMap<String, HashMap<String, Arc<Kind>>>,
    ordered: Vec<Arc<Kind>>,
}

/// One registered kind in one version.
pub struct Kind {
    pub resource: ResourceHandle,
    pub gvr: Gvr,
    pub gvk: Gvk,
    table: store::Resource,
    /// Told when the kind is not served any more, or by other rules: open watches end then.
    retired: tokio::sync::watch::Sender<bool>,
}

/// Collects kinds and plugins, then makes the registry.
pub struct RegistryBuilder {
    store: Store,
    resources: Vec<ResourceHandle>,
    admission: Vec<Arc<dyn Admission>>,
}

/// An object as it was written, or would have been.
#[derive(Clone, Debug)]
pub struct Written {
    /// JSON with its resource version.
    pub bytes: Bytes,
    /// What is stored; none on a dry run.
    pub entry: Option<Arc<Entry>>,
    pub created: bool,
}

// === impl RegistryBuilder ===

impl RegistryBuilder {
    #[must_use]
    pub fn resource(mut self, resource: impl Into<ResourceHandle>) -> Self {
        self.resources.push(resource.into());
        self
    }

    #[must_use]
    pub fn resources(mut self, resources: impl IntoIterator<Item = impl Into<ResourceHandle>>) -> Self {
        self.resources.extend(resources.into_iter().map(Into::into));
        self
    }

    /// Plugins run in the order in which they are added.
    #[must_use]
    pub fn admission(mut self, plugin: Arc<dyn Admission>) -> Self {
        self.admission.push(plugin);
        self
    }

    pub fn build(self) -> Registry {
        let registry = Registry {
            inner: Arc::new(Inner {
                store: self.store,
                kinds: ArcSwap::default(),
                generation: AtomicU64::new(0),
                admission: self.admission,
            }),
        };
        for resource in self.resources {
            registry.register(resource);
        }
        registry
    }
}

// === impl Registry ===

impl Registry {
    pub fn builder(store: Store) -> RegistryBuilder {
        RegistryBuilder { store, resources: Vec::new(), admission: Vec::new() }
    }

    /// Adds a kind, or replaces the one of the same group, version and plural.
    pub fn register(&self, resource: impl Into<ResourceHandle>) {
        let kind = self.detached(resource);
        let info = *kind.info();
        let replaced = self.inner.kinds.rcu(|kinds| {
            let mut kinds = Kinds::clone(kinds);
            match kinds.ordered.iter_mut().find(|other| other.gvr == kind.gvr) {
                Some(place) => *place = Arc::clone(&kind),
                None => kinds.ordered.push(Arc::clone(&kind)),
            }
            let versions = kinds.by_resource.entry(info.group.to_owned()).or_default();
            let resources = versions.entry(info.version.to_owned()).or_default();
            resources.insert(info.plural.to_owned(), Arc::clone(&kind));
            kinds
                .preferred
                .entry(info.group.to_owned())
                .or_default()
                .entry(info.plural.to_owned())
                .and_modify(|known| {
                    if known.gvr == kind.gvr {
                        *known = Arc::clone(&kind);
                    }
                })
                .or_insert_with(|| Arc::clone(&kind));
            kinds
        });
        self.inner.generation.fetch_add(1, Ordering::AcqRel);
        if let Some(replaced) = replaced.at(info.group, info.version, info.plural) {
            replaced.retired.send_replace(true);
        }
    }

    /// A kind over what is stored of its resource that nobody is served by.
    pub fn detached(&self, resource: impl Into<ResourceHandle>) -> Arc<Kind> {
        let resource = resource.into();
        let info = *resource.info();
        let stored = resource.hub().map_or(info, |converted| *converted.hub.info());
        let table = self.inner.store.resource(&stored.group_resource());
        if let Some(field) = resource.selectable().iter().find(|field| field.indexed).copied() {
            table.index_by(move |bytes| select::value(&field, bytes).into());
        }
        Arc::new(Kind {
            gvr: Gvr::new(info.group, info.version, info.plural),
            gvk: Gvk::new(info.group, info.version, info.kind),
            table,
            resource,
            retired: tokio::sync::watch::Sender::new(false),
        })
    }

    /// Stops serving a kind. What is stored stays.
    pub fn unregister(&self, group: &str, version: &str, plural: &str) {
        let before = self.inner.kinds.rcu(|kinds| {
            let mut kinds = Kinds::clone(kinds);
            let is_it =
                |kind: &Kind| kind.gvr.group == group && kind.gvr.version == version && kind.gvr.resource == plural;
            kinds.ordered.retain(|kind| !is_it(kind));
            if let Some(versions) = kinds.by_resource.get_mut(group) {
                if let Some(resources) = versions.get_mut(version) {
                    resources.remove(plural);
                }
                versions.retain(|_, resources| !resources.is_empty());
            }
            kinds.by_resource.retain(|_, versions| !versions.is_empty());
            let next =
                kinds.ordered.iter().find(|kind| kind.gvr.group == group && kind.gvr.resource == plural).cloned();
            if let Some(resources) = kinds.preferred.get_mut(group) {
                match (next, resources.get(plural).is_some_and(|kind| is_it(kind))) {
                    (Some(next), true) => {
                        resources.insert(plural.to_owned(), next);
                    }
                    (None, true) => {
                        resources.remove(plural);
                    }
                    (_, false) => {}
                }
            }
            kinds.preferred.retain(|_, resources| !resources.is_empty());
            kinds
        });
        self.inner.generation.fetch_add(1, Ordering::AcqRel);
        if let Some(kind) = before.at(group, version, plural) {
            kind.retired.send_replace(true);
        }
    }

    /// Grows with every change of the kinds that are served.
    pub fn generation(&self) -> u64 {
        self.inner.generation.load(Ordering::Acquire)
    }

    /// The kind served at a path, if any.
    pub fn kind(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.inner.kinds.load().at(group, version, plural).cloned()
    }

    /// The kind in its preferred version.
    pub fn preferred_kind(&self, group: &str, plural: &str) -> Option<Arc<Kind>> {
        self.inner.preferred(group, plural)
    }

    /// All kinds in the order of their registration.
    pub fn kinds(&self) -> Vec<Arc<Kind>> {
        self.inner.kinds.load().ordered.clone()
    }

    /// The kinds of other versions and groups that show the same objects, in the order of their registration.
    /// Upstream: `runtime.EquivalentResourceMapper`.
    pub fn equivalents(&self, kind: &Kind) -> Vec<Arc<Kind>> {
        let kinds = self.inner.kinds.load();
        let same =
            kinds.ordered.iter().filter(|other| other.table.name() == kind.table.name() && other.gvr != kind.gvr);
        same.cloned().collect()
    }

    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.inner) as Arc<dyn ReadObjects>)
    }

    /// The context of a request that this process makes of its own accord.
    pub fn context(&self, user: Arc<UserInfo>, verb: Verb) -> RequestCx {
        let mut cx = RequestCx::new(user, verb, Timestamp::now(), self.reader());
        OWN_FIELD_MANAGER.clone_into(&mut cx.field_manager);
        cx
    }

    /// The object as it is stored.
    pub fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Arc<Entry>, ApiError> {
        let key = kind.key(namespace, name)?;
        kind.table.snapshot().get(&key).ok_or_else(|| ApiError::not_found(&kind.gvr, name))
    }

    /// Runs the mutating plugins, and once more where one of them asks for it.
    pub async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        let (start, operation) = (Instant::now(), request.operation);
        let outcome = self.mutate_by_plugins(request).await;
        observe_step(operation, "admit", outcome.is_err(), start);
        outcome
    }

    async fn mutate_by_plugins(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        loop {
            for plugin in &self.inner.admission {
                if plugin.handles(request.info, request.subresource, request.operation) {
                    let start = Instant::now();
                    let outcome = plugin.mutate(request).await;
                    observe(plugin.name(), request.operation, "admit", outcome.is_err(), start);
                    outcome?;
                    request.forget_forms();
                }
            }
            if !request.reinvocation.starts_again() {
                return Ok(());
            }
        }
    }

    /// Runs the validating plugins.
    pub async fn validate_admission(&self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        let start = Instant::now();
        let outcome = self.validate_by_plugins(request).await;
        observe_step(request.operation, "validate", outcome.is_err(), start);
        outcome
    }

    async fn validate_by_plugins(&self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        for plugin in &self.inner.admission {
            if plugin.handles(request.info, request.subresource, request.operation) {
                let start = Instant::now();
                let outcome = plugin.validate(request).await;
                observe(plugin.name(), request.operation, "validate", outcome.is_err(), start);
                outcome?;
            }
        }
        Ok(())
    }

    async fn commit(&self, kind: &Kind, txn: Txn) -> Result<Arc<Entry>, StoreError> {
        let txn = match kind.resource.durability() {
            Durability::Relaxed => txn.relaxed(),
            Durability::Synced => txn,
        };
        self.inner.store.commit(txn).await.map(|committed| Arc::clone(committed.entry()))
    }

    /// Writes an object, with what goes with it.
    async fn put(
        &self,
        kind: &Kind,
        (key, expect, value): (Key, Expect, Template),
        companions: &[Companion],
        now: Timestamp,
    ) -> Result<Outcome, ApiError> {
        let outcome = self.commit_with(kind, Txn::new().put(&kind.table, key, expect, value), companions, now).await?;
        if matches!(outcome, Outcome::Written(_)) {
            self.check_rules(kind);
        }
        Ok(outcome)
    }
}

impl Kinds {
    fn at(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.by_resource.get(group)?.get(version)?.get(plural)
    }
}

impl Inner {
    fn preferred(&self, group: &str, plural: &str) -> Option<Arc<Kind>> {
        self.kinds.load().preferred.get(group)?.get(plural).cloned()
    }
}

impl ReadObjects for Inner {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Bytes> {
        let kind = self.preferred(group, plural)?;
        let key = Key::new(namespace, name).ok()?;
        kind.table.snapshot().get(&key).map(|entry| entry.bytes().clone())
    }

    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Bytes> {
        let Some(kind) = self.preferred(group, plural) else { return Vec::new() };
        let range = kind.table.snapshot().range(namespace.unwrap_or_default(), None);
        range.map(|entry| entry.bytes().clone()).collect()
    }

    fn count(&self, group: &str, plural: &str) -> usize {
        self.preferred(group, plural).map_or(0, |kind| kind.table.snapshot().len())
    }

    fn record(&self, resource: &str, name: &str) -> Option<Bytes> {
        let key = Key::new("", name).ok()?;
        self.store.resource(resource).snapshot().get(&key).map(|entry| entry.bytes().clone())
    }
}

// === impl Kind ===

impl Kind {
    pub fn info(&self) -> &Info {
        self.resource.info()
    }

    fn key(&self, namespace: &str, name: &str) -> Result<Key, ApiError> {
        let namespace = if self.info().is_namespaced() { namespace } else { "" };
        // A name that cannot be a key cannot be stored either.
        Key::new(namespace, name).map_err(|_| ApiError::not_found(&self.gvr, name))
    }

    /// One object as it is stored.
    pub fn stored_one(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        self.table.snapshot().get(&self.key(namespace, name).ok()?)
    }

    /// All objects of a namespace as they are stored; of cluster-wide kinds that is `""`.
    pub fn stored_in(&self, namespace: &str) -> Vec<Arc<Entry>> {
        self.table.snapshot().range(namespace, None).collect()
    }

    /// Stored bytes as an object.
    pub fn decode_stored(&self, entry: &Entry) -> Result<Box<dyn AnyObject>, ApiError> {
        self.decode_bytes(entry.bytes())
    }

    /// Stored JSON as the kind's clients see it. Objects that a webhook has to convert go through
    /// [`Kind::present_all`] first; presenting them again changes nothing.
    pub fn present(&self, stored: &Bytes) -> Result<Bytes, ApiError> {
        match (self.resource.hub(), self.resource.custom()) {
            (Some(converted), _) => converted.present(stored),
            (None, Some(custom)) => custom.present(stored),
            (None, None) => Ok(stored.clone()),
        }
    }

    /// JSON of the pipeline's own objects as the kind's clients see it: those of custom kinds are in their version already.
    pub(crate) fn present_working(&self, json: &Bytes) -> Result<Bytes, ApiError> {
        match self.resource.hub() {
            Some(converted) => converted.present(json),
            None => Ok(json.clone()),
        }
    }

    /// Whether stored JSON is what clients see.
    pub fn is_stored_as_served(&self) -> bool {
        self.resource.hub().is_none() && self.resource.custom().is_none_or(|custom| custom.is_stored_as_served())
    }

    fn invalid(&self, name: &str, errors: &apimachinery::ErrorList) -> ApiError {
        ApiError::invalid(&self.gvk.group, &self.gvk.kind, name, errors)
    }
}

// === helpers of the verbs ===

static ADMISSION: Family<Histogram, 4> = Family::with_bounds(
    "apiserver_admission_controller_admission_duration_seconds",
    Stability::Stable,
    "Admission controller latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).",
    ["name", "operation", "rejected", "type"],
    &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5],
);

static ADMISSION_STEPS: Family<Histogram, 3> = Family::with_bounds(
    "apiserver_admission_step_admission_duration_seconds",
    Stability::Stable,
    "Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step type (validate or admit).",
    ["operation", "rejected", "type"],
    &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5],
);

fn observe_step(operation: Operation, step: &str, rejected: bool, start: Instant) {
    let rejected = if rejected { "true" } else { "false" };
    ADMISSION_STEPS.with([operation.as_str(), rejected, step]).observe_duration(start.elapsed());
}

fn observe(name: &str, operation: Operation, step: &str, rejected: bool, start: Instant) {
    let rejected = if rejected { "true" } else { "false" };
    ADMISSION.with([name, operation.as_str(), rejected, step]).observe_duration(start.elapsed());
}

fn admission_request<'a>(
    registry: &'a Registry,
    kind: &'a Kind,
    cx: &'a RequestCx,
    operation: Operation,
    name: &'a str,
    object: Option<&'a mut dyn AnyObject>,
    old_object: Option<&'a dyn AnyObject>,
) -> AdmissionRequest<'a> {
    AdmissionRequest { name, object, old_object, ..AdmissionRequest::at(registry, kind, cx, operation) }
}

fn check_size(value: &Template) -> Result<(), ApiError> {
    let size = value.head.len() + value.tail.len();
    if size > MAX_OBJECT_BYTES {
        return Err(ApiError::request_too_large(format!(
            "Request entity too large: limit is {MAX_OBJECT_BYTES} bytes, object has {size}"
        )));
    }
    Ok(())
}

/// Errors of the store that are not about a precondition.
fn store_error(error: &StoreError) -> ApiError {
    match error {
        // The store has logged it, with the path that clients are not to see.
        StoreError::Unavailable(why) if matches!(**why, EngineError::Full { .. }) => {
            ApiError::service_unavailable(format!("{error}: no space left on its disk"))
        }
        // As upstream passes on what etcd says.
        StoreError::Unavailable(why) if matches!(**why, EngineError::Refused { .. }) => {
            tracing::error!(error = %why, "store refuses a write");
            ApiError::internal(why)
        }
        StoreError::Unavailable(_) | StoreError::Closed => {
            tracing::error!(error = %error, "store refuses a write");
            ApiError::service_unavailable(error.to_string())
        }
        StoreError::Unknown(_) => ApiError::timeout("the outcome of the write is not known", 1),
        StoreError::Conflict { .. } | StoreError::Malformed(_) => ApiError::internal(error),
    }
}

fn revision_of(text: &str) -> Option<Revision> {
    text.parse().ok().map(Revision)
}
