//! Defaults must be good values themselves. Upstream: `schema/defaulting/validation.go`.

use apimachinery::field::{Error, ErrorList, Path};
use schema::structural::{MetaError, Structural, check_embedded, coerce_embedded, prune, validate};
use serde_json::{Value, json};

use super::super::expressions::Validator;

/// Errors of the defaults of a whole schema.
pub(super) fn errors(schema: &Value, tree: &Structural, must_be_pruned: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if tree.has_defaults {
        node(tree, true, &Surrounding::default(), false, must_be_pruned, path, &mut errors);
        if tree.has_rules && errors.is_empty() {
            rules(schema, tree, path, &mut errors);
        }
    }
    errors
}

/// Defaults hold the rules of their own schema, put in anew and in the place of themselves.
fn rules(schema: &Value, tree: &Structural, path: &Path, errors: &mut ErrorList) {
    if let Some(default) = tree.default.as_ref().filter(|_| tree.has_rules)
        && let Some(validator) = Validator::new(schema, tree.embedded)
    {
        let place = path.child("default");
        let mut found = validator.validate(default, Some(default), false, &place).errors;
        if found.is_empty() {
            found = validator.validate(default, None, false, &place).errors;
        }
        errors.append(found);
    }
    if let (Some(items), Some(below)) = (schema.get("items"), tree.items.as_deref()) {
        rules(items, below, &path.child("items"), errors);
    }
    for (name, below) in &tree.properties {
        if let Some(property) = schema.get("properties").and_then(|properties| properties.get(name)) {
            rules(property, below, &path.child("properties").key(name), errors);
        }
    }
}

/// Whether a default names fields that its schema does not.
pub(super) fn has_unpruned(schema: &Value) -> bool {
    fn any(tree: &Structural) -> bool {
        let own = tree.default.as_ref().is_some_and(|default| &pruned(default, tree) != default);
        own || tree.properties.values().any(any) || tree.items.as_deref().is_some_and(any)
    }
    Structural::new(schema).is_ok_and(|tree| any(&tree))
}

fn pruned(default: &Value, tree: &Structural) -> Value {
    let mut pruned = default.clone();
    prune(&mut pruned, tree, tree.embedded);
    pruned
}

/// The way from the resource that a default is inside of.
#[derive(Clone, Default)]
struct Surrounding(Vec<Option<String>>);

impl Surrounding {
    fn child(&self, step: Option<&str>) -> Self {
        let mut steps = self.0.clone();
        steps.push(step.map(str::to_owned));
        Self(steps)
    }

    /// A resource with nothing in it but this value in its place.
    fn around(&self, value: &Value) -> Value {
        let mut out = value.clone();
        for step in self.0.iter().rev() {
            out = match step {
                Some(name) => json!({ name.as_str(): out }),
                None => json!([out]),
            };
        }
        if let Some(members) = out.as_object_mut() {
            members.entry("apiVersion").or_insert_with(|| "validation/v1".into());
            members.entry("kind").or_insert_with(|| "Validation".into());
        }
        out
    }
}

fn node(
    tree: &Structural,
    is_root: bool,
    surrounding: &Surrounding,
    inside_meta: bool,
    must_be_pruned: bool,
    path: &Path,
    errors: &mut ErrorList,
) {
    let is_resource = is_root || tree.embedded;
    let fresh = Surrounding::default();
    let (surrounding, inside_meta) = if is_resource { (&fresh, false) } else { (surrounding, inside_meta) };
    if let Some(default) = &tree.default {
        let place = path.child("default");
        let found = if inside_meta {
            in_metadata(default, surrounding, tree, &place)
        } else {
            plain(default, tree, must_be_pruned, &place)
        };
        errors.append(found);
    }
    if let Some(items) = tree.items.as_deref() {
        let around = surrounding.child(None);
        node(items, false, &around, inside_meta, must_be_pruned, &path.child("items"), errors);
    }
    for (name, property) in &tree.properties {
        let meta = inside_meta || (is_resource && matches!(name.as_str(), "metadata" | "apiVersion" | "kind"));
        let around = surrounding.child(Some(name));
        node(property, false, &around, meta, must_be_pruned, &path.child("properties").key(name), errors);
    }
}

fn plain(default: &Value, tree: &Structural, must_be_pruned: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if must_be_pruned && &pruned(default, tree) != default {
        errors.push(Error::invalid(path, default.clone(), "must not have unknown fields"));
    }
    let mut coerced = default.clone();
    match coerce_embedded(&mut coerced, tree, false, &mut Vec::new()) {
        Err(MetaError::Field(error)) => errors.push(error),
        Err(error) => errors.push(Error::invalid(path, default.clone(), error.to_string())),
        Ok(()) => {
            let wrong = check_embedded(&coerced, tree, path, tree.embedded);
            if wrong.is_empty() {
                errors.append(validate(&coerced, tree, path).errors);
            } else {
                errors.append(wrong);
            }
        }
    }
    errors
}

/// A default of something in metadata is good when the metadata is good with it.
fn in_metadata(default: &Value, surrounding: &Surrounding, tree: &Structural, path: &Path) -> ErrorList {
    let around = surrounding.around(default);
    let wrong = check_embedded(&around, &Structural::default(), &Path::root(), true);
    if !wrong.is_empty() {
        let why = format!("must result in valid metadata: {}", wrong.aggregate());
        return Error::invalid(path, default.clone(), why).into();
    }
    validate(default, tree, path).errors
}
