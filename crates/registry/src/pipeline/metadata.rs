//! Rules for `metadata` that hold for every kind. Upstream: `apimachinery/pkg/api/validation/objectmeta.go`, `registry/rest/meta.go`.

use std::collections::HashMap;

use apimachinery::{
    ApiError,
    field::{Error, ErrorList, Path},
    names,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};

use crate::{Info, NameRule, RequestCx};

pub(super) const ORPHAN: &str = "orphan";
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// What clients cannot set on create.
pub(super) fn wipe_system_fields(metadata: &mut ObjectMeta) {
    metadata.creation_timestamp = None;
    metadata.uid = None;
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
    metadata.self_link = None;
}

pub(super) fn fill_system_fields(metadata: &mut ObjectMeta, now: Timestamp) {
    metadata.creation_timestamp = Some(Time(now));
    metadata.uid = Some(uuid::Uuid::new_v4().to_string());
}

/// The object's namespace must be the request's, or empty, in which case it becomes the request's.
pub(super) fn ensure_namespace(metadata: &mut ObjectMeta, info: &Info, requested: &str) -> Result<(), ApiError> {
    let expected = if info.is_namespaced() { requested } else { "" };
    let own = metadata.namespace.as_deref().unwrap_or_default();
    if own == expected {
        if expected.is_empty() {
            metadata.namespace = None;
        }
        return Ok(());
    }
    if own.is_empty() {
        metadata.namespace = Some(expected.to_owned());
        return Ok(());
    }
    if expected.is_empty() {
        // A cluster-scoped object may carry no namespace, and upstream forgives one.
        metadata.namespace = None;
        return Ok(());
    }
    Err(ApiError::bad_request("the namespace of the provided object does not match the namespace sent on the request"))
}

pub(super) const REPEATED_OWNERS: &str = ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: ";
pub(super) const REPEATED_OWNERS_AFTER_ADMISSION: &str = ".metadata.ownerReferences contains duplicate entries after mutating admission happens; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: ";

/// Keeps the first of equal owner references, and warns. Upstream: `dedupOwnerReferencesAndAddWarning`.
pub(super) fn drop_repeated_owners(metadata: &mut ObjectMeta, cx: &RequestCx, warning: &str) {
    let Some(references) = metadata.owner_references.as_mut().filter(|references| references.len() > 1) else { return };
    let mut seen: HashMap<String, Vec<OwnerReference>> = HashMap::new();
    let mut repeated = Vec::new();
    references.retain(|reference| {
        let same_uid = seen.entry(reference.uid.clone()).or_default();
        if same_uid.contains(reference) {
            repeated.push(reference.uid.clone());
            return false;
        }
        same_uid.push(reference.clone());
        true
    });
    if !repeated.is_empty() {
        cx.warn(format!("{warning}{}", repeated.join(", ")));
    }
}

/// `custom`: of kinds made at run time, whose finalizers may be called as their authors like.
pub(super) fn validate(metadata: &ObjectMeta, info: &Info, rule: NameRule, custom: bool) -> ErrorList {
    let path = Path::new("metadata");
    let mut errors = ErrorList::new();
    let check = match rule {
        NameRule::DnsSubdomain => names::subdomain_name,
        NameRule::DnsLabel => names::label_name,
        NameRule::Dns1035Label => names::dns1035_name,
        NameRule::PathSegment => names::path_segment_name,
    };
    if let Some(base) = metadata.generate_name.as_deref().filter(|base| !base.is_empty()) {
        for message in check(base, true) {
            errors.push(Error::invalid(&path.child("generateName"), base, message));
        }
    }
    match metadata.name.as_deref().unwrap_or_default() {
        "" => errors.push(Error::required(&path.child("name"), "name or generateName is required")),
        name => {
            for message in check(name, false) {
                errors.push(Error::invalid(&path.child("name"), name, message));
            }
        }
    }
    if info.is_namespaced() {
        match metadata.namespace.as_deref().unwrap_or_default() {
            "" => errors.push(Error::required(&path.child("namespace"), "")),
            namespace => {
                for message in names::is_dns1123_label(namespace) {
                    errors.push(Error::invalid(&path.child("namespace"), namespace, message));
                }
            }
        }
    }
    if let Some(generation) = metadata.generation.filter(|generation| *generation < 0) {
        errors.push(Error::invalid(&path.child("generation"), generation, "must be greater than or equal to 0"));
    }
    validate_common(metadata, &path, &mut errors);
    errors.append(validate_finalizers(metadata, &path, custom));
    errors
}

