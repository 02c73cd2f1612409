//! From what an engine gives back to trees and history: at the start, and after a failure.

use std::collections::HashMap;
use std::sync::Arc;

use engine::{Engine, EngineError, Factory, Mutation, OpenReason, Record, Restore, Revision};

use crate::entry::{Entry, Event, EventKind};
use crate::resource::Resource;
use crate::store::Shared;
use crate::tree::Tree;

/// The state as an engine had it.
#[derive(Default)]
pub(crate) struct Found {
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

pub(crate) fn open(factory: &dyn Factory, reason: OpenReason) -> Result<(Box<dyn Engine>, Found), EngineError> {
    open_with_history(factory, reason, 0)
}

/// Also keeps the last `limit` changes of each resource, if the engine remembers them.
pub(crate) fn open_with_history(
    factory: &dyn Factory,
    reason: OpenReason,
    limit: usize,
) -> Result<(Box<dyn Engine>, Found), EngineError> {
    let mut found = Found { limit, ..Found::default() };
    let opened = factory.open(reason, &mut found)?;
    found.revision = opened.revision;
    Ok((opened.engine, found))
}

/// How memory and a newly opened engine differ.
pub(crate) enum Difference {
    /// The engine has all that readers saw, and perhaps more: of each resource the new tree and its events.
    Ahead(Vec<(Resource, Tree, Vec<Arc<Event>>)>),
    /// The engine lost something that readers saw, so relaxed transactions: what has to be written again.
    Behind(Vec<(Resource, Mutation)>),
}

pub(crate) fn difference(shared: &Shared, found: &Found) -> Difference {
    let mut resources: Vec<Resource> = found.resources.keys().map(|name| shared.resource(name)).collect();
    resources.extend(shared.resources().iter().filter(|resource| !found.has(resource)).cloned());
    let nothing = Tree::default();
    let after = |resource: &Resource| found.resources.get(resource.name()).map_or(&nothing, |found| &found.tree);
    if found.last < shared.progress.revision() {
        let missing = resources.iter().flat_map(|resource| missing(resource, after(resource)));
        return Difference::Behind(missing.collect());
    }
    let mut changes = Vec::new();
    for resource in resources {
        let (tree, events) = gained(&resource, after(&resource), found.last);
        if !events.is_empty() {
            changes.push((resource, tree, events));
        }
    }
    Difference::Ahead(changes)
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

fn missing(resource: &Resource, kept: &Tree) -> Vec<(Resource, Mutation)> {
    let tree = resource.shelf().current.load().tree.clone();
    let mut mutations = Vec::new();
    for entry in tree.cursor("") {
        let observed = kept.get(entry.key().as_str()).map(|kept| kept.mod_revision());
        if observed != Some(entry.mod_revision()) {
            mutations.push(Mutation::Put {
                resource: Arc::clone(&resource.shelf().name),
                path: Arc::clone(entry.key().path()),
                value: entry.template(),
                created: Some(entry.create_revision()),
                observed,
            });
        }
    }
    for entry in kept.cursor("").filter(|entry| tree.get(entry.key().as_str()).is_none()) {
        mutations.push(Mutation::Delete {
            resource: Arc::clone(&resource.shelf().name),
            path: Arc::clone(entry.key().path()),
            observed: Some(entry.mod_revision()),
        });
    }
    mutations.into_iter().map(|mutation| (resource.clone(), mutation)).collect()
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

    fn note(&mut self, name: &str, event: Event) {
        let limit = self.limit;
        let resource = self.resource(name);
        if limit == 0 {
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

impl Restore for Found {
    fn live(&mut self, record: Record) {
        self.last = self.last.max(record.modified);
        let entry = Arc::new(Entry::restored(&record));
        self.resource(&record.resource).tree.insert(entry);
    }

    fn base(&mut self, revision: Revision) {
        self.last = self.last.max(revision);
        self.floor = self.floor.max(revision);
    }

    fn put(&mut self, record: Record) {
        self.last = self.last.max(record.modified);
        let entry = Arc::new(Entry::restored(&record));
        let previous = self.resource(&record.resource).tree.insert(Arc::clone(&entry));
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        self.note(&record.resource, Event::new(kind, entry, previous));
    }

    fn delete(&mut self, resource: &str, path: &str, revision: Revision) {
        self.last = self.last.max(revision);
        let Some(previous) = self.resource(resource).tree.remove(path) else { return };
        let gone = Arc::new(previous.deleted_at(revision));
        self.note(resource, Event::new(EventKind::Deleted, gone, Some(previous)));
    }

    fn gap(&mut self, upto: Revision) {
        self.floor = self.floor.max(upto);
        self.resources.values_mut().for_each(|resource| resource.events.clear());
    }
}
