//! What the kinds of dynamic resource allocation share. Upstream: helpers of `pkg/apis/resource/validation`.

pub(super) mod allocation;
pub(super) mod claim;
pub(super) mod names;

use std::collections::BTreeSet;

use apimachinery::field::{Error, ErrorList, Path};
use k8s_openapi::api::resource::v1::{DeviceSelector, DeviceTaint, DeviceToleration, OpaqueDeviceConfiguration};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde::Serialize;

use crate::check::{self, Report};
use crate::core::volume::csi_driver_name;
use crate::optional::Text;

pub(super) const MAX_SELECTORS: usize = 32;
pub(super) const MAX_CONFIGS: usize = 32;
const MAX_EXPRESSION: usize = 10 * 1024;
const MAX_PARAMETERS: usize = 10 * 1024;
const TAINT_EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

/// Each item, if they are not too many (`validateSlice`).
pub(super) fn slice<T>(
    items: &[T],
    max: usize,
    path: &Path,
    errors: &mut ErrorList,
    mut item: impl FnMut(&T, &Path, &mut ErrorList),
) {
    if items.len() > max {
        errors.too_many(path, items.len(), max);
        return;
    }
    for (index, each) in items.iter().enumerate() {
        item(each, &path.index(index), errors);
    }
}

/// As [`slice`], and no key twice (`validateSet`).
pub(super) fn set<T, K: Ord + Serialize>(
    items: &[T],
    max: usize,
    key: impl Fn(&T) -> K,
    path: &Path,
    errors: &mut ErrorList,
    item: impl FnMut(&T, &Path, &mut ErrorList),
) {
    slice(items, max, path, errors, item);
    if items.len() > max {
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, each) in items.iter().enumerate() {
        let key = key(each);
        if seen.contains(&key) {
            errors.duplicate(&path.index(index), key);
        } else {
            seen.insert(key);
        }
    }
}

pub(super) fn selectors(selectors: &[DeviceSelector], path: &Path, errors: &mut ErrorList) {
    slice(selectors, MAX_SELECTORS, path, errors, |selector, path, errors| match &selector.cel {
        None => errors.required(&path.child("cel"), ""),
        Some(cel) => {
            let path = path.child("cel").child("expression");
            if cel.expression.len() > MAX_EXPRESSION {
                errors.too_long(&path, MAX_EXPRESSION);
            } else {
                crate::expressions::device_selector(&cel.expression, &path, errors);
            }
        }
    });
}

/// `stored`: the value is what is stored already, from when there was no limit.
pub(super) fn opaque(config: Option<&OpaqueDeviceConfiguration>, path: &Path, stored: bool, errors: &mut ErrorList) {
    let path = path.child("opaque");
    let Some(config) = config else {
        errors.required(&path, "");
        return;
    };
    csi_driver_name(&config.driver, &path.child("driver"), errors);
    raw(&config.parameters, &path.child("parameters"), stored, MAX_PARAMETERS, errors);
}

pub(super) fn raw(value: &RawExtension, path: &Path, stored: bool, max: usize, errors: &mut ErrorList) {
    let size = serde_json::to_vec(&value.0).map_or(0, |bytes| bytes.len());
    if value.0.is_null() {
        errors.required(path, "");
    } else if !stored && size > max {
        errors.too_long(path, max);
    } else if !value.0.is_object() {
        errors.push(Error::invalid(path, "<value omitted>", "must be a valid JSON object"));
    }
}

pub(super) fn toleration(toleration: &DeviceToleration, path: &Path, errors: &mut ErrorList) {
    if !toleration.key.text().is_empty() {
        check::label_name(toleration.key.text(), &path.child("key"), errors);
    }
    match toleration.operator.text() {
        "Exists" if !toleration.value.text().is_empty() => {
            errors.invalid(&path.child("value"), &toleration.value, "must be empty for operator `Exists`");
        }
        "Exists" => {}
        "Equal" => check::label_value(toleration.value.text(), &path.child("value"), errors),
        "" => errors.required(&path.child("operator"), ""),
        other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
    }
    let effect = toleration.effect.text();
    if !effect.is_empty() && !TAINT_EFFECTS.contains(&effect) {
        errors.not_supported(&path.child("effect"), effect, TAINT_EFFECTS);
    }
}

pub(super) fn taint(taint: &DeviceTaint, path: &Path, errors: &mut ErrorList) {
    check::label_name(&taint.key, &path.child("key"), errors);
    if !taint.value.text().is_empty() {
        check::label_value(taint.value.text(), &path.child("value"), errors);
    }
    if taint.effect.is_empty() {
        errors.required(&path.child("effect"), "");
    } else if !TAINT_EFFECTS.contains(&taint.effect.as_str()) {
        errors.not_supported(&path.child("effect"), &taint.effect, TAINT_EFFECTS);
    }
}

/// The conditions that a device waits for before a pod is bound, and those that say it never will
/// (`validateDeviceBindingParameters`).
pub(super) fn binding_conditions(
    bindings: Option<&Vec<String>>,
    failures: Option<&Vec<String>>,
    path: &Path,
    errors: &mut ErrorList,
) {
    const MAX: usize = 4;
    let (bindings_path, failures_path) = (path.child("bindingConditions"), path.child("bindingFailureConditions"));
    let (bindings, failures) = (bindings.map_or(&[][..], Vec::as_slice), failures.map_or(&[][..], Vec::as_slice));
    for (names, path) in [(bindings, &bindings_path), (failures, &failures_path)] {
        slice(names, MAX, path, errors, |name, path, errors| check::label_name(name, path, errors));
    }
    let mut seen = BTreeSet::new();
    for (index, name) in bindings.iter().enumerate() {
        if !seen.insert(name) {
            errors.duplicate(&bindings_path.index(index), name);
        }
    }
    let mut seen = BTreeSet::new();
    for (index, name) in failures.iter().enumerate() {
        if !seen.insert(name) {
            errors.duplicate(&failures_path.index(index), name);
        }
        if bindings.contains(name) {
            let message = "bindingFailureConditions must not overlap with bindingConditions";
            errors.invalid(&failures_path.index(index), name, message);
        }
    }
    if bindings.is_empty() && !failures.is_empty() {
        let message = "bindingConditions are required to use bindingFailureConditions";
        errors.invalid(&bindings_path, serde_json::Value::Null, message);
    }
    if failures.is_empty() && !bindings.is_empty() {
        let message = "bindingFailureConditions are required to use bindingConditions";
        errors.invalid(&failures_path, serde_json::Value::Null, message);
    }
}
