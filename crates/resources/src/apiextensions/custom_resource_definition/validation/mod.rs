//! Validation of definitions, with upstream's messages. Upstream: `apis/apiextensions/validation/validation.go`.
//!
//! Upstream lifts what all versions have in common to the top before it validates, so that the schema of a definition
//! with one version is `spec.validation` in its messages; so it is here.

mod approval;
mod conversion;
mod defaults;
mod lifted;
mod old;
mod parts;
mod rules;
mod schema;
mod structural;

use apimachinery::{
    field::{Error, ErrorList, Path},
    names,
};
use registry::DynamicObject;
use serde_json::Value;

use super::{conditions, fields};
use lifted::Lifted;
use old::Forgiven;

pub use approval::{is_protected_group, state as approval};
pub(super) use rules::path_steps;
pub use structural::errors as structural_errors;

/// Rules of a new definition.
pub(super) fn definition(object: &DynamicObject) -> ErrorList {
    let mut errors = name(object);
    errors.append(spec(object, &Forgiven::nothing()));
    errors.append(status(object));
    errors.append(stored_versions(object));
    errors.append(approval::check(object, None));
    errors.append(preserve_unknown_fields(object, None));
    errors
}

/// Rules of a changed definition; what was wrong before is forgiven.
pub(super) fn update(object: &DynamicObject, old: &DynamicObject) -> ErrorList {
    let mut errors = spec(object, &Forgiven::of(object, old));
    let (path, new_spec, old_spec) = (Path::new("spec"), fields::spec(object), fields::spec(old));
    let mut immutable = |path: Path, new: &Value, old: &Value| {
        if new != old {
            errors.push(Error::invalid(&path, new.clone(), "field is immutable"));
        }
    };
    if conditions::is_true(old, conditions::ESTABLISHED) {
        immutable(path.child("scope"), &new_spec["scope"], &old_spec["scope"]);
        immutable(path.child("names").child("kind"), &new_spec["names"]["kind"], &old_spec["names"]["kind"]);
    }
    immutable(path.child("group"), &new_spec["group"], &old_spec["group"]);
    immutable(path.child("names").child("plural"), &new_spec["names"]["plural"], &old_spec["names"]["plural"]);
    errors.append(status(object));
    errors.append(stored_versions(object));
    errors.append(approval::check(object, Some(old)));
    errors.append(preserve_unknown_fields(object, Some(old)));
    errors
}

/// Rules of a status.
pub(super) fn status(object: &DynamicObject) -> ErrorList {
    parts::names(&fields::status(object)["acceptedNames"], &Path::new("status").child("acceptedNames"))
}

fn name(object: &DynamicObject) -> ErrorList {
    let spec = fields::spec(object);
    let wanted = format!("{}.{}", fields::text(&spec["names"], "plural"), fields::text(spec, "group"));
    let name = object.metadata.name.as_deref().unwrap_or_default();
    if name == wanted || name.is_empty() {
        return ErrorList::new();
    }
    let path = Path::new("metadata").child("name");
    Error::invalid(&path, name, "must be spec.names.plural+\".\"+spec.group").into()
}

fn stored_versions(object: &DynamicObject) -> ErrorList {
    let path = Path::new("status").child("storedVersions");
    let status = fields::status(object);
    let stored = fields::texts(status, "storedVersions");
    if stored.is_empty() {
        return Error::invalid(&path, status["storedVersions"].clone(), "must have at least one stored version").into();
    }
    let mut errors = ErrorList::new();
    let versions = fields::versions(object);
    for version in versions.iter().filter(|version| fields::flag(version, "storage")) {
        let name = fields::text(version, "name");
        if !stored.contains(&name) {
            let why = format!("must have the storage version {name}");
            errors.push(Error::invalid(&path, status["storedVersions"].clone(), why));
        }
    }
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| fields::text(version, "name") == *name) {
            errors.push(Error::invalid(
                &path.index(index),
                *name,
                format!("missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"),
            ));
        }
    }
    errors
}

fn preserve_unknown_fields(object: &DynamicObject, old: Option<&DynamicObject>) -> ErrorList {
    let preserves = |object: &DynamicObject| fields::flag(fields::spec(object), "preserveUnknownFields");
    if old.is_some_and(preserves) || !preserves(object) {
        return ErrorList::new();
    }
    let path = Path::new("spec").child("preserveUnknownFields");
    let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    Error::invalid(&path, true, why).into()
}

