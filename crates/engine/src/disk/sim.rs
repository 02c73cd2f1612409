//! A disk that forgets: what was not synced when the power goes is there or not, sector by sector; a sync that failed
//! leaves pages which the system believes to be clean; space runs out. Deterministic under a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::EngineError;
use crate::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

/// Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    path: PathBuf,
}

struct State {
    random: u64,
    boot: u64,
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names since the last sync of them, in order: a crash keeps the first so many.
    pending: Vec<Rename>,
    capacity: usize,
    /// How many more calls that change something succeed.
    budget: Option<u64>,
    /// Of the calls that fail, only the first does.
    once: bool,
    fail_sync: bool,
    locked: bool,
    synced_bytes: u64,
}

#[derive(Default)]
struct Inode {
    volatile: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

enum Rename {
    Link(String, usize),
    Move(String, String),
    Unlink(String),
}

struct SimFile {
    state: Arc<Mutex<State>>,
    inode: usize,
    /// A handle from before a power cut is dead.
    boot: u64,
}

struct Lock(Arc<Mutex<State>>);

// === impl SimDisk ===

impl SimDisk {
    #[must_use]
    pub fn new(seed: u64) -> SimDisk {
        let state = State {
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            boot: 1,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            capacity: usize::MAX,
            budget: None,
            once: false,
            fail_sync: false,
            locked: false,
            synced_bytes: 0,
        };
        SimDisk { state: Arc::new(Mutex::new(state)), path: PathBuf::from("/simulated") }
    }

    /// After so many more calls that change something, every further one fails, as if the power were gone.
    pub fn fail_after(&self, calls: u64) {
        let mut state = lock(&self.state);
        (state.budget, state.once) = (Some(calls), false);
    }

    /// After so many more calls that change something, one fails.
    pub fn fail_once_after(&self, calls: u64) {
        let mut state = lock(&self.state);
        (state.budget, state.once) = (Some(calls), true);
    }

    /// Another disk with the same on it.
    #[must_use]
    pub fn image(&self) -> SimDisk {
        let state = lock(&self.state);
        let copy = SimDisk::new(state.random);
        {
            let mut other = lock(&copy.state);
            other.boot = state.boot;
            let files = state.files.iter().map(|file| Inode {
                volatile: file.volatile.clone(),
                durable: file.durable.clone(),
                dirty: file.dirty.clone(),
            });
            other.files = files.collect();
            other.names = state.names.clone();
            other.durable_names = state.durable_names.clone();
        }
        copy
    }

    /// Calls succeed again, and nothing was lost: only the process died.
    pub fn revive(&self) {
        let mut state = lock(&self.state);
        state.budget = None;
        state.locked = false;
    }

    /// Syncs fail, and what they should have written counts as written from then on.
    pub fn fail_syncs(&self, fail: bool) {
        lock(&self.state).fail_sync = fail;
    }

    /// Of all files together.
    pub fn set_capacity(&self, bytes: usize) {
        lock(&self.state).capacity = bytes;
    }

    /// Takes the power away and gives it back. Open files are dead.
    pub fn power_cut(&self) {
        let mut state = lock(&self.state);
        state.boot += 1;
        state.budget = None;
        state.fail_sync = false;
        state.locked = false;
        let pending = std::mem::take(&mut state.pending);
        let kept = state.below(pending.len() as u64 + 1);
        let mut names = std::mem::take(&mut state.durable_names);
        for rename in pending.into_iter().take(kept) {
            rename.apply(&mut names);
        }
        state.names.clone_from(&names);
        state.durable_names = names;
        for inode in 0..state.files.len() {
            state.tear(inode);
        }
    }

    /// Changes one bit of a file, and says whether there was one at that place.
    pub fn flip(&self, name: &str, offset: usize, bit: u8) -> bool {
        let mut state = lock(&self.state);
        let Some(&inode) = state.names.get(name) else { return false };
        let Some(byte) = state.files[inode].volatile.get_mut(offset) else { return false };
        *byte ^= 1 << (bit % 8);
        let byte = *byte;
        if let Some(durable) = state.files[inode].durable.get_mut(offset) {
            *durable = byte;
        }
        true
    }

    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = lock(&self.state);
        state.names.get(name).map(|inode| state.files[*inode].volatile.clone())
    }
}

