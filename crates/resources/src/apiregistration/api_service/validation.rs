//! What an API service must look like. Upstream: `k8s.io/kube-aggregator/pkg/apis/apiregistration/validation`.

use apimachinery::{
    field::{ErrorList, Path, go_quote},
    names,
};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec};

use crate::{
    check::{Report, all_invalid},
    optional::{Items, Text},
};

const MAX_GROUP_PRIORITY: i32 = 20_000;
const MAX_VERSION_PRIORITY: i32 = 1_000;

pub(super) fn validate(object: &APIService) -> ErrorList {
    let mut errors = ErrorList::new();
    let default = APIServiceSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&default);
    let (group, version) = (spec.group.text(), spec.version.text());
    let name = object.metadata.name.text();
    let required = format!("{version}.{group}");
    if name != required && names::is_path_segment_name(name).is_empty() {
        let why = format!("must be `spec.version+\".\"+spec.group`: {}", go_quote(&required));
        errors.invalid(&Path::new("metadata").child("name"), name, why);
    }
    let path = Path::new("spec");
    if group.is_empty() && version != "v1" {
        errors.required(&path.child("group"), "only v1 may have an empty group and it better be legacy kube");
    }
    if !group.is_empty() {
        all_invalid(names::is_dns1123_subdomain(group), group, &path.child("group"), &mut errors);
    }
    all_invalid(names::is_dns1035_label(version), version, &path.child("version"), &mut errors);
    if !(1..=MAX_GROUP_PRIORITY).contains(&spec.group_priority_minimum) {
        let why = "must be positive and less than 20000";
        errors.invalid(&path.child("groupPriorityMinimum"), spec.group_priority_minimum, why);
    }
    if !(1..=MAX_VERSION_PRIORITY).contains(&spec.version_priority) {
        errors.invalid(&path.child("versionPriority"), spec.version_priority, "must be positive and less than 1000");
    }
    let bundle = spec.ca_bundle.as_ref().map_or(0, |bundle| bundle.0.len());
    let insecure = spec.insecure_skip_tls_verify == Some(true);
    let Some(service) = &spec.service else {
        if bundle > 0 {
            let why = "local APIServices may not have a caBundle";
            errors.invalid(&path.child("caBundle"), format!("{bundle} bytes"), why);
        }
        if insecure {
            let why = "local APIServices may not have insecureSkipTLSVerify";
            errors.invalid(&path.child("insecureSkipTLSVerify"), true, why);
        }
        return errors;
    };
    let place = path.child("service");
    if service.namespace.text().is_empty() {
        errors.required(&place.child("namespace"), "");
    }
    if service.name.text().is_empty() {
        errors.required(&place.child("name"), "");
    }
    let port = service.port.unwrap_or_default();
    let wrong = names::is_valid_port_number(i64::from(port));
    if !wrong.is_empty() {
        errors.invalid(&place.child("port"), port, format!("port is not valid: {}", wrong.join(", ")));
    }
    if insecure && bundle > 0 {
        errors.invalid(&path.child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present");
    }
    errors
}

pub(super) fn validate_status(object: &APIService) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status").child("conditions");
    let conditions = object.status.as_ref().map(|status| status.conditions.items()).unwrap_or_default();
    for (index, condition) in conditions.iter().enumerate() {
        if !["True", "False", "Unknown"].contains(&condition.status.as_str()) {
            let path = path.index(index).child("status");
            errors.not_supported(&path, condition.status.as_str(), &["True", "False", "Unknown"]);
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(object: serde_json::Value, expected: &[&str]) {
        let object: APIService = serde_json::from_value(object).unwrap();
        let errors = validate(&object);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, expected);
    }

    #[test]
    fn names_and_priorities() {
        let object =
            |name: &str, spec: serde_json::Value| serde_json::json!({"metadata": {"name": name}, "spec": spec});
        check(
            object("v1.", serde_json::json!({"version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1})),
            &[],
        );
        check(
            object(
                "x",
                serde_json::json!({"group": "a.b", "version": "v2", "groupPriorityMinimum": 0, "versionPriority": 1001}),
            ),
            &[
                "metadata.name: Invalid value: \"x\": must be `spec.version+\".\"+spec.group`: \"v2.a.b\"",
                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
                "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
            ],
        );
        let service = serde_json::json!({
            "group": "a.b", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
            "insecureSkipTLSVerify": true, "caBundle": "Yw==", "service": {"name": "s", "port": 0},
        });
        check(
            object("v1.a.b", service),
            &[
                "spec.service.namespace: Required value",
                "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
            ],
        );
    }
}
