//! Merging, comparing and checking, mostly with the cases of upstream's tables.

use schema::{Node, builtin};

use super::*;
use crate::testing::{grab_bag, json, text};

fn bag(object: &str) -> TypedValue<'static> {
    TypedValue::literal(grab_bag(), json(object))
}

/// Members in the order of their names, so that texts can be compared.
fn normal(node: &Node<'_>) -> String {
    node.clone().into_value().to_string()
}

#[test]
fn values_are_laid_over_each_other() {
    let kind = grab_bag();
    for (live, config, merged) in [
        (r#"{"any":{}}"#, r#"{"any":1}"#, r#"{"any":1}"#),
        (r#"{"any":1}"#, r#"{"any":{}}"#, r#"{"any":{}}"#),
        (r#"{"any":null}"#, r#"{"any":{}}"#, r#"{"any":{}}"#),
        (r#"{"string":"foo"}"#, r#"{"any":true}"#, r#"{"string":"foo","any":true}"#),
        (r#"{}"#, r#"{"map":{}}"#, r#"{"map":{}}"#),
        (r#"{}"#, r#"{"map":null}"#, r#"{"map":null}"#),
        (r#"{"map":null}"#, r#"{"map":{}}"#, r#"{"map":{}}"#),
        (r#"{"map":{}}"#, r#"{"map":null}"#, r#"{"map":null}"#),
        (r#"{}"#, r#"{"inner":{}}"#, r#"{"inner":{}}"#),
        (r#"{"inner":{}}"#, r#"{"inner":null}"#, r#"{"inner":null}"#),
        (r#"{"atomicList":[]}"#, r#"{"atomicList":null}"#, r#"{"atomicList":null}"#),
        (r#"{"atomicList":["a","a"]}"#, r#"{"atomicList":["b"]}"#, r#"{"atomicList":["b"]}"#),
        (r#"{"numeric":1}"#, r#"{"numeric":3.14159}"#, r#"{"numeric":3.14159}"#),
        (r#"{"map":{"a":"1","b":"2"}}"#, r#"{"map":{"b":"3"}}"#, r#"{"map":{"a":"1","b":"3"}}"#),
        (r#"{"atomicMap":{"a":"1"}}"#, r#"{"atomicMap":{"b":"3"}}"#, r#"{"atomicMap":{"b":"3"}}"#),
        (
            r#"{"list":[{"key":"a","id":1,"value":{"a":"a"}}]}"#,
            r#"{"list":[{"key":"a","id":2,"value":{"a":"a"}}]}"#,
            r#"{"list":[{"key":"a","id":1,"value":{"a":"a"}},{"key":"a","id":2,"value":{"a":"a"}}]}"#,
        ),
        (
            r#"{"list":[{"key":"a","id":1},{"key":"b","id":2},{"key":"c","id":3}]}"#,
            r#"{"list":[{"key":"c","id":3},{"key":"a","id":1,"bv":true}]}"#,
            r#"{"list":[{"key":"b","id":2},{"key":"c","id":3},{"key":"a","id":1,"bv":true}]}"#,
        ),
        // An absent key has its default.
        (
            r#"{"ports":[{"key":"a","protocol":"TCP"}]}"#,
            r#"{"ports":[{"key":"a","nv":1},{"key":"a","protocol":"UDP"}]}"#,
            r#"{"ports":[{"key":"a","nv":1,"protocol":"TCP"},{"key":"a","protocol":"UDP"}]}"#,
        ),
    ] {
        let merged_now = bag(live).merge(&bag(config)).unwrap();
        assert_eq!(normal(&merged_now.node), normal(&json(merged)), "{live} + {config}");
        assert!(merged_now.equals(&TypedValue::literal(kind, json(merged))));
    }
}

#[test]
fn elements_keep_upstreams_order() {
    let list = |letters: &str| {
        let quoted: Vec<String> = letters.chars().map(|letter| format!("\"{letter}\"")).collect();
        format!("{{\"setStr\":[{}]}}", quoted.join(","))
    };
    for (live, config, merged) in [
        ("abc", "ab", "abc"),
        ("ab", "abc", "abc"),
        ("abc", "", "abc"),
        ("ab", "ba", "ba"),
        ("abc", "def", "abcdef"),
        ("abc", "cdef", "abcdef"),
        ("abcgf", "cdef", "abcgdef"),
        ("cdef", "ace", "acdef"),
        ("abcxyz", "def", "abcxyzdef"),
        ("abcxyz", "defxyz", "abcdefxyz"),
        ("cagf", "cfag", "cfag"),
        ("abcd", "defa", "bcdefa"),
        ("cdefghij", "2h3e4kl", "cdfg2hij3e4kl"),
        ("abcdefghij", "1b2h3e4kl", "a1bcdfg2hij3e4kl"),
        // What is there twice.
        ("abb", "c", "abbc"),
        ("abb", "b", "ab"),
        ("abb", "a", "abb"),
        ("abcdec", "1b2ed", "a1bc2ecd"),
        ("abcdec", "1b2ced", "a1b2ced"),
        ("aabb", "bcd", "aabcd"),
        ("aabb", "", "aabb"),
        ("cagfca", "cfag", "cfag"),
    ] {
        let now = bag(&list(live)).merge(&bag(&list(config))).unwrap();
        assert_eq!(text(&now.node), list(merged), "{live} + {config}");
    }
    for (live, config, merged) in [
        (r#"{"setNumeric":[1,2,3.14159,1,2]}"#, r#"{"setNumeric":[1,2,3]}"#, r#"{"setNumeric":[1,2,3.14159,3]}"#),
        (r#"{"setBool":[true,false,true]}"#, r#"{"setBool":[true]}"#, r#"{"setBool":[true,false]}"#),
    ] {
        assert_eq!(text(&bag(live).merge(&bag(config)).unwrap().node), merged);
    }
    let twice = bag(r#"{"setStr":["a"]}"#).merge(&bag(r#"{"setStr":["b","b"]}"#));
    assert_eq!(twice.unwrap_err().to_string(), r#".setStr: duplicate entries for key [="b"]"#);
}

/// What differs, as `-removed ~modified +added`.
fn differences(left: &TypedValue<'_>, right: &TypedValue<'_>) -> String {
    let comparison = left.compare(right).unwrap();
    let of = |sign: &str, set: &Set| set.paths().into_iter().map(|path| format!("{sign}{path}")).collect::<Vec<_>>();
    [of("-", &comparison.removed), of("~", &comparison.modified), of("+", &comparison.added)].concat().join(" ")
}

#[test]
fn differences_are_told_by_path() {
    for (left, right, expected) in [
        (r#"{}"#, r#"{}"#, ""),
        (r#"{"numeric":1}"#, r#"{"numeric":1.0}"#, ""),
        (r#"{"numeric":1}"#, r#"{"numeric":2}"#, "~.numeric"),
        (r#"{"string":"a"}"#, r#"{"bool":true}"#, "-.string +.bool"),
        (r#"{}"#, r#"{"map":{"a":"b"}}"#, "+.map +.map.a"),
        (r#"{"map":{}}"#, r#"{"map":{"a":"b"}}"#, "+.map.a"),
        (r#"{"map":null}"#, r#"{"map":{}}"#, "~.map"),
        (r#"{"map":{"a":"b"}}"#, r#"{}"#, "-.map -.map.a"),
        (r#"{"atomicMap":{"a":"b"}}"#, r#"{"atomicMap":{"a":"c","b":"d"}}"#, "~.atomicMap"),
        (r#"{"setStr":["a","b"]}"#, r#"{"setStr":["b","c"]}"#, r#"-.setStr[="a"] +.setStr[="c"]"#),
        (r#"{"setStr":["a"]}"#, r#"{"setStr":["a","a"]}"#, r#"-.setStr[="a"] +.setStr[="a"]"#),
        (r#"{"setStr":["a","a"]}"#, r#"{"setStr":["a","a","a"]}"#, r#"~.setStr[="a"]"#),
        (
            r#"{"list":[{"key":"a","id":1,"nv":2}]}"#,
            r#"{"list":[{"key":"a","id":1,"nv":3,"bv":true}]}"#,
            r#"~.list[id=1,key="a"].nv +.list[id=1,key="a"].bv"#,
        ),
        (r#"{"any":{"a":[1],"b":{"c":1}}}"#, r#"{"any":{"a":[2],"b":{"d":1}}}"#, "-.any.b.c ~.any.a +.any.b.d"),
        (r#"{"any":1}"#, r#"{"any":{"a":1}}"#, "~.any +.any.a"),
    ] {
        assert_eq!(differences(&bag(left), &bag(right)), expected, "{left} -> {right}");
    }
}

#[test]
fn fields_that_an_object_has() {
    let paths = |object: &str| bag(object).field_set().unwrap().paths().join(" ");
    assert_eq!(paths(r#"{"numeric":1,"any":{"a":[1]},"map":{"x":"y"}}"#), ".numeric .any.a .map.x");
    assert_eq!(paths(r#"{"map":{},"inner":null,"atomicList":[],"setStr":[]}"#), ".atomicList .inner .map");
    assert_eq!(
        paths(r#"{"list":[{"key":"a","id":1},{"key":"b","id":1},{"key":"b","id":1}]}"#),
        r#".list[id=1,key="a"] .list[id=1,key="b"] .list[id=1,key="a"].id .list[id=1,key="a"].key"#
    );
}

#[test]
fn what_does_not_fit_is_told_in_upstreams_words() {
    for (object, expected) in [
        (r#"{"nope":1}"#, ".nope: field not declared in schema"),
        (r#"{"string":1}"#, ".string: expected string, got &value.valueUnstructured{Value:1}"),
        (r#"{"numeric":"1"}"#, ".numeric: expected numeric (int or float), got string"),
        (r#"{"bool":"x"}"#, ".bool: expected boolean, got &{x}"),
        (r#"{"setStr":{"a":1}}"#, ".setStr: expected list, got &{map[a:1]}"),
        (r#"{"inner":[1]}"#, ".inner: expected map, got &{[1]}"),
        (r#"{"setStr":["a","a"]}"#, r#".setStr: duplicate entries for key [="a"]"#),
        (
            r#"{"list":[{"nv":1}]}"#,
            r#".list: element 0: associative list with keys has an element that omits all key fields ["key" "id"] (and doesn't have default values for any key fields)"#,
        ),
        (r#"{"atomicList":[1]}"#, ".atomicList[0]: expected string, got &value.valueUnstructured{Value:1}"),
        (
            r#"{"nope":1,"bool":1}"#,
            "errors:\n  .bool: expected boolean, got &{1}\n  .nope: field not declared in schema",
        ),
    ] {
        assert_eq!(bag(object).validate(false).unwrap_err().to_string(), expected);
    }
    assert_eq!(bag(r#"{"setStr":["a","a"],"any":{"x":[{}]},"inner":null}"#).validate(true), Ok(()));
}

#[test]
fn members_and_elements_are_cut_out() {
    let object = bag(
        r#"{"map":{"a":"1","b":"2"},"list":[{"key":"a","id":1,"nv":1},{"key":"b","id":1}],"setStr":["x","y"],"any":{"p":{"q":1}}}"#,
    );
    let set =
        bag(r#"{"map":{"a":"1"},"list":[{"key":"a","id":1}],"setStr":["x"],"any":{"p":{"q":1}}}"#).field_set().unwrap();
    assert_eq!(
        text(&object.without(&set).node),
        r#"{"any":null,"map":{"b":"2"},"setStr":["y"],"list":[{"key":"b","id":1}]}"#
    );
}

#[test]
fn what_became_one_piece_is_owned_as_one_piece() {
    let set = |text: &str| Set::from_json(&json(text)).unwrap();
    let before = set(
        r#"{"f:atomicMap":{"f:a":{},"f:b":{}},"f:atomicList":{"v:1":{}},"f:map":{"f:x":{}},"f:atomicInner":{".":{},"f:name":{}}}"#,
    );
    assert_eq!(
        before.reconciled(grab_bag()).unwrap().to_json(),
        r#"{"f:atomicInner":{},"f:atomicList":{},"f:atomicMap":{},"f:map":{"f:x":{}}}"#
    );
    assert_eq!(set(r#"{"f:atomicMap":{},"f:map":{"f:x":{}},"f:gone":{"f:x":{}}}"#).reconciled(grab_bag()), None);
}

// === built-in kinds ===

fn kind(name: &str) -> TypeRef<'static> {
    TypeRef::Named(builtin().kind_of(name.rsplit_once('/').unwrap().0, name.rsplit_once('/').unwrap().1).unwrap())
}

#[test]
fn structs_have_what_go_prints() {
    let pod = kind("v1/Pod");
    let nothing = TypedValue::of_struct(pod, json(r#"{"apiVersion":"v1","kind":"Pod"}"#));
    let created = TypedValue::of_struct(
        pod,
        json(
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"y"}},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}]}],"hostNetwork":false}}"#,
        ),
    );
    // The list of containers is printed by Go also when it is empty: it does not become a member. Ports do.
    assert_eq!(
        nothing.compare(&created).unwrap().added.to_json(),
        r#"{"f:metadata":{"f:labels":{".":{},"f:x":{}},"f:name":{}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}},"f:resources":{}}}}}"#
    );
    // Nothing, null and what Go leaves out are one.
    let other = TypedValue::of_struct(
        pod,
        json(
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"","labels":null},"spec":{"containers":null},"status":{}}"#,
        ),
    );
    assert!(nothing.compare(&other).unwrap().is_same());
    assert!(nothing.equals(&other));
}

#[test]
fn a_merged_struct_is_like_its_live_one() {
    let deployment = kind("apps/v1/Deployment");
    let live = json(
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":1,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
    );
    let live = TypedValue::of_struct(deployment, live);
    let config = json(r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":1}}"#);
    let config = TypedValue::literal(deployment, config);
    let merged = live.merge(&config).unwrap();
    assert!(live.compare(&merged).unwrap().is_same(), "{}", text(&merged.node));
    assert!(live.equals(&merged));
    let config =
        json(r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":null}}"#);
    let merged = live.merge(&TypedValue::literal(deployment, config)).unwrap();
    assert_eq!(live.compare(&merged).unwrap().modified.paths(), [".spec.replicas"]);
}

#[test]
fn granular_at_the_field_although_the_type_is_one_piece() {
    let volume = kind("v1/PersistentVolume");
    let of = |name: &str| {
        TypedValue::literal(volume, json(&format!(r#"{{"spec":{{"claimRef":{{"name":"{name}","uid":"1"}}}}}}"#)))
    };
    assert_eq!(of("a").compare(&of("b")).unwrap().modified.paths(), [".spec.claimRef.name"]);
    let event = kind("v1/Event");
    let of = |name: &str| TypedValue::literal(event, json(&format!(r#"{{"involvedObject":{{"name":"{name}"}}}}"#)));
    assert_eq!(of("a").compare(&of("b")).unwrap().modified.paths(), [".involvedObject"]);
}
