//! Who is to be woken by which change. Watchers of one object or namespace are found by a look-up, so that an agent's
//! thousand watches of single Secrets cost a write to another Secret nothing.

use std::collections::HashMap;
use std::sync::Arc;

use futures::task::AtomicWaker;

use crate::entry::Event;
use crate::watch::Filter;

/// The sleeping place of one watch.
#[derive(Default)]
pub(crate) struct Sleeper {
    pub(crate) waker: AtomicWaker,
}

#[derive(Default)]
pub(crate) struct Fanout {
    all: Sleepers,
    namespaces: HashMap<Box<str>, Sleepers>,
    objects: HashMap<Box<str>, Sleepers>,
    count: usize,
}

/// By address: a watch is found again when it ends.
type Sleepers = HashMap<usize, Arc<Sleeper>>;

// === impl Fanout ===

impl Fanout {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn add(&mut self, filter: &Filter, sleeper: Arc<Sleeper>) {
        self.count += 1;
        let id = identity(&sleeper);
        match filter.place() {
            Place::All => self.all.insert(id, sleeper),
            Place::Namespace(namespace) => self.namespaces.entry(namespace.into()).or_default().insert(id, sleeper),
            Place::Object(path) => self.objects.entry(path.into()).or_default().insert(id, sleeper),
        };
    }

    pub(crate) fn remove(&mut self, filter: &Filter, sleeper: &Arc<Sleeper>) {
        self.count -= 1;
        let id = identity(sleeper);
        let (places, name) = match filter.place() {
            Place::All => {
                self.all.remove(&id);
                return;
            }
            Place::Namespace(namespace) => (&mut self.namespaces, namespace.to_owned()),
            Place::Object(path) => (&mut self.objects, path),
        };
        if let Some(sleepers) = places.get_mut(name.as_str()) {
            sleepers.remove(&id);
            if sleepers.is_empty() {
                places.remove(name.as_str());
            }
        }
    }

    pub(crate) fn wake(&self, events: &[Arc<Event>]) {
        if self.count == 0 {
            return;
        }
        wake_each(&self.all);
        for event in events {
            if !self.namespaces.is_empty()
                && let Some(sleepers) = self.namespaces.get(event.key().namespace())
            {
                wake_each(sleepers);
            }
            if !self.objects.is_empty()
                && let Some(sleepers) = self.objects.get(event.key().as_str())
            {
                wake_each(sleepers);
            }
        }
    }

    pub(crate) fn wake_everybody(&self) {
        wake_each(&self.all);
        self.namespaces.values().chain(self.objects.values()).for_each(wake_each);
    }
}

/// Where a filter's watches are looked up.
pub(crate) enum Place<'a> {
    All,
    Namespace(&'a str),
    Object(String),
}

fn wake_each(sleepers: &Sleepers) {
    // One that is awake has no waker here, and costs a load.
    sleepers.values().for_each(|sleeper| sleeper.waker.wake());
}

fn identity(sleeper: &Arc<Sleeper>) -> usize {
    Arc::as_ptr(sleeper) as usize
}
