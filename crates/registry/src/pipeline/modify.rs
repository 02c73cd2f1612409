//! Update and patch: one loop that reads, changes and swaps. Upstream: `Store.Update`, `rest.BeforeUpdate`, `GuaranteedUpdate`.

use apimachinery::{
    ApiError,
    field::{Error, Path},
};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use store::{Entry, Expect, StoreError, Txn};

use super::{Kind, Patch, Registry, Written, admission_request, check_size, metadata, revision_of, store_error};
use crate::{
    RequestCx, UpdateKind,
    admission::Operation,
    canonical,
    object::AnyObject,
    options::{RequestOptions, WriteOptions},
};

/// How often a write may lose the race against others before the client is told.
const ATTEMPTS: usize = 100;

/// What the new object is made from.
pub enum Change<'a> {
    /// A whole object as JSON.
    Replace(&'a Bytes),
    Patch(&'a Patch),
    /// What an action or subresource does to the object; the request's own hooks still run.
    Mutate(&'a (dyn Fn(&mut dyn AnyObject) -> Result<(), ApiError> + Send + Sync)),
}

impl Registry {
    /// Changes `cx.namespace`/`cx.name`.
    pub fn modify<'a>(
        &'a self,
        kind: &'a Kind,
        cx: &'a RequestCx,
        update: UpdateKind<'a>,
        change: Change<'a>,
        options: &'a WriteOptions,
    ) -> BoxFuture<'a, Result<Written, ApiError>> {
        // Boxed here, so that callers' futures stay small, and `Send` is decided once.
        async move { self.modify_inner(kind, cx, update, change, options).await }.boxed()
    }

    async fn modify_inner(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        update: UpdateKind<'_>,
        change: Change<'_>,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        let key = kind.key(&cx.namespace, &cx.name)?;
        cx.set_options(|| match change {
            Change::Patch(_) => RequestOptions::Patch(options.clone()),
            Change::Replace(_) | Change::Mutate(_) => RequestOptions::Update(options.clone()),
        });
        // A body is decoded once; only what depends on the stored object is done again.
        let replacement = match &change {
            Change::Replace(body) => {
                let object = self.decode(kind, cx, body, options.field_validation)?;
                check_name(&*object, &cx.name)?;
                Some(object)
            }
            Change::Patch(_) | Change::Mutate(_) => None,
        };
        for _ in 0..ATTEMPTS {
            let Some(current) = kind.table.snapshot().get(&key) else {
                return match (&replacement, update) {
                    (Some(object), UpdateKind::Object) if kind.resource.allow_create_on_update() => {
                        self.create_on_update(kind, cx, object.clone_box()).await
                    }
                    _ => Err(ApiError::not_found(&kind.gvr, &cx.name)),
                };
            };
            let working = kind.working_form(current.bytes()).await?;
            let old = kind.decode_bytes(&working)?;
            let mut new = match (&change, &replacement) {
                (_, Some(replacement)) => replacement.clone_box(),
                (Change::Patch(patch), _) => self.patched(kind, cx, patch, &working, options)?,
                (Change::Mutate(mutate), _) => {
                    let mut object = old.clone_box();
                    mutate(&mut *object)?;
                    object
                }
                (Change::Replace(_), None) => return Err(ApiError::internal("no replacement")),
            };
            match self.swap(kind, cx, update, &current, &*old, &mut *new).await? {
                Some(written) => return Ok(written),
                None => continue,
            }
        }
        Err(ApiError::modified(&kind.gvr, &cx.name))
    }

    /// PUT of an absent object. The client's resource version must not claim that it exists.
    async fn create_on_update(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        mut object: Box<dyn AnyObject>,
    ) -> Result<Written, ApiError> {
        let uid = object.uid();
        if !uid.is_empty() {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: ");
            return Err(ApiError::conflict(&kind.gvr, &cx.name, why));
        }
        object.metadata_mut().resource_version = None;
        self.create_object(kind, cx, object).await
    }

    /// One attempt. `None`: somebody else was faster.
    async fn swap(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        update: UpdateKind<'_>,
        current: &Entry,
        old: &dyn AnyObject,
        new: &mut dyn AnyObject,
    ) -> Result<Option<Written>, ApiError> {
        let resource = &kind.resource;
        check_name(new, &cx.name)?;
        metadata::ensure_namespace(new.metadata_mut(), kind.info(), &cx.namespace)?;
        check_preconditions(kind, cx, current, old, new)?;
        self.admit(&mut admission_request(self, kind, cx, Operation::Update, &cx.name, Some(new), Some(old))).await?;
        resource.set_defaults(new);

        let reservation = resource.reserve(cx, new, Some(old))?;
        metadata::ensure_namespace(new.metadata_mut(), kind.info(), &cx.namespace)?;
        new.metadata_mut().generation = old.metadata().generation;
        new.metadata_mut().self_link = None;
        resource.prepare_for_update(update, cx, new, old);
        carry_system_fields(new, old);
        let mut errors = metadata::validate_update(new.metadata(), old.metadata());
        errors.append(resource.validate_update(update, cx, new, old));
        if !errors.is_empty() {
            return Err(kind.invalid(&cx.name, &errors));
        }
        for warning in resource.warnings(cx, new, Some(old)) {
            cx.warn(warning);
        }
        self.validate_admission(&admission_request(self, kind, cx, Operation::Update, &cx.name, Some(new), Some(old)))
            .await?;

        let expect = Expect::Revision(current.mod_revision());
        if is_last_finalizer_gone(new, old) && !resource.holds_deletion(new) {
            return self.delete_emptied(kind, cx, current, new).await;
        }
        let served = canonical::encode(new)?;
        let value = kind.stored_form(&served).await?;
        check_size(&value)?;
        let revision = current.mod_revision().0;
        // What is kept with an older key is written again: that is how a key is rotated.
        let unchanged = is_same(&value, current) && !self.inner.store.is_stale(&kind.table, current);
        if unchanged || cx.dry_run {
            let bytes = canonical::at(&served, revision);
            return Ok(Some(Written { bytes, entry: None, created: false }));
        }
        match self.put(kind, current.key().clone(), expect, value).await {
            Ok(entry) => {
                if let Some(reservation) = reservation {
                    reservation.commit();
                }
                resource.after_update(cx, new, old);
                Ok(Some(Written { bytes: kind.written(&entry, &served), entry: Some(entry), created: false }))
            }
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(store_error(&error)),
        }
    }

    /// The update took away what held a deleted object: it goes now.
    async fn delete_emptied(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        current: &Entry,
        new: &mut dyn AnyObject,
    ) -> Result<Option<Written>, ApiError> {
        let value = canonical::encode(new)?;
        let bytes = canonical::at(&value, current.mod_revision().0);
        if cx.dry_run {
            return Ok(Some(Written { bytes, entry: None, created: false }));
        }
        let expect = Expect::Revision(current.mod_revision());
        match self.commit(kind, Txn::new().delete(&kind.table, current.key().clone(), expect)).await {
            Ok(_) => {
                kind.resource.after_delete(cx, new);
                Ok(Some(Written { bytes, entry: None, created: false }))
            }
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(store_error(&error)),
        }
    }
}

