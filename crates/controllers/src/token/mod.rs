//! Tokens that live in Secrets: those of service accounts, and those that nodes join with.

pub(crate) mod bootstrap_signer;
pub(crate) mod cleaner;
pub(crate) mod legacy;
pub(crate) mod service_account;

use api::core::v1::Secret;

const BOOTSTRAP_TYPE: &str = "bootstrap.kubernetes.io/token";
const NAMESPACE: &str = "kube-system";

/// Text of a field of a Secret.
fn field<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(name)?.0).ok()
}

/// When a bootstrap token ends; one that cannot be read has ended. `None`: never.
fn expiration(secret: &Secret) -> Option<jiff::Timestamp> {
    let text = field(secret, "expiration").filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}
