//! Validation of resource slices. Upstream: `ValidateResourceSlice` in `pkg/apis/resource/validation`.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::NodeSelector;
use k8s_openapi::api::resource::v1::{
    CapacityRequestPolicy, Counter, CounterSet, Device, DeviceAttribute, ResourcePool, ResourceSlice, ResourceSliceSpec,
};

use crate::check::{self, Report};
use crate::core::volume::csi_driver_name;
use crate::meta::quantity;
use crate::optional::{Flag, Items, Text};
use crate::resource::devices::{binding_conditions, len, names, set, single_term, slice, taint, unset_both};

const MAX_DEVICES: usize = 128;
/// Of slices whose devices use the costlier features.
const MAX_ADVANCED_DEVICES: usize = 64;
const MAX_COUNTER_SETS: usize = 8;
const MAX_COUNTERS: usize = 32;
const MAX_ATTRIBUTES: usize = 32;
const MAX_ATTRIBUTE: usize = 64;
const MAX_TAINTS: usize = 16;
const MAX_CONSUMPTIONS: usize = 2;
const MAX_VALID_VALUES: usize = 10;

pub(super) fn validate(object: &ResourceSlice) -> ErrorList {
    let mut errors = ErrorList::default();
    spec(&object.spec, &Path::new("spec"), &mut errors);
    errors
}

pub(super) fn validate_update(new: &ResourceSlice, old: &ResourceSlice) -> ErrorList {
    let mut errors = validate(new);
    let (new, old, path) = (&new.spec, &old.spec, Path::new("spec"));
    check::unchanged(&new.pool.name, &old.pool.name, &path.child("pool").child("name"), &mut errors);
    check::unchanged(&new.driver, &old.driver, &path.child("driver"), &mut errors);
    check::unchanged(&new.node_name, &old.node_name, &path.child("nodeName"), &mut errors);
    errors
}

fn spec(spec: &ResourceSliceSpec, path: &Path, errors: &mut ErrorList) {
    csi_driver_name(&spec.driver, &path.child("driver"), errors);
    pool(&spec.pool, &path.child("pool"), errors);
    let places = Places {
        node_name: spec.node_name.text(),
        node_selector: spec.node_selector.as_ref(),
        all_nodes: spec.all_nodes.is_set(),
    };
    let counters = spec.shared_counters.items();
    let mut found = places.validate(path, errors);
    if spec.per_device_node_selection.is_set() {
        found.push("`perDeviceNodeSelection`");
    }
    exactly_one(&found, "`nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection`", path, errors);
    let advanced = spec
        .devices
        .items()
        .iter()
        .any(|device| !device.taints.items().is_empty() || !device.consumes_counters.items().is_empty());
    let max = if advanced { MAX_ADVANCED_DEVICES } else { MAX_DEVICES };
    let per_device = spec.per_device_node_selection.is_set();
    let key = (|device: &Device| device.name.clone(), "name");
    set(spec.devices.items(), max, key, &path.child("devices"), errors, |each, path, errors| {
        device(each, per_device, path, errors);
    });
    let key = (|set: &CounterSet| set.name.clone(), "name");
    set(counters, MAX_COUNTER_SETS, key, &path.child("sharedCounters"), errors, |set, path, errors| {
        if set.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            check::dns_label(&set.name, &path.child("name"), errors);
        }
        self::counters(&set.counters, &path.child("counters"), errors);
    });
}

/// Where devices can be reached from.
struct Places<'a> {
    node_name: &'a str,
    node_selector: Option<&'a NodeSelector>,
    all_nodes: bool,
}

impl Places<'_> {
    /// The fields that are set.
    fn validate(&self, path: &Path, errors: &mut ErrorList) -> Vec<&'static str> {
        let mut found = Vec::new();
        if !self.node_name.is_empty() {
            found.push("`nodeName`");
            check::dns_subdomain(self.node_name, &path.child("nodeName"), errors);
        }
        if let Some(selector) = self.node_selector {
            found.push("`nodeSelector`");
            single_term(selector, &path.child("nodeSelector"), errors);
        }
        if self.all_nodes {
            found.push("`allNodes`");
        }
        found
    }
}

fn exactly_one(found: &[&str], of: &str, path: &Path, errors: &mut ErrorList) {
    match found {
        [_] => {}
        [] => errors.required(path, format!("exactly one of {of} is required")),
        several => {
            let value = format!("{{{}}}", several.join(", "));
            errors.invalid(path, value, format!("exactly one of {of} is required, but multiple fields are set"));
        }
    }
}

