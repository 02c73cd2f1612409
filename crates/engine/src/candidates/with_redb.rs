//! redb: a copy-on-write B+ tree in one file, two-phase commit.

use std::path::PathBuf;

use redb::{Database, Durability as Level, ReadableDatabase, ReadableTable, TableDefinition};

use super::{key, other, record, value};
use crate::{
    CommitError, Durability, Engine, EngineError, Factory, Mutation, OpenReason, Opened, Outcome, Restore, Revision,
    Transaction,
};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

pub struct RedbFactory {
    pub path: PathBuf,
    pub two_phase: bool,
}

struct Redb {
    database: Database,
    revision: Revision,
    two_phase: bool,
}

impl Factory for RedbFactory {
    fn open(&self, _reason: OpenReason, restore: &mut dyn Restore) -> Result<Opened, EngineError> {
        std::fs::create_dir_all(&self.path).map_err(other)?;
        let mut builder = Database::builder();
        builder.set_cache_size(8 << 20);
        let database = builder.create(self.path.join("data.redb")).map_err(other)?;
        let transaction = database.begin_read().map_err(other)?;
        let mut revision = Revision::ZERO;
        if let Ok(table) = transaction.open_table(RECORDS) {
            for item in table.iter().map_err(other)? {
                let (key, value) = item.map_err(other)?;
                if let Some(record) = record(key.value(), value.value()) {
                    restore.live(record);
                }
            }
            let meta = transaction.open_table(META).map_err(other)?;
            revision = Revision(meta.get("revision").map_err(other)?.map_or(0, |value| value.value()));
        }
        restore.base(revision);
        drop(transaction);
        let two_phase = self.two_phase;
        Ok(Opened { engine: Box::new(Redb { database, revision, two_phase }), revision })
    }
}

impl Redb {
    fn write(&mut self, batch: &[Transaction]) -> Result<Vec<Outcome>, EngineError> {
        let synced = batch.iter().any(|transaction| transaction.durability == Durability::Synced);
        let mut write = self.database.begin_write().map_err(other)?;
        write.set_two_phase_commit(self.two_phase);
        write.set_durability(if synced { Level::Immediate } else { Level::None }).map_err(other)?;
        let mut outcomes = Vec::new();
        {
            let mut table = write.open_table(RECORDS).map_err(other)?;
            for transaction in batch {
                self.revision = self.revision.next();
                for mutation in &transaction.mutations {
                    let key = key(mutation);
                    match mutation {
                        Mutation::Put { value: template, created, .. } => {
                            let value = value(template, created.unwrap_or(self.revision), self.revision);
                            table.insert(&*key, &*value).map_err(other)?;
                        }
                        Mutation::Delete { .. } => {
                            table.remove(&*key).map_err(other)?;
                        }
                    }
                }
                outcomes.push(Outcome::Committed(self.revision));
            }
            let mut meta = write.open_table(META).map_err(other)?;
            meta.insert("revision", self.revision.0).map_err(other)?;
        }
        write.commit().map_err(other)?;
        Ok(outcomes)
    }
}

impl Engine for Redb {
    fn commit(&mut self, batch: &[Transaction]) -> Result<Vec<Outcome>, CommitError> {
        self.write(batch).map_err(CommitError::Broken)
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        self.database.begin_write().map_err(other)?.commit().map_err(other)
    }

    fn close(self: Box<Self>) -> Result<(), EngineError> {
        Ok(())
    }
}
