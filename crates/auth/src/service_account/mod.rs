//! Service accounts as users, and their tokens: signed, for an audience, for a time, bound to an object.
//!
//! Upstream: `pkg/serviceaccount` and `k8s.io/apiserver/pkg/authentication/serviceaccount`.

mod claims;
mod legacy;
mod tokens;

use registry::UserInfo;

pub use legacy::{LAST_USED_LABEL, LEGACY_ISSUER, LegacyAccount, LegacyUses};
pub use tokens::{ServiceAccountTokens, TokenError, TokenSettings};

const USER_PREFIX: &str = "system:serviceaccount:";

/// How a service account is named as a user.
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("{USER_PREFIX}{namespace}:{name}")
}

/// Namespace and name of the account that a user's name stands for. Upstream: `serviceaccount.SplitUsername`.
pub fn split_user_name(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(USER_PREFIX)?.split_once(':')?;
    let good = apimachinery::names::is_dns1123_label(namespace).is_empty()
        && apimachinery::names::is_dns1123_subdomain(name).is_empty();
    good.then_some((namespace, name))
}

/// The groups of a service account.
pub fn groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

/// A user that is a service account, for a component that acts as one.
pub fn user(namespace: &str, name: &str) -> UserInfo {
    let mut groups = groups(namespace);
    groups.push(UserInfo::AUTHENTICATED_GROUP.to_owned());
    UserInfo::new(user_name(namespace, name), groups)
}
