//! Reporting field errors, and the checks of single values that several kinds share.
//!
//! Knows no kind. Upstream counterpart: the helpers at the top of `pkg/apis/core/validation/validation.go` and
//! `k8s.io/apimachinery/pkg/util/validation`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use apimachinery::field::{Error, ErrorList, Path};
use apimachinery::{labels, names};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as QuantityText;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::Value;

use crate::meta::quantity;

pub(crate) const IMMUTABLE: &str = "field is immutable";
pub(crate) const NEGATIVE: &str = "must be greater than or equal to 0";
pub(crate) const NOT_POSITIVE: &str = "must be greater than zero";
pub(crate) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// Adds errors in one call each, with any serialisable offending value.
pub(crate) trait Report {
    fn required(&mut self, path: &Path, detail: impl Into<String>);
    fn invalid(&mut self, path: &Path, value: impl Serialize, detail: impl Into<String>);
    fn not_supported(&mut self, path: &Path, value: impl Serialize, supported: &[&str]);
    fn forbidden(&mut self, path: &Path, detail: impl Into<String>);
    fn duplicate(&mut self, path: &Path, value: impl Serialize);
    fn not_found(&mut self, path: &Path, value: impl Serialize);
    fn too_long(&mut self, path: &Path, max: usize);
    fn too_many(&mut self, path: &Path, actual: usize, max: usize);
}

impl Report for ErrorList {
    fn required(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(Error::required(path, detail));
    }

    fn invalid(&mut self, path: &Path, value: impl Serialize, detail: impl Into<String>) {
        self.push(Error::invalid(path, json(value), detail));
    }

    fn not_supported(&mut self, path: &Path, value: impl Serialize, supported: &[&str]) {
        self.push(Error::not_supported(path, json(value), supported));
    }

    fn forbidden(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(Error::forbidden(path, detail));
    }

    fn duplicate(&mut self, path: &Path, value: impl Serialize) {
        self.push(Error::duplicate(path, json(value)));
    }

    fn not_found(&mut self, path: &Path, value: impl Serialize) {
        self.push(Error::not_found(path, json(value)));
    }

    fn too_long(&mut self, path: &Path, max: usize) {
        self.push(Error::too_long(path, max));
    }

    fn too_many(&mut self, path: &Path, actual: usize, max: usize) {
        self.push(Error::too_many(path, actual, max));
    }
}

fn json(value: impl Serialize) -> Value {
    apimachinery::json::to_value(&value).unwrap_or_default()
}

/// Each message of a check as an `Invalid` error.
pub(crate) fn all_invalid(messages: Vec<String>, value: impl Serialize, path: &Path, errors: &mut ErrorList) {
    let value = json(value);
    for message in messages {
        errors.push(Error::invalid(path, value.clone(), message));
    }
}

pub(crate) fn is_dns_subdomain(value: &str) -> Vec<String> {
    names::is_dns1123_subdomain(value)
}

pub(crate) fn dns_label(value: &str, path: &Path, errors: &mut ErrorList) {
    all_invalid(names::is_dns1123_label(value), value, path, errors);
}

pub(crate) fn dns_subdomain(value: &str, path: &Path, errors: &mut ErrorList) {
    all_invalid(names::is_dns1123_subdomain(value), value, path, errors);
}

/// One segment of a URL's path (`IsValidPathSegmentName`).
pub(crate) fn path_segment(value: &str, path: &Path, errors: &mut ErrorList) {
    all_invalid(names::is_path_segment_name(value), value, path, errors);
}

/// A required one of those.
pub(crate) fn required_path_segment(value: &str, path: &Path, errors: &mut ErrorList) {
    if value.is_empty() {
        errors.required(path, "");
    } else {
        path_segment(value, path, errors);
    }
}

pub(crate) fn label_value(value: &str, path: &Path, errors: &mut ErrorList) {
    all_invalid(names::is_valid_label_value(value), value, path, errors);
}

/// Not below zero (`ValidateNonnegativeQuantity`).
pub(crate) fn non_negative_quantity(amount: &QuantityText, path: &Path, errors: &mut ErrorList) {
    if quantity::is_negative(amount) {
        errors.invalid(path, &amount.0, NEGATIVE);
    }
}

