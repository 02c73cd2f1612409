//! What an engine with other writers says has happened, on its way to the sequencer. Bounded: an engine that is faster
//! than readers can be shown things waits here.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use engine::{Changed, EngineError, Feed, Revision, Waiting};
use tokio::sync::Semaphore;

use crate::sequencer::Command;

/// How much may be on the way, in units.
const ROOM: u32 = 1024;
/// A unit, in bytes.
const UNIT: usize = 64 << 10;

/// The end of a feed that the engine holds.
pub(crate) struct Following {
    life: u64,
    room: Arc<Semaphore>,
    commands: Sender<Command>,
}

// === impl Following ===

impl Following {
    pub(crate) fn new(life: u64, commands: Sender<Command>) -> Following {
        Following { life, room: Arc::new(Semaphore::new(ROOM as usize)), commands }
    }
}

impl Feed for Following {
    fn changes(&mut self, changes: Vec<Changed>, revision: Revision) -> Waiting<'_> {
        Box::pin(async move {
            let bytes: usize = changes.iter().map(weight).sum();
            let units = u32::try_from(1 + bytes / UNIT).unwrap_or(ROOM).min(ROOM);
            let Ok(room) = Arc::clone(&self.room).acquire_many_owned(units).await else { return false };
            self.commands.send(Command::Feed { life: self.life, changes, revision, _room: room }).is_ok()
        })
    }

    fn lost(&mut self, error: EngineError) {
        // Nobody listening any more needs no error.
        self.commands.send(Command::Lost { life: self.life, error }).ok();
    }
}

fn weight(change: &Changed) -> usize {
    size_of::<Changed>()
        + match change {
            Changed::Put(record) => record.path.len() + record.value.len(),
            Changed::Delete { path, .. } => path.len(),
        }
}
