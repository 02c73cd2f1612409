//! Who owns whom; pure. Upstream: `graph_builder.go` `processGraphChanges` and `graph.go`.
//!
//! Bound: a node per object of the cluster, and one per owner that is referred to but was never seen.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use api::{ObjectMeta, OwnerReference};
use apimachinery::{ObjectKey, key::split_api_version};

/// Deletion waits until dependents are gone. Upstream: `FinalizerDeleteDependents`.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Dependents are to be kept. Upstream: `FinalizerOrphanDependents`.
pub(super) const ORPHAN: &str = "orphan";

pub(super) type Uid = Arc<str>;

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Work {
    /// Whether the object is to be deleted, or its foreground deletion to be finished.
    Delete(Uid),
    /// The dependents of the object are to be let go.
    Orphan(Uid),
}

/// Where an object is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) group: Arc<str>,
    pub(super) kind: Arc<str>,
    pub(super) key: ObjectKey,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) identity: Identity,
    pub(super) owners: Arc<[OwnerReference]>,
    pub(super) dependents: HashSet<Uid>,
    pub(super) being_deleted: bool,
    pub(super) deleting_dependents: bool,
    /// Known only because somebody refers to it.
    pub(super) is_virtual: bool,
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
}

/// What is told to the users, because it cannot be right.
#[derive(Debug, PartialEq)]
pub(super) struct InvalidNamespace {
    pub(super) dependent: Uid,
    pub(super) owner: OwnerReference,
}

