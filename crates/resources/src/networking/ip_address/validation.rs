//! Validation of IP addresses. Upstream: `ValidateIPAddress` in `pkg/apis/networking/validation`.

use std::net::IpAddr;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::networking::v1::IPAddress;

use crate::check::{self, Report};
use crate::optional::Text;

pub(super) fn validate(address: &IPAddress) -> ErrorList {
    let mut errors = ErrorList::default();
    let name = address.metadata.name.text();
    let path = Path::new("metadata").child("name");
    match (check::parse_ip(name), name.parse::<IpAddr>()) {
        (None, _) => errors.invalid(&path, name, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        (Some(_), Err(_)) => errors.invalid(&path, name, "must not have leading 0s"),
        (Some(address), Ok(_)) if address.to_canonical() != address => {
            errors.invalid(&path, name, "must not be an IPv4-mapped IPv6 address");
        }
        (Some(address), Ok(_)) if address.to_string() != name => {
            errors.invalid(&path, name, format!("must be in canonical form (\"{address}\")"));
        }
        (Some(_), Ok(_)) => {}
    }
    let (parent, path) = (&address.spec.parent_ref, Path::new("spec").child("parentRef"));
    if !parent.group.text().is_empty() {
        check::dns_subdomain(parent.group.text(), &path.child("group"), &mut errors);
    }
    check::required_path_segment(&parent.resource, &path.child("resource"), &mut errors);
    check::required_path_segment(&parent.name, &path.child("name"), &mut errors);
    if !parent.namespace.text().is_empty() {
        check::path_segment(parent.namespace.text(), &path.child("namespace"), &mut errors);
    }
    errors
}

pub(super) fn validate_update(new: &IPAddress, old: &IPAddress) -> ErrorList {
    let mut errors = validate(new);
    let path = Path::new("spec").child("parentRef");
    check::unchanged(&new.spec.parent_ref, &old.spec.parent_ref, &path, &mut errors);
    errors
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    #[test]
    fn a_name_is_an_address_in_its_only_form() {
        let errors = |name: &str| {
            let parent = serde_json::json!({"resource": "services", "name": "a"});
            let address = serde_json::json!({"metadata": {"name": name}, "spec": {"parentRef": parent}});
            super::validate(&serde_json::from_value(address).expect("an address")).aggregate()
        };
        assert_eq!(errors("10.0.0.1"), "[]");
        assert_eq!(errors("fd00::1"), "[]");
        expect![[
            r#"metadata.name: Invalid value: "a": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#
        ]]
        .assert_eq(&errors("a"));
        expect![[r#"metadata.name: Invalid value: "010.0.0.1": must not have leading 0s"#]]
            .assert_eq(&errors("010.0.0.1"));
        expect![[r#"metadata.name: Invalid value: "::ffff:10.0.0.1": must not be an IPv4-mapped IPv6 address"#]]
            .assert_eq(&errors("::ffff:10.0.0.1"));
        expect![[r#"metadata.name: Invalid value: "FD00::1": must be in canonical form ("fd00::1")"#]]
            .assert_eq(&errors("FD00::1"));
    }
}
