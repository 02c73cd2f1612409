//! A persistent ordered map of entries: a B+ tree whose nodes are shared between versions.
//!
//! A clone is a pointer. A change copies the nodes on its path that another version still uses, and no other.
//! Subtrees know how many entries they hold, so that counting a range costs a descent, not a walk.

use std::sync::Arc;

use crate::entry::Entry;
use crate::key::Key;

/// Nodes split above it. 64 pointers are eight cache lines: copying a node costs less than a cache miss or two more
/// on the way down.
const MAX: usize = 64;
/// Nodes below it are merged with a neighbour if both fit.
const MIN: usize = MAX / 4;

#[derive(Clone, Default)]
pub(crate) struct Tree {
    root: Option<Arc<Node>>,
    len: usize,
}

enum Node {
    Leaf(Vec<Arc<Entry>>),
    Branch(Vec<Child>),
}

#[derive(Clone)]
struct Child {
    /// Not above any key of the subtree, and above every key of the subtrees before it.
    low: Key,
    count: usize,
    node: Arc<Node>,
}

/// Owns what it walks over, so that a list can be streamed from it for as long as the client takes.
pub(crate) struct Cursor {
    /// From the root to a leaf, with the index of the next child or entry of each.
    path: Vec<(Arc<Node>, usize)>,
}

// === impl Tree ===

impl Tree {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        let mut node = self.root.as_ref()?;
        loop {
            match &**node {
                Node::Branch(children) => node = &children[child_for(children, key)].node,
                Node::Leaf(entries) => return search(entries, key).ok().map(|at| &entries[at]),
            }
        }
    }

    /// Gives back the entry of the same key that was there.
    pub(crate) fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let Some(root) = &mut self.root else {
            self.root = Some(Arc::new(Node::leaf_of([entry])));
            self.len = 1;
            return None;
        };
        let (replaced, split) = Node::insert(root, entry);
        self.len += usize::from(replaced.is_none());
        if let Some(right) = split {
            let left = Child { low: root.low(), count: self.len - right.count, node: Arc::clone(root) };
            *root = Arc::new(Node::Branch(with_room([left, right])));
        }
        replaced
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Arc<Entry>> {
        let root = self.root.as_mut()?;
        // Looked for first, so that removing what is not there copies nothing.
        let mut probe = &*root;
        loop {
            match &**probe {
                Node::Branch(children) => probe = &children[child_for(children, key)].node,
                Node::Leaf(entries) => {
                    search(entries, key).ok()?;
                    break;
                }
            }
        }
        let removed = Node::remove(root, key);
        self.len -= usize::from(removed.is_some());
        let shrunk = match &**root {
            Node::Branch(children) if children.len() == 1 => Some(Arc::clone(&children[0].node)),
            _ => None,
        };
        if let Some(only) = shrunk {
            *root = only;
        }
        if self.len == 0 {
            self.root = None;
        }
        removed
    }

    /// How many keys are below `key`.
    pub(crate) fn rank(&self, key: &str) -> usize {
        let Some(mut node) = self.root.as_ref() else { return 0 };
        let mut rank = 0;
        loop {
            match &**node {
                Node::Branch(children) => {
                    let at = child_for(children, key);
                    rank += children[..at].iter().map(|child| child.count).sum::<usize>();
                    node = &children[at].node;
                }
                Node::Leaf(entries) => return rank + search(entries, key).unwrap_or_else(|at| at),
            }
        }
    }

    /// Walks upwards from the first key that is not below `from`.
    pub(crate) fn cursor(&self, from: &str) -> Cursor {
        let mut path = Vec::new();
        let mut next = self.root.clone();
        while let Some(node) = next.take() {
            let at = match &*node {
                Node::Branch(children) => {
                    let at = child_for(children, from);
                    next = Some(Arc::clone(&children[at].node));
                    at + 1
                }
                Node::Leaf(entries) => search(entries, from).unwrap_or_else(|at| at),
            };
            path.push((node, at));
        }
        Cursor { path }
    }
}

// === impl Node ===

impl Node {
    fn leaf_of(entries: impl IntoIterator<Item = Arc<Entry>>) -> Node {
        Node::Leaf(with_room(entries))
    }