pub(super) fn validate_update(new: &ObjectMeta, old: &ObjectMeta, custom: bool) -> ErrorList {
    let path = Path::new("metadata");
    let mut errors = ErrorList::new();
    if old.deletion_timestamp.is_some() {
        let known = old.finalizers.as_deref().unwrap_or_default();
        let added: Vec<&String> =
            new.finalizers.iter().flatten().filter(|finalizer| !known.contains(finalizer)).collect();
        if !added.is_empty() {
            errors.push(Error::forbidden(
                &path.child("finalizers"),
                format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}", quoted(&added)),
            ));
        }
    }
    if new.generation.unwrap_or_default() < old.generation.unwrap_or_default() {
        errors.push(Error::invalid(
            &path.child("generation"),
            new.generation.unwrap_or_default(),
            "must not be decremented",
        ));
    }
    let mut immutable = |name: &str, same: bool, value: serde_json::Value| {
        if !same {
            errors.push(Error::invalid(&path.child(name), value, "field is immutable"));
        }
    };
    let json = |value: &Option<String>| serde_json::Value::from(value.clone().unwrap_or_default());
    immutable("name", new.name == old.name, json(&new.name));
    immutable("namespace", new.namespace == old.namespace, json(&new.namespace));
    immutable("uid", new.uid == old.uid, json(&new.uid));
    immutable(
        "creationTimestamp",
        new.creation_timestamp == old.creation_timestamp,
        time_json(new.creation_timestamp.as_ref()),
    );
    immutable(
        "deletionTimestamp",
        new.deletion_timestamp == old.deletion_timestamp,
        time_json(new.deletion_timestamp.as_ref()),
    );
    immutable(
        "deletionGracePeriodSeconds",
        new.deletion_grace_period_seconds == old.deletion_grace_period_seconds,
        new.deletion_grace_period_seconds.into(),
    );
    validate_common(new, &path, &mut errors);
    errors.append(validate_finalizers(new, &path, custom));
    errors
}

fn time_json(time: Option<&Time>) -> serde_json::Value {
    serde_json::to_value(time).unwrap_or_default()
}

fn validate_common(metadata: &ObjectMeta, path: &Path, errors: &mut ErrorList) {
    errors.append(names::validate_labels(metadata.labels.iter().flatten(), &path.child("labels")));
    errors.append(names::validate_annotations(metadata.annotations.iter().flatten(), &path.child("annotations")));
    errors.append(validate_owner_references(
        metadata.owner_references.as_deref().unwrap_or_default(),
        &path.child("ownerReferences"),
    ));
}

fn validate_owner_references(references: &[OwnerReference], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut controller: Option<&str> = None;
    for reference in references {
        // Upstream reports these without the index.
        if reference.api_version.is_empty() {
            errors.push(Error::invalid(&path.child("apiVersion"), "", "version must not be empty"));
        }
        for (name, value) in [("kind", &reference.kind), ("name", &reference.name), ("uid", &reference.uid)] {
            if value.is_empty() {
                errors.push(Error::invalid(&path.child(name), "", "must not be empty"));
            }
        }
        if reference.api_version == "v1" && reference.kind == "Event" {
            errors.push(Error::invalid(path, "v1, Kind=Event", "/v1, Kind=Event is disallowed from being an owner"));
        }
        if reference.controller == Some(true) {
            match controller {
                Some(first) => errors.push(Error::invalid(
                    path,
                    apimachinery::json::to_value(references).unwrap_or_default(),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {}",
                        reference.name
                    ),
                )),
                None => controller = Some(&reference.name),
            }
        }
    }
    errors
}

fn validate_finalizers(metadata: &ObjectMeta, path: &Path, custom: bool) -> ErrorList {
    let path = path.child("finalizers");
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    let mut errors = ErrorList::new();
    for finalizer in finalizers {
        for message in names::is_qualified_name(finalizer) {
            errors.push(Error::invalid(&path, finalizer.as_str(), message));
        }
        let bare = [ORPHAN, FOREGROUND, "kubernetes"].contains(&finalizer.as_str());
        if !finalizer.contains('/') && !bare && !custom {
            errors.push(Error::invalid(
                &path,
                finalizer.as_str(),
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if has(ORPHAN) && has(FOREGROUND) {
        errors.push(Error::invalid(
            &path,
            serde_json::to_value(finalizers).unwrap_or_default(),
            format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set"),
        ));
    }
    errors
}

fn quoted(texts: &[&String]) -> String {
    texts.iter().map(|text| apimachinery::field::go_quote(text)).collect::<Vec<_>>().join(", ")
}