fn pool(pool: &ResourcePool, path: &Path, errors: &mut ErrorList) {
    names::pool(&pool.name, &path.child("name"), errors);
    if pool.resource_slice_count <= 0 {
        errors.invalid(&path.child("resourceSliceCount"), pool.resource_slice_count, check::NOT_POSITIVE);
    }
    if pool.generation < 0 {
        errors.invalid(&path.child("generation"), pool.generation, "must be greater than or equal to zero");
    }
}

fn counters(counters: &BTreeMap<String, Counter>, path: &Path, errors: &mut ErrorList) {
    if counters.is_empty() {
        errors.required(path, "");
    }
    if counters.len() > MAX_COUNTERS {
        errors.too_many(path, counters.len(), MAX_COUNTERS);
    }
    for name in counters.keys() {
        check::dns_label(name, &path.key(name), errors);
    }
}

fn device(device: &Device, per_device: bool, path: &Path, errors: &mut ErrorList) {
    check::dns_label(&device.name, &path.child("name"), errors);
    for (name, attribute) in device.attributes.iter().flatten() {
        let path = path.child("attributes").key(&names::shortened(name));
        names::qualified(name, &path, errors);
        self::attribute(attribute, &path, errors);
    }
    for (name, capacity) in device.capacity.iter().flatten() {
        let path = path.child("capacity").key(&names::shortened(name));
        names::qualified(name, &path, errors);
        if let Some(policy) = &capacity.request_policy {
            if device.allow_multiple_allocations.is_set() {
                request_policy(policy, &capacity.value, &path.child("requestPolicy"), errors);
            } else {
                let message = "may not be specified when `allowMultipleAllocations` is not true";
                errors.forbidden(&path.child("requestPolicy"), message);
            }
        }
    }
    let count = device.attributes.as_ref().map_or(0, BTreeMap::len) + device.capacity.as_ref().map_or(0, BTreeMap::len);
    if count > MAX_ATTRIBUTES {
        let message = format!("the total number of attributes and capacities must not exceed {MAX_ATTRIBUTES}");
        errors.invalid(path, count, message);
    }
    slice(device.taints.items(), MAX_TAINTS, &path.child("taints"), errors, taint);
    let consumptions = device.consumes_counters.items();
    let key =
        (|each: &k8s_openapi::api::resource::v1::DeviceCounterConsumption| each.counter_set.clone(), "counterSet");
    set(consumptions, MAX_CONSUMPTIONS, key, &path.child("consumesCounters"), errors, |each, path, errors| {
        if each.counter_set.is_empty() {
            errors.required(&path.child("counterSet"), "");
        } else {
            check::dns_label(&each.counter_set, &path.child("counterSet"), errors);
        }
        counters(&each.counters, &path.child("counters"), errors);
    });
    let places = Places {
        node_name: device.node_name.text(),
        node_selector: device.node_selector.as_ref(),
        all_nodes: device.all_nodes.is_set(),
    };
    if per_device {
        let found = places.validate(path, errors);
        exactly_one(&found, "`nodeName`, `nodeSelector`, or `allNodes`", path, errors);
    } else {
        for (set, field) in [
            (!places.node_name.is_empty(), "nodeName"),
            (places.node_selector.is_some(), "nodeSelector"),
            (device.all_nodes.is_some(), "allNodes"),
        ] {
            if set {
                let message = "`nodeName`, `nodeSelector`, and `allNodes` may only be set when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
                errors.forbidden(&path.child(field), message);
            }
        }
    }
    binding_conditions(device.binding_conditions.as_ref(), &path.child("bindingConditions"), errors);
    binding_conditions(device.binding_failure_conditions.as_ref(), &path.child("bindingFailureConditions"), errors);
    unset_both(len(&device.binding_conditions), len(&device.binding_failure_conditions), path, errors);
}

fn attribute(attribute: &DeviceAttribute, path: &Path, errors: &mut ErrorList) {
    let mut count = usize::from(attribute.bool.is_some()) + usize::from(attribute.int.is_some());
    if let Some(text) = &attribute.string {
        count += 1;
        if text.len() > MAX_ATTRIBUTE {
            errors.too_long(&path.child("string"), MAX_ATTRIBUTE);
        }
    }
    if let Some(text) = &attribute.version {
        count += 1;
        if !is_semver(text) {
            let message = "must be a string compatible with semver.org spec 2.0.0";
            errors.invalid(&path.child("version"), text, message);
        }
        if text.len() > MAX_ATTRIBUTE {
            errors.too_long(&path.child("version"), MAX_ATTRIBUTE);
        }
    }
    match count {
        0 => errors.required(path, "exactly one value must be specified"),
        1 => {}
        _ => errors.invalid(path, attribute, "exactly one value must be specified"),
    }
}

