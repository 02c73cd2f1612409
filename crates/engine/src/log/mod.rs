//! An append-only log with checksums, and a checkpoint of the whole state from time to time.
//!
//! Reads come from memory, so nothing needs an index on disk: a commit is one sequential write and one sync, and
//! opening is one sequential read. `00000003.log` holds the transactions since `00000003.checkpoint`; a checkpoint is
//! written beside the running log, and only when it is durable the files before it go.
//!
//! The file space is filled with zeros ahead of the writes: a sync then writes the pages that changed and nothing of
//! the file system's own, a full disk shows before a record is begun, and a torn write can be told from damage.

mod checkpoint;
mod frame;
mod reader;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::disk::{Disk, DiskFile, RealDisk, failed};
use crate::log::checkpoint::{Checkpointer, Running};
use crate::log::frame::{Body, Change, FORMAT, Writer};
use crate::log::reader::{End, Next, Reader};
use crate::transfer::{self, Collector, Contents};
use crate::{
    CommitError, Durability, Engine, EngineError, Factory, Live, OpenReason, Opened, Outcome, Record, Restore,
    Revision, Transaction,
};

/// Files are copied in pieces of it.
const PIECE: u64 = 1 << 20;
/// Space is never taken in smaller steps.
const PAGE: u64 = 4 << 10;
/// A buffer that once was larger is given back.
const BUFFER_KEPT: usize = 1 << 20;
/// More than could have been given out to relaxed transactions between two syncs.
const GAP: u64 = 1_000_000;

/// Opens a log in a directory.
#[derive(Clone)]
pub struct LogFactory {
    disk: Arc<dyn Disk>,
    options: LogOptions,
}

#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// A checkpoint is due when the log is larger than this and than the last checkpoint.
    pub checkpoint_bytes: u64,
    /// Space is taken in steps of so many bytes.
    pub step_bytes: u64,
}

struct Log {
    disk: Arc<dyn Disk>,
    options: LogOptions,
    file: Box<dyn DiskFile>,
    number: u64,
    /// Where the next frame goes.
    end: u64,
    /// How far the file's space is taken.
    allocated: u64,
    /// Of the last frame.
    sequence: u64,
    /// Of the last frame that is surely on disk.
    synced: u64,
    revision: Revision,
    buffer: Vec<u8>,
    /// Of the files since the last checkpoint, the current one not counted.
    sealed_bytes: u64,
    checkpoint_bytes: u64,
    checkpoint: Option<Running>,
    /// Set for good by a failure that leaves the outcome open.
    broken: bool,
    _lock: Box<dyn Send>,
}

/// Where the last log ended, and what it said last.
#[derive(Default)]
struct Replayed {
    end: u64,
    sequence: u64,
    revision: Revision,
    closed: bool,
    sealed: bool,
    boot: String,
}

// === impl LogFactory ===

impl LogFactory {
    /// Of a directory, which is made if it is not there.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> LogFactory {
        LogFactory::on(RealDisk::new(path), LogOptions::default())
    }

    #[must_use]
    pub fn on(disk: impl Disk, options: LogOptions) -> LogFactory {
        LogFactory { disk: Arc::new(disk), options }
    }
}

