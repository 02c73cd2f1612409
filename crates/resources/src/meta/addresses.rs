//! Warnings about addresses that are taken as they are for the sake of stored objects.
//! Upstream: `GetWarningsForIP`, `GetWarningsForCIDR`.

use std::net::IpAddr;

use apimachinery::field::Path;
use ipnet::IpNet;

use crate::check;

pub(crate) fn ip_warning(text: &str, path: &Path) -> Option<String> {
    let address = check::parse_ip(text)?.to_canonical();
    match text.parse::<IpAddr>() {
        Ok(given) if given == address => {
            let is_odd = address.is_ipv6() && address.to_string() != text;
            is_odd.then(|| {
                format!(r#"{path}: IPv6 address {text:?} should be in RFC 5952 canonical format ("{address}")"#)
            })
        }
        // Leading zeros, or an IPv4 address as an IPv6 one.
        _ => Some(format!(r#"{path}: non-standard IP address {text:?} is invalid: use "{address}""#)),
    }
}

pub(crate) fn cidr_warnings(text: &str, path: &Path) -> Vec<String> {
    let Some((given, prefix)) = check::parse_cidr(text) else { return Vec::new() };
    let address = given.to_canonical();
    let is_mapped = address != given;
    let length = if is_mapped { prefix.saturating_sub(96) } else { prefix };
    let Ok(network) = IpNet::new(address, length) else { return Vec::new() };
    let network = network.trunc();
    let mut warnings = Vec::new();
    if network.addr() != address {
        let single = if given.is_ipv4() { 32 } else { 128 };
        warnings.push(format!(
            r#"{path}: CIDR value {text:?} is ambiguous in this context (should be "{network}" or "{address}/{single}"?)"#
        ));
    }
    let (ip, digits) = text.split_once('/').unwrap_or_default();
    if is_mapped || ip.parse::<IpAddr>().is_err() || digits != prefix.to_string() {
        warnings.push(format!(r#"{path}: non-standard CIDR value {text:?} is invalid: use "{network}""#));
    }
    if warnings.is_empty() && address.is_ipv6() && network.to_string() != text {
        warnings
            .push(format!(r#"{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ("{network}")"#));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use apimachinery::field::Path;

    #[test]
    fn odd_addresses_are_warned_about() {
        let path = Path::new("a");
        for (text, warning) in [
            ("10.1.2.3", None),
            ("2001:db8::1", None),
            ("not an address", None),
            ("010.1.2.3", Some(r#"a: non-standard IP address "010.1.2.3" is invalid: use "10.1.2.3""#)),
            ("::ffff:10.1.2.3", Some(r#"a: non-standard IP address "::ffff:10.1.2.3" is invalid: use "10.1.2.3""#)),
            (
                "2001:DB8::1",
                Some(r#"a: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")"#),
            ),
        ] {
            assert_eq!(super::ip_warning(text, &path).as_deref(), warning, "{text}");
        }
    }

    #[test]
    fn odd_ranges_are_warned_about() {
        let path = Path::new("a");
        for (text, warnings) in [
            ("10.0.0.0/8", &[][..]),
            ("2001:db8::/64", &[]),
            (
                "10.1.0.0/8",
                &[
                    r#"a: CIDR value "10.1.0.0/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.1.0.0/32"?)"#,
                ],
            ),
            ("010.0.0.0/8", &[r#"a: non-standard CIDR value "010.0.0.0/8" is invalid: use "10.0.0.0/8""#]),
            ("10.0.0.0/08", &[r#"a: non-standard CIDR value "10.0.0.0/08" is invalid: use "10.0.0.0/8""#]),
            (
                "::ffff:10.0.0.0/104",
                &[r#"a: non-standard CIDR value "::ffff:10.0.0.0/104" is invalid: use "10.0.0.0/8""#],
            ),
            (
                "2001:db8:0::/64",
                &[r#"a: IPv6 CIDR value "2001:db8:0::/64" should be in RFC 5952 canonical format ("2001:db8::/64")"#],
            ),
        ] {
            assert_eq!(super::cidr_warnings(text, &path), warnings, "{text}");
        }
    }
}
