//! Appliers and updaters one after the other, mostly with the cases of upstream's tables.

mod cases;

use schema::Node;

use super::*;
use crate::{
    managed::Managed,
    testing::{grab_bag, json, text},
};

/// All versions have one type.
struct OneType {
    kind: TypeRef<'static>,
    filter: Filter,
    gone: Option<&'static str>,
}

impl Versions for OneType {
    fn kind_in(&self, version: &str) -> Option<TypeRef<'_>> {
        (self.gone != Some(version)).then_some(self.kind)
    }

    fn literal(&self) -> bool {
        true
    }

    fn convert(&self, object: &Node<'_>, _from: &str, _to: &str) -> Result<Node<'static>, String> {
        Ok(object.clone().into_owned())
    }

    fn filter_in(&self, _version: &str) -> &Filter {
        &self.filter
    }
}

struct State {
    versions: OneType,
    live: Node<'static>,
    fields: Fields,
}

impl State {
    fn new(kind: TypeRef<'static>) -> Self {
        let versions = OneType { kind, filter: Filter::Everything, gone: None };
        Self { versions, live: Node::Null, fields: Fields::new() }
    }

    fn typed(&self, object: &str) -> TypedValue<'static> {
        TypedValue::literal(self.versions.kind, json(object))
    }

    fn apply_with(&mut self, manager: &str, version: &str, object: &str, force: bool) -> Result<(), String> {
        let live = TypedValue::literal(self.versions.kind, self.live.clone());
        let config = self.typed(object);
        let id = ManagerId::applier(manager, "");
        let merged = apply(&live, &config, version, self.fields.clone(), &id, force, &self.versions);
        match merged {
            Ok(merged) => {
                let object = merged.object.map(|object| object.node.into_owned());
                self.fields = merged.fields;
                self.live = object.unwrap_or_else(|| self.live.clone());
                Ok(())
            }
            Err(Failure::Conflicts(conflicts)) => Err(conflicts.to_string()),
            Err(Failure::Invalid(message)) => Err(message),
        }
    }

    fn apply(&mut self, manager: &str, version: &str, object: &str) {
        self.apply_with(manager, version, object, false).unwrap();
    }

    fn update(&mut self, manager: &str, version: &str, object: &str) {
        let live = TypedValue::literal(self.versions.kind, self.live.clone());
        let new = self.typed(object);
        let id = ManagerId::updater(manager, version, "");
        let mut compare = |version: &str| match self.versions.gone == Some(version) {
            true => Ok(None),
            false => live.compare(&new).map(Some),
        };
        self.fields = update(self.fields.clone(), version, &id, &self.versions, &mut compare).unwrap();
        self.live = new.node;
    }

    #[track_caller]
    fn check(&self, object: &str, managers: &[&str]) {
        assert_eq!(self.live.clone().into_value(), json(object).into_value(), "{}", text(&self.live));
        let now: Vec<String> = self
            .fields
            .iter()
            .map(|(id, versioned)| format!("{} {} {}", id.manager, versioned.api_version, versioned.set.to_json()))
            .collect();
        assert_eq!(now, managers);
        let managed = Managed { fields: self.fields.clone(), times: BTreeMap::new() };
        let list = String::from_utf8(managed.to_json()).unwrap();
        if !list.is_empty() {
            assert_eq!(Managed::parse(&json(&list)).unwrap(), managed, "{list}");
        }
    }
}

