//! Histories of writes as data: each line is a write or says what has to be. The situations are those of the tables of
//! upstream's `merge/{duplicates,nested,multiple_appliers,leaf}_test.go`, told of our own type.
//!
//! `apply NAME {…}`, `force NAME {…}`, `update NAME {…}` write; `conflict NAME {…} PATHS` is an apply that is refused for
//! these fields; `object {…}` and `owner NAME {…}` look.

use super::*;

#[track_caller]
fn history(lines: &[&str]) {
    let mut state = State::new(grab_bag());
    for line in lines {
        let (verb, rest) = line.split_once(' ').unwrap();
        if verb == "object" {
            let now = text(&state.live);
            assert_eq!(json(&now).into_value(), json(rest).into_value(), "{now}");
            continue;
        }
        let (name, rest) = rest.split_once(' ').unwrap();
        match verb {
            "apply" => state.apply_with(name, "v1", rest, false).unwrap_or_else(|why| panic!("{line}: {why}")),
            "force" => state.apply_with(name, "v1", rest, true).unwrap_or_else(|why| panic!("{line}: {why}")),
            "update" => state.update(name, "v1", rest),
            "conflict" => {
                let (config, paths) = rest.rsplit_once("} ").unwrap();
                let why = state.apply_with(name, "v1", &format!("{config}}}"), false).expect_err(line);
                let found: Vec<&str> = match why.split_once('\n') {
                    None => vec![why.rsplit(": ").next().unwrap()],
                    Some((_, lines)) => lines.lines().filter_map(|line| line.strip_prefix("- ")).collect(),
                };
                assert_eq!(found.join(" "), paths, "{why}");
            }
            "owner" => {
                let own = state.fields.iter().find(|(id, _)| id.manager == name);
                let set = own.map_or("nothing".to_owned(), |(_, versioned)| versioned.set.to_json().to_string());
                assert_eq!(set, rest, "{name}");
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn repeated_members_of_sets_are_owned_once_and_can_be_taken() {
    history(&[
        r#"update one {"setNumeric":[1,1,3,4]}"#,
        r#"owner one {"f:setNumeric":{".":{},"v:1":{},"v:3":{},"v:4":{}}}"#,
        r#"conflict two {"setNumeric":[1]} .setNumeric[=1]"#,
        r#"force two {"setNumeric":[1]}"#,
        r#"object {"setNumeric":[1,3,4]}"#,
        r#"owner one {"f:setNumeric":{".":{},"v:3":{},"v:4":{}}}"#,
        r#"owner two {"f:setNumeric":{"v:1":{}}}"#,
    ]);
    // What repeats stays where nobody speaks of it.
    history(&[
        r#"update one {"setNumeric":[1,1,3,4]}"#,
        r#"apply two {"setNumeric":[5]}"#,
        r#"object {"setNumeric":[1,1,3,4,5]}"#,
        r#"owner one {"f:setNumeric":{".":{},"v:1":{},"v:3":{},"v:4":{}}}"#,
        r#"owner two {"f:setNumeric":{"v:5":{}}}"#,
    ]);
    // Who makes it repeat, or once again not, has it.
    for (before, after) in [("[1,3,4]", "[1,1,3,4]"), ("[1,1,3,4]", "[1,3,4]")] {
        history(&[
            &format!(r#"update one {{"setNumeric":{before}}}"#),
            &format!(r#"update two {{"setNumeric":{after}}}"#),
            r#"owner one {"f:setNumeric":{".":{},"v:3":{},"v:4":{}}}"#,
            r#"owner two {"f:setNumeric":{"v:1":{}}}"#,
        ]);
    }
}

const A: &str = r#"k:{\"id\":1,\"key\":\"a\"}"#;
const B: &str = r#"k:{\"id\":1,\"key\":\"b\"}"#;
const TWICE: &str = r#"{"list":[{"key":"a","id":1,"nv":1},{"key":"a","id":1,"nv":2},{"key":"b","id":1,"nv":3}]}"#;

#[test]
fn repeated_keys_are_owned_whole() {
    let b = format!(r#""{B}":{{".":{{}},"f:id":{{}},"f:key":{{}},"f:nv":{{}}}}"#);
    history(&[&format!("update one {TWICE}"), &format!(r#"owner one {{"f:list":{{".":{{}},"{A}":{{}},{b}}}}}"#)]);
    // Whoever changes anything about them has them.
    for changed in [
        r#"{"key":"a","id":1,"nv":1},{"key":"a","id":1,"nv":3}"#,
        r#"{"key":"a","id":1,"nv":1},{"key":"a","id":1,"nv":2,"bv":true}"#,
        r#"{"key":"a","id":1,"nv":1}"#,
    ] {
        let single = !changed.contains("},{");
        let a = if single {
            format!(r#""{A}":{{".":{{}},"f:id":{{}},"f:key":{{}},"f:nv":{{}}}}"#)
        } else {
            format!(r#""{A}":{{}}"#)
        };
        history(&[
            &format!("update one {TWICE}"),
            &format!(r#"update two {{"list":[{changed},{{"key":"b","id":1,"nv":3}}]}}"#),
            &format!(r#"owner one {{"f:list":{{".":{{}},{b}}}}}"#),
            &format!(r#"owner two {{"f:list":{{{a}}}}}"#),
        ]);
    }
    // Others are not concerned.
    history(&[
        &format!("update one {TWICE}"),
        r#"force two {"list":[{"key":"b","id":1,"nv":4}],"numeric":5}"#,
        r#"object {"list":[{"key":"a","id":1,"nv":1},{"key":"a","id":1,"nv":2},{"key":"b","id":1,"nv":4}],"numeric":5}"#,
        &format!(r#"owner one {{"f:list":{{".":{{}},"{A}":{{}},"{B}":{{".":{{}},"f:id":{{}},"f:key":{{}}}}}}}}"#),
        &format!(r#"owner two {{"f:list":{{{b}}},"f:numeric":{{}}}}"#),
    ]);
}

#[test]
fn an_applier_puts_one_in_the_place_of_all() {
    let a = format!(r#""{A}":{{".":{{}},"f:id":{{}},"f:key":{{}},"f:nv":{{}}}}"#);
    for value in [3, 2] {
        history(&[
            &format!("update one {TWICE}"),
            &format!(r#"conflict two {{"list":[{{"key":"a","id":1,"nv":{value}}}]}} .list[id=1,key="a"]"#),
            &format!(r#"force two {{"list":[{{"key":"a","id":1,"nv":{value}}}]}}"#),
            &format!(r#"object {{"list":[{{"key":"a","id":1,"nv":{value}}},{{"key":"b","id":1,"nv":3}}]}}"#),
            &format!(r#"owner two {{"f:list":{{{a}}}}}"#),
        ]);
    }
    // What an updater made of an applier's element stays when the applier lets it go.
    history(&[
        r#"apply two {"list":[{"key":"a","id":1,"nv":1},{"key":"b","id":1,"nv":3}]}"#,
        &format!("update one {TWICE}"),
        r#"apply two {"list":[{"key":"b","id":1,"nv":3}]}"#,
        &format!("object {TWICE}"),
        &format!(r#"owner one {{"f:list":{{"{A}":{{}}}}}}"#),
    ]);
}

#[test]
fn maps_in_maps_change_key_by_key() {
    history(&[
        r#"apply one {"mapOfMaps":{"a":{"b":"x","c":"y"}}}"#,
        r#"apply one {"mapOfMaps":{"a":{"a":"x","c":"z"}}}"#,
        r#"object {"mapOfMaps":{"a":{"a":"x","c":"z"}}}"#,
        r#"owner one {"f:mapOfMaps":{"f:a":{".":{},"f:a":{},"f:c":{}}}}"#,
        r#"apply one {"mapOfMaps":{"b":{"a":"x","c":"z"}}}"#,
        r#"object {"mapOfMaps":{"b":{"a":"x","c":"z"}}}"#,
        r#"owner one {"f:mapOfMaps":{"f:b":{".":{},"f:a":{},"f:c":{}}}}"#,
    ]);
    history(&[
        r#"apply one {"list":[{"key":"a","id":1,"value":{"b":"x","c":"y"},"set":["b","c"]}]}"#,
        r#"apply one {"list":[{"key":"a","id":1,"value":{"a":"x","c":"z"},"set":["a","c"]}]}"#,
        r#"object {"list":[{"key":"a","id":1,"value":{"a":"x","c":"z"},"set":["a","c"]}]}"#,
        r#"apply one {"list":[{"key":"b","id":1,"value":{"c":"z"}}]}"#,
        r#"object {"list":[{"key":"b","id":1,"value":{"c":"z"}}]}"#,
    ]);
}

#[test]
fn what_is_left_out_goes_with_what_held_it() {
    history(&[
        r#"apply one {"inner":{"name":"a","value":1}}"#,
        r#"apply one {}"#,
        r#"object null"#,
        r#"owner one nothing"#,
    ]);
    history(&[r#"apply one {"inner":{"name":"a"}}"#, r#"apply one {"inner":null}"#, r#"object {"inner":null}"#]);
    // Of an element that others added to, only the own part goes.
    history(&[
        r#"apply one {"list":[{"key":"a","id":1,"nv":1}],"map":{"a":"1"}}"#,
        r#"apply two {"list":[{"key":"a","id":1,"bv":true}],"map":{"b":"2"}}"#,
        r#"apply one {"map":{}}"#,
        r#"object {"list":[{"key":"a","id":1,"bv":true}],"map":{"b":"2"}}"#,
        r#"apply one {}"#,
        r#"object {"list":[{"key":"a","id":1,"bv":true}],"map":{"b":"2"}}"#,
    ]);
    // An update that changes a field has that field, and not the element: it goes with its applier.
    history(&[
        r#"apply one {"list":[{"key":"a","id":1,"nv":1}],"map":{"a":"1"}}"#,
        r#"update two {"list":[{"key":"a","id":1,"nv":1,"bv":true}],"map":{"a":"1","b":"2"}}"#,
        &format!(r#"owner two {{"f:list":{{"{A}":{{"f:bv":{{}}}}}},"f:map":{{"f:b":{{}}}}}}"#),
        r#"apply one {"map":{}}"#,
        r#"object {"list":null,"map":{"b":"2"}}"#,
    ]);
}

#[test]
fn atomic_parts_change_hands_whole() {
    history(&[
        r#"apply one {"atomicMap":{"a":"1","b":"2"},"atomicList":["x","y"],"atomicInner":{"name":"n","value":1}}"#,
        r#"owner one {"f:atomicInner":{},"f:atomicList":{},"f:atomicMap":{}}"#,
        r#"conflict two {"atomicMap":{"a":"1"},"atomicList":["x"],"atomicInner":{"name":"n"}} .atomicInner .atomicList .atomicMap"#,
        r#"apply two {"atomicList":["x","y"]}"#,
        r#"force two {"atomicMap":{"a":"1"},"atomicList":["x","y"]}"#,
        r#"object {"atomicMap":{"a":"1"},"atomicList":["x","y"],"atomicInner":{"name":"n","value":1}}"#,
        r#"owner one {"f:atomicInner":{},"f:atomicList":{}}"#,
        r#"owner two {"f:atomicList":{},"f:atomicMap":{}}"#,
        r#"update three {"atomicList":["y","x"],"atomicInner":{"name":"n","value":1}}"#,
        r#"owner one {"f:atomicInner":{}}"#,
        r#"owner two nothing"#,
        r#"owner three {"f:atomicList":{}}"#,
    ]);
}

#[test]
fn several_appliers_share_order_and_let_go() {
    history(&[
        r#"apply one {"setStr":["a","b"]}"#,
        r#"apply two {"setStr":["c","b"]}"#,
        r#"object {"setStr":["a","c","b"]}"#,
        r#"apply three {"setStr":["d"]}"#,
        r#"apply one {"setStr":["b"]}"#,
        r#"object {"setStr":["c","b","d"]}"#,
        r#"apply two {}"#,
        r#"object {"setStr":["b","d"]}"#,
    ]);
    // A conflict of one of many fields stops all of them.
    history(&[
        r#"apply one {"numeric":1,"string":"s"}"#,
        r#"conflict two {"numeric":2,"string":"s","bool":true} .numeric"#,
        r#"object {"numeric":1,"string":"s"}"#,
        r#"owner two nothing"#,
        r#"apply one {"string":"s"}"#,
        r#"apply two {"numeric":2,"string":"s","bool":true}"#,
        r#"object {"numeric":2,"string":"s","bool":true}"#,
    ]);
}
