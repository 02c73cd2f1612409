//! What a request has to say to be one for a signer. Pure. Upstream: `pkg/apis/certificates/helpers.go`.

use pki::RequestFacts;

use super::{API_CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY};

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

/// Whether the signer signs such a request; the error is what its condition says.
pub(super) fn check(signer: &str, facts: &RequestFacts, usages: &[&str]) -> Result<(), String> {
    match signer {
        KUBELET_CLIENT => kubelet_client(facts, usages),
        KUBELET_SERVING => kubelet_serving(facts, usages),
        API_CLIENT => api_client(usages),
        LEGACY => Ok(()),
        other => Err(format!("unknown signer {other:?}")),
    }
}

/// A kubelet as a client of the API.
pub(super) fn kubelet_client(facts: &RequestFacts, usages: &[&str]) -> Result<(), String> {
    if facts.organizations != [NODES] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    for (what, is_empty) in [
        ("DNS", facts.dns_names.is_empty()),
        ("Email", facts.emails.is_empty()),
        ("IP", facts.addresses.is_empty()),
        ("URI", facts.uris.is_empty()),
    ] {
        if !is_empty {
            return Err(format!("{what} subjectAltNames are not allowed"));
        }
    }
    node_name(facts)?;
    exactly(usages, "client auth")
}

/// A kubelet as a server.
fn kubelet_serving(facts: &RequestFacts, usages: &[&str]) -> Result<(), String> {
    if facts.organizations != [NODES] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    if facts.dns_names.is_empty() && facts.addresses.is_empty() {
        return Err("at least one DNS or IP subjectAltName is required".to_owned());
    }
    for (what, is_empty) in [("Email", facts.emails.is_empty()), ("URI", facts.uris.is_empty())] {
        if !is_empty {
            return Err(format!("{what} subjectAltNames are not allowed"));
        }
    }
    node_name(facts)?;
    exactly(usages, "server auth")
}

fn api_client(usages: &[&str]) -> Result<(), String> {
    if let Some(other) =
        usages.iter().find(|usage| !matches!(**usage, "digital signature" | "key encipherment" | "client auth"))
    {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if !usages.contains(&"client auth") {
        return Err("missing required usage for client certificate: client auth".to_owned());
    }
    Ok(())
}

fn node_name(facts: &RequestFacts) -> Result<(), String> {
    if facts.common_name.starts_with(NODE_PREFIX) {
        return Ok(());
    }
    Err(format!("subject common name does not begin with {NODE_PREFIX}"))
}

/// These and no others; keys that are not RSA cannot encrypt.
fn exactly(usages: &[&str], purpose: &str) -> Result<(), String> {
    let mut sorted = usages.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut with = vec!["digital signature", "key encipherment", purpose];
    with.sort_unstable();
    let mut without = vec!["digital signature", purpose];
    without.sort_unstable();
    if sorted == with || sorted == without {
        return Ok(());
    }
    Err(format!("usages did not match [{}] or [{}]", with.join(" "), without.join(" ")))
}
