//! What a claim asks for. Upstream: `validateDeviceClaim` in `pkg/apis/resource/validation`.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::resource::v1::{
    DeviceClaim, DeviceConstraint, DeviceRequest, DeviceToleration, ResourceClaimSpec,
};

use super::{MAX_CONFIGS, names, opaque, selectors, set, slice, toleration};
use crate::check::{self, Report};
use crate::optional::{Items, Text};

pub(crate) const MAX_REQUESTS: usize = 32;
const MAX_CONSTRAINTS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const NOT_A_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// Names of the requests with those of their alternatives.
pub(crate) struct Requests<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Requests<'a> {
    pub(crate) fn of(claim: Option<&'a DeviceClaim>) -> Self {
        let requests = claim.map_or(&[][..], |claim| claim.requests.items());
        let named = requests.iter().map(|request| {
            let alternatives = request.first_available.items().iter().map(|sub| sub.name.as_str()).collect();
            (request.name.as_str(), alternatives)
        });
        Self(named.collect())
    }

    fn has(&self, name: &str) -> bool {
        match name.split_once('/') {
            None => self.0.contains_key(name),
            Some((request, sub)) => self.0.get(request).is_some_and(|subs| subs.contains(sub)),
        }
    }

    /// `request` or `request/alternative`, and there must be one.
    pub(crate) fn reference(&self, name: &str, path: &Path, errors: &mut ErrorList) {
        if name.matches('/').count() > 1 {
            errors.invalid(path, name, NOT_A_REQUEST);
            return;
        }
        for part in name.split('/') {
            check::dns_label(part, path, errors);
        }
        if !self.has(name) {
            errors.invalid(path, name, NOT_A_REQUEST);
        }
    }

    pub(crate) fn references(&self, names: &[String], path: &Path, errors: &mut ErrorList) {
        set(names, MAX_REQUESTS, String::clone, path, errors, |name, path, errors| {
            self.reference(name, path, errors);
        });
    }
}

pub(crate) fn spec(spec: &ResourceClaimSpec, path: &Path, stored: bool, errors: &mut ErrorList) {
    let Some(claim) = &spec.devices else { return };
    let path = path.child("devices");
    let names = Requests::of(Some(claim));
    let key = |request: &DeviceRequest| request.name.clone();
    set(claim.requests.items(), MAX_REQUESTS, key, &path.child("requests"), errors, request);
    slice(claim.constraints.items(), MAX_CONSTRAINTS, &path.child("constraints"), errors, |each, path, errors| {
        constraint(each, &names, path, errors);
    });
    slice(claim.config.items(), MAX_CONFIGS, &path.child("config"), errors, |config, path, errors| {
        names.references(config.requests.items(), &path.child("requests"), errors);
        opaque(config.opaque.as_ref(), path, stored, errors);
    });
}

/// What a request and its alternatives have in common.
struct Wanted<'a> {
    class: &'a str,
    mode: &'a str,
    count: i64,
    selectors: &'a [k8s_openapi::api::resource::v1::DeviceSelector],
    tolerations: &'a [DeviceToleration],
}

fn request(request: &DeviceRequest, path: &Path, errors: &mut ErrorList) {
    check::dns_label(&request.name, &path.child("name"), errors);
    let alternatives = request.first_available.items();
    match &request.exactly {
        None if alternatives.is_empty() => {
            errors.required(path, "exactly one of `exactly` or `firstAvailable` is required");
        }
        Some(_) if !alternatives.is_empty() => {
            let message = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.invalid(path, serde_json::Value::Null, message);
        }
        Some(exact) => {
            let exact = Wanted {
                class: &exact.device_class_name,
                mode: exact.allocation_mode.text(),
                count: exact.count.unwrap_or(0),
                selectors: exact.selectors.items(),
                tolerations: exact.tolerations.items(),
            };
            wanted(&exact, &path.child("exactly"), errors);
        }
        None => {
            let key = |sub: &k8s_openapi::api::resource::v1::DeviceSubRequest| sub.name.clone();
            let path = path.child("firstAvailable");
            set(alternatives, MAX_ALTERNATIVES, key, &path, errors, |sub, path, errors| {
                check::dns_label(&sub.name, &path.child("name"), errors);
                let sub = Wanted {
                    class: &sub.device_class_name,
                    mode: sub.allocation_mode.text(),
                    count: sub.count.unwrap_or(0),
                    selectors: sub.selectors.items(),
                    tolerations: sub.tolerations.items(),
                };
                wanted(&sub, path, errors);
            });
        }
    }
}

