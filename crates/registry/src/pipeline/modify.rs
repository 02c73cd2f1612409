//! Update and patch: one loop that reads, changes and swaps. Upstream: `Store.Update`, `rest.BeforeUpdate`, `GuaranteedUpdate`.

use apimachinery::{
    ApiError,
    field::{Error, Path},
};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use store::{Entry, Expect, Txn};

use super::{
    Kind, Outcome, Patch, Registry, ScaleChange, Written, admission_request, decode::Body, metadata, revision_of,
    store_error,
};
use crate::{
    RequestCx, Reservation, UpdateKind,
    admission::Operation,
    canonical,
    object::AnyObject,
    options::{FieldValidation, RequestOptions, WriteOptions},
    ownership::{self, Owned, Writer},
};

/// How often a write may lose the race against others before the client is told.
const ATTEMPTS: usize = 100;

/// What the new object is made from.
pub enum Change<'a> {
    /// A whole object as JSON.
    Replace(&'a Bytes),
    Patch(&'a Patch),
    Apply(&'a ApplyPatch),
    /// A change of the replicas, through the scale subresource.
    Scale(&'a ScaleChange<'a>),
    /// What an action does to the object; the request's own hooks still run, and nobody's ownership changes.
    Mutate(&'a (dyn Fn(&mut dyn AnyObject) -> Result<(), ApiError> + Send + Sync)),
}

/// A configuration to be applied.
pub struct ApplyPatch {
    pub config: schema::Node<'static>,
    /// Takes fields that others have.
    pub force: bool,
    /// Keys that were there twice, in upstream's words.
    pub strict_error: Option<String>,
}

/// What is to be written, and what becomes of the owners of its fields.
struct Draft {
    object: Box<dyn AnyObject>,
    owners: Owners,
}

enum Owners {
    /// To be told from what changes; JSON of what the client has said of them.
    Told(Vec<u8>),
    Known(Owned),
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
        cx.set_options(|| RequestOptions::Write(options.clone()));
        // A body is decoded once; only what depends on the stored object is done again.
        let replacement = match &change {
            Change::Replace(body) => {
                let mut body = self.decode(kind, cx, body, options.field_validation)?;
                check_name(&*body.object, &cx.name)?;
                metadata::drop_repeated_owners(body.object.metadata_mut(), cx, metadata::REPEATED_OWNERS);
                Some(body)
            }
            _ => None,
        };
        for _ in 0..ATTEMPTS {
            let Some(current) = kind.table.snapshot().get(&key) else {
                let created = match (&change, &replacement, update) {
                    (_, Some(body), UpdateKind::Object) if kind.resource.allow_create_on_update() => {
                        self.create_on_update(kind, cx, body.clone(), None).await
                    }
                    (Change::Apply(patch), _, UpdateKind::Object) => {
                        self.create_by_apply(kind, cx, patch, options).await
                    }
                    _ => Err(ApiError::not_found(&kind.gvr, &cx.name)),
                };
                match (created, &change) {
                    // Somebody else has created it meanwhile: what is applied is laid over that.
                    (Err(error), Change::Apply(_)) if error.is("AlreadyExists") => continue,
                    (created, _) => return created,
                }
            };
            let working = kind.working_form(current.bytes()).await?;
            let old = kind.decode_bytes(&working)?;
            let told = |body: Body| Draft { object: body.object, owners: Owners::Told(body.managed_fields) };
            let kept = || Owned::kept(ownership::of(&working));
            let draft = match (&change, &replacement) {
                (_, Some(replacement)) => told(replacement.clone()),
                (Change::Patch(patch), _) => told(self.patched(kind, cx, patch, &working, options)?),
                (Change::Apply(patch), _) => self.laid_over(kind, cx, patch, &working, &*old, options).await?,
                (Change::Scale(scale), _) => {
                    let mut object = old.clone_box();
                    let owned = self.scaled(kind, cx, scale, &mut *object, ownership::of(&working)).await?;
                    Draft { object, owners: Owners::Known(owned) }
                }
                (Change::Mutate(mutate), _) => {
                    let mut object = old.clone_box();
                    mutate(&mut *object)?;
                    Draft { object, owners: Owners::Known(kept()) }
                }
                (Change::Replace(_), None) => return Err(ApiError::internal("no replacement")),
            };
            match self.swap(kind, cx, update, (&current, &working), &*old, draft).await? {
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
        mut body: Body,
        owned: Option<Vec<u8>>,
    ) -> Result<Written, ApiError> {
        let uid = body.object.uid();
        if !uid.is_empty() {
            let why = match owned {
                Some(_) => {
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found")
                }
                None => format!("Precondition failed: UID in precondition: {uid}, UID in object meta: "),
            };
            return Err(ApiError::conflict(&kind.gvr, &cx.name, why));
        }
        if let Some(may_create) = &cx.may_create {
            may_create.check().await?;
        }
        body.object.metadata_mut().resource_version = None;
        self.create_object(kind, cx, body, owned).await
    }

    /// An apply of what is not there yet.
    async fn create_by_apply(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        patch: &ApplyPatch,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        let applied = self.applied(kind, Writer::of(cx), None, &patch.config, patch.force).await?;
        patch.report(cx, options)?;
        // An empty configuration leaves nothing but what it says of itself.
        let json = match applied.object {
            Some(json) => json,
            None => patch.config.to_json(),
        };
        let body = self.decode(kind, cx, &json, FieldValidation::Ignore)?;
        check_name(&*body.object, &cx.name)?;
        self.create_on_update(kind, cx, body, Some(applied.list)).await
    }

    /// The configuration laid over what is there.
    async fn laid_over(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        patch: &ApplyPatch,
        working: &Bytes,
        old: &dyn AnyObject,
        options: &WriteOptions,
    ) -> Result<Draft, ApiError> {
        let live = kind.present(working)?;
        let applied = self.applied(kind, Writer::of(cx), Some(&live), &patch.config, patch.force).await?;
        patch.report(cx, options)?;
        let object = match applied.object {
            Some(json) => self.decode(kind, cx, &json, FieldValidation::Ignore)?.object,
            None => old.clone_box(),
        };
        let only_times = ownership::entries(ownership::of(&live)).same_but_times(&ownership::entries(&applied.list));
        Ok(Draft { object, owners: Owners::Known(Owned { list: applied.list, only_times }) })
    }

    /// The owners after a change that the client has not told of.
    async fn owners(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        working: &Bytes,
        new: &dyn AnyObject,
        given: &[u8],
    ) -> Result<Owned, ApiError> {
        let (live, new) = (kind.present(working)?, kind.served_json(new)?);
        Ok(self.owned_after(kind, Writer::of(cx), &live, &new, given).await)
    }

    /// One attempt. `None`: somebody else was faster.
    async fn swap(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        update: UpdateKind<'_>,
        (current, working): (&Entry, &Bytes),
        old: &dyn AnyObject,
        draft: Draft,
    ) -> Result<Option<Written>, ApiError> {
        let resource = &kind.resource;
        let Draft { object: mut new, owners } = draft;
        let new = &mut *new;
        check_name(new, &cx.name)?;
        metadata::ensure_namespace(new.metadata_mut(), kind.info(), &cx.namespace)?;
        check_preconditions(kind, cx, current, old, new)?;
        let mut owned = match owners {
            Owners::Told(given) => self.owners(kind, cx, working, new, &given).await?,
            Owners::Known(owned) => owned,
        };
        let before = ownership::of(working);
        let mut request = admission_request(self, kind, cx, Operation::Update, &cx.name, Some(new), Some(old));
        (request.managed_fields, request.old_managed_fields) = (owned.list.into(), before);
        self.admit(&mut request).await?;
        owned.list = request.managed_fields.into_owned();
        metadata::drop_repeated_owners(new.metadata_mut(), cx, metadata::REPEATED_OWNERS_AFTER_ADMISSION);
        resource.set_defaults(new);

        let reservation = match update {
            UpdateKind::Object => resource.reserve(cx, new, Some(old))?,
            UpdateKind::Status | UpdateKind::Subresource(_) => None,
        };
        metadata::ensure_namespace(new.metadata_mut(), kind.info(), &cx.namespace)?;
        new.metadata_mut().generation = old.metadata().generation;
        new.metadata_mut().self_link = None;
        resource.prepare_for_update(update, cx, new, old);
        carry_system_fields(new, old);
        let mut errors = metadata::validate_update(new.metadata(), old.metadata(), resource.custom().is_some());
        errors.append(resource.validate_update(update, cx, new, old));
        if !errors.is_empty() {
            return Err(kind.invalid(&cx.name, &errors));
        }
        let warnings = match update {
            UpdateKind::Object => resource.warnings(cx, new, Some(old)),
            UpdateKind::Status => resource.status_warnings(new),
            UpdateKind::Subresource(_) => Vec::new(),
        };
        warnings.into_iter().for_each(|warning| cx.warn(warning));
        let mut request = admission_request(self, kind, cx, Operation::Update, &cx.name, Some(new), Some(old));
        (request.managed_fields, request.old_managed_fields) = (owned.list.as_slice().into(), before);
        self.validate_admission(&request).await?;

        let expect = Expect::Revision(current.mod_revision());
        if is_last_finalizer_gone(new, old) && !resource.holds_deletion(new) {
            return self.delete_emptied(kind, cx, current, (new, old), &owned.list).await;
        }
        let (served, value) = kind.encoded(new, &owned.list).await?;
        let revision = current.mod_revision().0;
        // What is kept with an older key is written again: that is how a key is rotated.
        let fresh = !self.inner.store.is_stale(&kind.table, current);
        // A write that changes nothing but the time of an entry is none.
        if fresh && owned.only_times && ownership::same_but_list(&canonical::at(&value, revision), current.bytes()) {
            return Ok(Some(Written { bytes: kind.present_one(current.bytes()).await?, entry: None, created: false }));
        }
        if (fresh && is_same(&value, current)) || cx.dry_run {
            let bytes = canonical::at(&served, revision);
            return Ok(Some(Written { bytes, entry: None, created: false }));
        }
        let companions = reservation.as_deref().map_or(&[][..], Reservation::companions);
        match self.put(kind, (current.key().clone(), expect, value), companions, cx.now).await? {
            Outcome::Written(entry) => {
                Ok(Some(Written { bytes: kind.written(&entry, &served), entry: Some(entry), created: false }))
            }
            Outcome::Conflict(_) => Ok(None),
            Outcome::Taken => {
                // What others have taken has to be seen to be kept away from.
                self.inner.store.refresh().await.map_err(|error| store_error(&error))?;
                Ok(None)
            }
        }
    }

    /// The update took away what held a deleted object: it goes now.
    async fn delete_emptied(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        current: &Entry,
        (new, old): (&mut dyn AnyObject, &dyn AnyObject),
        owned: &[u8],
    ) -> Result<Option<Written>, ApiError> {
        let value = canonical::encode(new, owned)?;
        let bytes = canonical::at(&value, current.mod_revision().0);
        if cx.dry_run {
            return Ok(Some(Written { bytes, entry: None, created: false }));
        }
        let delete = Txn::new().delete(&kind.table, current.key().clone(), Expect::Revision(current.mod_revision()));
        let released = kind.resource.released(cx, old);
        match self.commit_with(kind, delete, &released, cx.now).await? {
            Outcome::Written(_) => Ok(Some(Written { bytes, entry: None, created: false })),
            Outcome::Conflict(_) | Outcome::Taken => Ok(None),
        }
    }
}

impl ApplyPatch {
    /// Warns of keys that were there twice, or refuses them.
    fn report(&self, cx: &RequestCx, options: &WriteOptions) -> Result<(), ApiError> {
        match (&self.strict_error, options.field_validation) {
            (None, _) | (_, FieldValidation::Ignore) => {}
            (Some(error), FieldValidation::Warn) => cx.warn(error.clone()),
            (Some(error), FieldValidation::Strict) => {
                return Err(ApiError::bad_request(format!("error strict decoding YAML: {error}")));
            }
        }
        Ok(())
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
