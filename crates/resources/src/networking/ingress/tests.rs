//! Ingresses: paths, backends and hosts.

use expect_test::{Expect, expect};
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};

use super::validation;

#[track_caller]
fn check(spec: Value, expected: Expect) {
    let ingress: Ingress =
        serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).expect("an ingress");
    let errors = validation::validate(&ingress);
    expected.assert_eq(&errors.iter().map(|error| format!("{error}\n")).collect::<String>());
}

fn path(path: &str, kind: &str, backend: Value) -> Value {
    json!({"rules": [{"host": "a.example.com", "http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}}]})
}

fn service() -> Value {
    json!({"service": {"name": "web", "port": {"number": 80}}})
}

#[test]
fn mistakes_are_reported_as_upstream_reports_them() {
    check(path("/", "Prefix", service()), expect![[""]]);
    check(
        json!({}),
        expect![[r#"
        spec: Invalid value: null: either `defaultBackend` or `rules` must be specified
    "#]],
    );
    check(
        path("a//b/..", "Exact", service()),
        expect![[r#"
        spec.rules[0].http.paths[0].path: Invalid value: "a//b/..": must be an absolute path
        spec.rules[0].http.paths[0].path: Invalid value: "a//b/..": must not contain '//'
        spec.rules[0].http.paths[0].path: Invalid value: "a//b/..": cannot end with '/..'
    "#]],
    );
    check(
        path("/", "Odd", json!({})),
        expect![[r#"
        spec.rules[0].http.paths[0].pathType: Unsupported value: "Odd": supported values: "Exact", "ImplementationSpecific", "Prefix"
        spec.rules[0].http.paths[0].backend: Invalid value: "": resource or service backend is required
    "#]],
    );
    check(
        path("/", "Prefix", json!({"service": {"name": "1web"}})),
        expect![[r#"
        spec.rules[0].http.paths[0].backend.service.name: Invalid value: "1web": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
        spec.rules[0].http.paths[0].backend: Required value: port name or number is required
    "#]],
    );
    check(
        json!({
            "defaultBackend": {"resource": {"kind": "", "name": "a/b"}}, "ingressClassName": "A",
            "rules": [{"host": "10.0.0.1"}, {"host": "*.a_b.example.com"}, {"http": {"paths": []}}],
            "tls": [{"hosts": ["*"], "secretName": "A"}],
        }),
        expect![[r#"
            spec.defaultBackend.resource.kind: Required value
            spec.defaultBackend.resource.name: Invalid value: "a/b": may not contain '/'
            spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address
            spec.rules[1].host: Invalid value: "*.a_b.example.com": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.rules[2].http.paths: Required value
            spec.tls[0].hosts[0]: Invalid value: "*": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.tls[0].secretName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.ingressClassName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        "#]],
    );
}
