//! Validation of service CIDRs. Upstream: `ValidateServiceCIDR` in `pkg/apis/networking/validation`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::networking::v1::{ServiceCIDR, ServiceCIDRSpec};

use crate::check::{self, IMMUTABLE, Report};
use crate::optional::Items;

pub(super) fn validate(cidr: &ServiceCIDR) -> ErrorList {
    let mut errors = ErrorList::default();
    let empty = ServiceCIDRSpec::default();
    let spec = cidr.spec.as_ref().unwrap_or(&empty);
    let (cidrs, path) = (spec.cidrs.items(), Path::new("spec").child("cidrs"));
    match cidrs {
        [] => {
            errors.required(&path, "at least one CIDR required");
            return errors;
        }
        [_] => {}
        [first, second] => {
            let family = |text: &str| check::parse_cidr(text).map(|(address, _)| address.is_ipv4());
            if family(first).is_none() || family(second).is_none() || family(first) == family(second) {
                let message =
                    "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
                errors.invalid(&path, spec, message);
                return errors;
            }
        }
        _ => {
            errors.invalid(&path, spec, "may only hold up to 2 values");
            return errors;
        }
    }
    for (index, text) in cidrs.iter().enumerate() {
        check::strict_cidr(text, &path.index(index), &mut errors);
    }
    errors
}

/// A second family may be added; everything else stays.
pub(super) fn validate_update(new: &ServiceCIDR, old: &ServiceCIDR) -> ErrorList {
    let cidrs = |cidr: &ServiceCIDR| cidr.spec.as_ref().and_then(|spec| spec.cidrs.clone()).unwrap_or_default();
    let (new_cidrs, old_cidrs) = (cidrs(new), cidrs(old));
    let path = Path::new("spec").child("cidrs");
    let mut errors = ErrorList::default();
    if old_cidrs.len() != new_cidrs.len() {
        if old_cidrs.len() == 1 && new_cidrs.len() == 2 {
            errors = validate(new);
        } else {
            errors.invalid(&path, &new_cidrs, IMMUTABLE);
            return errors;
        }
    }
    for (index, (new, old)) in new_cidrs.iter().zip(&old_cidrs).enumerate() {
        if new != old {
            errors.invalid(&path.index(index), new, IMMUTABLE);
        }
    }
    errors
}