impl Disk for SimDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self) -> Result<Box<dyn Send>, EngineError> {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.locked, true) {
            return Err(EngineError::Locked { path: self.path.clone() });
        }
        Ok(Box::new(Lock(Arc::clone(&self.state))))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.state).names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let state = lock(&self.state);
        let inode = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile { state: Arc::clone(&self.state), inode, boot: state.boot }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = lock(&self.state);
        state.spend()?;
        state.files.push(Inode::default());
        let inode = state.files.len() - 1;
        state.rename(Rename::Link(name.to_owned(), inode));
        Ok(Box::new(SimFile { state: Arc::clone(&self.state), inode, boot: state.boot }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.spend()?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename(Rename::Move(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.spend()?;
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename(Rename::Unlink(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.spend()?;
        if state.fail_sync {
            return Err(io::Error::other("injected"));
        }
        state.pending.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn boot_id(&self) -> String {
        lock(&self.state).boot.to_string()
    }
}

// === impl SimFile ===

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = lock(&self.state);
        if state.boot == self.boot { Ok(state) } else { Err(io::Error::other("the power was cut")) }
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.state()?.files[self.inode].volatile.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state()?;
        let bytes = &state.files[self.inode].volatile;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let read = buffer.len().min(bytes.len() - from);
        buffer[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let spent = state.spend();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        // The write that the power interrupts may be there in part.
        let written = match spent {
            Ok(()) => bytes.len(),
            Err(_) => {
                let to = from + state.below(bytes.len() as u64 + 1);
                (to / SECTOR * SECTOR).saturating_sub(from)
            }
        };
        state.make_room(self.inode, from + written)?;
        state.write(self.inode, &bytes[..written], from);
        spent
    }

    fn allocate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.spend()?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let have = state.files[self.inode].volatile.len();
        state.make_room(self.inode, len)?;
        if len > have {
            state.write(self.inode, &vec![0; len - have], have);
        }
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.spend()?;
        let inode = &mut state.files[self.inode];
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(inode.volatile.len());
        inode.volatile.truncate(len);
        inode.dirty.retain(|sector| sector * SECTOR < len);
        // As a file system with a journal does it: in order with later writes.
        inode.durable.truncate(len);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state()?;
        state.spend()?;
        if state.fail_sync {
            state.files[self.inode].dirty.clear();
            return Err(io::Error::other("injected"));
        }
        let inode = &mut state.files[self.inode];
        let dirty = std::mem::take(&mut inode.dirty);
        let bytes = dirty.len() * SECTOR;
        for sector in dirty {
            inode.persist(sector);
        }
        state.synced_bytes += bytes as u64;
        Ok(())
    }
}

// === impl Inode ===

impl Inode {
    fn persist(&mut self, sector: usize) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.volatile.len());
        if from >= to {
            return;
        }
        if self.durable.len() < to {
            self.durable.resize(to, 0);
        }
        self.durable[from..to].copy_from_slice(&self.volatile[from..to]);
    }
}

// === impl State ===

impl State {
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.budget {
            None => Ok(()),
            Some(0) => {
                if self.once {
                    self.budget = None;
                }
                Err(io::Error::other("the power is gone"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn rename(&mut self, rename: Rename) {
        rename.apply(&mut self.names);
        self.pending.push(rename);
    }

    fn make_room(&self, inode: usize, len: usize) -> io::Result<()> {
        let used: usize = self.names.values().map(|inode| self.files[*inode].volatile.len()).sum();
        let more = len.saturating_sub(self.files[inode].volatile.len());
        if used.saturating_add(more) > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn write(&mut self, inode: usize, bytes: &[u8], from: usize) {
        let inode = &mut self.files[inode];
        let to = from + bytes.len();
        if inode.volatile.len() < to {
            inode.volatile.resize(to, 0);
        }
        inode.volatile[from..to].copy_from_slice(bytes);
        inode.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
    }

    /// Of what is dirty, some sectors reached the disk.
    fn tear(&mut self, inode: usize) {
        let dirty: Vec<usize> = std::mem::take(&mut self.files[inode].dirty).into_iter().collect();
        // Often none or all; otherwise each by chance.
        let mode = self.below(4);
        for sector in dirty {
            let kept = match mode {
                0 => false,
                1 => true,
                _ => self.below(2) == 0,
            };
            if kept {
                self.files[inode].persist(sector);
            }
        }
        let inode = &mut self.files[inode];
        inode.volatile.clone_from(&inode.durable);
    }

    fn below(&mut self, bound: u64) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound.max(1)).unwrap_or(0)
    }
}

// === impl Rename ===

impl Rename {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Rename::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Rename::Move(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Rename::Unlink(name) => {
                names.remove(name);
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        lock(&self.0).locked = false;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
