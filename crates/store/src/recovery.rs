//! From what an engine gives back to trees and history: at the start, and after a failure.

use std::collections::HashMap;
use std::sync::Arc;

use engine::{
    Codec, Engine, EngineError, Expected, Factory, Mark, Mutation, OpenReason, Record, Restore, Revision, Template,
};

use crate::entry::{Entry, Event, EventKind};
use crate::resource::Resource;
use crate::store::Shared;
use crate::tree::Tree;

/// The state as an engine had it.
pub(crate) struct Found {
    codec: Arc<dyn Codec>,
    /// What could not be opened, by resource and path. What was written over later need not be.
    closed: HashMap<(Arc<str>, Arc<str>), EngineError>,
    pub(crate) resources: HashMap<Arc<str>, FoundResource>,
    /// The last one that may have been given out.
    pub(crate) revision: Revision,
    /// Of the last change that is really there.
    pub(crate) last: Revision,
    /// Changes up to it are not known, or not surely all.
    pub(crate) floor: Revision,
    /// How many changes of one resource are worth keeping.
    limit: usize,
}

#[derive(Default)]
pub(crate) struct FoundResource {
    pub(crate) tree: Tree,
    pub(crate) events: Vec<Arc<Event>>,
    /// Up to where events were left out because they were too many.
    pub(crate) floor: Revision,
}

pub(crate) fn open(
    factory: &dyn Factory,
    codec: &Arc<dyn Codec>,
    reason: OpenReason,
) -> Result<(Box<dyn Engine>, Found), EngineError> {
    open_with_history(factory, codec, reason, 0)
}

/// Also keeps the last `limit` changes of each resource, if the engine remembers them.
pub(crate) fn open_with_history(
    factory: &dyn Factory,
    codec: &Arc<dyn Codec>,
    reason: OpenReason,
    limit: usize,
) -> Result<(Box<dyn Engine>, Found), EngineError> {
    let mut found = Found {
        codec: Arc::clone(codec),
        closed: HashMap::new(),
        resources: HashMap::new(),
        revision: Revision::ZERO,
        last: Revision::ZERO,
        floor: Revision::ZERO,
        limit,
    };
    let opened = factory.open(reason, &mut found)?;
    found.revision = opened.revision;
    if factory.is_shared() {
        // Others may have written and deleted up to here: what is there is the state as of it.
        found.last = opened.revision;
    }
    if factory.is_shared() {
        found.overlook_other_versions();
    }
    let count = found.closed.len();
    if let Some((_, error)) = found.closed.drain().next() {
        // Without them the store would look as if they had been deleted.
        tracing::error!(count, "objects cannot be opened with the keys there are");
        return Err(error);
    }
    Ok((opened.engine, found))
}

/// How memory and a newly opened engine differ.
pub(crate) enum Difference {
    /// The engine has all that readers saw, and perhaps more: of each resource the new tree and its events.
    Ahead(Vec<(Resource, Tree, Vec<Arc<Event>>)>),
    /// The engine lost something that readers saw, so relaxed transactions: what has to be written again.
    Behind(Vec<(Resource, Mutation, Template)>),
}

pub(crate) fn difference(shared: &Shared, found: &Found) -> Result<Difference, EngineError> {
    let mut resources: Vec<Resource> = found.resources.keys().map(|name| shared.resource(name)).collect();
    resources.extend(shared.resources().iter().filter(|resource| !found.has(resource)).cloned());
    let nothing = Tree::default();
    let after = |resource: &Resource| found.resources.get(resource.name()).map_or(&nothing, |found| &found.tree);
    if found.last < shared.progress.revision() && !shared.factory.is_shared() {
        let mut behind = Vec::new();
        for resource in &resources {
            behind.extend(missing(resource, after(resource), &*shared.options.codec)?);
        }
        return Ok(Difference::Behind(behind));
    }
    let mut changes = Vec::new();
    for resource in resources {
        let (tree, events) = gained(&resource, after(&resource), found.last);
        if !events.is_empty() {
            changes.push((resource, tree, events));
        }
    }
    Ok(Difference::Ahead(changes))
}

fn gained(resource: &Resource, after: &Tree, revision: Revision) -> (Tree, Vec<Arc<Event>>) {
    let before = resource.shelf().current.load().tree.clone();
    let (mut tree, mut events) = (before.clone(), Vec::new());
    for entry in before.cursor("").filter(|entry| after.get(entry.key().as_str()).is_none()) {
        tree.remove(entry.key().as_str());
        let gone = Arc::new(entry.deleted_at(revision));
        events.push(Arc::new(Event::new(EventKind::Deleted, gone, Some(entry))));
    }
    for entry in after.cursor("") {
        let previous = before.get(entry.key().as_str());
        if previous.is_some_and(|previous| previous.mod_revision() == entry.mod_revision()) {
            continue;
        }
        let previous = tree.insert(Arc::clone(&entry));
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        events.push(Arc::new(Event::new(kind, entry, previous)));
    }
    events.sort_by_key(|event| event.revision());
    (tree, events)
}