fn wanted(wanted: &Wanted<'_>, path: &Path, errors: &mut ErrorList) {
    let class_path = path.child("deviceClassName");
    if wanted.class.is_empty() {
        errors.required(&class_path, "");
    } else {
        check::dns_subdomain(wanted.class, &class_path, errors);
    }
    selectors(wanted.selectors, &path.child("selectors"), errors);
    let count_path = path.child("count");
    match wanted.mode {
        "All" if wanted.count != 0 => {
            errors.invalid(&count_path, wanted.count, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        "ExactCount" if wanted.count <= 0 => errors.invalid(&count_path, wanted.count, check::NOT_POSITIVE),
        "ExactCount" => {}
        other => errors.not_supported(&path.child("allocationMode"), other, &["All", "ExactCount"]),
    }
    for (index, each) in wanted.tolerations.iter().enumerate() {
        toleration(each, &path.child("tolerations").index(index), errors);
    }
}

fn constraint(constraint: &DeviceConstraint, names: &Requests<'_>, path: &Path, errors: &mut ErrorList) {
    names.references(constraint.requests.items(), &path.child("requests"), errors);
    match (&constraint.match_attribute, &constraint.distinct_attribute) {
        // Upstream does not look at the other one.
        (Some(attribute), _) => names::fully_qualified(attribute, &path.child("matchAttribute"), errors),
        (None, Some(attribute)) => names::fully_qualified(attribute, &path.child("distinctAttribute"), errors),
        (None, None) => {
            let message =
                r#"exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set"#;
            errors.required(path, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::field::{ErrorList, Path};
    use expect_test::expect;
    use serde_json::{Value, json};

    fn errors(devices: Value) -> String {
        let spec = serde_json::from_value(json!({"devices": devices})).expect("a specification");
        let mut errors = ErrorList::default();
        super::spec(&spec, &Path::new("spec"), false, &mut errors);
        errors.iter().map(|error| format!("{error}\n")).collect()
    }

    fn exactly(more: Value) -> Value {
        let mut exact = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
        apimachinery::patch::merge_patch(&mut exact, more);
        json!({"requests": [{"name": "a", "exactly": exact}]})
    }

    #[test]
    fn requests_are_of_one_form() {
        assert_eq!(errors(exactly(json!({}))), "");
        let sub = json!({"name": "x", "deviceClassName": "gpu", "allocationMode": "All"});
        expect![[r#"
            spec.devices.requests[0].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required
            spec.devices.requests[1]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set
            spec.devices.requests[2].firstAvailable[1]: Duplicate value: "x"
            spec.devices.requests[3]: Duplicate value: "list"
        "#]].assert_eq(&errors(json!({"requests": [
            {"name": "A"},
            {"name": "both", "exactly": {"deviceClassName": "gpu"}, "firstAvailable": [sub]},
            {"name": "list", "firstAvailable": [sub, sub]},
            {"name": "list", "firstAvailable": [sub]},
        ]})));
        expect![[r#"
            spec.devices.requests[0].firstAvailable: Too many: 9: must have at most 8 items
        "#]]
        .assert_eq(&errors(json!({"requests": [{"name": "a", "firstAvailable": vec![sub; 9]}]})));
    }

    #[test]
    fn what_is_requested() {
        expect![[r#"
            spec.devices.requests[0].exactly.deviceClassName: Required value
            spec.devices.requests[0].exactly.deviceClassName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'
            spec.devices.requests[0].exactly.count: Invalid value: 0: must be greater than zero
            spec.devices.requests[0].exactly.allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"
            spec.devices.requests[0].exactly.selectors[0].cel: Required value
            spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: "v": must be empty for operator `Exists`
            spec.devices.requests[0].exactly.tolerations[1].key: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.devices.requests[0].exactly.tolerations[1].value: Invalid value: "v v": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            spec.devices.requests[0].exactly.tolerations[2].operator: Required value
            spec.devices.requests[0].exactly.tolerations[3].operator: Unsupported value: "In": supported values: "Equal", "Exists"
            spec.devices.requests[0].exactly.tolerations[3].effect: Unsupported value: "x": supported values: "NoExecute", "NoSchedule", "None"
        "#]].assert_eq(&[
            json!({"deviceClassName": ""}),
            json!({"deviceClassName": "A"}),
            json!({"allocationMode": "All", "count": 2}),
            json!({"count": 0}),
            json!({"allocationMode": "Some"}),
            json!({"selectors": [{}]}),
            json!({"tolerations": [
                {"operator": "Exists", "value": "v"}, {"operator": "Equal", "key": "a b", "value": "v v"}, {}, {"operator": "In", "effect": "x"},
            ]}),
        ].map(|more| errors(exactly(more))).concat());
    }

    #[test]
    fn constraints_and_configuration_name_requests() {
        let with = |more: Value| {
            let mut claim = json!({"requests": [{"name": "a", "firstAvailable": [{"name": "x", "deviceClassName": "gpu", "allocationMode": "All"}]}]});
            apimachinery::patch::merge_patch(&mut claim, more);
            errors(claim)
        };
        assert_eq!(
            with(json!({"constraints": [{"requests": ["a", "a/x"], "matchAttribute": "d.example.com/numa"}]})),
            ""
        );
        assert_eq!(with(json!({"constraints": [{"distinctAttribute": "d.example.com/numa"}]})), "");
        expect![[r#"
            spec.devices.constraints[0].requests[0]: Invalid value: "b": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.constraints[0].requests[1]: Invalid value: "a/y": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.constraints[0].requests[2]: Invalid value: "a/x/z": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.constraints[0].requests[4]: Duplicate value: "a"
            spec.devices.constraints[0].matchAttribute: Invalid value: "numa": a fully qualified name must be a domain and a name separated by a slash
            spec.devices.constraints[1]: Required value: exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set
            spec.devices.constraints[2].distinctAttribute: Invalid value: "": the domain must not be empty
            spec.devices.constraints[2].distinctAttribute: Invalid value: "": the name must not be empty
        "#]].assert_eq(&with(json!({"constraints": [
            {"requests": ["b", "a/y", "a/x/z", "a", "a"], "matchAttribute": "numa"}, {}, {"distinctAttribute": "/"},
        ]})));
        expect![[r#"
            spec.devices.config[0].opaque: Required value
            spec.devices.config[1].requests[0]: Invalid value: "c": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.config[1].opaque.driver: Required value
            spec.devices.config[1].opaque.driver: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.devices.config[1].opaque.parameters: Required value
            spec.devices.config[2].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object
            spec.devices.config[3].opaque.parameters: Too long: may not be more than 10240 bytes
        "#]].assert_eq(&with(json!({"config": [
            {}, {"requests": ["c"], "opaque": {"driver": "", "parameters": null}}, {"opaque": {"driver": "d", "parameters": [1]}},
            {"opaque": {"driver": "d", "parameters": {"a": "x".repeat(10 * 1024)}}},
        ]})));
    }
}
