//! Validation of resource slices. Upstream: `ValidateResourceSlice` in `pkg/apis/resource/validation`.

use std::collections::BTreeMap;

use apimachinery::{
    Quantity,
    field::{ErrorList, Path},
};
use k8s_openapi::api::resource::v1::{
    CapacityRequestPolicy, CapacityRequestPolicyRange, Counter, CounterSet, Device, DeviceAttribute,
    DeviceCounterConsumption, ResourcePool, ResourceSlice, ResourceSliceSpec,
};
use serde_json::Value;

use crate::check::{self, Report};
use crate::core::pod::validation::node_selector;
use crate::core::volume::csi_driver_name;
use crate::meta::quantity;
use crate::optional::{Flag, Items};
use crate::resource::devices::{binding_conditions, names, set, slice, taint};

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
    spec(&object.spec, None, &Path::new("spec"), &mut errors);
    errors
}

pub(super) fn validate_update(new: &ResourceSlice, old: &ResourceSlice) -> ErrorList {
    let mut errors = ErrorList::default();
    spec(&new.spec, Some(&old.spec), &Path::new("spec"), &mut errors);
    errors
}

fn spec(spec: &ResourceSliceSpec, old: Option<&ResourceSliceSpec>, path: &Path, errors: &mut ErrorList) {
    csi_driver_name(&spec.driver, &path.child("driver"), errors);
    pool(&spec.pool, &path.child("pool"), errors);
    if let Some(old) = old {
        check::unchanged(&spec.pool.name, &old.pool.name, &path.child("pool").child("name"), errors);
        check::unchanged(&spec.driver, &old.driver, &path.child("driver"), errors);
        check::unchanged(&spec.node_name, &old.node_name, &path.child("nodeName"), errors);
    }
    place(spec, path, errors);
    if spec.shared_counters.is_some() && spec.devices.is_some() {
        errors.invalid(path, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let devices = spec.devices.items();
    let advanced = |device: &Device| !device.taints.items().is_empty() || !device.consumes_counters.items().is_empty();
    let max = if devices.iter().any(advanced) { MAX_ADVANCED_DEVICES } else { MAX_DEVICES };
    let per_device = spec.per_device_node_selection.is_set();
    let key = |device: &Device| device.name.clone();
    set(devices, max, key, &path.child("devices"), errors, |each, path, errors| {
        let known = old.and_then(|old| old.devices.items().iter().find(|known| known.name == each.name));
        device(each, known, per_device, path, errors);
    });
    let key = |set: &CounterSet| set.name.clone();
    let path = path.child("sharedCounters");
    set(spec.shared_counters.items(), MAX_COUNTER_SETS, key, &path, errors, |set, path, errors| {
        counter_set(&set.name, "name", &set.counters, path, errors);
    });
}

/// Where the devices of a slice can be reached from.
fn place(spec: &ResourceSliceSpec, path: &Path, errors: &mut ErrorList) {
    const UNSET_OR_TRUE: &str = "must be either unset or set to true";
    let mut found = Vec::new();
    match spec.node_name.as_deref() {
        None => {}
        Some("") => errors.invalid(&path.child("nodeName"), "", "must be either unset or set to a non-empty string"),
        Some(name) => {
            found.push("`nodeName`");
            check::dns_subdomain(name, &path.child("nodeName"), errors);
        }
    }
    if let Some(selector) = &spec.node_selector {
        found.push("`nodeSelector`");
        let path = path.child("nodeSelector");
        node_selector(selector, &path, errors);
        // One term only, so that selectors of several slices can be merged.
        if selector.node_selector_terms.len() != 1 {
            let message = "must have exactly one node selector term";
            errors.invalid(&path.child("nodeSelectorTerms"), &selector.node_selector_terms, message);
        }
    }
    for (flag, field, shown) in [
        (spec.all_nodes, "allNodes", "`allNodes`"),
        (spec.per_device_node_selection, "perDeviceNodeSelection", "`perDeviceNodeSelection`"),
    ] {
        match flag {
            None => {}
            Some(true) => found.push(shown),
            Some(false) => errors.invalid(&path.child(field), false, UNSET_OR_TRUE),
        }
    }
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match &found[..] {
        [_] => {}
        [] => errors.required(path, ONE),
        several => {
            let value = format!("{{{}}}", several.join(", "));
            errors.invalid(path, value, format!("{ONE}, but multiple fields are set"));
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

/// A set of counters, or what is consumed of one; `field` holds its name.
fn counter_set(name: &str, field: &str, counters: &BTreeMap<String, Counter>, path: &Path, errors: &mut ErrorList) {
    // The longest DNS label.
    const SHOWN: usize = 63;
    if name.is_empty() {
        errors.required(&path.child(field), "");
    } else {
        check::dns_label(name, &path.child(field), errors);
    }
    let path = path.child("counters");
    match counters.len() {
        0 => errors.required(&path, ""),
        count if count > MAX_COUNTERS => errors.too_many(&path, count, MAX_COUNTERS),
        _ => {
            for name in counters.keys() {
                check::dns_label(name, &path.key(&names::shortened(name, SHOWN)), errors);
            }
        }
    }
}

fn device(device: &Device, old: Option<&Device>, per_device: bool, path: &Path, errors: &mut ErrorList) {
    check::dns_label(&device.name, &path.child("name"), errors);
    let count = device.attributes.as_ref().map_or(0, BTreeMap::len) + device.capacity.as_ref().map_or(0, BTreeMap::len);
    if count > MAX_ATTRIBUTES {
        let message = format!("the total number of attributes and capacities must not exceed {MAX_ATTRIBUTES}");
        errors.invalid(path, count, message);
    }
    for (name, attribute) in device.attributes.iter().flatten() {
        let path = path.child("attributes").key(&names::shortened(name, names::SHOWN_NAME));
        names::qualified(name, &path, errors);
        self::attribute(attribute, &path, errors);
    }
    for (name, capacity) in device.capacity.iter().flatten() {
        let path = path.child("capacity").key(&names::shortened(name, names::SHOWN_NAME));
        names::qualified(name, &path, errors);
        match &capacity.request_policy {
            None => {}
            Some(policy) if device.allow_multiple_allocations.is_set() => {
                request_policy(policy, &capacity.value, &path.child("requestPolicy"), errors);
            }
            Some(_) => errors.forbidden(&path.child("requestPolicy"), "allowMultipleAllocations must be true"),
        }
    }
    // Taints that are stored already are not looked at again.
    if old.is_none_or(|old| old.taints.items() != device.taints.items()) {
        slice(device.taints.items(), MAX_TAINTS, &path.child("taints"), errors, taint);
    }
    let key = |each: &DeviceCounterConsumption| each.counter_set.clone();
    let consumes = path.child("consumesCounters");
    set(device.consumes_counters.items(), MAX_CONSUMPTIONS, key, &consumes, errors, |each, path, errors| {
        counter_set(&each.counter_set, "counterSet", &each.counters, path, errors);
    });
    if per_device {
        device_place(device, path, errors);
    } else if device.node_name.is_some() || device.node_selector.is_some() || device.all_nodes.is_some() {
        let message = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        errors.invalid(path, Value::Null, message);
    }
    binding_conditions(device.binding_conditions.as_ref(), device.binding_failure_conditions.as_ref(), path, errors);
}

/// Where one device can be reached from, in a slice whose devices differ in that.
fn device_place(device: &Device, path: &Path, errors: &mut ErrorList) {
    let mut found = Vec::new();
    match device.node_name.as_deref() {
        None => {}
        Some("") => errors.invalid(&path.child("nodeName"), "", "must not be empty"),
        Some(name) => {
            found.push("`nodeName`");
            check::dns_subdomain(name, &path.child("nodeName"), errors);
        }
    }
    if let Some(selector) = &device.node_selector {
        found.push("`nodeSelector`");
        node_selector(selector, &path.child("nodeSelector"), errors);
    }
    match device.all_nodes {
        None => {}
        Some(true) => found.push("`allNodes`"),
        Some(false) => errors.invalid(&path.child("allNodes"), false, "must be either unset or set to true"),
    }
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match &found[..] {
        [_] => {}
        [] => errors.required(path, ONE),
        several => errors.invalid(path, format!("{{{}}}", several.join(", ")), ONE),
    }
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
        0 => errors.invalid(path, "", "exactly one value must be specified"),
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

fn amount(text: &Amount) -> Quantity {
    quantity::amount(Some(text))
}

/// What may be asked of a capacity (`validateRequestPolicy`).
fn request_policy(policy: &CapacityRequestPolicy, maximum: &Amount, path: &Path, errors: &mut ErrorList) {
    let values = policy.valid_values.items();
    match (&policy.valid_range, &policy.default) {
        (Some(_), _) if !values.is_empty() => {
            let message = r#"exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time"#;
            errors.forbidden(path, message);
        }
        (None, _) if values.is_empty() => {}
        (None, None) => errors.required(&path.child("default"), "required when validValues is defined"),
        (Some(_), None) => errors.required(&path.child("default"), "required when validRange is defined"),
        (None, Some(default)) => valid_values(values, default, maximum, &path.child("validValues"), errors),
        (Some(range), Some(default)) => valid_range(range, default, maximum, &path.child("validRange"), errors),
    }
}

fn valid_values(values: &[Amount], default: &Amount, maximum: &Amount, path: &Path, errors: &mut ErrorList) {
    for (index, pair) in values.windows(2).enumerate() {
        if amount(&pair[0]) > amount(&pair[1]) {
            errors.invalid(&path.index(index + 1), &pair[1].0, "values must be sorted in ascending order");
        }
    }
    // Whole numbers, as texts: what is equal but for a fraction is equal.
    let key = |value: &Amount| amount(value).value().to_string();
    set(values, MAX_VALID_VALUES, key, path, errors, |value, path, errors| {
        if amount(value) > amount(maximum) {
            errors.invalid(path, &value.0, format!("option is larger than capacity value: {}", maximum.0));
        }
    });
    // Of too many values none was looked at.
    let known = values.len() <= MAX_VALID_VALUES && values.iter().any(|value| amount(value) == amount(default));
    if !known {
        errors.invalid(path, &default.0, "default value is not valid according to the requestPolicy");
    }
}

fn valid_range(
    range: &CapacityRequestPolicyRange,
    default: &Amount,
    maximum: &Amount,
    path: &Path,
    errors: &mut ErrorList,
) {
    let min = &range.min;
    if min.0.is_empty() {
        errors.required(&path.child("min"), "required when validRange is defined");
        return;
    }
    if amount(min) > amount(maximum) {
        let message = format!("min is larger than capacity value: {}", maximum.0);
        errors.invalid(&path.child("min"), &min.0, message);
    }
    if amount(default) < amount(min) {
        errors.invalid(&path.child("min"), &default.0, format!("default is less than min: {}", min.0));
    }
    if let Some(max) = &range.max {
        let path = path.child("max");
        if amount(min) > amount(max) {
            errors.invalid(&path, &min.0, format!("min is larger than max: {}", max.0));
        }
        if amount(max) > amount(maximum) {
            errors.invalid(&path, &max.0, format!("max is larger than capacity value: {}", maximum.0));
        }
        if amount(default) > amount(max) {
            errors.invalid(&path, &default.0, format!("default is more than max: {}", max.0));
        }
    }
    if let Some(step) = &range.step {
        let path = path.child("step");
        let first = amount(min).plus(&amount(step));
        if first > amount(maximum) {
            let message = format!("one step {first} is larger than capacity value: {}", maximum.0);
            errors.invalid(&path, &step.0, message);
        }
        for value in [Some(default), range.max.as_ref()].into_iter().flatten() {
            let (above, step_by) = (amount(value).value() - amount(min).value(), amount(step).value());
            // Upstream divides by a step of zero, and fails; nothing is a multiple of it.
            if step_by == 0 || above % step_by != 0 {
                let message = format!("value is not a multiple of a given step ({}) from ({})", step.0, min.0);
                errors.invalid(&path, &value.0, message);
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
            spec.devices[0].attributes[a]: Invalid value: "": exactly one value must be specified
            spec.devices[0].attributes[b.c/d].version: Invalid value: "1.02.3": must be a string compatible with semver.org spec 2.0.0
            spec.devices[1].taints[0].effect: Unsupported value: "x": supported values: "NoExecute", "NoSchedule", "None"
            spec.devices[1]: Duplicate value: "gpu"
        "#]]
        .assert_eq(&errors(json!({"nodeName": "a", "devices": [
            {"name": "gpu", "attributes": {"a": {}, "b.c/d": {"version": "1.02.3"}}},
            {"name": "gpu", "taints": [{"key": "k", "effect": "x"}]},
        ]})));
    }

    #[test]
    fn places_of_a_slice_and_its_devices() {
        expect![[r#"
            spec.nodeName: Invalid value: "": must be either unset or set to a non-empty string
            spec.allNodes: Invalid value: false: must be either unset or set to true
            spec.perDeviceNodeSelection: Invalid value: false: must be either unset or set to true
            spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required
        "#]].assert_eq(&errors(json!({"nodeName": "", "allNodes": false, "perDeviceNodeSelection": false})));
        expect![[r#"
            spec.devices[0]: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec
            spec.devices[1]: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec
            spec.devices[2].nodeName: Invalid value: "": must not be empty
            spec.devices[2].allNodes: Invalid value: false: must be either unset or set to true
            spec.devices[2]: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec
        "#]].assert_eq(&errors(json!({"perDeviceNodeSelection": true, "devices": [
            {"name": "none"},
            {"name": "two", "nodeName": "a", "allNodes": true},
            {"name": "empty", "nodeName": "", "allNodes": false},
            {"name": "selected", "nodeSelector": {"nodeSelectorTerms": [{}, {}]}},
        ]})));
        expect![[r#"
            spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec
            spec.devices[1]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec
        "#]].assert_eq(&errors(
            json!({"nodeName": "a", "devices": [{"name": "own", "nodeName": "a"}, {"name": "all", "allNodes": false}]}),
        ));
        expect![[r#"
            spec.nodeSelector.nodeSelectorTerms: Invalid value: [{},{}]: must have exactly one node selector term
        "#]]
        .assert_eq(&errors(json!({"nodeSelector": {"nodeSelectorTerms": [{}, {}]}})));
    }

    #[test]
    fn counters_are_shared_in_slices_of_their_own() {
        expect![[r#"
            spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed
            spec.sharedCounters[0].name: Required value
            spec.sharedCounters[0].counters: Required value
            spec.sharedCounters[1].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.sharedCounters[1].counters[Memory]: Invalid value: "Memory": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.sharedCounters[2].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.sharedCounters[2]: Duplicate value: "A"
        "#]].assert_eq(&errors(json!({"nodeName": "a", "devices": [], "sharedCounters": [
            {"name": "", "counters": {}},
            {"name": "A", "counters": {"Memory": {"value": "1"}}},
            {"name": "A", "counters": {"memory": {"value": "1"}}},
        ]})));
        expect![[r#"
            spec.devices[0].consumesCounters: Too many: 3: must have at most 2 items
        "#]].assert_eq(&errors(json!({"nodeName": "a", "devices": [{"name": "gpu", "consumesCounters": [
            {"counterSet": "", "counters": {}}, {"counterSet": "a", "counters": {"b": {"value": "1"}}}, {"counterSet": "a", "counters": {"b": {"value": "1"}}},
        ]}]})));
        let many: serde_json::Map<String, Value> =
            (0..33).map(|index| (format!("c{index}"), json!({"value": "1"}))).collect();
        expect![[r#"
            spec.sharedCounters[0].counters: Too many: 33: must have at most 32 items
        "#]]
        .assert_eq(&errors(json!({"nodeName": "a", "sharedCounters": [{"name": "a", "counters": many}]})));
        let device =
            |index: usize| json!({"name": format!("d{index}"), "taints": [{"key": "k", "effect": "NoSchedule"}]});
        expect![[r#"
            spec.devices: Too many: 65: must have at most 64 items
        "#]]
        .assert_eq(&errors(json!({"nodeName": "a", "devices": (0..65).map(device).collect::<Vec<_>>()})));
    }

    #[test]
    fn what_may_be_asked_of_a_capacity() {
        let of = |policy: Value| {
            let capacity = json!({"memory": {"value": "10Gi", "requestPolicy": policy}});
            errors(
                json!({"nodeName": "a", "devices": [{"name": "gpu", "allowMultipleAllocations": true, "capacity": capacity}]}),
            )
        };
        assert_eq!(of(json!({"default": "1Gi", "validValues": ["1Gi", "2Gi"]})), "");
        assert_eq!(of(json!({"default": "2Gi", "validRange": {"min": "1Gi", "max": "3Gi", "step": "1Gi"}})), "");
        expect![[r#"
            spec.devices[0].capacity[memory].requestPolicy.default: Required value: required when validValues is defined
            spec.devices[0].capacity[memory].requestPolicy.default: Required value: required when validRange is defined
            spec.devices[0].capacity[memory].requestPolicy: Forbidden: exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time
            spec.devices[0].capacity[memory].requestPolicy.validValues[1]: Invalid value: "1Gi": values must be sorted in ascending order
            spec.devices[0].capacity[memory].requestPolicy.validValues[3]: Invalid value: "11Gi": option is larger than capacity value: 10Gi
            spec.devices[0].capacity[memory].requestPolicy.validValues[2]: Duplicate value: "1073741824"
            spec.devices[0].capacity[memory].requestPolicy.validValues: Invalid value: "3Gi": default value is not valid according to the requestPolicy
            spec.devices[0].capacity[memory].requestPolicy.validRange.min: Required value: required when validRange is defined
            spec.devices[0].capacity[memory].requestPolicy.validRange.min: Invalid value: "11Gi": min is larger than capacity value: 10Gi
            spec.devices[0].capacity[memory].requestPolicy.validRange.max: Invalid value: "11Gi": min is larger than max: 9Gi
            spec.devices[0].capacity[memory].requestPolicy.validRange.max: Invalid value: "20Gi": default is more than max: 9Gi
            spec.devices[0].capacity[memory].requestPolicy.validRange.min: Invalid value: "1Gi": default is less than min: 2Gi
            spec.devices[0].capacity[memory].requestPolicy.validRange.max: Invalid value: "12Gi": max is larger than capacity value: 10Gi
            spec.devices[0].capacity[memory].requestPolicy.validRange.step: Invalid value: "10Gi": one step 11Gi is larger than capacity value: 10Gi
            spec.devices[0].capacity[memory].requestPolicy.validRange.step: Invalid value: "2560Mi": value is not a multiple of a given step (10Gi) from (1Gi)
            spec.devices[0].capacity[memory].requestPolicy.validRange.step: Invalid value: "3Gi": value is not a multiple of a given step (10Gi) from (1Gi)
            spec.devices[0].capacity[memory].requestPolicy.validRange.step: Invalid value: "1Gi": value is not a multiple of a given step (0) from (1Gi)
        "#]].assert_eq(
            &[
                json!({"validValues": ["1Gi"]}),
                json!({"validRange": {"min": "1Gi"}}),
                json!({"default": "1Gi", "validValues": ["1Gi"], "validRange": {"min": "1Gi"}}),
                json!({"default": "3Gi", "validValues": ["2Gi", "1Gi", "1Gi", "11Gi"]}),
                json!({"default": "1Gi", "validRange": {}}),
                json!({"default": "20Gi", "validRange": {"min": "11Gi", "max": "9Gi"}}),
                json!({"default": "1Gi", "validRange": {"min": "2Gi", "max": "12Gi"}}),
                json!({"default": "2560Mi", "validRange": {"min": "1Gi", "max": "3Gi", "step": "10Gi"}}),
                json!({"default": "1Gi", "validRange": {"min": "1Gi", "step": "0"}}),
            ]
            .map(of)
            .concat(),
        );
        expect![[r#"
            spec.devices[0].capacity[memory].requestPolicy: Forbidden: allowMultipleAllocations must be true
        "#]].assert_eq(&errors(json!({"nodeName": "a", "devices": [{"name": "gpu", "capacity": {"memory": {"value": "1", "requestPolicy": {}}}}]})));
    }

    #[test]
    fn conditions_for_binding() {
        let of = |bindings: Value, failures: Value| {
            errors(json!({"nodeName": "a", "devices": [
                {"name": "gpu", "bindingConditions": bindings, "bindingFailureConditions": failures},
            ]}))
        };
        assert_eq!(of(json!(["a.example.com/ready"]), json!(["a.example.com/failed"])), "");
        expect![[r#"
            spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions
            spec.devices[0].bindingConditions: Invalid value: null: bindingConditions are required to use bindingFailureConditions
            spec.devices[0].bindingConditions[1]: Duplicate value: "a"
            spec.devices[0].bindingFailureConditions[1]: Duplicate value: "b"
            spec.devices[0].bindingFailureConditions[2]: Invalid value: "a": bindingFailureConditions must not overlap with bindingConditions
            spec.devices[0].bindingConditions[0]: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.devices[0].bindingConditions: Too many: 5: must have at most 4 items
        "#]].assert_eq(
            &[
                of(json!(["a"]), json!(null)),
                of(json!(null), json!(["a"])),
                of(json!(["a", "a"]), json!(["b", "b", "a"])),
                of(json!(["a b"]), json!(["c"])),
                of(json!(["a", "b", "c", "d", "e"]), json!(["f"])),
            ]
            .concat(),
        );
    }

    #[test]
    fn names_of_attributes() {
        let of = |name: &str| {
            errors(
                json!({"nodeName": "a", "devices": [{"name": "gpu", "attributes": {name: {"int": 1, "bool": true}}}]}),
            )
        };
        expect![[r#"
            spec.devices[0].attributes[]: Invalid value: "": a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')
            spec.devices[0].attributes[]: Invalid value: {"bool":true,"int":1}: exactly one value must be specified
            spec.devices[0].attributes[1a]: Invalid value: "1a": a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')
            spec.devices[0].attributes[1a]: Invalid value: {"bool":true,"int":1}: exactly one value must be specified
            spec.devices[0].attributes[/a]: Invalid value: "": the domain must not be empty
            spec.devices[0].attributes[/a]: Invalid value: {"bool":true,"int":1}: exactly one value must be specified
            spec.devices[0].attributes[a.b/]: Invalid value: "": the name must not be empty
            spec.devices[0].attributes[a.b/]: Invalid value: {"bool":true,"int":1}: exactly one value must be specified
            spec.devices[0].attributes[A_B/c]: Invalid value: "A_B": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.devices[0].attributes[A_B/c]: Invalid value: {"bool":true,"int":1}: exactly one value must be specified
            spec.devices[0].attributes[a/b/c]: Invalid value: {"bool":true,"int":1}: exactly one value must be specified
            spec.devices[0].attributes[xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]: Too long: may not be more than 32 bytes
            spec.devices[0].attributes[xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]: Invalid value: {"bool":true,"int":1}: exactly one value must be specified
        "#]].assert_eq(&["", "1a", "/a", "a.b/", "A_B/c", "a/b/c", &"x".repeat(120)].map(of).concat());
    }

    #[test]
    fn stored_taints_are_not_looked_at_again() {
        let slice = |value: Value| -> ResourceSlice {
            let spec = json!({"driver": "d.example.com", "nodeName": "a", "pool": {"name": "a", "generation": 1, "resourceSliceCount": 1}, "devices": [value]});
            serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).expect("a slice")
        };
        let old = slice(json!({"name": "gpu", "taints": [{"key": "k", "effect": "Later"}]}));
        assert!(super::validate_update(&old, &old).is_empty());
        let more =
            slice(json!({"name": "gpu", "taints": [{"key": "k", "effect": "Later"}, {"key": "l", "effect": "None"}]}));
        assert_eq!(super::validate_update(&more, &old).iter().count(), 1);
        let mut moved = old.clone();
        moved.spec.node_name = Some("b".to_owned());
        moved.spec.driver = "e.example.com".to_owned();
        expect![[r#"
            spec.driver: Invalid value: "e.example.com": field is immutable
            spec.nodeName: Invalid value: "b": field is immutable
        "#]]
        .assert_eq(&super::validate_update(&moved, &old).iter().map(|error| format!("{error}\n")).collect::<String>());
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