#[test]
fn an_applier_drops_what_only_it_had() {
    let mut state = State::new(grab_bag());
    state.apply("one", "v1", r#"{"setStr":["a","b"],"map":{"x":"1","y":"2"},"string":"s"}"#);
    state.apply("two", "v2", r#"{"setStr":["c"],"map":{"y":"2"}}"#);
    state.apply("one", "v3", r#"{"setStr":["a"]}"#);
    state.check(
        r#"{"setStr":["a","c"],"map":{"y":"2"}}"#,
        &[r#"one v3 {"f:setStr":{"v:\"a\"":{}}}"#, r#"two v2 {"f:map":{"f:y":{}},"f:setStr":{"v:\"c\"":{}}}"#],
    );
}

#[test]
fn the_same_value_is_shared_and_another_is_a_conflict() {
    let mut state = State::new(grab_bag());
    state.apply("one", "v1", r#"{"list":[{"key":"a","id":1,"nv":0}],"string":"s"}"#);
    state.apply("two", "v2", r#"{"list":[{"key":"a","id":1,"nv":0}]}"#);
    let conflict = state.apply_with("three", "v2", r#"{"list":[{"key":"a","id":1,"nv":1}],"string":"s"}"#, false);
    assert_eq!(
        conflict.unwrap_err(),
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .list[id=1,key=\"a\"].nv\nconflicts with \"two\":\n- .list[id=1,key=\"a\"].nv"
    );
    state.apply_with("three", "v2", r#"{"list":[{"key":"a","id":1,"nv":1}]}"#, true).unwrap();
    let element = r#"{"f:list":{"k:{\"id\":1,\"key\":\"a\"}":{".":{},"f:id":{},"f:key":{}"#;
    state.check(
        r#"{"list":[{"key":"a","id":1,"nv":1}],"string":"s"}"#,
        &[
            &format!("one v1 {element}}}}},\"f:string\":{{}}}}"),
            &format!("three v2 {element},\"f:nv\":{{}}}}}}}}"),
            &format!("two v2 {element}}}}}}}"),
        ],
    );
}

#[test]
fn an_update_takes_what_it_changes() {
    let mut state = State::new(grab_bag());
    state.apply("applier", "v1", r#"{"numeric":1,"string":"a","setStr":["x"]}"#);
    state.update("updater", "v1", r#"{"numeric":1,"string":"b","bool":true}"#);
    state.check(
        r#"{"numeric":1,"string":"b","bool":true}"#,
        &[r#"applier v1 {"f:numeric":{}}"#, r#"updater v1 {"f:bool":{},"f:string":{}}"#],
    );
    let conflict = state.apply_with("applier", "v1", r#"{"numeric":1,"string":"c"}"#, false);
    assert_eq!(conflict.unwrap_err(), r#"Apply failed with 1 conflict: conflict with "updater" using v1: .string"#);
    // What is owned by an updater too stays when the applier lets it go.
    state.apply("applier", "v1", r#"{"numeric":1,"bool":true}"#);
    state.apply("applier", "v1", r#"{"string":"b"}"#);
    state.check(
        r#"{"string":"b","bool":true}"#,
        &[r#"applier v1 {"f:string":{}}"#, r#"updater v1 {"f:bool":{},"f:string":{}}"#],
    );
}

#[test]
fn what_an_updater_has_stays() {
    let mut state = State::new(grab_bag());
    state.update("updater", "v1", r#"{"map":{"free":"1"},"list":[{"key":"a","id":1,"nv":5}]}"#);
    state.apply("one", "v1", r#"{"map":{"own":"2"},"list":[{"key":"a","id":1,"bv":true},{"key":"b","id":1}]}"#);
    state.apply("one", "v1", r#"{"numeric":1}"#);
    state.check(r#"{"numeric":1,"map":{"free":"1"},"list":[{"key":"a","id":1,"nv":5}]}"#, &[
        r#"one v1 {"f:numeric":{}}"#,
        r#"updater v1 {"f:list":{".":{},"k:{\"id\":1,\"key\":\"a\"}":{".":{},"f:id":{},"f:key":{},"f:nv":{}}},"f:map":{".":{},"f:free":{}}}"#,
    ]);
}

#[test]
fn entries_of_versions_that_are_gone_go() {
    let mut state = State::new(grab_bag());
    state.apply("old", "v0", r#"{"numeric":1}"#);
    state.apply("new", "v1", r#"{"string":"a"}"#);
    state.versions.gone = Some("v0");
    state.update("updater", "v1", r#"{"numeric":1,"string":"b"}"#);
    state.check(r#"{"numeric":1,"string":"b"}"#, &[r#"updater v1 {"f:string":{}}"#]);
}

#[test]
fn nothing_is_known_of_the_type() {
    let mut state = State::new(TypeRef::Deduced);
    state.apply("one", "v1", r#"{"a":{"b":1,"c":[1,2]},"list":[{"name":"x"}]}"#);
    state.apply("two", "v1", r#"{"a":{"d":2}}"#);
    let conflict = state.apply_with("two", "v1", r#"{"list":[]}"#, false);
    assert_eq!(conflict.unwrap_err(), r#"Apply failed with 1 conflict: conflict with "one": .list"#);
    state.apply("one", "v1", r#"{"a":{"b":1}}"#);
    state.check(
        r#"{"a":{"b":1,"d":2}}"#,
        &[r#"one v1 {"f:a":{".":{},"f:b":{}}}"#, r#"two v1 {"f:a":{".":{},"f:d":{}}}"#],
    );
}

#[test]
fn reset_fields_are_nobody_s() {
    let mut state = State::new(grab_bag());
    state.versions.filter = Filter::exclude([["inner"].as_slice()]);
    state.apply("one", "v1", r#"{"inner":{"name":"a"},"string":"s"}"#);
    state.update("two", "v1", r#"{"inner":{"name":"b"},"string":"t"}"#);
    state.check(r#"{"inner":{"name":"b"},"string":"t"}"#, &[r#"two v1 {"f:string":{}}"#]);
}