/// Conditions as every kind of the newer groups has them (`ValidateConditions`).
pub(crate) fn conditions(conditions: &[Condition], path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeMap::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        if seen.insert(condition.type_.as_str(), index).is_some() {
            errors.duplicate(&path.child("type"), &condition.type_);
        }
        qualified_name(&condition.type_, &path.child("type"), errors);
        if !matches!(condition.status.as_str(), "True" | "False" | "Unknown") {
            errors.not_supported(&path.child("status"), &condition.status, &["False", "True", "Unknown"]);
        }
        if let Some(generation) = condition.observed_generation.filter(|generation| *generation < 0) {
            errors.invalid(&path.child("observedGeneration"), generation, NEGATIVE);
        }
        if condition.last_transition_time.0 == jiff::Timestamp::UNIX_EPOCH {
            errors.required(&path.child("lastTransitionTime"), "must be set");
        }
        condition_reason(&condition.reason, &path.child("reason"), errors);
        if condition.message.len() > 32 * 1024 {
            errors.too_long(&path.child("message"), 32 * 1024);
        }
    }
}

fn condition_reason(reason: &str, path: &Path, errors: &mut ErrorList) {
    if reason.is_empty() {
        errors.required(path, "");
        return;
    }
    if reason.len() > 1024 {
        errors.too_long(path, 1024);
    }
    let starts = reason.starts_with(|c: char| c.is_ascii_alphabetic());
    let ends = reason.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let middle = reason.chars().all(|c| c.is_ascii_alphanumeric() || "_,:".contains(c));
    if !(starts && ends && middle) {
        let message = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
        errors.invalid(path, reason, message);
    }
}

/// As newer kinds take ranges: canonical, nothing that could be read in two ways (`IsValidCIDR`).
pub(crate) fn strict_cidr(text: &str, path: &Path, errors: &mut ErrorList) {
    let Some((address, prefix)) = parse_cidr(text) else {
        cidr(text, path, errors);
        return;
    };
    match text.parse::<ipnet::IpNet>() {
        Err(_) => errors.invalid(path, text, "must not have leading 0s in IP or prefix length"),
        Ok(_) if text.split_once('/').is_some_and(|(_, digits)| digits != prefix.to_string()) => {
            errors.invalid(path, text, "must not have leading 0s in IP or prefix length");
        }
        Ok(net) => {
            if matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
                errors.invalid(path, text, "must not have an IPv4-mapped IPv6 address");
            } else if net.network() != address {
                errors.invalid(path, text, "must not have bits set beyond the prefix length");
            }
        }
    }
}

pub(crate) fn qualified_name(value: &str, path: &Path, errors: &mut ErrorList) {
    all_invalid(names::is_qualified_name(value), value, path, errors);
}

pub(crate) fn label_name(value: &str, path: &Path, errors: &mut ErrorList) {
    errors.append(names::validate_label_name(value, path));
}

pub(crate) fn labels(labels: Option<&BTreeMap<String, String>>, path: &Path, errors: &mut ErrorList) {
    errors.append(names::validate_labels(labels.into_iter().flatten(), path));
}

pub(crate) fn annotations(annotations: Option<&BTreeMap<String, String>>, path: &Path, errors: &mut ErrorList) {
    errors.append(names::validate_annotations(annotations.into_iter().flatten(), path));
}

pub(crate) fn label_selector(selector: &LabelSelector, path: &Path, errors: &mut ErrorList) {
    errors.append(labels::validate_label_selector(selector, path));
}

