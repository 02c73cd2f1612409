//! Delete: grace periods, finalizers, preconditions. Upstream: `Store.Delete`, `rest.BeforeDelete`.

use apimachinery::ApiError;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use store::{Entry, Expect, Txn};

use super::{
    Kind, Outcome, Registry, Selection, Written, admission_request,
    metadata::{FOREGROUND, ORPHAN},
};
use crate::{
    GcPolicy, RequestCx,
    admission::Operation,
    canonical,
    object::AnyObject,
    options::{DeleteOptions, ListOptions, Propagation, RequestOptions},
};

const ATTEMPTS: usize = 100;

/// What became of the object.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// It is gone; this is its last state.
    Gone { bytes: Bytes, uid: String },
    /// It is marked, and goes when its grace period is over or its finalizers are taken away.
    Pending { bytes: Bytes },
}

/// What the deletion does to the object now.
enum Step {
    /// Nothing: it is going already.
    Wait,
    /// Write the marks, keep the object.
    Mark,
    Remove,
}

impl Registry {
    /// Deletes `cx.namespace`/`cx.name`.
    pub async fn delete(&self, kind: &Kind, cx: &RequestCx, options: &DeleteOptions) -> Result<Deleted, ApiError> {
        let key = kind.key(&cx.namespace, &cx.name)?;
        cx.set_options(|| RequestOptions::Delete(options.clone()));
        let mut admitted = false;
        for _ in 0..ATTEMPTS {
            let current = kind.table.snapshot().get(&key).ok_or_else(|| ApiError::not_found(&kind.gvr, &cx.name))?;
            let mut object = kind.decode_stored(&current)?;
            check_preconditions(kind, &cx.name, &*object, options)?;
            // Deletion marks the object in its stored form; policies see it as its clients do.
            let presented = match kind.is_stored_as_served() || kind.resource.custom().is_none() {
                true => None,
                false => Some(kind.decode_bytes(&kind.working_form(current.bytes()).await?)?),
            };
            let seen = presented.as_deref().unwrap_or(&*object);
            if !admitted {
                let mut request = admission_request(self, kind, cx, Operation::Delete, &cx.name, None, Some(seen));
                self.admit(&mut request).await?;
                admitted = true;
            }
            let request = admission_request(self, kind, cx, Operation::Delete, &cx.name, None, Some(seen));
            self.validate_admission(&request).await?;
            let outcome = match plan(kind, cx, &mut *object, options)? {
                Step::Wait => return Ok(Deleted::Pending { bytes: current.bytes().clone() }),
                Step::Mark => self.mark(kind, cx, &current, &mut *object).await?,
                Step::Remove => self.remove(kind, cx, &current, &mut *object).await?,
            };
            if let Some(deleted) = outcome {
                return Ok(deleted);
            }
        }
        Err(ApiError::modified(&kind.gvr, &cx.name))
    }

    async fn mark(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        current: &Entry,
        object: &mut dyn AnyObject,
    ) -> Result<Option<Deleted>, ApiError> {
        let value = canonical::encode(object, crate::ownership::of(current.bytes()))?;
        if cx.dry_run {
            return Ok(Some(Deleted::Pending { bytes: canonical::at(&value, current.mod_revision().0) }));
        }
        let expect = Expect::Revision(current.mod_revision());
        match self.put(kind, (current.key().clone(), expect, value), &[], cx.now).await? {
            Outcome::Written(entry) => Ok(Some(Deleted::Pending { bytes: entry.bytes().clone() })),
            Outcome::Conflict(_) | Outcome::Taken => Ok(None),
        }
    }

    async fn remove(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        current: &Entry,
        object: &mut dyn AnyObject,
    ) -> Result<Option<Deleted>, ApiError> {
        let uid = object.uid().to_owned();
        let value = canonical::encode(object, crate::ownership::of(current.bytes()))?;
        if cx.dry_run {
            return Ok(Some(Deleted::Gone { bytes: canonical::at(&value, current.mod_revision().0), uid }));
        }
        let expect = Expect::Revision(current.mod_revision());
        // Watchers see what the deletion did to the object, without a write of its own for that.
        let delete = Txn::new().delete_as(&kind.table, current.key().clone(), expect, value);
        let released = kind.resource.released(cx, object);
        match self.commit_with(kind, delete, &released, cx.now).await? {
            Outcome::Written(entry) => Ok(Some(Deleted::Gone { bytes: entry.bytes().clone(), uid })),
            Outcome::Conflict(_) | Outcome::Taken => Ok(None),
        }
    }

