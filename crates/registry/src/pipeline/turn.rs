//! Taking turns where several servers write to one store: a kind whose objects are given something that no two may
//! have (addresses and ports of Services) is written by one server at a time. The turn is a record in the store, given
//! back by the very transaction that writes the object, so that who lost it writes nothing.
//!
//! Upstream keeps allocations as objects of their own (`IPAddress`, `RangeAllocation`) and compares those.

use std::time::Duration;

use apimachinery::ApiError;
use bytes::Bytes;
use store::{Expect, Filter, Key, Resource, Revision, StoreError, Template, Txn};

use super::{Kind, Registry, store_error};

/// What the store calls these records. They are no objects of the API.
pub const RESOURCE: &str = "tiphysturns";
/// Of a server that does not come back.
pub const LIFETIME: Duration = Duration::from_secs(10);
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);

/// Held while an object is made and written.
pub(super) struct Turn {
    table: Resource,
    key: Key,
    revision: Revision,
}

impl Registry {
    /// Waits until nobody else allocates for this kind, and looks at what is allocated. `None` where there are no
    /// others.
    pub(super) async fn turn(&self, kind: &Kind) -> Result<Option<Turn>, ApiError> {
        let store = &self.inner.store;
        if !kind.resource.allocates() || !store.is_shared() {
            return Ok(None);
        }
        let taken = tokio::time::timeout(PATIENCE, self.take_turn(kind));
        let turn = taken.await.map_err(|_| ApiError::timeout("others are allocating for this kind", 1))??;
        let current = match store.refresh().await {
            Ok(_) => kind.resource.start(&self.reader()),
            Err(error) => Err(store_error(&error)),
        };
        match current {
            Ok(()) => Ok(Some(turn)),
            Err(error) => {
                self.give_back(Some(&turn)).await;
                Err(error)
            }
        }
    }

    async fn take_turn(&self, kind: &Kind) -> Result<Turn, ApiError> {
        let store = &self.inner.store;
        let table = store.resource(RESOURCE);
        let key = Key::new("", &kind.info().group_resource()).map_err(ApiError::internal)?;
        let record = Bytes::from_static(br#"{"apiVersion":"v1","kind":"Turn","metadata":{}}"#);
        let value = Template::from_json(&record).ok_or_else(|| ApiError::internal("a turn cannot be written"))?;
        loop {
            let from = store.revision();
            let put = Txn::new().put(&table, key.clone(), Expect::Absent, value.clone());
            match store.commit(put).await {
                Ok(committed) => return Ok(Turn { table, key, revision: committed.revision }),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(store_error(&error)),
            }
            // Until it changes hands.
            let Ok(mut watch) = table.watch(from, Filter::all().named(key.name())) else { continue };
            while table.snapshot().get(&key).is_some() {
                if watch.next().await.is_err() {
                    break;
                }
            }
        }
    }

    /// After a write that did not take place. One that did has given it back.
    pub(super) async fn give_back(&self, turn: Option<&Turn>) {
        let Some(turn) = turn else { return };
        let delete = Txn::new().delete(&turn.table, turn.key.clone(), Expect::Revision(turn.revision));
        match self.inner.store.commit(delete).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a turn was not given back"),
        }
    }
}

// === impl Turn ===

impl Turn {
    /// Makes a transaction give it back, and fail without it.
    pub(super) fn end_with(&self, txn: Txn) -> Txn {
        txn.delete(&self.table, self.key.clone(), Expect::Revision(self.revision))
    }
}
