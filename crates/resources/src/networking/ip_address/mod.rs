//! Ip addresses for the registry. Upstream: `pkg/registry/networking/ipaddress`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::networking::v1::IPAddress;
use registry::{Column, Info, NameRule, ObjectExt, RequestCx, Strategy};
use serde_json::json;

use crate::optional::Text;

type C = Column<IPAddress>;

pub struct IPAddresses;

impl Strategy for IPAddresses {
    type Object = IPAddress;

    const INFO: Info = Info::cluster("networking.k8s.io", "v1", "IPAddress", "ipaddresses").short(&["ip"]);
    const COLUMNS: &'static [Column<IPAddress>] = COLUMNS;
    const NAME_RULE: NameRule = NameRule::PathSegment;

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut IPAddress) {
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut IPAddress, old: &IPAddress) {
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &IPAddress) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &IPAddress, old: &IPAddress) -> ErrorList {
        validation::validate_update(new, old)
    }
}

fn parent(address: &IPAddress) -> String {
    let parent = &address.spec.parent_ref;
    let group = parent.group.text();
    let dot = if group.is_empty() { "" } else { "." };
    let mut text = format!("{}{dot}{group}", parent.resource).to_lowercase();
    if !parent.namespace.text().is_empty() {
        text = format!("{text}/{}", parent.namespace.text());
    }
    format!("{text}/{}", parent.name)
}

// As upstream's: without the age.
static COLUMNS: &[Column<IPAddress>] = &[Column::NAME, C::string("ParentRef", |o, _| json!(parent(o))).describe("ParentRef references the resource that an IPAddress is attached to. An IPAddress must reference a parent object.")];