fn missing(
    resource: &Resource,
    kept: &Tree,
    codec: &dyn Codec,
) -> Result<Vec<(Resource, Mutation, Template)>, EngineError> {
    let tree = resource.shelf().current.load().tree.clone();
    let mut mutations = Vec::new();
    for entry in tree.cursor("") {
        let observed = kept.get(entry.key().as_str()).map(|kept| kept.mod_revision());
        if observed != Some(entry.mod_revision()) {
            let put = Mutation::Put {
                resource: Arc::clone(&resource.shelf().name),
                path: Arc::clone(entry.key().path()),
                value: codec.seal(resource.name(), entry.key().as_str(), &entry.template())?.0,
                created: Some(entry.create_revision()),
                expected: Expected::Any,
            };
            mutations.push((resource.clone(), put, entry.template()));
        }
    }
    for entry in kept.cursor("").filter(|entry| tree.get(entry.key().as_str()).is_none()) {
        let delete = Mutation::Delete {
            resource: Arc::clone(&resource.shelf().name),
            path: Arc::clone(entry.key().path()),
            expected: Expected::Any,
        };
        mutations.push((resource.clone(), delete, Template::default()));
    }
    Ok(mutations)
}

// === impl Found ===

impl Found {
    fn has(&self, resource: &Resource) -> bool {
        self.resources.contains_key(resource.name())
    }

    fn resource(&mut self, name: &str) -> &mut FoundResource {
        if !self.resources.contains_key(name) {
            self.resources.insert(Arc::from(name), FoundResource::default());
        }
        self.resources.entry(Arc::from(name)).or_default()
    }

    /// Opens a value. One that cannot be is kept as it is, for as long as something may still take its place.
    fn entry(&mut self, mut record: Record) -> Arc<Entry> {
        let kept = std::mem::take(&mut record.value);
        let mark = match self.codec.open(&record.resource, &record.path, kept.clone()) {
            Ok((value, mark)) => {
                record.value = value;
                mark
            }
            Err(error) => {
                record.value = kept;
                self.closed.insert((Arc::clone(&record.resource), Arc::clone(&record.path)), error);
                CLOSED
            }
        };
        Arc::new(Entry::restored(&record, mark))
    }

    /// What another server has written for itself is not shown, and not touched: its key stays taken. Upstream would
    /// refuse each request for it, and go on with all others.
    fn overlook_other_versions(&mut self) {
        let is_other = |error: &EngineError| matches!(error, EngineError::OtherVersion { .. });
        let (other, closed) = std::mem::take(&mut self.closed).into_iter().partition(|(_, error)| is_other(error));
        self.closed = closed;
        for ((resource, path), error) in other {
            tracing::warn!(error = &error as &dyn std::error::Error, "not shown");
            self.resource(&resource).tree.remove(&path);
        }
    }

    fn note(&mut self, name: &str, event: Event) {
        let limit = self.limit;
        let resource = self.resource(name);
        if limit == 0 {
            return;
        }
        if event.entry().mark() == CLOSED || event.previous().is_some_and(|previous| previous.mark() == CLOSED) {
            // Nobody is to see it: history begins behind it.
            resource.floor = event.revision();
            resource.events.clear();
            return;
        }
        // Twice as many before the older half goes, so that each is moved at most once.
        if resource.events.len() >= 2 * limit {
            resource.floor = resource.events[limit - 1].revision();
            resource.events.drain(..limit);
        }
        resource.events.push(Arc::new(event));
    }
}

/// Of an entry whose bytes are those that could not be opened.
const CLOSED: Mark = Mark(u32::MAX);

impl Restore for Found {
    fn live(&mut self, record: Record) {
        self.last = self.last.max(record.modified);
        let name = Arc::clone(&record.resource);
        let entry = self.entry(record);
        self.resource(&name).tree.insert(entry);
    }

    fn base(&mut self, revision: Revision) {
        self.last = self.last.max(revision);
        self.floor = self.floor.max(revision);
    }

    fn put(&mut self, record: Record) {
        self.last = self.last.max(record.modified);
        let name = Arc::clone(&record.resource);
        let id = (Arc::clone(&record.resource), Arc::clone(&record.path));
        if !self.closed.is_empty() {
            self.closed.remove(&id);
        }
        let entry = self.entry(record);
        let previous = self.resource(&name).tree.insert(Arc::clone(&entry));
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        self.note(&name, Event::new(kind, entry, previous));
    }

    fn delete(&mut self, resource: &str, path: &str, revision: Revision) {
        self.last = self.last.max(revision);
        if !self.closed.is_empty() {
            self.closed.remove(&(Arc::from(resource), Arc::from(path)));
        }
        let Some(previous) = self.resource(resource).tree.remove(path) else { return };
        let gone = Arc::new(previous.deleted_at(revision));
        self.note(resource, Event::new(EventKind::Deleted, gone, Some(previous)));
    }

    fn gap(&mut self, upto: Revision) {
        self.floor = self.floor.max(upto);
        self.resources.values_mut().for_each(|resource| resource.events.clear());
    }
}
