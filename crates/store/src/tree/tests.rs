//! The tree against `BTreeMap`, with older versions that must not change.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use engine::{Revision, Template};
use proptest::prelude::*;

use super::{Child, MAX, Node, Tree};
use crate::entry::Entry;
use crate::key::Key;

#[derive(Clone, Debug)]
enum Step {
    Insert(u16),
    Remove(u16),
    Keep,
}

fn step(keys: u16) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..keys).prop_map(Step::Insert),
        4 => (0..keys).prop_map(Step::Remove),
        1 => Just(Step::Keep),
    ]
}

fn entry(number: u16, revision: u64) -> Arc<Entry> {
    let key = Key::new("", &format!("{number:05}")).unwrap();
    let value = Template { head: Bytes::new(), tail: Bytes::new() };
    Arc::new(Entry::new(key, &value, Revision(revision), Revision(revision), engine::Mark(0)))
}

fn contents(tree: &Tree) -> Vec<(String, u64)> {
    tree.cursor("").map(|entry| (entry.key().to_string(), entry.mod_revision().0)).collect()
}

/// Counts and separators tell the truth, and no node is empty or too long.
fn check_node(node: &Node) -> usize {
    assert!(node.len() <= MAX && node.len() > 0);
    match node {
        Node::Leaf(entries) => entries.len(),
        Node::Branch(children) => {
            for pair in children.windows(2) {
                assert!(last_key(&pair[0].node) < pair[1].low);
            }
            children
                .iter()
                .map(|Child { low, count, node }| {
                    assert!(low <= &first_key(node));
                    assert_eq!(check_node(node), *count);
                    *count
                })
                .sum()
        }
    }
}

fn first_key(node: &Node) -> Key {
    match node {
        Node::Leaf(entries) => entries[0].key().clone(),
        Node::Branch(children) => first_key(&children[0].node),
    }
}

fn last_key(node: &Node) -> Key {
    match node {
        Node::Leaf(entries) => entries.last().unwrap().key().clone(),
        Node::Branch(children) => last_key(&children.last().unwrap().node),
    }
}

fn run(steps: &[Step]) {
    let (mut tree, mut model) = (Tree::default(), BTreeMap::new());
    let mut kept = Vec::new();
    for (revision, step) in (1..).zip(steps) {
        match step {
            Step::Insert(number) => {
                let replaced = tree.insert(entry(*number, revision)).map(|entry| entry.mod_revision().0);
                assert_eq!(replaced, model.insert(format!("{number:05}"), revision));
            }
            Step::Remove(number) => {
                let key = format!("{number:05}");
                let removed = tree.remove(&key).map(|entry| entry.mod_revision().0);
                assert_eq!(removed, model.remove(&key));
            }
            Step::Keep => kept.push((tree.clone(), model.clone())),
        }
    }
    kept.push((tree, model));
    for (tree, model) in kept {
        if let Some(root) = &tree.root {
            assert_eq!(check_node(root), model.len());
        }
        assert_eq!(tree.len(), model.len());
        for (rank, (key, revision)) in model.iter().enumerate() {
            assert_eq!(tree.rank(key), rank);
            assert_eq!(tree.get(key).map(|entry| entry.mod_revision().0), Some(*revision));
        }
        assert_eq!(tree.rank("~"), model.len());
        assert!(tree.get("~").is_none());
        assert_eq!(tree.cursor("00300").count(), model.range("00300".to_owned()..).count());
        assert_eq!(contents(&tree), model.into_iter().collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_a_map(steps in prop::collection::vec(step(700), 0..3000)) {
        run(&steps);
    }
}

#[test]
fn three_levels_grow_and_shrink() {
    let count = 9_000;
    let mut steps: Vec<Step> = (0..count).map(Step::Insert).collect();
    steps.push(Step::Keep);
    steps.extend((0..count).map(|number| Step::Remove(number.wrapping_mul(7919) % count)));
    run(&steps);
}

#[test]
fn keys_in_order_leave_full_leaves() {
    let mut tree = Tree::default();
    for number in 0..6_400 {
        tree.insert(entry(number, 1));
    }
    let Some(root) = &tree.root else { panic!("empty") };
    let Node::Branch(children) = &**root else { panic!("one leaf") };
    let leaves: usize = children
        .iter()
        .map(|child| match &*child.node {
            Node::Leaf(_) => 1,
            Node::Branch(children) => children.len(),
        })
        .sum();
    assert_eq!(leaves, 6_400 / MAX);
}