impl Factory for LogFactory {
    fn open(&self, reason: OpenReason, restore: &mut dyn Restore) -> Result<Opened, EngineError> {
        let disk = Arc::clone(&self.disk);
        let lock = disk.lock()?;
        let files = Files::find(&*disk)?;
        let checkpoint_bytes = match files.checkpoint {
            Some(number) => checkpoint::restore(&*disk, number, restore)?,
            None => {
                restore.base(Revision::ZERO);
                0
            }
        };
        let (mut replayed, mut sealed_bytes) = (Replayed::default(), 0);
        for (at, number) in files.logs.iter().enumerate() {
            let last = at + 1 == files.logs.len();
            sealed_bytes += replayed.end;
            replayed = replay(&*disk, *number, last, replayed, restore)?;
        }
        files.remove_left_over(&*disk)?;
        let number = match files.logs.last() {
            Some(number) => *number,
            None => {
                create(&*disk, 1, 0, Revision::ZERO)?;
                replayed = replay(&*disk, 1, true, replayed, restore)?;
                1
            }
        };
        if reason == OpenReason::Failure {
            rewrite(&*disk, number, replayed.end)?;
        }
        let name = log_name(number);
        let path = disk.path().join(&name);
        let mut file = disk.open(&name).map_err(failed("open", path.clone()))?;
        // What is behind the end is of nobody. The zeros come back with the next write.
        file.truncate(replayed.end).map_err(failed("truncate", path.clone()))?;
        // What a killed process had written may so far be in the page cache only, and is counted as synced from here.
        file.sync().map_err(failed("sync", path))?;
        let mut log = Log {
            options: self.options,
            file,
            number,
            end: replayed.end,
            allocated: replayed.end,
            sequence: replayed.sequence,
            synced: replayed.sequence,
            revision: replayed.revision,
            buffer: Vec::new(),
            sealed_bytes,
            checkpoint_bytes,
            checkpoint: None,
            broken: false,
            disk,
            _lock: lock,
        };
        if replayed.sealed {
            log.next_file()?;
        }
        log.begin(reason, &replayed, restore)?;
        let revision = log.revision;
        Ok(Opened { engine: Box::new(log), revision })
    }
}

// === impl Log ===

impl Engine for Log {
    fn commit(&mut self, batch: &[Transaction]) -> Result<Vec<Outcome>, CommitError> {
        self.usable().map_err(CommitError::Broken)?;
        self.mind_checkpoint();
        let (mut sequence, mut revision) = (self.sequence, self.revision);
        let mut outcomes = Vec::with_capacity(batch.len());
        self.buffer.clear();
        let mut writer = Writer { buffer: &mut self.buffer, file: self.number, offset: self.end, synced: self.synced };
        for transaction in batch {
            sequence += 1;
            revision = revision.next();
            if writer.transaction(sequence, revision, transaction).is_err() {
                let detail = "a name or value is too long to be written".to_owned();
                return Err(CommitError::Refused(EngineError::Other { detail }));
            }
            outcomes.push(Outcome::Committed(revision));
        }
        self.reserve(self.buffer.len() as u64).map_err(CommitError::Refused)?;
        self.write().map_err(CommitError::Broken)?;
        if batch.iter().any(|transaction| transaction.durability == Durability::Synced) {
            self.sync_file(sequence).map_err(CommitError::Broken)?;
        }
        (self.sequence, self.revision) = (sequence, revision);
        Ok(outcomes)
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        self.usable()?;
        if self.synced < self.sequence { self.sync_file(self.sequence) } else { Ok(()) }
    }

    fn wants_checkpoint(&self) -> bool {
        let due = self.options.checkpoint_bytes.max(self.checkpoint_bytes);
        self.checkpoint.is_none() && !self.broken && self.sealed_bytes + self.end > due
    }

    fn checkpoint(&mut self, live: Live) -> Result<(), EngineError> {
        self.usable()?;
        if self.checkpoint.is_some() {
            return Ok(());
        }
        // Should this fail, it is tried again when the log has grown by as much once more.
        self.checkpoint_bytes = 2 * (self.sealed_bytes + self.end);
        self.append_mark(&Body::Sealed)?;
        self.sealed_bytes += self.end;
        self.next_file()?;
        let writer = Checkpointer { disk: Arc::clone(&self.disk), number: self.number, revision: self.revision };
        self.checkpoint = Some(writer.start(live)?);
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Result<(), EngineError> {
        self.usable()?;
        // Half a checkpoint is thrown away: the logs are all there.
        self.checkpoint = None;
        self.append_mark(&Body::Closed)?;
        let end = self.end;
        self.file.truncate(end).map_err(failed("truncate", self.path()))?;
        self.file.sync().map_err(failed("sync", self.path()))
    }
}

impl Log {
    fn path(&self) -> PathBuf {
        self.disk.path().join(log_name(self.number))
    }

    fn usable(&self) -> Result<(), EngineError> {
        if self.broken {
            return Err(EngineError::Other { detail: "the log failed before and must be opened again".to_owned() });
        }
        Ok(())
    }

