//! Everything that an engine keeps, taken out whole and put in whole: snapshots, and moving between engines.
//!
//! Values are taken as they are kept, so what is encrypted stays so, and its key has to be kept beside a snapshot, not
//! in it. A snapshot is a checkpoint of the log under another name: frames with a checksum each, and a count at the end.
//! What is restored goes on at a much later revision: one that was given out after the snapshot never comes again
//! with other contents. Upstream counterpart: `etcdutl snapshot`, with `--bump-revision` and `--mark-compacted`.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, RealDisk, failed};
use crate::etcd::{self, EtcdOptions};
use crate::log;
use crate::{EngineError, Record, Restore, Revision};

/// How far a restored store goes on behind its snapshot: more than was ever written in between.
pub const BUMP: u64 = 1_000_000_000;
/// A log that is written to while it is read may look damaged, or lose the file that is to be read next.
const ATTEMPTS: usize = 5;

/// All that is kept, at one revision, in the order of resources and paths.
#[derive(Debug, Default)]
pub struct Contents {
    pub revision: Revision,
    pub records: Vec<Record>,
}

// === impl Contents ===

impl Contents {
    /// Of the log in a directory, also while a server uses it.
    pub fn of_log(path: &Path) -> Result<Contents, EngineError> {
        let mut attempt = 1;
        loop {
            match log::read(&RealDisk::new(path)) {
                Ok(contents) => return Ok(contents),
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    /// Of etcd: everything below the prefix that is an object.
    pub fn of_etcd(options: &EtcdOptions) -> Result<Contents, EngineError> {
        let mut found = Collector::default();
        etcd::read(options, &mut found)?;
        Ok(found.finish())
    }

    /// Of a snapshot. A file that is cut short or damaged is an error.
    pub fn of_snapshot(path: &Path) -> Result<Contents, EngineError> {
        let (disk, name) = place(path)?;
        let mut found = Collector::default();
        log::read_snapshot(&disk, &name, &mut found)?;
        Ok(found.finish())
    }

    /// Writes a snapshot. The name is there only when all of it is; what had it before is replaced. Gives back how
    /// many bytes it has.
    pub fn save(&self, path: &Path) -> Result<u64, EngineError> {
        let (disk, name) = place(path)?;
        log::write_snapshot(&disk, &name, self.revision, self.records.clone())
    }

    /// Makes a log of it in a directory that has none, going on at `revision`.
    pub fn into_log(&self, path: &Path, revision: Revision) -> Result<(), EngineError> {
        log::create_from(&RealDisk::new(path), revision, self.records.clone())
    }

    /// Puts it into an etcd that has nothing below the prefix, going on behind `after` there, whatever it takes: etcd
    /// counts one by one. `progress` is told how many revisions and records are still to be written.
    pub fn into_etcd(
        &self,
        options: &EtcdOptions,
        after: Revision,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Revision, EngineError> {
        etcd::fill(options, &self.records, after, progress)
    }

    /// Of names and values together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.records.iter().map(|record| (record.path.len() + record.value.len()) as u64).sum()
    }
}

/// Puts together what an engine gives back.
#[derive(Default)]
pub(crate) struct Collector {
    contents: std::collections::BTreeMap<(std::sync::Arc<str>, std::sync::Arc<str>), Record>,
    pub(crate) revision: Revision,
}

// === impl Collector ===

impl Collector {
    pub(crate) fn finish(self) -> Contents {
        Contents { revision: self.revision, records: self.contents.into_values().collect() }
    }
}

impl Restore for Collector {
    fn live(&mut self, record: Record) {
        self.put(record);
    }

    fn base(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    fn put(&mut self, record: Record) {
        self.revision = self.revision.max(record.modified);
        self.contents.insert((record.resource.clone(), record.path.clone()), record);
    }

    fn delete(&mut self, resource: &str, path: &str, revision: Revision) {
        self.revision = self.revision.max(revision);
        self.contents.remove(&(resource.into(), path.into()));
    }

    fn gap(&mut self, upto: Revision) {
        self.revision = self.revision.max(upto);
    }
}

/// The directory that a file is in, and its name there.
fn place(path: &Path) -> Result<(RealDisk, String), EngineError> {
    let directory =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(PathBuf::from("."), Path::to_owned);
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok((RealDisk::new(directory), name.to_owned())),
        None => Err(EngineError::Other { detail: format!("{} is not the name of a file", path.display()) }),
    }
}

/// Nothing of the kind of what an engine keeps may be in the way.
pub(crate) fn expect_none(disk: &dyn Disk) -> Result<(), EngineError> {
    let names = disk.list().map_err(failed("list", disk.path().to_owned()))?;
    match names.into_iter().find(|name| name != "lock") {
        None => Ok(()),
        Some(name) => {
            Err(EngineError::Other { detail: format!("{} has a store already ({name})", disk.path().display()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::log::LogFactory;
    use crate::{Durability, Engine, Expected, Factory, Mutation, OpenReason, Outcome, Template, Transaction};

    fn put(engine: &mut dyn Engine, name: &str, text: &str) -> Revision {
        let value = Template::split(Bytes::from(text.to_owned()), text.len() / 2);
        let (resource, path) = (Arc::from("things"), Arc::from(name));
        let put = Mutation::Put { resource, path, value, created: None, expected: Expected::Any };
        let batch = [Transaction { mutations: vec![put], durability: Durability::Synced, lifetime: None }];
        let Outcome::Committed(revision) = engine.commit(&batch).unwrap()[0] else { panic!("not committed") };
        revision
    }

    fn open(path: &Path) -> (Box<dyn Engine>, Contents) {
        let mut found = Collector::default();
        let opened = LogFactory::new(path).open(OpenReason::Start, &mut found).unwrap();
        (opened.engine, found.finish())
    }

    #[test]
    fn a_snapshot_of_a_running_log_is_restored_and_no_revision_comes_again() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new, file) =
            (directory.path().join("old"), directory.path().join("new"), directory.path().join("s.snapshot"));
        let (mut engine, _) = open(&old);
        for number in 0..100 {
            put(&mut *engine, &format!("n{}", number % 10), &format!("text {number}"));
        }
        let contents = Contents::of_log(&old).unwrap();
        assert_eq!((contents.revision, contents.records.len()), (Revision(100), 10));
        contents.save(&file).unwrap();
        // What comes after the snapshot is lost, but its revisions are not used for anything else.
        let later = put(&mut *engine, "n0", "later");
        drop(engine);

        let found = Contents::of_snapshot(&file).unwrap();
        assert_eq!((found.revision, &found.records), (contents.revision, &contents.records));
        found.into_log(&new, Revision(found.revision.0 + BUMP)).unwrap();
        assert!(found.into_log(&new, Revision(1)).is_err(), "over another store");
        let (mut engine, restored) = open(&new);
        assert_eq!(restored.records, contents.records);
        assert!(restored.revision > later && restored.revision.0 >= 100 + BUMP);
        let next = put(&mut *engine, "n0", "next");
        assert!(next > restored.revision);
        engine.close().unwrap();
        let (_, again) = open(&new);
        assert_eq!((again.revision, again.records.len()), (next, 10));
    }

    #[test]
    fn a_damaged_snapshot_is_refused_wherever_the_bit_is() {
        let directory = tempfile::tempdir().unwrap();
        let (log, file) = (directory.path().join("log"), directory.path().join("s.snapshot"));
        let (mut engine, _) = open(&log);
        put(&mut *engine, "a", "one");
        put(&mut *engine, "b", "two");
        Contents::of_log(&log).unwrap().save(&file).unwrap();
        let sound = std::fs::read(&file).unwrap();
        let expected = Contents::of_snapshot(&file).unwrap().records;
        for bit in 0..sound.len() * 8 {
            let mut damaged = sound.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&file, &damaged).unwrap();
            // The zeros between frames say nothing.
            if let Ok(found) = Contents::of_snapshot(&file) {
                assert_eq!(found.records, expected, "bit {bit}");
            }
        }
        for length in 0..sound.len() - 8 {
            std::fs::write(&file, &sound[..length]).unwrap();
            assert!(Contents::of_snapshot(&file).is_err(), "{length} of {} bytes", sound.len());
        }
    }
}
