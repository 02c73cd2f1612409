//! Who is to be woken by which change. Watchers of one object or namespace are found by a look-up, so that an agent's
//! thousand watches of single Secrets cost a write to another Secret nothing.

use std::collections::HashMap;
use std::sync::Arc;

use futures::task::AtomicWaker;

use crate::entry::{Event, Index};

/// The sleeping place of one watch.
#[derive(Default)]
pub(crate) struct Sleeper {
    pub(crate) waker: AtomicWaker,
}

#[derive(Default)]
pub(crate) struct Fanout {
    all: Sleepers,
    namespaces: Places,
    /// Also of one name in any namespace, or in a resource without them.
    names: Places,
    objects: Places,
    indexed: Places,
    count: usize,
}

/// By address: a watch is found again when it ends.
type Sleepers = HashMap<usize, Arc<Sleeper>>;
type Places = HashMap<Box<str>, Sleepers>;

/// Where a filter's watches are looked up: the narrowest there is.
pub(crate) enum Place<'a> {
    All,
    Namespace(&'a str),
    Name(&'a str),
    Object(String),
    Indexed(&'a str),
}

// === impl Fanout ===

impl Fanout {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// How many look at what happens to this object. Those of an index are not told apart, and not counted.
    pub(crate) fn interested(&self, namespace: &str, name: &str) -> usize {
        let at = |places: &Places, key: &str| places.get(key).map_or(0, HashMap::len);
        let object = if namespace.is_empty() { String::new() } else { format!("{namespace}/{name}") };
        self.all.len() + at(&self.namespaces, namespace) + at(&self.names, name) + at(&self.objects, &object)
    }

    pub(crate) fn add(&mut self, place: &Place<'_>, sleeper: Arc<Sleeper>) {
        self.count += 1;
        let sleepers = match self.places(place) {
            (None, _) => &mut self.all,
            (Some(places), name) => places.entry(name.into()).or_default(),
        };
        sleepers.insert(identity(&sleeper), sleeper);
    }

    pub(crate) fn remove(&mut self, place: &Place<'_>, sleeper: &Arc<Sleeper>) {
        self.count -= 1;
        let id = identity(sleeper);
        let (Some(places), name) = self.places(place) else {
            self.all.remove(&id);
            return;
        };
        if let Some(sleepers) = places.get_mut(name) {
            sleepers.remove(&id);
            if sleepers.is_empty() {
                places.remove(name);
            }
        }
    }

    pub(crate) fn wake(&self, events: &[Arc<Event>], index: Option<&Index>) {
        if self.count == 0 {
            return;
        }
        wake_each(&self.all);
        for event in events {
            let key = event.key();
            wake_at(&self.namespaces, Some(key.namespace()));
            wake_at(&self.names, Some(key.name()));
            wake_at(&self.objects, Some(key.as_str()));
            if let Some(index) = index
                && !self.indexed.is_empty()
            {
                let (before, after) = event.indexed(index);
                wake_at(&self.indexed, after);
                if before != after {
                    wake_at(&self.indexed, before);
                }
            }
        }
    }

    pub(crate) fn wake_everybody(&self) {
        wake_each(&self.all);
        let places = [&self.namespaces, &self.names, &self.objects, &self.indexed];
        places.into_iter().flat_map(HashMap::values).for_each(wake_each);
    }

    fn places<'a>(&mut self, place: &'a Place<'_>) -> (Option<&mut Places>, &'a str) {
        match place {
            Place::All => (None, ""),
            Place::Namespace(namespace) => (Some(&mut self.namespaces), namespace),
            Place::Name(name) => (Some(&mut self.names), name),
            Place::Object(path) => (Some(&mut self.objects), path),
            Place::Indexed(value) => (Some(&mut self.indexed), value),
        }
    }
}

fn wake_at(places: &Places, name: Option<&str>) {
    if let Some(name) = name
        && !places.is_empty()
        && let Some(sleepers) = places.get(name)
    {
        wake_each(sleepers);
    }
}

fn wake_each(sleepers: &Sleepers) {
    // One that is awake has no waker here, and costs a load.
    sleepers.values().for_each(|sleeper| sleeper.waker.wake());
}

fn identity(sleeper: &Arc<Sleeper>) -> usize {
    Arc::as_ptr(sleeper) as usize
}
