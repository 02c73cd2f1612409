//! Service cidrs for the registry. Upstream: `pkg/registry/networking/servicecidr`.

mod validation;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy, Subresource};
use serde_json::json;

use crate::check;
use crate::optional::Items;

type C = Column<ServiceCIDR>;

pub struct ServiceCIDRs;

impl Strategy for ServiceCIDRs {
    type Object = ServiceCIDR;

    const INFO: Info = Info::cluster("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs");
    const COLUMNS: &'static [Column<ServiceCIDR>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

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

    fn validate_status_update(&self, _cx: &RequestCx, new: &ServiceCIDR, _old: &ServiceCIDR) -> ErrorList {
        let mut errors = ErrorList::default();
        let conditions = new.status.as_ref().map_or(&[][..], |status| status.conditions.items());
        check::conditions(conditions, &Path::new("status").child("conditions"), &mut errors);
        errors
    }
}

static COLUMNS: &[Column<ServiceCIDR>] = &[
    Column::NAME,
    C::string("CIDRs", |o, _| json!(o.spec.as_ref().map_or(&[][..], |spec| spec.cidrs.items()).join(","))),
    Column::AGE,
];
