//! Names of pools, attributes and counters. Upstream: `validatePoolName`, `validateQualifiedName`.

use apimachinery::field::{ErrorList, Path};

use crate::check::{self, Report};
use crate::core::volume::csi_driver_name;

const MAX_POOL: usize = 253;
const MAX_ID: usize = 32;
const MAX_DOMAIN: usize = 63;
const C_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";

/// Subdomains with slashes between them.
pub(crate) fn pool(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    if name.len() > MAX_POOL {
        errors.too_long(path, MAX_POOL);
    }
    for part in name.split('/') {
        check::dns_subdomain(part, path, errors);
    }
}

/// `id` or `domain/id`.
pub(crate) fn qualified(name: &str, path: &Path, errors: &mut ErrorList) {
    let mut parts = name.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(id), None, _) => identifier(id, path, errors),
        (Some(domain), Some(id), None) => {
            if domain.is_empty() {
                errors.invalid(path, "", "the domain must not be empty");
            } else {
                csi_driver_name(domain, path, errors);
            }
            if id.is_empty() {
                errors.invalid(path, "", "the name must not be empty");
            } else {
                identifier(id, path, errors);
            }
        }
        // Upstream takes names with more slashes, for the sake of those that are stored.
        _ => {}
    }
}

/// With a domain.
pub(crate) fn fully_qualified(name: &str, path: &Path, errors: &mut ErrorList) {
    qualified(name, path, errors);
    if !name.contains('/') {
        errors.invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

fn identifier(id: &str, path: &Path, errors: &mut ErrorList) {
    if id.len() > MAX_ID {
        errors.too_long(path, MAX_ID);
    }
    let starts = id.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        errors.invalid(path, id, C_IDENTIFIER);
    }
}

/// The longest key of a map of attributes or capacities that is shown whole.
pub(crate) const SHOWN_NAME: usize = MAX_DOMAIN + 1 + MAX_ID;

/// The key of a map in an error's path, its middle left out when it is too long (`truncateIfTooLong`).
pub(crate) fn shortened(key: &str, max: usize) -> String {
    if key.len() <= max {
        return key.to_owned();
    }
    let remaining = max - "...".len();
    let head = key.get(..remaining.div_ceil(2)).unwrap_or_default();
    let tail = key.get(key.len() - remaining / 2..).unwrap_or_default();
    format!("{head}...{tail}")
}
