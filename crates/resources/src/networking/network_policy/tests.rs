//! Network policies: peers and ports.

use expect_test::expect;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use registry::Strategy;
use serde_json::{Value, json};

use super::{NetworkPolicies, validation};

fn defaulted(spec: Value) -> NetworkPolicy {
    let mut policy: NetworkPolicy =
        serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).expect("a policy");
    NetworkPolicies.set_defaults(&mut policy);
    policy
}

#[test]
fn defaults_are_upstreams() {
    let policy = defaulted(json!({"egress": [{"ports": [{"port": 53}]}]}));
    expect![[
        r#"{"egress":[{"ports":[{"port":53,"protocol":"TCP"}]}],"podSelector":{},"policyTypes":["Ingress","Egress"]}"#
    ]]
    .assert_eq(&json!(policy.spec).to_string());
    assert!(validation::validate(&policy).is_empty());
}

#[test]
fn mistakes_are_reported_as_upstream_reports_them() {
    let errors = validation::validate(&defaulted(json!({
        "policyTypes": ["Odd"],
        "ingress": [{"from": [{}, {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16", "x"]}}]}],
        "egress": [{"ports": [
            {"endPort": 5}, {"port": "web", "endPort": 5}, {"port": 80, "endPort": 5}, {"port": 0, "protocol": "ICMP"},
        ]}],
    })));
    expect![[r#"
        spec.ingress[0].from[0]: Required value: must specify a peer
        spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`
        spec.ingress[0].from[1].ipBlock.except[1]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
        spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer
        spec.egress[0].ports[0].endPort: Invalid value: 5: may not be specified when `port` is not specified
        spec.egress[0].ports[1].endPort: Invalid value: 5: may not be specified when `port` is non-numeric
        spec.egress[0].ports[2].endPort: Invalid value: 5: must be greater than or equal to `port`
        spec.egress[0].ports[3].protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"
        spec.egress[0].ports[3].port: Invalid value: 0: must be between 1 and 65535, inclusive
        spec.policyTypes[0]: Unsupported value: "Odd": supported values: "Ingress", "Egress"
    "#]].assert_eq(&errors.iter().map(|error| format!("{error}\n")).collect::<String>());
}