/// What follows from a change.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) work: Vec<Work>,
    pub(super) invalid: Vec<InvalidNamespace>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it needs no look: it is there, waits for nothing, and so are and do all its owners.
    pub(super) fn is_at_rest(&self, uid: &str) -> bool {
        let Some(node) = self.nodes.get(uid) else { return true };
        let rests = |owner: &OwnerReference| {
            self.nodes.get(owner.uid.as_str()).is_some_and(|known| {
                !known.is_virtual
                    && !known.deleting_dependents
                    && refers_to(owner, &known.identity, &node.identity.key.namespace)
            })
        };
        !node.is_virtual && !node.deleting_dependents && node.owners.iter().all(rests)
    }

    /// Those of its dependents that wish to go before it.
    pub(super) fn blocking(&self, uid: &str) -> Vec<Uid> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        let blocks = |dependent: &&Uid| {
            let owners = self.nodes.get(&***dependent).map(|node| node.owners.clone());
            owners
                .iter()
                .flat_map(|owners| owners.iter())
                .any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
        };
        node.dependents.iter().filter(blocks).cloned().collect()
    }

    /// An object was added or has changed.
    pub(super) fn upsert(&mut self, identity: Identity, meta: &ObjectMeta) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(uid) = meta.uid.as_deref().filter(|uid| !uid.is_empty()) else { return outcome };
        let uid: Uid = uid.into();
        let owners: Arc<[OwnerReference]> = meta.owner_references.clone().unwrap_or_default().into();
        let has = |finalizer: &str| meta.finalizers.iter().flatten().any(|known| known == finalizer);
        let being_deleted = meta.deletion_timestamp.is_some();
        let (foreground, orphaning) = (being_deleted && has(FOREGROUND), being_deleted && has(ORPHAN));

        let before = self.nodes.get(&uid).cloned();
        let known = before.as_ref().filter(|node| !node.is_virtual);
        let old_owners = known.map(|node| node.owners.clone()).unwrap_or_default();
        let started = foreground && !known.is_some_and(|node| node.deleting_dependents);
        let node = Node {
            identity,
            owners: owners.clone(),
            dependents: before.as_ref().map(|node| node.dependents.clone()).unwrap_or_default(),
            being_deleted,
            deleting_dependents: foreground,
            is_virtual: false,
        };
        self.nodes.insert(uid.clone(), node);
        // Those who took it for granted that it is elsewhere, are to be told.
        if before.as_ref().is_some_and(|node| node.is_virtual) {
            self.check_dependents(&uid, &mut outcome);
        }

        self.unlink(&uid, &old_owners, &owners, &mut outcome);
        self.link(&uid, &old_owners, &owners, &mut outcome);
        if orphaning {
            outcome.work.push(Work::Orphan(uid.clone()));
        }
        if started {
            self.enqueue_dependents(&uid, &mut outcome);
        }
        let reowned = known.is_some() && old_owners[..] != owners[..] && !owners.is_empty();
        if foreground || reowned {
            outcome.work.push(Work::Delete(uid));
        }
        outcome
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, uid: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let Some((uid, node)) = self.nodes.remove_entry(uid) else { return outcome };
        for owner in node.owners.iter() {
            if let Some(owner_node) = self.nodes.get_mut(owner.uid.as_str()) {
                owner_node.dependents.remove(&uid);
                if owner_node.deleting_dependents {
                    outcome.work.push(Work::Delete(owner.uid.as_str().into()));
                }
            }
        }
        outcome.work.extend(node.dependents.into_iter().map(Work::Delete));
        outcome
    }

    /// An owner that was looked for and not found.
    pub(super) fn remove_virtual(&mut self, uid: &str) -> Outcome {
        if self.nodes.get(uid).is_some_and(|node| node.is_virtual) { self.remove(uid) } else { Outcome::default() }
    }

    fn link(&mut self, uid: &Uid, old: &[OwnerReference], new: &[OwnerReference], outcome: &mut Outcome) {
        let Some(identity) = self.nodes.get(uid).map(|node| node.identity.clone()) else { return };
        for owner in new {
            if old.iter().any(|known| known.uid == owner.uid) && self.nodes.contains_key(owner.uid.as_str()) {
                continue;
            }
            let owner_uid: Uid = owner.uid.as_str().into();
            let is_new = !self.nodes.contains_key(&owner_uid);
            let node =
                self.nodes.entry(owner_uid.clone()).or_insert_with(|| virtual_node(owner, &identity.key.namespace));
            node.dependents.insert(uid.clone());
            if is_new {
                // Whether there is such an owner at all, the server is asked.
                outcome.work.push(Work::Delete(owner_uid));
                continue;
            }
            if !node.is_virtual && !refers_to(owner, &node.identity, &identity.key.namespace) {
                outcome.invalid.push(InvalidNamespace { dependent: uid.clone(), owner: owner.clone() });
                outcome.work.push(Work::Delete(uid.clone()));
            } else if node.deleting_dependents {
                outcome.work.push(Work::Delete(uid.clone()));
            }
        }
    }

    fn unlink(&mut self, uid: &Uid, old: &[OwnerReference], new: &[OwnerReference], outcome: &mut Outcome) {
        for owner in old {
            let now = new.iter().find(|kept| kept.uid == owner.uid);
            let Some(node) = self.nodes.get_mut(owner.uid.as_str()) else { continue };
            if now.is_none() {
                node.dependents.remove(uid);
            }
            // An owner that waited for this dependent waits no longer.
            let blocked = owner.block_owner_deletion == Some(true);
            let blocks = now.is_some_and(|now| now.block_owner_deletion == Some(true));
            if node.deleting_dependents && blocked && !blocks {
                outcome.work.push(Work::Delete(owner.uid.as_str().into()));
            }
        }
    }

    fn check_dependents(&self, uid: &Uid, outcome: &mut Outcome) {
        let Some(owner_node) = self.nodes.get(uid) else { return };
        for dependent in &owner_node.dependents {
            let Some(node) = self.nodes.get(dependent) else { continue };
            let reference = node.owners.iter().find(|owner| *owner.uid == **uid);
            let Some(reference) = reference else { continue };
            if !refers_to(reference, &owner_node.identity, &node.identity.key.namespace) {
                let invalid = InvalidNamespace { dependent: dependent.clone(), owner: reference.clone() };
                outcome.invalid.push(invalid);
                outcome.work.push(Work::Delete(dependent.clone()));
            }
        }
    }

    fn enqueue_dependents(&self, uid: &Uid, outcome: &mut Outcome) {
        let dependents = self.nodes.get(uid).map(|node| &node.dependents);
        outcome.work.extend(dependents.into_iter().flatten().cloned().map(Work::Delete));
    }
}

/// Whether a reference from a namespace means this object. An owner is of the dependent's namespace, or of none.
pub(super) fn refers_to(reference: &OwnerReference, owner: &Identity, namespace: &str) -> bool {
    let (group, _) = split_api_version(&reference.api_version);
    *owner.group == *group
        && *owner.kind == *reference.kind
        && owner.key.name == reference.name
        && (owner.key.namespace.is_empty() || owner.key.namespace == namespace)
}

fn virtual_node(reference: &OwnerReference, namespace: &str) -> Node {
    let (group, _) = split_api_version(&reference.api_version);
    Node {
        identity: Identity {
            group: group.into(),
            kind: reference.kind.as_str().into(),
            key: ObjectKey::new(namespace, &reference.name),
        },
        owners: Arc::new([]),
        dependents: HashSet::new(),
        being_deleted: false,
        deleting_dependents: false,
        is_virtual: true,
    }
}
