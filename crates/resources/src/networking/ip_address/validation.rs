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
    match name.parse::<IpAddr>() {
        Err(_) => errors.invalid(&path, name, format!("ParseAddr({name:?}): unable to parse IP")),
        Ok(parsed) if parsed.to_string() != name => {
            errors.invalid(&path, name, "must be a canonical format IP address");
        }
        Ok(_) => {}
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