/// `1.2.3-alpha.1+build`, without leading zeros.
fn is_semver(text: &str) -> bool {
    let is_identifier =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_number = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, release) = rest.split_once('-').map_or((rest, None), |(core, release)| (core, Some(release)));
    let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && release.is_none_or(|release| {
            release.split('.').all(|part| is_identifier(part) && (!numeric(part) || is_number(part)))
        })
        && build.is_none_or(|build| build.split('.').all(is_identifier))
}

type Amount = k8s_openapi::apimachinery::pkg::api::resource::Quantity;

fn request_policy(policy: &CapacityRequestPolicy, maximum: &Amount, path: &Path, errors: &mut ErrorList) {
    let amount = |text: &Amount| quantity::amount(Some(text));
    let values = policy.valid_values.items();
    if let Some(default) = policy.default.as_ref().filter(|default| amount(default) > amount(maximum)) {
        let message = format!("default is larger than capacity value: {}", maximum.0);
        errors.invalid(&path.child("default"), &default.0, message);
    }
    match &policy.valid_range {
        Some(_) if !values.is_empty() => errors.forbidden(path, "exactly one policy can be specified"),
        Some(_) if policy.default.is_none() => {
            errors.required(&path.child("default"), "required when validRange is defined");
        }
        Some(range) => {
            let path = path.child("validRange");
            if amount(&range.min) > amount(maximum) {
                let message = format!("min is larger than capacity value: {}", maximum.0);
                errors.invalid(&path.child("min"), &range.min.0, message);
            }
            if let Some(max) = &range.max {
                if amount(&range.min) > amount(max) {
                    let message = format!("min is larger than max: {}", max.0);
                    errors.invalid(&path.child("min"), &range.min.0, message);
                }
                if amount(max) > amount(maximum) {
                    let message = format!("max is larger than capacity value: {}", maximum.0);
                    errors.invalid(&path.child("max"), &max.0, message);
                }
            }
        }
        None if values.is_empty() => {}
        None => {
            if policy.default.is_none() {
                errors.required(&path.child("default"), "required when validValues is defined");
            }
            let path = path.child("validValues");
            if values.len() > MAX_VALID_VALUES {
                errors.too_many(&path, values.len(), MAX_VALID_VALUES);
            }
            let mut seen = BTreeSet::new();
            for (index, value) in values.iter().enumerate() {
                if !seen.insert(amount(value).nanos()) {
                    errors.duplicate(&path.index(index), &value.0);
                }
                if amount(value) > amount(maximum) {
                    let message = format!("option is larger than capacity value: {}", maximum.0);
                    errors.invalid(&path.index(index), &value.0, message);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use k8s_openapi::api::resource::v1::ResourceSlice;
    use serde_json::{Value, json};

    fn errors(spec: Value) -> String {
        let mut value = json!({"metadata": {"name": "a"}, "spec": {"driver": "gpu.example.com", "pool": {"name": "a", "generation": 1, "resourceSliceCount": 1}}});
        apimachinery::patch::merge_patch(&mut value["spec"], spec);
        let slice: ResourceSlice = serde_json::from_value(value).expect("a slice");
        super::validate(&slice).iter().map(|error| format!("{error}\n")).collect()
    }

    #[test]
    fn a_slice_has_one_place() {
        assert_eq!(errors(json!({"nodeName": "a"})), "");
        expect![[r#"
            spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required
        "#]]
        .assert_eq(&errors(json!({})));
        expect![[r#"
            spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set
        "#]]
        .assert_eq(&errors(json!({"nodeName": "a", "allNodes": true})));
    }

    #[test]
    fn devices_are_named_and_described() {
        expect![[r#"
            spec.devices[0].attributes[a]: Required value: exactly one value must be specified
            spec.devices[0].attributes[b.c/d].version: Invalid value: "1.02.3": must be a string compatible with semver.org spec 2.0.0
            spec.devices[1].taints[0].effect: Unsupported value: "x": supported values: "NoExecute", "NoSchedule", "None"
            spec.devices[1].name: Duplicate value: "gpu"
        "#]]
        .assert_eq(&errors(json!({"nodeName": "a", "devices": [
            {"name": "gpu", "attributes": {"a": {}, "b.c/d": {"version": "1.02.3"}}},
            {"name": "gpu", "taints": [{"key": "k", "effect": "x"}]},
        ]})));
    }

    #[test]
    fn versions() {
        for (text, good) in
            [("1.2.3", true), ("1.2", false), ("1.2.3-a.1+b", true), ("1.2.3-01", false), ("v1.2.3", false)]
        {
            assert_eq!(super::is_semver(text), good, "{text}");
        }
    }
}