    /// Says under which boot it is open from here on, and leaves out what may have been given out and lost.
    fn begin(&mut self, reason: OpenReason, last: &Replayed, restore: &mut dyn Restore) -> Result<(), EngineError> {
        let boot = self.disk.boot_id();
        let page_cache_survived = reason == OpenReason::Start && !boot.is_empty() && boot == last.boot;
        if !last.closed && !page_cache_survived {
            self.revision = Revision(self.revision.0.saturating_add(GAP));
            self.append_mark(&Body::Gap)?;
            restore.gap(self.revision);
        }
        self.append_mark(&Body::Opened { boot })
    }

    /// Takes space for so many bytes more. Changes nothing when there is none.
    fn reserve(&mut self, bytes: u64) -> Result<(), EngineError> {
        let needed = self.end + bytes;
        if needed <= self.allocated {
            return Ok(());
        }
        let mut wanted = needed.next_multiple_of(self.options.step_bytes.max(1));
        let mut taken = self.file.allocate(wanted);
        if taken.is_err() {
            // The last of the space is still good for small writes.
            wanted = needed.next_multiple_of(PAGE);
            taken = self.file.allocate(wanted);
        }
        taken.map_err(failed("extend", self.path()))?;
        self.allocated = wanted;
        Ok(())
    }

    /// Puts the buffer behind the last frame.
    fn write(&mut self) -> Result<(), EngineError> {
        if let Err(error) = self.file.write_at(&self.buffer, self.end) {
            self.broken = true;
            return Err(failed("write", self.path())(error));
        }
        self.end += self.buffer.len() as u64;
        if self.buffer.capacity() > BUFFER_KEPT {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    fn sync_file(&mut self, sequence: u64) -> Result<(), EngineError> {
        if let Err(error) = self.file.sync() {
            self.broken = true;
            return Err(failed("sync", self.path())(error));
        }
        self.synced = sequence;
        Ok(())
    }

    /// A frame that is no transaction, synced.
    fn append_mark(&mut self, body: &Body) -> Result<(), EngineError> {
        let sequence = self.sequence + 1;
        self.buffer.clear();
        let mut writer = Writer { buffer: &mut self.buffer, file: self.number, offset: self.end, synced: self.synced };
        writer.mark(sequence, self.revision, body).map_err(|_| too_long())?;
        self.reserve(self.buffer.len() as u64)?;
        self.write()?;
        self.sync_file(sequence)?;
        self.sequence = sequence;
        Ok(())
    }

    /// Goes on in a new file; the old one is sealed.
    fn next_file(&mut self) -> Result<(), EngineError> {
        let next = create(&*self.disk, self.number + 1, self.sequence, self.revision);
        let (file, end) = next.inspect_err(|_| self.broken = true)?;
        self.file = file;
        self.number += 1;
        (self.end, self.allocated) = (end, end);
        self.sequence += 1;
        self.synced = self.sequence;
        Ok(())
    }

    /// Takes notice of a checkpoint that is finished.
    fn mind_checkpoint(&mut self) {
        let Some(running) = self.checkpoint.take_if(|running| running.is_finished()) else { return };
        match running.finish() {
            Ok(bytes) => {
                self.sealed_bytes = 0;
                self.checkpoint_bytes = bytes;
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "writing a checkpoint failed");
            }
        }
    }
}

// === impl LogOptions ===

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { checkpoint_bytes: 16 << 20, step_bytes: 1 << 20 }
    }
}

/// What a log keeps, without changing anything or keeping anybody out.
pub(crate) fn read(disk: &dyn Disk) -> Result<Contents, EngineError> {
    let files = Files::find(disk)?;
    let mut found = Collector::default();
    if let Some(number) = files.checkpoint {
        checkpoint::restore(disk, number, &mut found)?;
    }
    if files.checkpoint.is_none() && files.logs.is_empty() {
        let detail = format!("there is no store in {}", disk.path().display());
        return Err(EngineError::Other { detail });
    }
    let mut replayed = Replayed::default();
    for (at, number) in files.logs.iter().enumerate() {
        replayed = replay(disk, *number, at + 1 == files.logs.len(), replayed, &mut found)?;
    }
    found.revision = found.revision.max(replayed.revision);
    Ok(found.finish())
}

/// A snapshot's number: no log has it, so that neither is taken for the other.
const SNAPSHOT: u64 = 0;

