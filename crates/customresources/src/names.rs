//! Which names a definition gets. Upstream: `controller/status/naming_controller.go`.

use std::collections::BTreeSet;

use registry::DynamicObject;
use resources::apiextensions::custom_resource_definition::{
    conditions::{Condition, NAMES_ACCEPTED},
    fields::{self, text, texts},
};
use serde_json::{Map, Value};

/// Names that others of the group, and the definition itself, have.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Taken {
    /// Takes the accepted names of one definition of the group.
    pub(crate) fn add(&mut self, names: &Value) {
        let resources = ["plural", "singular"].map(|name| text(names, name));
        self.resources.extend(resources.into_iter().chain(texts(names, "shortNames")).map(str::to_owned));
        self.kinds.extend(["kind", "listKind"].map(|name| text(names, name).to_owned()));
    }

    #[cfg(test)]
    pub(crate) fn of<'a>(group: &str, definitions: impl Iterator<Item = &'a DynamicObject>) -> Self {
        let mut taken = Self::default();
        for definition in definitions.filter(|other| text(fields::spec(other), "group") == group) {
            taken.add(&fields::status(definition)["acceptedNames"]);
        }
        taken
    }
}

/// The names that are accepted, and whether that is all of them.
pub(crate) fn accept(definition: &DynamicObject, taken: &Taken) -> (Value, Condition) {
    let wanted = &fields::spec(definition)["names"];
    let had = &fields::status(definition)["acceptedNames"];
    let mut accepted = had.as_object().cloned().unwrap_or_default();
    let mut refused: Option<(&'static str, String)> = None;
    let in_use = |name: &str| format!("{} is already in use", apimachinery::field::go_quote(name));
    let free = |name: &str, had: &str, used: &BTreeSet<String>| name == had || !used.contains(name);

    for (name, used, reason) in
        [("plural", &taken.resources, "PluralConflict"), ("singular", &taken.resources, "SingularConflict")]
    {
        if free(text(wanted, name), text(had, name), used) {
            put(&mut accepted, name, wanted.get(name));
        } else {
            refused = Some((reason, in_use(text(wanted, name))));
        }
    }
    let (short, had_short) = (texts(wanted, "shortNames"), texts(had, "shortNames"));
    if short != had_short {
        let conflicts: Vec<String> = short
            .iter()
            .filter(|name| !had_short.contains(name) && taken.resources.contains(**name))
            .map(|name| in_use(name))
            .collect();
        match conflicts.as_slice() {
            [] => put(&mut accepted, "shortNames", wanted.get("shortNames")),
            [one] => refused = Some(("ShortNamesConflict", one.clone())),
            several => refused = Some(("ShortNamesConflict", format!("[{}]", several.join(", ")))),
        }
    }
    for (name, reason) in [("kind", "KindConflict"), ("listKind", "ListKindConflict")] {
        if free(text(wanted, name), text(had, name), &taken.kinds) {
            put(&mut accepted, name, wanted.get(name));
        } else {
            refused = Some((reason, in_use(text(wanted, name))));
        }
    }
    put(&mut accepted, "categories", wanted.get("categories"));
    let condition = match refused {
        Some((reason, message)) => Condition::new(NAMES_ACCEPTED, "False", reason, message),
        None => Condition::new(NAMES_ACCEPTED, "True", "NoConflicts", "no conflicts found"),
    };
    (Value::Object(accepted), condition)
}

fn put(accepted: &mut Map<String, Value>, name: &str, value: Option<&Value>) {
    match value.filter(|value| !value.is_null()) {
        Some(value) => accepted.insert(name.to_owned(), value.clone()),
        None => accepted.remove(name),
    };
}

#[cfg(test)]
mod tests {
    use apimachinery::json;
    use serde_json::json;

    use super::*;

    fn definition(name: &str, names: Value, accepted: Value) -> DynamicObject {
        json::from_value(&json!({
            "metadata": {"name": name}, "spec": {"group": "g.io", "names": names}, "status": {"acceptedNames": accepted},
        }))
        .unwrap()
    }

    #[test]
    fn names_of_others_are_refused() {
        // Rows of upstream's `naming_controller_test.go`.
        let wanted = json!({"plural": "alfa", "singular": "delta-singular", "kind": "echo-kind", "listKind": "foxtrot-listkind", "shortNames": ["golf-shortname-1"]});
        let other = |accepted: Value| definition("other.g.io", json!({}), accepted);
        let own = definition("alfa.g.io", wanted.clone(), json!({"plural": "", "kind": ""}));
        let run = |others: &[DynamicObject]| {
            let (names, condition) = accept(&own, &Taken::of("g.io", others.iter().chain([&own])));
            (names, condition.status, condition.reason, condition.message)
        };
        let (names, status, reason, message) = run(&[]);
        assert_eq!(
            (names, status, reason, message.as_str()),
            (wanted.clone(), "True", "NoConflicts", "no conflicts found")
        );
        for (taken, reason, name) in [
            (json!({"plural": "alfa"}), "PluralConflict", "alfa"),
            (json!({"singular": "delta-singular"}), "SingularConflict", "delta-singular"),
            (json!({"plural": "golf-shortname-1"}), "ShortNamesConflict", "golf-shortname-1"),
            (json!({"kind": "echo-kind"}), "KindConflict", "echo-kind"),
            (json!({"listKind": "foxtrot-listkind"}), "ListKindConflict", "foxtrot-listkind"),
        ] {
            let (_, status, found, message) = run(&[other(taken)]);
            assert_eq!((status, found), ("False", reason));
            assert_eq!(message, format!("\"{name}\" is already in use"));
        }
        // Another group's names are its own.
        let far = json::from_value::<DynamicObject>(
            &json!({"spec": {"group": "h.io"}, "status": {"acceptedNames": {"plural": "alfa"}}}),
        );
        assert_eq!(run(&[far.unwrap()]).1, "True");
    }
}
