//! The algebra of sets and their JSON, with upstream's golden data.

use proptest::prelude::*;
use schema::Limits;
use serde_json::json;

use super::*;

fn set(json: &str) -> Set {
    Set::from_json(&schema::json::parse(json.as_bytes(), &Limits::default()).unwrap()).unwrap()
}

const GOLDEN: [&str; 3] = [
    r#"{"f:aaa":{},"f:aab":{},"k:{\"name\":\"first\"}":{},"k:{\"name\":\"second\"}":{},"k:{\"port\":443,\"protocol\":\"tcp\"}":{},"k:{\"port\":443,\"protocol\":\"udp\"}":{},"v:1":{},"v:2":{},"v:3":{},"v:\"aa\"":{},"v:\"ab\"":{},"v:true":{},"i:1":{},"i:2":{},"i:3":{},"i:4":{}}"#,
    r#"{"f:aad":{"f:aac":{"v:1":{}},"f:aaf":{"k:{\"name\":\"first\"}":{"k:{\"name\":\"first\"}":{}}},"i:1":{"i:1":{},"i:3":{"v:true":{}}}},"f:aaf":{"i:1":{"f:aac":{}},"i:2":{},"i:3":{}},"v:\"ab\"":{"f:aaf":{"i:4":{}},"k:{\"port\":443,\"protocol\":\"tcp\"}":{},"v:1":{"k:{\"port\":443,\"protocol\":\"udp\"}":{}}}}"#,
    r#"{"f:spec":{".":{},"f:apps":{".":{},"k:{\"name\":\" app-💻\"}":{".":{},"f:image":{}}}}}"#,
];

#[test]
fn golden_sets_come_back() {
    for text in GOLDEN {
        assert_eq!(set(text).to_json(), text);
    }
}

#[test]
fn order_and_blanks_do_not_matter() {
    let text = r#"{"f:b": {}, "f:a": {}, "k:{ \"protocol\":\"udp\",\"port\":443}": {}, "v: 3": {}, "v:1":{}, "z:x": {}, "i:10":{}, "i:9":{}}"#;
    let normal =
        r#"{"f:a":{},"f:b":{},"k:{\"port\":443,\"protocol\":\"udp\"}":{},"v:1":{},"v:3":{},"i:9":{},"i:10":{}}"#;
    assert_eq!(set(text).to_json(), normal);
    // Numbers are ordered by value, not by their text.
    let ports = r#"{"k:{\"port\":80}":{},"k:{\"port\":443}":{},"k:{\"port\":8080}":{}}"#;
    assert_eq!(set(ports).to_json(), ports);
    assert!(set(r#"{"v:1":{}}"#) == set(r#"{"v:1.0":{}}"#));
}

#[test]
fn what_is_no_set_is_refused() {
    for text in [
        r#"{"f:a":1}"#,
        r#"[]"#,
        r#"{"a":{}}"#,
        r#"{"":{}}"#,
        r#"{"k:{":{}}"#,
        r#"{"v:":{}}"#,
        r#"{"i:x":{}}"#,
        r#"{"fa":{}}"#,
    ] {
        let node = schema::json::parse(text.as_bytes(), &Limits::default()).unwrap();
        assert!(Set::from_json(&node).is_err(), "{text}");
    }
}

#[test]
fn parents_and_children() {
    let (parent, child) = (set(r#"{"f:a":{}}"#), set(r#"{"f:a":{"f:b":{}}}"#));
    assert_eq!(parent.difference(&child), parent);
    assert_eq!(child.difference(&parent), child);
    assert_eq!(child.recursive_difference(&parent), Set::new());
    assert_eq!(parent.union(&child).to_json(), r#"{"f:a":{".":{},"f:b":{}}}"#);
    assert_eq!(parent.intersection(&child), Set::new());
    assert_eq!(parent.union(&child).intersection(&child), child);
    assert!(!parent.union(&child).has(&[]));
    assert_eq!(parent.union(&child).paths(), [".a", ".a.b"]);
}

#[test]
fn paths_read_as_upstream_prints_them() {
    let text = r#"{"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{"f:x":{}}},"f:set":{"v:\"a\\\"b\"":{}},"f:list":{"i:3":{}}}}"#;
    assert_eq!(
        set(text).paths(),
        [r#".spec.list[3]"#, r#".spec.ports[port=80,protocol="TCP"].x"#, r#".spec.set[="a\"b"]"#]
    );
}

#[test]
fn filters() {
    let all = set(
        r#"{"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:image":{},"f:resources":{"f:limits":{}}}}},"f:status":{"f:phase":{}}}"#,
    );
    let rest = Filter::exclude([["status"].as_slice(), &["metadata", "labels"]]).apply(all.clone());
    assert_eq!(
        rest.paths(),
        [
            r#".spec.containers[name="a"]"#,
            r#".spec.containers[name="a"].image"#,
            r#".spec.containers[name="a"].resources.limits"#
        ]
    );
    let only = Filter::include([["spec", "containers", "*", "resources"].as_slice()]).apply(all);
    // Members on the way to what is included stay, as upstream has it.
    assert_eq!(only.paths(), [r#".spec.containers[name="a"]"#, r#".spec.containers[name="a"].resources.limits"#]);
}

fn any_element() -> impl Strategy<Value = PathElement> {
    prop_oneof![
        "[a-c]{1,2}".prop_map(PathElement::field),
        ("[a-c]", 0..3_i64).prop_map(|(name, port)| PathElement::Key(vec![
            ("name".into(), name.into()),
            ("port".into(), port.into())
        ])),
        prop_oneof![Just(json!("x")), Just(json!(1)), Just(json!(true)), Just(json!(1.5))].prop_map(PathElement::Value),
        (0..4_i64).prop_map(PathElement::Index),
    ]
}

fn any_set() -> impl Strategy<Value = Set> {
    proptest::collection::vec(proptest::collection::vec(any_element(), 1..4), 0..12).prop_map(|paths| {
        let mut set = Set::new();
        paths.iter().for_each(|path| set.insert(path));
        set
    })
}

fn sorted(set: &Set) -> Vec<String> {
    let mut paths = set.paths();
    paths.sort();
    paths
}

proptest! {
    #[test]
    fn sets_come_back(one in any_set()) {
        prop_assert_eq!(&set(&one.to_json()), &one);
    }

    #[test]
    fn the_algebra_is_that_of_lists_of_paths(one in any_set(), other in any_set()) {
        let (left, right) = (sorted(&one), sorted(&other));
        let keep = |keep: &dyn Fn(&String) -> bool| left.iter().filter(|path| keep(path)).cloned().collect::<Vec<_>>();
        prop_assert_eq!(sorted(&one.difference(&other)), keep(&|path| !right.contains(path)));
        prop_assert_eq!(sorted(&one.intersection(&other)), keep(&|path| right.contains(path)));
        let mut union: Vec<String> = left.iter().chain(&right).cloned().collect();
        union.sort();
        union.dedup();
        prop_assert_eq!(sorted(&one.union(&other)), union);
        prop_assert_eq!(one.union(&other).len(), sorted(&one.union(&other)).len());
    }

    #[test]
    fn any_json_is_survived(text in "[fkvi:{}\"a.,0-9]{0,40}") {
        if let Ok(node) = schema::json::parse(text.as_bytes(), &Limits::default()) {
            Set::from_json(&node).ok();
        }
        PathElement::parse(&text).ok();
    }
}