pub(crate) fn read_snapshot(disk: &dyn Disk, name: &str, restore: &mut dyn Restore) -> Result<(), EngineError> {
    checkpoint::restore_from(disk, name, SNAPSHOT, restore).map(|_| ())
}

pub(crate) fn write_snapshot(
    disk: &RealDisk,
    name: &str,
    revision: Revision,
    records: Vec<Record>,
) -> Result<u64, EngineError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let path = file_path(disk, name);
    let temporary = format!("{name}.tmp");
    let writer = Checkpointer { disk: shared, number: SNAPSHOT, revision };
    let bytes = writer.write(&temporary, Box::new(records.into_iter().map(Ok)), &AtomicBool::new(false))?;
    disk.rename(&temporary, name).map_err(failed("rename", path.clone()))?;
    disk.sync_names().map_err(failed("sync", path))?;
    Ok(bytes)
}

/// Makes a log where there is none, with these records, going on at `revision`.
pub(crate) fn create_from(disk: &RealDisk, revision: Revision, records: Vec<Record>) -> Result<(), EngineError> {
    let _lock = disk.lock()?;
    transfer::expect_none(disk)?;
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let name = checkpoint_name(1);
    let temporary = format!("{name}.tmp");
    let writer = Checkpointer { disk: shared, number: 1, revision };
    writer.write(&temporary, Box::new(records.into_iter().map(Ok)), &AtomicBool::new(false))?;
    // The log first: a checkpoint without one would be damage.
    create(disk, 1, 0, revision)?;
    let path = file_path(disk, &name);
    disk.rename(&temporary, &name).map_err(failed("rename", path.clone()))?;
    disk.sync_names().map_err(failed("sync", path))
}

/// The files of a directory that matter.
struct Files {
    checkpoint: Option<u64>,
    /// From that of the checkpoint on.
    logs: Vec<u64>,
    left_over: Vec<String>,
}

// === impl Files ===

impl Files {
    fn find(disk: &dyn Disk) -> Result<Files, EngineError> {
        let names = disk.list().map_err(failed("list", disk.path().to_owned()))?;
        let numbers = |suffix: &str| -> Vec<u64> {
            let named = names.iter().filter(|name| name.ends_with(suffix));
            let mut numbers: Vec<u64> = named.filter_map(|name| number_of(name)).collect();
            numbers.sort_unstable();
            numbers
        };
        let (checkpoints, mut logs) = (numbers(".checkpoint"), numbers(".log"));
        let checkpoint = checkpoints.last().copied();
        let first = checkpoint.unwrap_or(1);
        let mut left_over: Vec<String> = names.into_iter().filter(|name| name.ends_with(".tmp")).collect();
        left_over.extend(checkpoints.iter().filter(|number| **number < first).map(|number| checkpoint_name(*number)));
        left_over.extend(logs.iter().filter(|number| **number < first).map(|number| log_name(*number)));
        logs.retain(|number| *number >= first);
        let complete = (first..).zip(&logs).all(|(expected, number)| expected == *number);
        let begins = !logs.is_empty() || checkpoint.is_none();
        if !complete || !begins {
            let detail = format!("a log from {} on is missing", log_name(first));
            return Err(EngineError::Damaged { path: disk.path().to_owned(), offset: 0, detail });
        }
        Ok(Files { checkpoint, logs, left_over })
    }

    fn remove_left_over(&self, disk: &dyn Disk) -> Result<(), EngineError> {
        for name in &self.left_over {
            disk.remove(name).map_err(failed("remove", disk.path().join(name)))?;
        }
        Ok(())
    }
}

