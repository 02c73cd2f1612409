//! Differences: only what changes is told, and who came first has a place.

use netlink::nft::Key;

use super::*;
use crate::chains::Memory;
use crate::tables::{Front, SetKind};

const FRONT: Front = Front { ipv6: false, node_port: false };

fn service(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn entry(port: u16) -> Entry {
    let key = Key::new().address([10, 43, 0, 1].into()).protocol(6).port(port);
    Entry { set: FRONT.set(SetKind::Endpoints), key, end: None }
}

fn value(port: u16) -> Value {
    Value::Data(Key::new().address([10, 42, 0, 1].into()).port(port))
}

/// A plan with these places and values.
fn plan(created: i64, entries: &[(u16, u16)]) -> Plan {
    let entries = entries.iter().map(|(place, port)| (entry(*place), value(*port))).collect();
    Plan { created, entries, ..Plan::default() }
}

fn remembering(seconds: u32) -> Plan {
    let chain = SharedChain::Memory(Memory { front: FRONT, seconds });
    Plan { chains: [chain].into(), ..Plan::default() }
}

/// Takes the plans in as one transaction; answers how many elements go and come.
fn apply(shadow: &mut Shadow, plans: &[(&str, Option<Plan>)]) -> (usize, usize) {
    let mut difference = Difference::default();
    for (name, plan) in plans {
        shadow.replace(&service(name), plan.clone(), &mut difference);
    }
    let changed = difference.before.iter().filter(|(entry, before)| before.as_ref() != shadow.value(entry));
    let (mut gone, mut come) = (0, 0);
    for (entry, before) in changed {
        gone += usize::from(before.is_some());
        come += usize::from(shadow.value(entry).is_some());
    }
    (gone, come)
}

#[test]
fn only_differences_are_told() {
    let mut shadow = Shadow::default();
    assert_eq!(apply(&mut shadow, &[("a", Some(plan(0, &[(1, 1), (2, 2)])))]), (0, 2));
    assert_eq!(apply(&mut shadow, &[("a", Some(plan(0, &[(1, 1), (2, 2)])))]), (0, 0));
    assert_eq!(apply(&mut shadow, &[("a", Some(plan(0, &[(1, 1), (2, 3), (4, 4)])))]), (1, 2));
    let there_and_back = [("a", None), ("a", Some(plan(0, &[(1, 1), (2, 3), (4, 4)])))];
    assert_eq!(apply(&mut shadow, &there_and_back), (0, 0));
    assert_eq!(apply(&mut shadow, &[("a", None)]), (3, 0));
    assert!(shadow.claims.is_empty() && shadow.plans.is_empty());
}

#[test]
fn who_came_first_has_the_place() {
    let mut shadow = Shadow::default();
    let first = (Some(value(1)), (0, 1));
    assert_eq!(apply(&mut shadow, &[("younger", Some(plan(5, &[(1, 2)])))]), (0, 1));
    assert_eq!(apply(&mut shadow, &[("older", Some(plan(3, &[(1, 1)])))]), (1, 1));
    assert_eq!(shadow.value(&entry(1)).cloned(), first.0);
    assert_eq!(apply(&mut shadow, &[("younger", Some(plan(5, &[(1, 9)])))]), (0, 0), "it is not asked");
    assert_eq!(apply(&mut shadow, &[("older", None)]), (1, 1));
    assert_eq!(shadow.value(&entry(1)), Some(&value(9)));
    // Made anew under the same name, it comes last.
    assert_eq!(apply(&mut shadow, &[("other", Some(plan(6, &[(1, 6)])))]), (0, 0));
    assert_eq!(apply(&mut shadow, &[("younger", Some(plan(7, &[(1, 7)])))]), (1, 1));
    assert_eq!(shadow.value(&entry(1)), Some(&value(6)));
}

#[test]
fn chains_stay_for_a_while() {
    let mut shadow = Shadow::default();
    let mut difference = Difference::default();
    shadow.replace(&service("a"), Some(remembering(1)), &mut difference);
    let chain = SharedChain::Memory(Memory { front: FRONT, seconds: 1 });
    assert!(!difference.chains[&chain], "it is new");
    let mut difference = Difference::default();
    shadow.replace(&service("a"), None, &mut difference);
    shadow.replace(&service("a"), Some(remembering(1)), &mut difference);
    assert!(difference.chains[&chain], "it was kept");

    let mut difference = Difference::default();
    for seconds in 1..=u32::try_from(IDLE_CHAINS).unwrap() + 3 {
        shadow.replace(&service("a"), Some(remembering(seconds)), &mut difference);
    }
    assert_eq!(shadow.chains.len(), IDLE_CHAINS + 1);
    assert!(!shadow.chains.contains_key(&chain), "the oldest went");
}
