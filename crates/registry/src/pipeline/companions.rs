//! Records that come and go with an object: what no two objects may have (addresses, node ports) is claimed by a record
//! of its own, written in the transaction that writes the object. So two servers over one store cannot give out the
//! same, and a crash leaves either both or neither.
//!
//! Upstream counterpart: `ipallocator` and `portallocator`, which write `IPAddress` and `RangeAllocation` objects before
//! the Service and mend what a crash leaves between the two.

use apimachinery::ApiError;
use bytes::Bytes;
use jiff::Timestamp;
use store::{Entry, Expect, Key, Revision, StoreError, Template, Txn};

use super::{Kind, Registry, metadata, store_error};
use crate::{Companion, CompanionChange, UserInfo, Verb, canonical, ownership::Writer};

/// As many go into the object's own transaction. Upstream's etcd takes 128 operations (`--max-txn-ops`); an object with
/// more has the others claimed before it is written and released after.
const TOGETHER: usize = 100;

/// What a write of an object with companions came to.
pub(super) enum Outcome {
    Written(std::sync::Arc<Entry>),
    /// The object itself was not as expected.
    Conflict(Option<std::sync::Arc<Entry>>),
    /// Somebody else has one of the companions by now, or had it for a moment.
    Taken,
}

impl Registry {
    /// Commits a transaction whose first operation is the object, with its companions.
    pub(super) async fn commit_with(
        &self,
        kind: &Kind,
        object: Txn,
        companions: &[Companion],
        now: Timestamp,
    ) -> Result<Outcome, ApiError> {
        let (claims, releases): (Vec<&Companion>, Vec<&Companion>) =
            companions.iter().partition(|companion| matches!(companion.change, CompanionChange::Put(_)));
        let (claims_with, claims_before) = claims.split_at(claims.len().min(TOGETHER));
        let (releases_with, releases_after) = releases.split_at(releases.len().min(TOGETHER - claims_with.len()));
        let mut early = Vec::new();
        for batch in claims_before.chunks(TOGETHER) {
            match self.commit_batch(batch, now).await {
                Ok(claimed) => early.extend(claimed),
                Err(error) => {
                    self.take_back(early).await;
                    return error.map_or(Ok(Outcome::Taken), Err);
                }
            }
        }
        let mut txn = object;
        for companion in claims_with.iter().chain(releases_with) {
            txn = self.add(txn, companion, now).await?;
        }
        match self.commit(kind, txn).await {
            Ok(entry) => {
                for batch in releases_after.chunks(TOGETHER) {
                    if let Err(Some(error)) = self.commit_batch(batch, now).await {
                        tracing::warn!(%error, "claims of an object that has let go of them are left to the repair");
                    }
                }
                Ok(Outcome::Written(entry))
            }
            Err(error) => {
                self.take_back(early).await;
                match error {
                    StoreError::Conflict { op: 0, current, .. } => Ok(Outcome::Conflict(current)),
                    StoreError::Conflict { .. } => Ok(Outcome::Taken),
                    error => Err(store_error(&error)),
                }
            }
        }
    }

    /// Several companions without their object. `Err(None)`: one of them is not as it was expected to be.
    async fn commit_batch(
        &self,
        batch: &[&Companion],
        now: Timestamp,
    ) -> Result<Vec<(store::Resource, Key, Revision)>, Option<ApiError>> {
        let mut txn = Txn::new();
        for companion in batch {
            txn = self.add(txn, companion, now).await.map_err(Some)?;
        }
        match self.inner.store.commit(txn).await {
            Ok(committed) => {
                let placed = batch.iter().filter_map(|companion| {
                    let key = Key::new("", &companion.name).ok()?;
                    Some((self.inner.store.resource(companion.resource), key, committed.revision))
                });
                Ok(placed.collect())
            }
            Err(StoreError::Conflict { .. }) => Err(None),
            Err(error) => Err(Some(store_error(&error))),
        }
    }

    /// Claims whose object was not written after all.
    async fn take_back(&self, claimed: Vec<(store::Resource, Key, Revision)>) {
        for batch in claimed.chunks(TOGETHER) {
            let txn = batch.iter().fold(Txn::new(), |txn, (table, key, revision)| {
                txn.delete(table, key.clone(), Expect::Revision(*revision))
            });
            match self.inner.store.commit(txn).await {
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "claims without an object are left to the repair"),
            }
        }
    }

    async fn add(&self, txn: Txn, companion: &Companion, now: Timestamp) -> Result<Txn, ApiError> {
        let table = self.inner.store.resource(companion.resource);
        let key = Key::new("", &companion.name).map_err(ApiError::internal)?;
        match &companion.change {
            CompanionChange::Delete { revision } => Ok(txn.delete(&table, key, Expect::Revision(Revision(*revision)))),
            CompanionChange::Put(json) => {
                let (plural, group) = companion.resource.split_once('.').unwrap_or((companion.resource, ""));
                let value = match self.preferred_kind(group, plural) {
                    Some(kind) => self.companion_object(&kind, json, now).await?,
                    None => Template::from_json(json).ok_or_else(|| ApiError::internal("a claim cannot be written"))?,
                };
                Ok(txn.put(&table, key, Expect::Absent, value))
            }
        }
    }

    /// An object as this server creates it by itself: what is asked of clients' objects holds for it by construction.
    async fn companion_object(&self, kind: &Kind, json: &Bytes, now: Timestamp) -> Result<Template, ApiError> {
        let mut cx = self.context(std::sync::Arc::new(UserInfo::loopback()), Verb::Create);
        cx.now = now;
        let mut object = kind.resource.decode(json).map_err(ApiError::internal)?;
        kind.resource.set_defaults(&mut *object);
        let owned = self.owned_from_start(kind, Writer::of(&cx), &kind.served_json(&*object)?, b"").await;
        metadata::fill_system_fields(object.metadata_mut(), now);
        kind.resource.prepare_for_create(&cx, &mut *object);
        canonical::encode(&mut *object, &owned)
    }
}