/// Gives the changes of one log to `restore`.
fn replay(
    disk: &dyn Disk,
    number: u64,
    last: bool,
    before: Replayed,
    restore: &mut dyn Restore,
) -> Result<Replayed, EngineError> {
    let path = disk.path().join(log_name(number));
    let file = disk.open(&log_name(number)).map_err(failed("open", path.clone()))?;
    let mut reader = Reader::new(&*file, path, number)?;
    let (head, boot) = reader.head()?;
    if before.sequence != 0 && head.sequence != before.sequence + 1 {
        return Err(reader.damaged("it does not follow the log before it"));
    }
    let mut state = Replayed { sequence: head.sequence, revision: head.revision, boot, sealed: false, ..before };
    loop {
        let (header, body) = match reader.next(state.sequence)? {
            Next::Frame(header, body) => (header, body),
            Next::End(End::Clean) => break,
            Next::End(End::Torn) => {
                tracing::info!(log = number, offset = reader.offset(), "the last write was cut short by a crash");
                break;
            }
        };
        if header.sequence != state.sequence + 1 || header.revision < state.revision || state.sealed {
            return Err(reader.damaged("the record before does not belong here"));
        }
        state.sequence = header.sequence;
        state.revision = header.revision;
        state.closed = matches!(body, Body::Closed);
        match body {
            Body::Transaction(changes) => changes.into_iter().for_each(|change| match change {
                Change::Put(record) => restore.put(record),
                Change::Delete { resource, path } => restore.delete(&resource, &path, header.revision),
            }),
            Body::Opened { boot } => state.boot = boot,
            Body::Sealed => state.sealed = true,
            Body::Gap => restore.gap(header.revision),
            Body::Closed => {}
            Body::Head { .. } | Body::Records(_) | Body::End { .. } => {
                return Err(reader.damaged("the record before does not belong in a log"));
            }
        }
    }
    if !last && !state.sealed {
        return Err(reader.damaged("it ends early, there is a log after it"));
    }
    state.end = reader.offset();
    Ok(state)
}

/// Makes a log that is complete the moment its name is there.
fn create(
    disk: &dyn Disk,
    number: u64,
    sequence: u64,
    revision: Revision,
) -> Result<(Box<dyn DiskFile>, u64), EngineError> {
    let (name, path) = (log_name(number), disk.path().join(log_name(number)));
    let temporary = format!("{name}.tmp");
    let mut buffer = Vec::new();
    let mut writer = Writer { buffer: &mut buffer, file: number, offset: 0, synced: sequence };
    writer
        .mark(sequence + 1, revision, &Body::Head { format: FORMAT, boot: disk.boot_id() })
        .map_err(|_| too_long())?;
    let mut file = disk.create(&temporary).map_err(failed("create", path.clone()))?;
    file.write_at(&buffer, 0).map_err(failed("write", path.clone()))?;
    file.sync().map_err(failed("sync", path.clone()))?;
    disk.rename(&temporary, &name).map_err(failed("rename", path.clone()))?;
    disk.sync_names().map_err(failed("sync", path))?;
    Ok((file, buffer.len() as u64))
}

/// After a failed sync the kernel may hold pages that it believes to be on disk and are not. They are read and
/// written again, to a file of which every page is new.
fn rewrite(disk: &dyn Disk, number: u64, end: u64) -> Result<(), EngineError> {
    let (name, path) = (log_name(number), disk.path().join(log_name(number)));
    let temporary = format!("{name}.tmp");
    let from = disk.open(&name).map_err(failed("open", path.clone()))?;
    let mut to = disk.create(&temporary).map_err(failed("create", path.clone()))?;
    let mut buffer = vec![0; usize::try_from(PIECE.min(end)).unwrap_or(0)];
    let mut at = 0;
    while at < end {
        let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let read = from.read_at(&mut buffer[..len], at).map_err(failed("read", path.clone()))?;
        if read == 0 {
            let detail = "it became shorter while it was read".to_owned();
            return Err(EngineError::Damaged { path, offset: at, detail });
        }
        to.write_at(&buffer[..read], at).map_err(failed("write", path.clone()))?;
        at += read as u64;
    }
    to.sync().map_err(failed("sync", path.clone()))?;
    disk.rename(&temporary, &name).map_err(failed("rename", path.clone()))?;
    disk.sync_names().map_err(failed("sync", path))
}

fn too_long() -> EngineError {
    EngineError::Other { detail: "a name or value is too long to be written".to_owned() }
}

fn log_name(number: u64) -> String {
    format!("{number:08}.log")
}

fn checkpoint_name(number: u64) -> String {
    format!("{number:08}.checkpoint")
}

/// Of a log or a checkpoint.
fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".log").or_else(|| name.strip_suffix(".checkpoint"))?.parse().ok()
}

fn file_path(disk: &dyn Disk, name: &str) -> PathBuf {
    Path::join(disk.path(), name)
}
