//! Validation of annotations that mean something to pods, most of them older than the fields that replaced them.

use std::collections::BTreeMap;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{PodSpec, SeccompProfile, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{PodOptions, os, scheduling};
use crate::check::Report;
use crate::core::volume;
use crate::optional::Text;

pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// `ValidatePodSpecificAnnotations`.
pub(crate) fn pod_specific(
    meta: &ObjectMeta,
    spec: &PodSpec,
    path: &Path,
    options: &PodOptions,
    errors: &mut ErrorList,
) {
    let Some(annotations) = &meta.annotations else { return };
    if let Some(value) = annotations.get(MIRROR)
        && spec.node_name.text().is_empty()
    {
        errors.invalid(&path.key(MIRROR), value, "must set spec.nodeName if mirror pod annotation is set");
    }
    if let Some(text) = annotations.get(TOLERATIONS).filter(|text| !text.is_empty()) {
        match serde_json::from_str::<Vec<Toleration>>(text) {
            Ok(list) => scheduling::tolerations(&list, &path.child(TOLERATIONS), errors),
            Err(error) => errors.invalid(path, TOLERATIONS, error.to_string()),
        }
    }
    if !options.allow_invalid_deletion_cost && !deletion_cost_is_valid(meta) {
        let value = annotations.get(DELETION_COST).map_or("", String::as_str);
        errors.invalid(&path.key(DELETION_COST), value, "must be a 32bit integer");
    }
    seccomp(annotations, path, errors);
    app_armor(annotations, spec, path, errors);
}

pub(super) fn deletion_cost_is_valid(meta: &ObjectMeta) -> bool {
    let Some(text) = meta.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST)) else {
        return true;
    };
    // Neither `+5` nor `007`: the number as it would be printed.
    let canonical = text.strip_prefix('-').unwrap_or(text);
    let leading_zero = canonical.len() > 1 && canonical.starts_with('0');
    !text.starts_with('+') && !leading_zero && text.parse::<i32>().is_ok()
}

fn seccomp(annotations: &BTreeMap<String, String>, path: &Path, errors: &mut ErrorList) {
    for (key, profile) in annotations {
        if key != SECCOMP_POD && !key.starts_with(SECCOMP_CONTAINER) {
            continue;
        }
        let path = path.child(key);
        if matches!(profile.as_str(), "runtime/default" | "docker/default" | "unconfined") {
            continue;
        }
        match profile.strip_prefix("localhost/") {
            Some(file) => volume::relative_path(file, &path, errors),
            None => errors.invalid(&path, profile, "must be a valid seccomp profile"),
        }
    }
}

fn app_armor(annotations: &BTreeMap<String, String>, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    for (key, profile) in annotations {
        let Some(container) = key.strip_prefix(APP_ARMOR) else { continue };
        if !os::containers(spec, path).any(|(name, _, _)| name == container) {
            errors.invalid(&path.key(key), container, "container not found");
        }
        let valid =
            matches!(profile.as_str(), "" | "runtime/default" | "unconfined") || profile.starts_with("localhost/");
        if !valid {
            errors.invalid(&path.key(key), profile, format!("invalid AppArmor profile name: {profile:?}"));
        }
    }
}

/// Annotations of old clients and the fields of new ones must not contradict each other.
pub(super) fn match_fields(meta: &ObjectMeta, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let Some(annotations) = &meta.annotations else { return };
    let pod_context = spec.security_context.as_ref();
    if let Some(profile) = pod_context.and_then(|context| context.seccomp_profile.as_ref())
        && let Some(annotation) = annotations.get(SECCOMP_POD)
    {
        seccomp_matches(annotation, profile, &path.child("securityContext").child("seccompProfile"), errors);
    }
    for (name, context, path) in os::containers(spec, path) {
        if let Some(profile) = context.and_then(|context| context.seccomp_profile.as_ref())
            && let Some(annotation) = annotations.get(&format!("{SECCOMP_CONTAINER}{name}"))
        {
            seccomp_matches(annotation, profile, &path.child("securityContext").child("seccompProfile"), errors);
        }
    }
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return;
    }
    for (name, context, path) in os::containers(spec, path) {
        let own = context.and_then(|context| context.app_armor_profile.as_ref());
        let Some(profile) = own.or(pod_context.and_then(|context| context.app_armor_profile.as_ref())) else {
            continue;
        };
        let Some(annotation) = annotations.get(&format!("{APP_ARMOR}{name}")) else { continue };
        let path = path.child("securityContext").child("appArmorProfile");
        let kind_matches = match profile.type_.as_str() {
            "Unconfined" => annotation == "unconfined",
            "RuntimeDefault" => annotation == "runtime/default",
            "Localhost" => annotation.starts_with("localhost/"),
            _ => true,
        };
        if !kind_matches {
            errors.forbidden(&path.child("type"), "apparmor type in annotation and field must match");
        } else if profile.type_ == "Localhost"
            && annotation.strip_prefix("localhost/") != profile.localhost_profile.as_deref()
        {
            let message = "apparmor profile in annotation and field must match";
            errors.forbidden(&path.child("localhostProfile"), message);
        }
    }
}

fn seccomp_matches(annotation: &str, profile: &SeccompProfile, path: &Path, errors: &mut ErrorList) {
    let kind_matches = match profile.type_.as_str() {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => matches!(annotation, "runtime/default" | "docker/default"),
        "Localhost" => annotation.starts_with("localhost/"),
        _ => true,
    };
    if !kind_matches {
        errors.forbidden(&path.child("type"), "seccomp type in annotation and field must match");
    } else if profile.type_ == "Localhost"
        && annotation.strip_prefix("localhost/") != profile.localhost_profile.as_deref()
    {
        errors.forbidden(&path.child("localhostProfile"), "seccomp profile in annotation and field must match");
    }
}

/// What updates may not do to annotations (`ValidatePodSpecificAnnotationUpdates`).
pub(super) fn updates(new: &ObjectMeta, old: &ObjectMeta, path: &Path, errors: &mut ErrorList) {
    let empty = BTreeMap::new();
    let (new, old) = (new.annotations.as_ref().unwrap_or(&empty), old.annotations.as_ref().unwrap_or(&empty));
    for (key, value) in old {
        if new.get(key) == Some(value) {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&path.key(key), "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&path.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for key in new.keys().filter(|key| !old.contains_key(*key)) {
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&path.key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&path.key(key), "may not add mirror pod annotation");
        }
    }
}