    /// Deletes every object of a list, and gives back their last states. Objects that others delete meanwhile are no error.
    pub async fn delete_collection(
        &self,
        kind: &Kind,
        cx: &mut RequestCx,
        selection: &Selection,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<Vec<Bytes>, ApiError> {
        let entries: Vec<_> = if kind.selects_presented(selection) {
            let (_, found) = self.list_presented(kind, &cx.namespace, selection, list).await?;
            found.into_iter().map(|one| one.entry).collect()
        } else {
            self.list(kind, &cx.namespace, selection, list)?.items.collect()
        };
        let collection_namespace = cx.namespace.clone();
        let mut out = Vec::with_capacity(entries.len());
        for entry in entries {
            entry.key().name().clone_into(&mut cx.name);
            entry.key().namespace().clone_into(&mut cx.namespace);
            match self.delete(kind, cx, options).await {
                Ok(Deleted::Gone { bytes, .. } | Deleted::Pending { bytes }) => out.push(bytes),
                Err(error) if error.is("NotFound") => {}
                Err(error) => return Err(error),
            }
        }
        cx.namespace = collection_namespace;
        cx.name.clear();
        Ok(out)
    }

    /// What an action does to an object that is read-modify-written without a request body of its own.
    pub async fn mutate(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        update: crate::UpdateKind<'_>,
        change: &(dyn Fn(&mut dyn AnyObject) -> Result<(), ApiError> + Send + Sync),
    ) -> Result<Written, ApiError> {
        self.modify(kind, cx, update, super::Change::Mutate(change), &Default::default()).await
    }
}

fn check_preconditions(
    kind: &Kind,
    name: &str,
    object: &dyn AnyObject,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != object.uid()) {
        return Err(ApiError::conflict(
            &kind.gvr,
            name,
            format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                object.uid()
            ),
        ));
    }
    let version = object.metadata().resource_version.as_deref().unwrap_or_default();
    if let Some(wanted) = options.resource_version.as_deref().filter(|wanted| *wanted != version) {
        return Err(ApiError::conflict(
            &kind.gvr,
            name,
            format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
            ),
        ));
    }
    Ok(())
}

/// Writes the deletion's marks into the object and says what is to be done with it.
fn plan(kind: &Kind, cx: &RequestCx, object: &mut dyn AnyObject, options: &DeleteOptions) -> Result<Step, ApiError> {
    // Negative values count as one second on the delete path.
    let requested = options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    let graceful = match object.metadata().deletion_timestamp.clone() {
        Some(at) => match going_already(object.metadata_mut(), at, requested, cx.now) {
            Some(step) => return Ok(step),
            None => object.metadata().deletion_grace_period_seconds.filter(|seconds| *seconds > 0),
        },
        None => match kind.resource.graceful_deletion(cx, object, requested) {
            None => None,
            Some(seconds) => {
                let metadata = object.metadata_mut();
                metadata.deletion_timestamp = Some(after(cx.now, seconds));
                metadata.deletion_grace_period_seconds = Some(seconds);
                bump_generation(metadata);
                Some(seconds)
            }
        },
    };
    set_collector_finalizers(kind, object.metadata_mut(), options);
    let has_finalizers = !object.metadata().finalizers.as_deref().unwrap_or_default().is_empty();
    let was_going = object.metadata().deletion_timestamp.is_some();
    let is_held = kind.resource.holds_deletion(object);
    if graceful.is_none() && (has_finalizers || is_held) {
        let metadata = object.metadata_mut();
        if !was_going {
            bump_generation(metadata);
        }
        if metadata.deletion_timestamp.as_ref().is_none_or(|Time(at)| *at > cx.now) {
            metadata.deletion_timestamp = Some(Time(cx.now));
        } else if is_held && !has_finalizers {
            // A held object that was marked before only waits for whoever holds it.
            return Ok(Step::Wait);
        }
        if has_finalizers {
            metadata.deletion_grace_period_seconds = Some(0);
        }
        return Ok(Step::Mark);
    }
    match graceful {
        _ if has_finalizers || is_held => Ok(Step::Mark),
        Some(seconds) if seconds > 0 => Ok(Step::Mark),
        _ => Ok(Step::Remove),
    }
}

/// An object that is being deleted: only a shorter grace period changes anything. `None`: go on.
fn going_already(metadata: &mut ObjectMeta, at: Time, requested: Option<i64>, now: Timestamp) -> Option<Step> {
    let left = metadata.deletion_grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    let left = left.filter(|seconds| *seconds > 0)?;
    match requested {
        Some(seconds) if seconds < left => {
            let mut period = seconds;
            let mut moved = after(after(at.0, -left).0, seconds);
            if moved.0 < now {
                moved = Time(now);
                if period != 0 {
                    period = 1;
                }
            }
            metadata.deletion_timestamp = Some(moved);
            metadata.deletion_grace_period_seconds = Some(period);
            None
        }
        _ => Some(Step::Wait),
    }
}

fn after(time: Timestamp, seconds: i64) -> Time {
    Time(time.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(time))
}

fn bump_generation(metadata: &mut ObjectMeta) {
    if let Some(generation) = metadata.generation.filter(|generation| *generation > 0) {
        metadata.generation = Some(generation + 1);
    }
}

/// Sets or takes away the finalizers by which the garbage collector learns of the propagation policy.
/// Upstream: `deletionFinalizersForGarbageCollection`.
fn set_collector_finalizers(kind: &Kind, metadata: &mut ObjectMeta, options: &DeleteOptions) {
    let has = |name: &str| metadata.finalizers.iter().flatten().any(|finalizer| finalizer == name);
    let (orphan, foreground) = match (options.orphan_dependents, options.propagation) {
        (Some(orphan), _) => (orphan, false),
        (None, Some(Propagation::Orphan)) => (true, false),
        (None, Some(Propagation::Background)) => (false, false),
        (None, Some(Propagation::Foreground)) => (false, true),
        (None, None) if has(ORPHAN) => (true, false),
        (None, None) if has(FOREGROUND) => (false, true),
        (None, None) => (kind.resource.gc_policy() == GcPolicy::OrphanDependents, false),
    };
    let mut finalizers: Vec<String> = metadata.finalizers.take().unwrap_or_default();
    finalizers.retain(|finalizer| finalizer != ORPHAN && finalizer != FOREGROUND);
    if orphan {
        finalizers.push(ORPHAN.to_owned());
    }
    if foreground {
        finalizers.push(FOREGROUND.to_owned());
    }
    metadata.finalizers = (!finalizers.is_empty()).then_some(finalizers);
}