    fn low(&self) -> Key {
        match self {
            Node::Leaf(entries) => entries[0].key().clone(),
            Node::Branch(children) => children[0].low.clone(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Branch(children) => children.len(),
        }
    }

    fn insert(node: &mut Arc<Node>, entry: Arc<Entry>) -> (Option<Arc<Entry>>, Option<Child>) {
        match Arc::make_mut(node) {
            Node::Leaf(entries) => match search(entries, entry.key().as_str()) {
                Ok(at) => (Some(std::mem::replace(&mut entries[at], entry)), None),
                Err(at) => {
                    entries.insert(at, entry);
                    let split = split_off(entries, at).map(|right| Child {
                        low: right[0].key().clone(),
                        count: right.len(),
                        node: Arc::new(Node::Leaf(right)),
                    });
                    (None, split)
                }
            },
            Node::Branch(children) => {
                let at = child_for(children, entry.key().as_str());
                let child = &mut children[at];
                if entry.key() < &child.low {
                    child.low = entry.key().clone();
                }
                let (replaced, split) = Node::insert(&mut child.node, entry);
                child.count += usize::from(replaced.is_none());
                let Some(right) = split else { return (replaced, None) };
                child.count -= right.count;
                children.insert(at + 1, right);
                let split = split_off(children, at + 1).map(|right| Child {
                    low: right[0].low.clone(),
                    count: right.iter().map(|child| child.count).sum(),
                    node: Arc::new(Node::Branch(right)),
                });
                (replaced, split)
            }
        }
    }

    fn remove(node: &mut Arc<Node>, key: &str) -> Option<Arc<Entry>> {
        match Arc::make_mut(node) {
            Node::Leaf(entries) => search(entries, key).ok().map(|at| entries.remove(at)),
            Node::Branch(children) => {
                let at = child_for(children, key);
                let removed = Node::remove(&mut children[at].node, key)?;
                children[at].count -= 1;
                mend(children, at);
                Some(removed)
            }
        }
    }

    /// Takes over everything of the neighbour above.
    fn absorb(&mut self, above: &Node) {
        match (self, above) {
            (Node::Leaf(entries), Node::Leaf(more)) => entries.extend_from_slice(more),
            (Node::Branch(children), Node::Branch(more)) => children.extend_from_slice(more),
            // All leaves are equally deep.
            (Node::Leaf(_), Node::Branch(_)) | (Node::Branch(_), Node::Leaf(_)) => {}
        }
    }
}

impl Clone for Node {
    /// With room for one more, so that the change it is cloned for does not move it again.
    fn clone(&self) -> Node {
        match self {
            Node::Leaf(entries) => Node::Leaf(with_room(entries.iter().cloned())),
            Node::Branch(children) => Node::Branch(with_room(children.iter().cloned())),
        }
    }
}

// === impl Cursor ===

impl Iterator for Cursor {
    type Item = Arc<Entry>;

    fn next(&mut self) -> Option<Arc<Entry>> {
        loop {
            let (node, at) = self.path.last_mut()?;
            let here = *at;
            *at += 1;
            let down = match &**node {
                Node::Leaf(entries) => match entries.get(here) {
                    Some(entry) => return Some(Arc::clone(entry)),
                    None => None,
                },
                Node::Branch(children) => children.get(here).map(|child| Arc::clone(&child.node)),
            };
            match down {
                Some(node) => self.path.push((node, 0)),
                None => {
                    self.path.pop();
                }
            }
        }
    }
}

fn with_room<T>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut vec = Vec::with_capacity(MAX + 1);
    vec.extend(items);
    vec
}

fn search(entries: &[Arc<Entry>], key: &str) -> Result<usize, usize> {
    entries.binary_search_by(|entry| entry.key().as_str().cmp(key))
}

/// The child whose subtree a key belongs to.
fn child_for(children: &[Child], key: &str) -> usize {
    children.partition_point(|child| child.low.as_str() <= key).saturating_sub(1)
}

/// Halves what has grown too long, except behind an append: keys that come in order leave full nodes behind.
fn split_off<T>(items: &mut Vec<T>, inserted: usize) -> Option<Vec<T>> {
    if items.len() <= MAX {
        return None;
    }
    let at = if inserted == items.len() - 1 { inserted } else { items.len() / 2 };
    Some(with_room(items.drain(at..)))
}

/// After a removal below `children[at]`: an empty child goes, a small one joins a neighbour.
fn mend(children: &mut Vec<Child>, at: usize) {
    if children[at].count == 0 {
        children.remove(at);
        return;
    }
    if children[at].node.len() >= MIN {
        return;
    }
    for left in [at.wrapping_sub(1), at] {
        let Some(right) = children.get(left.wrapping_add(1)) else { continue };
        let Some(child) = children.get(left) else { continue };
        if child.node.len() + right.node.len() > MAX {
            continue;
        }
        let right = children.remove(left + 1);
        Arc::make_mut(&mut children[left].node).absorb(&right.node);
        children[left].count += right.count;
        return;
    }
}

#[cfg(test)]
mod tests;
