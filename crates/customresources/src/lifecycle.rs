//! What a definition's status has to say. Pure: the shell in `serve` writes it.
//!
//! Upstream: the controllers `status`, `establish`, `nonstructuralschema` and `apiapproval`, which write one after the
//! other what is written here at once.

use apimachinery::field::{Error, ErrorList, Path};
use registry::DynamicObject;
use resources::apiextensions::custom_resource_definition::{
    approval,
    conditions::{self, Condition, ESTABLISHED, NAMES_ACCEPTED, NON_STRUCTURAL},
    fields::{self, flag, text},
    structural_errors,
};
use schema::structural::Structural;
use serde_json::Value;

use crate::names::{Taken, accept};

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) accepted_names: Value,
    pub(crate) set: Vec<Condition>,
    pub(crate) remove: Vec<&'static str>,
    /// Whether objects of the definition may be served.
    pub(crate) serve: bool,
}

/// What the status should say. `taken` finds the names of the group, where names are still to be given.
pub(crate) fn plan(definition: &DynamicObject, taken: &dyn Fn() -> Taken) -> Plan {
    let mut set = Vec::new();
    let mut remove = Vec::new();
    let had = &fields::status(definition)["acceptedNames"];
    let all_accepted = fields::spec(definition)["names"] == *had;
    let (accepted_names, names) = if all_accepted {
        let known = conditions::is_true(definition, NAMES_ACCEPTED);
        let condition = Condition::new(NAMES_ACCEPTED, "True", "NoConflicts", "no conflicts found");
        (had.clone(), (!known).then_some(condition))
    } else {
        let (names, condition) = accept(definition, &taken());
        (names, Some(condition))
    };
    let accepted = names.as_ref().is_none_or(|condition| condition.status == "True");
    set.extend(names);
    let established = conditions::is_true(definition, ESTABLISHED);
    if !established {
        set.push(if accepted {
            Condition::new(ESTABLISHED, "True", "InitialNamesAccepted", "the initial names have been accepted")
        } else {
            Condition::new(ESTABLISHED, "False", "NotAccepted", "not all names are accepted")
        });
    }
    match non_structural(definition) {
        Some(condition) => set.push(condition),
        None if conditions::find(definition, NON_STRUCTURAL).is_some() => remove.push(NON_STRUCTURAL),
        None => {}
    }
    set.extend(approval(definition));
    set.retain(|condition| !conditions::says(definition, condition));
    Plan { accepted_names, set, remove, serve: accepted || established }
}

impl Plan {
    pub(crate) fn changes(&self, definition: &DynamicObject) -> bool {
        !self.set.is_empty()
            || !self.remove.is_empty()
            || fields::status(definition)["acceptedNames"] != self.accepted_names
    }

    pub(crate) fn apply(&self, definition: &mut DynamicObject, now: jiff::Timestamp) {
        for condition in &self.set {
            conditions::set(definition, condition, now);
        }
        for kind in &self.remove {
            conditions::remove(definition, kind);
        }
        if let Some(status) = definition.fields.get_mut("status").and_then(Value::as_object_mut) {
            status.insert("acceptedNames".to_owned(), self.accepted_names.clone());
        }
    }
}

fn non_structural(definition: &DynamicObject) -> Option<Condition> {
    let mut errors = ErrorList::new();
    if flag(fields::spec(definition), "preserveUnknownFields") {
        errors.push(Error::invalid(&Path::new("spec").child("preserveUnknownFields"), true, "must be false"));
    }
    for (index, version) in fields::versions(definition).iter().enumerate() {
        let Some(schema) = fields::schema(version) else { continue };
        if let Err(why) = Structural::new(schema) {
            let name = text(version, "name");
            let message = format!("failed to check validation schema for version {name}: {why}");
            return Some(Condition::new(NON_STRUCTURAL, "Unknown", "StructuralError", message));
        }
        let path = Path::new("spec").child("versions").index(index).child("schema").child("openAPIV3Schema");
        errors.append(structural_errors(schema, &path));
    }
    if errors.is_empty() {
        return None;
    }
    Some(Condition::new(NON_STRUCTURAL, "True", "Violations", errors.aggregate()))
}

#[cfg(test)]
mod tests {
    use apimachinery::json;
    use serde_json::json;

    use super::*;

    fn definition(change: impl FnOnce(&mut Value)) -> DynamicObject {
        let mut value = json!({
            "metadata": {"name": "foos.g.io"},
            "spec": {"group": "g.io", "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
                     "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}}}]},
            "status": {"acceptedNames": {"plural": "", "kind": ""}, "conditions": null},
        });
        change(&mut value);
        json::from_value(&value).unwrap()
    }

    #[test]
    fn an_accepted_definition_is_established_at_once_and_then_left_alone() {
        let mut definition = definition(|_| {});
        let plan_of = |definition: &DynamicObject| plan(definition, &|| Taken::of("g.io", [definition].into_iter()));
        let first = plan_of(&definition);
        assert!(first.serve && first.changes(&definition));
        first.apply(&mut definition, jiff::Timestamp::UNIX_EPOCH);
        assert!(conditions::is_true(&definition, ESTABLISHED) && conditions::is_true(&definition, NAMES_ACCEPTED));
        assert!(!plan_of(&definition).changes(&definition));
    }

    #[test]
    fn a_definition_without_its_names_is_not_served() {
        let definition = definition(|_| {});
        let other = json::from_value::<DynamicObject>(
            &json!({"spec": {"group": "g.io"}, "status": {"acceptedNames": {"kind": "Foo", "plural": "x"}}}),
        )
        .unwrap();
        let plan = plan(&definition, &|| Taken::of("g.io", [&definition, &other].into_iter()));
        assert!(!plan.serve);
        let told: Vec<_> =
            plan.set.iter().map(|condition| (condition.kind, condition.status, condition.reason)).collect();
        assert_eq!(told, [(NAMES_ACCEPTED, "False", "KindConflict"), (ESTABLISHED, "False", "NotAccepted")]);
    }

    #[test]
    fn schemas_that_are_not_structural_are_told() {
        let definition = definition(|value| value["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({}));
        let plan = plan(&definition, &Taken::default);
        let told = plan.set.iter().find(|condition| condition.kind == NON_STRUCTURAL).unwrap();
        assert_eq!(
            (told.status, told.reason, told.message.as_str()),
            (
                "True",
                "Violations",
                "spec.versions[0].schema.openAPIV3Schema.type: Required value: must not be empty at the root"
            )
        );
    }
}
