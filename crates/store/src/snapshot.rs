//! One resource at one revision. Holding it locks nothing and costs a pointer, however long a client takes to read.

use std::sync::Arc;

use engine::Revision;

use crate::entry::Entry;
use crate::key::Key;
use crate::tree::{Cursor, Tree};

#[derive(Clone)]
pub struct Snapshot {
    tree: Tree,
    revision: Revision,
}

/// Entries in the order of their keys. Owns what it walks over.
pub struct Range {
    cursor: Cursor,
    /// Keys without it end the walk.
    prefix: Option<Box<str>>,
}

// === impl Snapshot ===

impl Snapshot {
    pub(crate) fn new(tree: Tree, revision: Revision) -> Snapshot {
        Snapshot { tree, revision }
    }

    /// Of the whole store: every change up to it is in here, and none after it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.tree.get(key.as_str()).cloned()
    }

    #[must_use]
    pub fn iter(&self) -> Range {
        self.range("", None)
    }

    /// Of one namespace, or of all if it is empty, behind `start_after`.
    #[must_use]
    pub fn range(&self, namespace: &str, start_after: Option<&Key>) -> Range {
        let prefix = (!namespace.is_empty()).then(|| format!("{namespace}/").into_boxed_str());
        let from = lower_bound(prefix.as_deref(), start_after);
        Range { cursor: self.tree.cursor(&from), prefix }
    }

    /// How many entries `range` with the same arguments walks over. Costs two descents.
    #[must_use]
    pub fn count(&self, namespace: &str, start_after: Option<&Key>) -> usize {
        let prefix = (!namespace.is_empty()).then(|| format!("{namespace}/"));
        let from = self.tree.rank(&lower_bound(prefix.as_deref(), start_after));
        let to = match namespace {
            "" => self.tree.len(),
            // '0' follows '/': the first key that is above every key of the namespace.
            _ => self.tree.rank(&format!("{namespace}0")),
        };
        to.saturating_sub(from)
    }
}

// === impl Range ===

impl Iterator for Range {
    type Item = Arc<Entry>;

    fn next(&mut self) -> Option<Arc<Entry>> {
        let entry = self.cursor.next()?;
        match &self.prefix {
            Some(prefix) if !entry.key().as_str().starts_with(&**prefix) => None,
            _ => Some(entry),
        }
    }
}

/// The lowest possible key of the range.
fn lower_bound(prefix: Option<&str>, start_after: Option<&Key>) -> String {
    let prefix = prefix.unwrap_or_default();
    match start_after {
        // No key has a NUL, so this is what comes directly behind.
        Some(key) if key.as_str() >= prefix => format!("{key}\0"),
        _ => prefix.to_owned(),
    }
}
