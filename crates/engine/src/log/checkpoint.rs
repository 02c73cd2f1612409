//! The whole state in one file: written beside the running log, read before the log is replayed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::disk::{Disk, failed};
use crate::log::frame::{Body, FORMAT, Writer};
use crate::log::reader::{Next, Reader};
use crate::log::{checkpoint_name, file_path, number_of, too_long};
use crate::{EngineError, Live, Record, Restore, Revision};

/// Records are put together until a frame is about so long.
const FRAME: usize = 64 << 10;
/// Frames are put together until a write is about so long.
const WRITE: usize = 1 << 20;

pub(super) struct Checkpointer {
    pub(super) disk: Arc<dyn Disk>,
    /// The log that goes on from here.
    pub(super) number: u64,
    /// Of the state.
    pub(super) revision: Revision,
}

/// One that is being written. Dropping it gives it up and waits until it has.
pub(super) struct Running {
    give_up: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64, EngineError>>>,
}

// === impl Checkpointer ===

impl Checkpointer {
    pub(super) fn start(self, live: Live) -> Result<Running, EngineError> {
        let give_up = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&give_up);
        let path = file_path(&*self.disk, &checkpoint_name(self.number));
        let thread = thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || self.run(live, &flag))
            .map_err(failed("start a thread for", path))?;
        Ok(Running { give_up, thread: Some(thread) })
    }

    /// Gives back how large it became.
    fn run(&self, live: Live, give_up: &AtomicBool) -> Result<u64, EngineError> {
        let name = checkpoint_name(self.number);
        let temporary = format!("{name}.tmp");
        let written = self.write(&temporary, live, give_up);
        let bytes = match written {
            Ok(bytes) => bytes,
            Err(error) => {
                if let Err(error) = self.disk.remove(&temporary) {
                    tracing::warn!(error = &error as &dyn std::error::Error, "half a checkpoint could not be removed");
                }
                return Err(error);
            }
        };
        let path = file_path(&*self.disk, &name);
        self.disk.rename(&temporary, &name).map_err(failed("rename", path.clone()))?;
        self.disk.sync_names().map_err(failed("sync", path))?;
        self.forget_older()?;
        Ok(bytes)
    }

    pub(super) fn write(&self, temporary: &str, live: Live, give_up: &AtomicBool) -> Result<u64, EngineError> {
        let path = || file_path(&*self.disk, temporary);
        let mut file = self.disk.create(temporary).map_err(failed("create", path()))?;
        let (mut buffer, mut offset) = (Vec::with_capacity(WRITE + FRAME), 0);
        let (mut sequence, mut records) = (1, 0);
        let (mut group, mut group_bytes) = (Vec::new(), 0);
        let mut writer = |buffer: &mut Vec<u8>, offset, frame: Frame<'_>| {
            let mut writer = Writer { buffer, file: self.number, offset, synced: 0 };
            let written = match frame {
                Frame::Mark(body) => writer.mark(sequence, self.revision, &body),
                Frame::Records(records) => writer.records(sequence, self.revision, records),
            };
            sequence += 1;
            written.map_err(|_| too_long())
        };
        writer(&mut buffer, offset, Frame::Mark(Body::Head { format: FORMAT, boot: self.disk.boot_id() }))?;
        for record in live {
            let record = record?;
            records += 1;
            group_bytes += record.path.len() + record.value.len();
            group.push(record);
            if group_bytes < FRAME {
                continue;
            }
            writer(&mut buffer, offset, Frame::Records(&group))?;
            group.clear();
            group_bytes = 0;
            if buffer.len() >= WRITE {
                file.write_at(&buffer, offset).map_err(failed("write", path()))?;
                offset += buffer.len() as u64;
                buffer.clear();
            }
            if give_up.load(Ordering::Relaxed) {
                return Err(EngineError::Other { detail: "the log was closed first".to_owned() });
            }
        }
        writer(&mut buffer, offset, Frame::Records(&group))?;
        writer(&mut buffer, offset, Frame::Mark(Body::End { records }))?;
        file.write_at(&buffer, offset).map_err(failed("write", path()))?;
        file.sync().map_err(failed("sync", path()))?;
        Ok(offset + buffer.len() as u64)
    }

    fn forget_older(&self) -> Result<(), EngineError> {
        let names = self.disk.list().map_err(failed("list", self.disk.path().to_owned()))?;
        for name in names {
            if number_of(&name).is_some_and(|number| number < self.number) {
                self.disk.remove(&name).map_err(failed("remove", file_path(&*self.disk, &name)))?;
            }
        }
        Ok(())
    }
}

enum Frame<'a> {
    Mark(Body),
    Records(&'a [Record]),
}

// === impl Running ===

impl Running {
    pub(super) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    pub(super) fn finish(mut self) -> Result<u64, EngineError> {
        self.join()
    }

    fn join(&mut self) -> Result<u64, EngineError> {
        let Some(thread) = self.thread.take() else { return Ok(0) };
        let panicked = |_| Err(EngineError::Other { detail: "writing a checkpoint panicked".to_owned() });
        thread.join().unwrap_or_else(panicked)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.give_up.store(true, Ordering::Relaxed);
        if let Err(error) = self.join() {
            tracing::debug!(error = &error as &dyn std::error::Error, "a checkpoint was given up");
        }
    }
}

/// Gives the state to `restore`, and says how large the file is.
pub(super) fn restore(disk: &dyn Disk, number: u64, restore: &mut dyn Restore) -> Result<u64, EngineError> {
    restore_from(disk, &checkpoint_name(number), number, restore)
}

/// The same of a file with another name.
pub(super) fn restore_from(
    disk: &dyn Disk,
    name: &str,
    number: u64,
    restore: &mut dyn Restore,
) -> Result<u64, EngineError> {
    let path = file_path(disk, name);
    let file = disk.open(name).map_err(failed("open", path.clone()))?;
    let mut reader = Reader::new(&*file, path, number)?;
    let mut sequence = reader.head()?.0.sequence;
    let mut found = 0;
    loop {
        match reader.next(sequence)? {
            Next::Frame(header, _) if header.sequence != sequence + 1 => {
                return Err(reader.damaged("the record before does not belong here"));
            }
            Next::Frame(header, Body::Records(records)) => {
                sequence = header.sequence;
                found += records.len() as u64;
                records.into_iter().for_each(|record| restore.live(record));
            }
            Next::Frame(header, Body::End { records }) if records == found => {
                restore.base(header.revision);
                return Ok(reader.offset());
            }
            // It had its name only after it was synced: what is missing was there once.
            Next::Frame(..) | Next::End(_) => return Err(reader.damaged("it ends early")),
        }
    }
}
