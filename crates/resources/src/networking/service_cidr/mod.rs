//! Service cidrs for the registry. Upstream: `pkg/registry/networking/servicecidr`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use registry::{Column, Filter, Info, ObjectExt, RequestCx, Strategy, Subresource, keep_metadata, reset_metadata};
use serde_json::json;

use crate::optional::Items;

type C = Column<ServiceCIDR>;

pub struct ServiceCIDRs;

impl Strategy for ServiceCIDRs {
    type Object = ServiceCIDR;

    const INFO: Info = Info::cluster("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs");
    const COLUMNS: &'static [Column<ServiceCIDR>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn reset_fields(&self, subresource: &str) -> Option<Filter> {
        reset_metadata(subresource)
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut ServiceCIDR) {
        object.status = None;
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut ServiceCIDR, old: &ServiceCIDR) {
        new.status.clone_from(&old.status);
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &ServiceCIDR) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &ServiceCIDR, old: &ServiceCIDR) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut ServiceCIDR, old: &ServiceCIDR) {
        new.spec.clone_from(&old.spec);
        keep_metadata(new, old);
    }
}

static COLUMNS: &[Column<ServiceCIDR>] = &[
    Column::NAME,
    C::string("CIDRs", |o, _| json!(o.spec.as_ref().map_or(&[][..], |spec| spec.cidrs.items()).join(","))).describe("CIDRs defines the IP blocks in CIDR notation (e.g. \"192.168.0.0/24\" or \"2001:db8::/64\") from which to assign service cluster IPs. Max of two CIDRs is allowed, one of each IP family. This field is immutable."),
    Column::AGE,
];
