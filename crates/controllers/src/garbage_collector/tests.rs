//! Changes of objects in, work out.

use std::sync::Arc;

use api::{ObjectMeta, OwnerReference, Time};
use apimachinery::ObjectKey;
use expect_test::{Expect, expect};

use super::graph::*;

/// A change a line: `add KIND/NAME [ns=N] [owners=KIND/NAME[!],…] [foreground] [orphan] [deleting]`, where `!` blocks the
/// owner's deletion; `gone NAME`, `absent NAME`. The UID is the name. What follows is printed after each line's number.
fn check(input: &str, expected: Expect) {
    let mut graph = Graph::default();
    let mut lines = Vec::new();
    for (number, line) in input.lines().enumerate() {
        let words: Vec<_> = line.split_whitespace().collect();
        let value = |name: &str| words.iter().find_map(|word| word.strip_prefix(&format!("{name}=")));
        let outcome = match words[0] {
            "gone" => graph.remove(words[1]),
            "absent" => graph.remove_virtual(words[1]),
            _ => {
                let (kind, name) = words[1].split_once('/').unwrap();
                let owner = |text: &str| {
                    let (kind, name) = text.trim_end_matches('!').split_once('/').unwrap();
                    OwnerReference {
                        api_version: "v1".into(),
                        kind: kind.into(),
                        name: name.into(),
                        uid: name.into(),
                        block_owner_deletion: Some(text.ends_with('!')),
                        controller: None,
                    }
                };
                let owners: Vec<_> = value("owners").iter().flat_map(|list| list.split(',')).map(owner).collect();
                let flags = [("foreground", FOREGROUND), ("orphan", ORPHAN)];
                let finalizers: Vec<_> =
                    flags.iter().filter(|(word, _)| words.contains(word)).map(|(_, name)| (*name).to_owned()).collect();
                let deleting = words.contains(&"deleting") || !finalizers.is_empty();
                let meta = ObjectMeta {
                    uid: Some(name.into()),
                    owner_references: Some(owners),
                    finalizers: Some(finalizers),
                    deletion_timestamp: deleting.then_some(Time(jiff::Timestamp::UNIX_EPOCH)),
                    ..ObjectMeta::default()
                };
                let key = ObjectKey::new(value("ns").unwrap_or("n"), name);
                graph.upsert(Identity { group: Arc::from(""), kind: Arc::from(kind), key }, &meta)
            }
        };
        let mut work: Vec<_> = outcome.work.iter().map(|work| format!("{work:?}")).collect();
        work.sort();
        work.extend(
            outcome.invalid.iter().map(|invalid| format!("invalid {} of {}", invalid.owner.name, invalid.dependent)),
        );
        lines.push(format!("{}: {}", number + 1, work.join(" ")));
    }
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn dependents_follow_their_owner() {
    check(
        "add Deployment/d\nadd ReplicaSet/r owners=Deployment/d\nadd Pod/p owners=ReplicaSet/r\ngone d\ngone r",
        expect![[r#"
            1: 
            2: 
            3: 
            4: Delete("r")
            5: Delete("p")"#]],
    );
}

#[test]
fn an_owner_nobody_has_seen_is_looked_for_once() {
    check(
        "add Pod/p owners=ReplicaSet/r\nadd Pod/q owners=ReplicaSet/r\nabsent r",
        expect![[r#"
        1: Delete("r")
        2: 
        3: Delete("p") Delete("q")"#]],
    );
    check(
        "add Pod/p owners=ReplicaSet/r\nadd ReplicaSet/r\nabsent r\ngone r",
        expect![[r#"
        1: Delete("r")
        2: 
        3: 
        4: Delete("p")"#]],
    );
}

#[test]
fn a_foreground_deletion_waits_for_those_that_block_it() {
    check(
        "add ReplicaSet/r\nadd Pod/p owners=ReplicaSet/r!\nadd Pod/q owners=ReplicaSet/r\nadd ReplicaSet/r foreground\nadd Pod/p owners=ReplicaSet/r\ngone q",
        expect![[r#"
            1: 
            2: 
            3: 
            4: Delete("p") Delete("q") Delete("r")
            5: Delete("p") Delete("r")
            6: Delete("r")"#]],
    );
}

#[test]
fn a_dependent_that_comes_late_is_deleted_too() {
    check(
        "add ReplicaSet/r foreground\nadd Pod/p owners=ReplicaSet/r",
        expect![[r#"
        1: Delete("r")
        2: Delete("p")"#]],
    );
}

#[test]
fn orphaning_is_noticed() {
    check(
        "add ReplicaSet/r\nadd Pod/p owners=ReplicaSet/r\nadd ReplicaSet/r orphan",
        expect![[r#"
        1: 
        2: 
        3: Orphan("r")"#]],
    );
}

#[test]
fn an_owner_in_another_namespace_is_none() {
    check(
        "add ReplicaSet/r ns=other\nadd Pod/p owners=ReplicaSet/r",
        expect![[r#"
        1: 
        2: Delete("p") invalid r of p"#]],
    );
    check(
        "add Pod/p owners=ReplicaSet/r\nadd ReplicaSet/r ns=other",
        expect![[r#"
        1: Delete("r")
        2: Delete("p") invalid r of p"#]],
    );
}

#[test]
fn references_may_change() {
    check(
        "add A/a\nadd B/b\nadd Pod/p owners=A/a\nadd Pod/p owners=B/b\ngone a\ngone b",
        expect![[r#"
        1: 
        2: 
        3: 
        4: Delete("p")
        5: 
        6: Delete("p")"#]],
    );
}