/// Whether a selector says nothing at all.
pub(crate) fn selects_nothing_stated(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

pub(crate) fn non_negative(value: impl Into<i64>, path: &Path, errors: &mut ErrorList) {
    let value = value.into();
    if value < 0 {
        errors.invalid(path, value, NEGATIVE);
    }
}

pub(crate) fn unchanged<T: PartialEq + Serialize>(new: &T, old: &T, path: &Path, errors: &mut ErrorList) {
    if new != old {
        errors.invalid(path, new, IMMUTABLE);
    }
}

pub(crate) fn inclusive_range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

pub(crate) fn port_number(port: i32, path: &Path, errors: &mut ErrorList) {
    all_invalid(names::is_valid_port_number(i64::from(port)), port, path, errors);
}

/// A number, or a port's name (`ValidatePortNumOrName`).
pub(crate) fn port_number_or_name(port: &IntOrString, path: &Path, errors: &mut ErrorList) {
    match port {
        IntOrString::Int(number) => port_number(*number, path, errors),
        IntOrString::String(name) => all_invalid(names::is_valid_port_name(name), name, path, errors),
    }
}

pub(crate) fn protocol(protocol: &str, path: &Path, errors: &mut ErrorList) {
    if protocol.is_empty() {
        errors.required(path, "");
    } else if !PROTOCOLS.contains(&protocol) {
        errors.not_supported(path, protocol, PROTOCOLS);
    }
}

/// A user's or group's number: 0 to 2147483647.
pub(crate) fn unix_id(id: i64, path: &Path, errors: &mut ErrorList) {
    if !(0..=i64::from(i32::MAX)).contains(&id) {
        errors.invalid(path, id, inclusive_range(0, i64::from(i32::MAX)));
    }
}

/// `example.com/path` (`IsDomainPrefixedPath`).
pub(crate) fn domain_prefixed_path(text: &str, path: &Path, errors: &mut ErrorList) {
    if text.is_empty() {
        errors.required(path, "");
        return;
    }
    let Some((domain, rest)) = text.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        errors.invalid(path, text, r#"must be a domain-prefixed path (such as "acme.io/foo")"#);
        return;
    };
    all_invalid(names::is_dns1123_subdomain(domain), domain, path, errors);
    let is_segment = |c: char| c.is_ascii_alphanumeric() || "/:!$&'()*+,;=%@._~-".contains(c);
    if !rest.chars().all(is_segment) {
        let message = "Invalid path (e.g. 'foo/bar', regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.invalid(path, rest, message);
    }
}

/// Go's legacy parser takes leading zeros in IPv4 octets, so addresses that were stored once stay valid.
pub(crate) fn parse_ip(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        let digits = !part.is_empty() && part.len() <= 8 && part.bytes().all(|b| b.is_ascii_digit());
        *octet = digits.then(|| part.parse::<u32>().ok()).flatten()?.try_into().ok()?;
    }
    parts.next().is_none().then_some(IpAddr::from(octets))
}

pub(crate) fn ip(text: &str, path: &Path, errors: &mut ErrorList) {
    if parse_ip(text).is_none() {
        errors.invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}

pub(crate) fn cidr(text: &str, path: &Path, errors: &mut ErrorList) {
    if parse_cidr(text).is_none() {
        errors.invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    }
}

pub(crate) fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address = parse_ip(address)?;
    let digits = !prefix.is_empty() && prefix.len() <= 3 && prefix.bytes().all(|b| b.is_ascii_digit());
    let prefix: u8 = digits.then(|| prefix.parse().ok()).flatten()?;
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
}

/// One address of each family, no more (`IsDualStackIPStrings`).
pub(crate) fn is_dual_stack<'a>(addresses: impl IntoIterator<Item = &'a str>) -> bool {
    let (mut v4, mut v6) = (false, false);
    for address in addresses.into_iter().filter_map(parse_ip) {
        v4 |= address.is_ipv4();
        v6 |= address.is_ipv6();
    }
    v4 && v6
}

/// Not one of the addresses that mean something else on every node (`ValidateNonSpecialIP`).
pub(crate) fn non_special_ip(text: &str, path: &Path, errors: &mut ErrorList) {
    let Some(address) = parse_ip(text) else {
        errors.invalid(path, text, "must be a valid IP address");
        return;
    };
    let address = address.to_canonical();
    if address.is_unspecified() {
        errors.invalid(path, text, format!("may not be unspecified ({text})"));
    }
    if address.is_loopback() {
        errors.invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(address) => (address.is_link_local(), address.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(address) => (address.is_unicast_link_local(), address.segments()[0] & 0xff0f == 0xff02),
    };
    if link_local {
        errors.invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_local_multicast {
        errors.invalid(path, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_sloppily_as_upstream() {
        for (text, good) in [
            ("10.0.0.1", true),
            ("010.0.0.01", true),
            ("::1", true),
            ("10.0.0", false),
            ("10.0.0.256", false),
            ("", false),
            ("a", false),
        ] {
            assert_eq!(parse_ip(text).is_some(), good, "{text}");
        }
        assert!(is_dual_stack(["10.0.0.1", "::2"]));
        assert!(!is_dual_stack(["10.0.0.1", "10.0.0.2"]));
        assert!(parse_cidr("10.0.0.0/8").is_some());
        assert!(parse_cidr("10.0.0.0/33").is_none());
    }

    #[test]
    fn special_addresses_are_refused() {
        let path = Path::new("ip");
        for (text, count) in [
            ("10.0.0.1", 0),
            ("127.0.0.1", 1),
            ("0.0.0.0", 1),
            ("169.254.1.1", 1),
            ("224.0.0.9", 1),
            ("fe80::1", 1),
            ("x", 1),
        ] {
            let mut errors = ErrorList::new();
            non_special_ip(text, &path, &mut errors);
            assert_eq!(errors.len(), count, "{text}");
        }
    }
}
