//! Validation of references from a pod to its own fields and resources.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{ObjectFieldSelector, ResourceFieldSelector};

use crate::check::{self, Report};
use crate::meta::quantity;
use crate::optional::Text;

/// What an environment variable may refer to. Sorted: this is also the order of the message.
pub(crate) const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// What a file of a volume may refer to.
pub(crate) const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const BYTE_DIVISORS: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// Where the reference stands. Only a container can mean itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Environment,
    Volume,
}

pub(crate) fn field_ref(selector: &ObjectFieldSelector, fields: &[&str], path: &Path, errors: &mut ErrorList) {
    if selector.api_version.text().is_empty() {
        errors.required(&path.child("apiVersion"), "");
        return;
    }
    if selector.field_path.is_empty() {
        errors.required(&path.child("fieldPath"), "");
        return;
    }
    let field_path = selector.field_path.as_str();
    let subscripted = subscript(field_path);
    let known = match subscripted {
        Some((base, _)) => matches!(base, "metadata.annotations" | "metadata.labels"),
        None => {
            ENV_FIELDS.contains(&field_path)
                || VOLUME_FIELDS.contains(&field_path)
                || matches!(field_path, "spec.restartPolicy" | "spec.schedulerName" | "status.phase")
                || field_path == "spec.host"
        }
    };
    if selector.api_version.text() != "v1" {
        let message = format!("error converting fieldPath: unsupported pod version: {}", selector.api_version.text());
        errors.invalid(&path.child("fieldPath"), field_path, message);
        return;
    }
    if !known {
        let message = match subscripted {
            Some(_) => format!("error converting fieldPath: field label does not support subscript: {field_path}"),
            None => format!("error converting fieldPath: field label not supported: {field_path}"),
        };
        errors.invalid(&path.child("fieldPath"), field_path, message);
        return;
    }
    match subscripted {
        Some(("metadata.annotations", key)) => check::qualified_name(&key.to_lowercase(), path, errors),
        Some((_, key)) => check::qualified_name(key, path, errors),
        // `spec.host` is the old spelling of `spec.nodeName`.
        None if field_path == "spec.host" && fields.contains(&"spec.nodeName") => {}
        None if !fields.contains(&field_path) => {
            errors.not_supported(&path.child("fieldPath"), field_path, fields);
        }
        None => {}
    }
}

/// `metadata.labels['key']` as base and key.
fn subscript(field_path: &str) -> Option<(&str, &str)> {
    let inner = field_path.strip_suffix("']")?;
    let (base, key) = inner.split_once("['")?;
    (!base.is_empty()).then_some((base, key))
}

pub(crate) fn resource_field_ref(selector: &ResourceFieldSelector, place: Place, path: &Path, errors: &mut ErrorList) {
    let resource = selector.resource.as_str();
    let huge_pages = ["limits.hugepages-", "requests.hugepages-"].iter().any(|prefix| resource.starts_with(prefix));
    if place == Place::Volume && selector.container_name.text().is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !RESOURCES.contains(&resource) && !huge_pages {
        errors.not_supported(&path.child("resource"), resource, RESOURCES);
    }
    let Some(divisor) = selector.divisor.as_ref().and_then(quantity::parse).filter(|divisor| !divisor.is_zero()) else {
        return;
    };
    let divisor = divisor.to_string();
    let list = BYTE_DIVISORS.join(", ");
    let (allowed, message): (&[&str], String) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => (&["1m", "1"], "only divisor's values 1m and 1 are supported with the cpu resource".to_owned()),
        "memory" => (BYTE_DIVISORS, format!("only divisor's values {list} are supported with the memory resource")),
        "ephemeral-storage" => (
            BYTE_DIVISORS,
            format!("only divisor's values {list} are supported with the local ephemeral storage resource"),
        ),
        _ if huge_pages => {
            (BYTE_DIVISORS, format!("only divisor's values {list} are supported with the hugepages resource"))
        }
        _ => return,
    };
    if !allowed.contains(&divisor.as_str()) {
        errors.invalid(&path.child("divisor"), resource, message);
    }
}
