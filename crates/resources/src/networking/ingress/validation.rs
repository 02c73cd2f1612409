//! Validation of ingresses. Upstream: `ValidateIngressCreate` in `pkg/apis/networking/validation`.

use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressRule, IngressSpec};
use serde_json::json;

use crate::check::{self, Report};
use crate::optional::{Items, Text};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const BAD_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const BAD_ENDS: [&str; 2] = ["/..", "/."];
const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];

/// What is not held against an ingress that is stored already.
#[derive(Default)]
struct Lenient {
    secret_names: bool,
    wildcard_rules: bool,
}

pub(super) fn validate(ingress: &Ingress) -> ErrorList {
    let mut errors = ErrorList::default();
    let empty = IngressSpec::default();
    let spec = ingress.spec.as_ref().unwrap_or(&empty);
    validate_spec(spec, &Lenient::default(), &mut errors);
    let annotation = ingress.metadata.annotations.as_ref().and_then(|annotations| annotations.get(CLASS_ANNOTATION));
    if let (Some(annotation), Some(class)) = (annotation, &spec.ingress_class_name)
        && annotation != class
    {
        let path = Path::new("annotations").child(CLASS_ANNOTATION);
        errors.invalid(&path, annotation, "must match `ingressClassName` when both are specified");
    }
    errors
}

pub(super) fn validate_update(new: &Ingress, old: &Ingress) -> ErrorList {
    let mut errors = ErrorList::default();
    let empty = IngressSpec::default();
    let old = old.spec.as_ref().unwrap_or(&empty);
    let bad_secret = |name: &str| !name.is_empty() && !check::is_dns_subdomain(name).is_empty();
    let bad_rule = |rule: &&IngressRule| {
        let mut errors = ErrorList::default();
        paths(rule, &Path::new("rules"), &mut errors);
        rule.host.text().contains('*') && !errors.is_empty()
    };
    let lenient = Lenient {
        secret_names: old.tls.items().iter().any(|tls| bad_secret(tls.secret_name.text())),
        wildcard_rules: old.rules.items().iter().any(|rule| bad_rule(&rule)),
    };
    validate_spec(new.spec.as_ref().unwrap_or(&empty), &lenient, &mut errors);
    errors
}

fn validate_spec(spec: &IngressSpec, lenient: &Lenient, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let rules = spec.rules.items();
    if rules.is_empty() && spec.default_backend.is_none() {
        errors.invalid(&path, json!(spec.rules), "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(backend) = &spec.default_backend {
        validate_backend(backend, &path.child("defaultBackend"), errors);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.child("rules").index(index);
        let host = rule.host.text();
        if !host.is_empty() && check::parse_ip(host).is_some() {
            errors.invalid(&path.child("host"), host, "must be a DNS name, not an IP address");
        }
        if !host.is_empty() {
            host_name(host, &path.child("host"), errors);
        }
        if !(host.contains('*') && lenient.wildcard_rules) {
            paths(rule, &path, errors);
        }
    }
    for (index, tls) in spec.tls.items().iter().enumerate() {
        let path = path.child("tls").index(index);
        for (index, host) in tls.hosts.items().iter().enumerate() {
            host_name(host, &path.child("hosts").index(index), errors);
        }
        let secret = tls.secret_name.text();
        if !lenient.secret_names && !secret.is_empty() {
            check::dns_subdomain(secret, &path.child("secretName"), errors);
        }
    }
    if let Some(class) = &spec.ingress_class_name {
        check::dns_subdomain(class, &path.child("ingressClassName"), errors);
    }
}

fn host_name(host: &str, path: &Path, errors: &mut ErrorList) {
    let wrong =
        if host.contains('*') { names::is_wildcard_dns1123_subdomain(host) } else { names::is_dns1123_subdomain(host) };
    check::all_invalid(wrong, host, path, errors);
}

fn paths(rule: &IngressRule, path: &Path, errors: &mut ErrorList) {
    let Some(http) = &rule.http else { return };
    let path = path.child("http").child("paths");
    if http.paths.is_empty() {
        errors.required(&path, "");
    }
    for (index, http_path) in http.paths.iter().enumerate() {
        validate_path(http_path, &path.index(index), errors);
    }
}

fn validate_path(http: &HTTPIngressPath, path: &Path, errors: &mut ErrorList) {
    let (text, text_path) = (http.path.text(), path.child("path"));
    match http.path_type.as_str() {
        "" => {
            errors.required(&path.child("pathType"), "pathType must be specified");
            return;
        }
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.invalid(&text_path, text, "must be an absolute path");
            }
            for sequence in BAD_SEQUENCES.iter().filter(|sequence| text.contains(**sequence)) {
                errors.invalid(&text_path, text, format!("must not contain '{sequence}'"));
            }
            for end in BAD_ENDS.iter().filter(|end| text.ends_with(**end)) {
                errors.invalid(&text_path, text, format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.invalid(&text_path, text, "must be an absolute path");
            }
        }
        other => errors.not_supported(&path.child("pathType"), other, PATH_TYPES),
    }
    validate_backend(&http.backend, &path.child("backend"), errors);
}

fn validate_backend(backend: &IngressBackend, path: &Path, errors: &mut ErrorList) {
    match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (None, None) => errors.invalid(path, "", "resource or service backend is required"),
        (Some(resource), None) => reference(resource, &path.child("resource"), errors),
        (None, Some(service)) => {
            let service_path = path.child("service");
            if service.name.is_empty() {
                errors.required(&service_path.child("name"), "");
            } else {
                let wrong = names::dns1035_name(&service.name, false);
                check::all_invalid(wrong, &service.name, &service_path.child("name"), errors);
            }
            let port = service.port.clone().unwrap_or_default();
            let port_path = service_path.child("port");
            match (port.name.text(), port.number.unwrap_or(0)) {
                ("", 0) => errors.required(path, "port name or number is required"),
                ("", number) => check::port_number(number, &port_path.child("number"), errors),
                (name, 0) => {
                    check::all_invalid(names::is_valid_port_name(name), name, &port_path.child("name"), errors);
                }
                _ => errors.invalid(path, "", "cannot set both port name & port number"),
            }
        }
    }
}

fn reference(object: &TypedLocalObjectReference, path: &Path, errors: &mut ErrorList) {
    if let Some(group) = &object.api_group {
        check::dns_subdomain(group, &path.child("apiGroup"), errors);
    }
    for (field, value) in [("kind", &object.kind), ("name", &object.name)] {
        let path = path.child(field);
        if value.is_empty() {
            errors.required(&path, "");
        } else {
            check::all_invalid(names::is_path_segment_name(value), value, &path, errors);
        }
    }
}

pub(super) fn validate_status(ingress: &Ingress) -> ErrorList {
    let mut errors = ErrorList::default();
    let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = balancer.map_or(&[][..], |balancer| balancer.ingress.items());
    for (index, point) in points.iter().enumerate() {
        let path = Path::new("status").child("loadBalancer").child("ingress").index(index);
        if !point.ip.text().is_empty() {
            check::ip(point.ip.text(), &path.child("ip"), &mut errors);
        }
        let (host, path) = (point.hostname.text(), path.child("hostname"));
        if !host.is_empty() {
            check::dns_subdomain(host, &path, &mut errors);
            if check::parse_ip(host).is_some() {
                errors.invalid(&path, host, "must be a DNS name, not an IP address");
            }
        }
    }
    errors
}