fn check_name(object: &dyn AnyObject, requested: &str) -> Result<(), ApiError> {
    match object.name() {
        "" => Err(ApiError::bad_request("name must be provided")),
        name if name != requested => Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({requested})"
        ))),
        _ => Ok(()),
    }
}

/// The client's UID and resource version, where it gave them, must be those of what is stored.
fn check_preconditions(
    kind: &Kind,
    cx: &RequestCx,
    current: &Entry,
    old: &dyn AnyObject,
    new: &mut dyn AnyObject,
) -> Result<(), ApiError> {
    if !new.uid().is_empty() && new.uid() != old.uid() {
        let why = format!("Precondition failed: UID in precondition: {}, UID in object meta: {}", new.uid(), old.uid());
        return Err(ApiError::conflict(&kind.gvr, &cx.name, why));
    }
    let given = new.metadata().resource_version.as_deref().unwrap_or_default();
    if given.is_empty() || given == "0" {
        if kind.resource.allow_unconditional_update() {
            new.metadata_mut().resource_version = Some(current.mod_revision().0.to_string());
            return Ok(());
        }
        let errors =
            Error::invalid(&Path::new("metadata").child("resourceVersion"), 0, "must be specified for an update")
                .into();
        return Err(ApiError::invalid(&kind.gvk.group, &kind.gvr.resource, &cx.name, &errors));
    }
    match revision_of(given) {
        Some(revision) if revision == current.mod_revision() => Ok(()),
        Some(_) => Err(ApiError::modified(&kind.gvr, &cx.name)),
        None => {
            let errors = Error::invalid(
                &Path::new("metadata").child("resourceVersion"),
                given,
                "strconv.ParseUint: invalid syntax",
            )
            .into();
            Err(kind.invalid(&cx.name, &errors))
        }
    }
}

fn carry_system_fields(new: &mut dyn AnyObject, old: &dyn AnyObject) {
    let old = old.metadata();
    let new = new.metadata_mut();
    if new.uid.as_deref().unwrap_or_default().is_empty() {
        new.uid.clone_from(&old.uid);
    }
    if old.creation_timestamp.is_some() {
        new.creation_timestamp.clone_from(&old.creation_timestamp);
    }
    if old.deletion_timestamp.is_some() {
        new.deletion_timestamp.clone_from(&old.deletion_timestamp);
    }
    if old.deletion_grace_period_seconds.is_some() && new.deletion_grace_period_seconds.is_none() {
        new.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    }
}

/// Upstream: `ShouldDeleteDuringUpdate`.
fn is_last_finalizer_gone(new: &dyn AnyObject, old: &dyn AnyObject) -> bool {
    new.metadata().finalizers.as_deref().unwrap_or_default().is_empty()
        && old.metadata().deletion_timestamp.is_some()
        && old.metadata().deletion_grace_period_seconds.unwrap_or_default() == 0
}

fn is_same(value: &store::Template, current: &Entry) -> bool {
    let bytes = current.bytes();
    let digits = current.mod_revision().0.to_string();
    bytes.len() == value.head.len() + digits.len() + value.tail.len()
        && bytes.starts_with(&value.head)
        && bytes.ends_with(&value.tail)
}
