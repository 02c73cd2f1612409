//! fjall: a log-structured merge tree with a journal.

use std::path::PathBuf;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{key, other, record, value};
use crate::{
    CommitError, Durability, Engine, EngineError, Factory, Mutation, OpenReason, Opened, Outcome, Restore, Revision,
    Transaction,
};

pub struct FjallFactory {
    pub path: PathBuf,
}

struct Fjall {
    database: Database,
    records: Keyspace,
    revision: Revision,
}

impl Factory for FjallFactory {
    fn open(&self, _reason: OpenReason, restore: &mut dyn Restore) -> Result<Opened, EngineError> {
        let database = Database::builder(&self.path).worker_threads(1).cache_size(8 << 20).open().map_err(other)?;
        let records = database
            .keyspace("records", || KeyspaceCreateOptions::default().max_memtable_size(16 << 20))
            .map_err(other)?;
        let mut revision = Revision::ZERO;
        for item in records.iter() {
            let (key, value) = item.into_inner().map_err(other)?;
            if let Some(record) = record(&key, &value) {
                revision = revision.max(record.modified);
                restore.live(record);
            }
        }
        if let Some(value) = records.get(b"revision").map_err(other)?
            && let Ok(bytes) = <[u8; 8]>::try_from(&value[..])
        {
            revision = Revision(u64::from_le_bytes(bytes));
        }
        restore.base(revision);
        Ok(Opened { engine: Box::new(Fjall { database, records, revision }), revision })
    }
}

impl Fjall {
    fn write(&mut self, batch: &[Transaction]) -> Result<Vec<Outcome>, EngineError> {
        let synced = batch.iter().any(|transaction| transaction.durability == Durability::Synced);
        let mode = if synced { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut write = self.database.batch().durability(Some(mode));
        let mut outcomes = Vec::new();
        for transaction in batch {
            self.revision = self.revision.next();
            for mutation in &transaction.mutations {
                match mutation {
                    Mutation::Put { value: template, created, .. } => {
                        let value = value(template, created.unwrap_or(self.revision), self.revision);
                        write.insert(&self.records, key(mutation), value);
                    }
                    Mutation::Delete { .. } => write.remove(&self.records, key(mutation)),
                }
            }
            outcomes.push(Outcome::Committed(self.revision));
        }
        write.insert(&self.records, b"revision".to_vec(), self.revision.0.to_le_bytes().to_vec());
        write.commit().map_err(other)?;
        Ok(outcomes)
    }
}

impl Engine for Fjall {
    fn commit(&mut self, batch: &[Transaction]) -> Result<Vec<Outcome>, CommitError> {
        self.write(batch).map_err(CommitError::Broken)
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        self.database.persist(PersistMode::SyncData).map_err(other)
    }

    fn close(self: Box<Self>) -> Result<(), EngineError> {
        self.database.persist(PersistMode::SyncAll).map_err(other)
    }
}