fn spec(object: &DynamicObject, forgiven: &Forgiven) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, spec) = (Path::new("spec"), fields::spec(object));
    let versions = fields::versions(object);
    let lifted = Lifted::of(versions);
    let preserve = fields::flag(spec, "preserveUnknownFields");

    let group = fields::text(spec, "group");
    let place = path.child("group");
    if group.is_empty() {
        errors.push(Error::required(&place, ""));
    } else {
        let found = names::is_dns1123_subdomain(group);
        if !found.is_empty() {
            errors.push(Error::invalid(&place, group, found.join(",")));
        } else if !group.contains('.') {
            errors.push(Error::invalid(&place, group, "should be a domain with at least one dot"));
        }
    }
    errors.append(one_of(&path.child("scope"), fields::text(spec, "scope"), &["Cluster", "Namespaced"]));

    let versions_path = path.child("versions");
    if lifted.schema.is_none() {
        for (index, version) in versions.iter().enumerate() {
            let place = versions_path.index(index).child("schema").child("openAPIV3Schema");
            if fields::schema(version).is_some() {
                continue;
            }
            if !forgiven.missing_schema {
                errors.push(Error::required(&place, ""));
            } else if !preserve && fields::flag(version, "served") {
                errors.push(Error::required(&place, "because otherwise all fields are pruned"));
            }
        }
    }
    let any = |test: &dyn Fn(&Value) -> bool| {
        versions.iter().filter_map(fields::schema).any(|schema| visit(schema, &mut |node| test(node)))
    };
    let has_defaults = any(&|node| fields::there(node, "default").is_some());
    if has_defaults && preserve {
        let why = "must be false in order to use defaults in the schema";
        errors.push(Error::invalid(&path.child("preserveUnknownFields"), true, why));
    }
    let structural = !preserve || has_defaults || any(&has_extensions) || !forgiven.non_structural;

    let mut seen = Vec::new();
    let mut unique = true;
    for (index, version) in versions.iter().enumerate() {
        let place = versions_path.index(index);
        let name = fields::text(version, "name");
        unique &= !seen.contains(&name);
        seen.push(name);
        let found = names::is_dns1035_label(name);
        if !found.is_empty() {
            errors.push(Error::invalid(&place.child("name"), name, found.join(",")));
        }
        let has_status = fields::subresource(version, "status").is_some();
        errors.append(parts::deprecation(version, &place));
        if lifted.schema.is_none()
            && let Some(schema) = fields::schema(version)
        {
            let schema_path = place.child("schema");
            errors.append(schema::validation(schema, name, has_status, structural, forgiven, &schema_path));
        }
        if lifted.subresources.is_none() {
            errors.append(parts::subresources(version.get("subresources"), &place.child("subresources")));
        }
        if lifted.columns.is_none() {
            errors.append(parts::columns(version, &place.child("additionalPrinterColumns")));
        }
        if lifted.selectable.is_none() {
            errors.append(parts::selectable(
                version,
                fields::schema(version),
                forgiven.too_many_selectable(name),
                &place.child("selectableFields"),
            ));
        }
    }
    if !unique {
        errors.push(Error::invalid(&versions_path, spec["versions"].clone(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| fields::flag(version, "storage")).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(Error::invalid(&versions_path, spec["versions"].clone(), why));
    }

    let (names_path, names) = (path.child("names"), &spec["names"]);
    for name in ["plural", "singular", "kind", "listKind"] {
        if fields::text(names, name).is_empty() {
            errors.push(Error::required(&names_path.child(name), ""));
        }
    }
    errors.append(parts::names(names, &names_path));

    let first = versions.first().map(|version| fields::text(version, "name")).unwrap_or_default();
    if let Some(schema) = lifted.schema {
        let has_status = versions.iter().any(|version| fields::subresource(version, "status").is_some());
        errors.append(schema::validation(schema, first, has_status, structural, forgiven, &path.child("validation")));
    }
    if let Some(subresources) = lifted.subresources {
        errors.append(parts::subresources(Some(subresources), &path.child("subresources")));
    }
    if let (Some(version), true) = (versions.first(), lifted.columns.is_some()) {
        errors.append(parts::columns(version, &path.child("additionalPrinterColumns")));
    }
    if let (Some(version), true) = (versions.first(), lifted.selectable.is_some()) {
        let allowed = forgiven.too_many_selectable("");
        let place = path.child("selectableFields");
        errors.append(parts::selectable(version, fields::schema(version), allowed, &place));
    }
    let conversion = &spec["conversion"];
    if fields::text(conversion, "strategy") != "None" && preserve {
        errors.push(Error::invalid(
            &path.child("conversion").child("strategy"),
            fields::text(conversion, "strategy"),
            "must be None if spec.preserveUnknownFields is true",
        ));
    }
    errors.append(conversion::check(conversion, forgiven, &path.child("conversion")));
    errors
}

fn one_of(path: &Path, value: &str, accepted: &[&str]) -> ErrorList {
    match value {
        "" => Error::required(path, "").into(),
        value if accepted.contains(&value) => ErrorList::new(),
        value => Error::not_supported(path, value, accepted).into(),
    }
}

fn has_extensions(node: &Value) -> bool {
    fields::flag(node, "x-kubernetes-embedded-resource")
        || fields::flag(node, "x-kubernetes-int-or-string")
        || [
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-list-map-keys",
            "x-kubernetes-list-type",
            "x-kubernetes-validations",
        ]
        .iter()
        .any(|name| fields::there(node, name).is_some())
}

/// Walks a schema, itself first, until `test` says yes. Upstream: `SchemaHas`.
pub(super) fn visit(schema: &Value, test: &mut dyn FnMut(&Value) -> bool) -> bool {
    if !schema.is_object() {
        return false;
    }
    if test(schema) {
        return true;
    }
    for name in ["items", "not", "additionalProperties", "additionalItems"] {
        match schema.get(name) {
            Some(one @ Value::Object(_)) if visit(one, test) => return true,
            Some(Value::Array(several)) if several.iter().any(|one| visit(one, test)) => return true,
            _ => {}
        }
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        if fields::list(schema, name).iter().any(|one| visit(one, test)) {
            return true;
        }
    }
    for name in ["properties", "patternProperties", "definitions", "dependencies"] {
        if let Some(named) = schema.get(name)
            && fields::members(named).values().any(|one| visit(one, test))
        {
            return true;
        }
    }
    false
}
