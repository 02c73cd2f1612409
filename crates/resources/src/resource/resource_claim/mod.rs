//! Resource claims for the registry. Upstream: `pkg/registry/resource/resourceclaim`.

use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimSpec};
use registry::{Column, Info, RequestCx, Strategy, Subresource};
use serde_json::json;

use crate::optional::{Items, default_text};

type C = Column<ResourceClaim>;

pub struct ResourceClaims;

impl Strategy for ResourceClaims {
    type Object = ResourceClaim;

    const INFO: Info = Info::namespaced("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims");
    const COLUMNS: &'static [Column<ResourceClaim>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn set_defaults(&self, object: &mut ResourceClaim) {
        default_spec(&mut object.spec);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut ResourceClaim) {
        object.status = None;
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut ResourceClaim, old: &ResourceClaim) {
        new.status.clone_from(&old.status);
    }
}

fn state(claim: &ResourceClaim) -> String {
    let deleted = claim.metadata.deletion_timestamp.is_some();
    let status = claim.status.as_ref();
    let mut states = Vec::new();
    if deleted {
        states.push("deleted");
    }
    if status.is_some_and(|status| status.allocation.is_some()) {
        states.push("allocated");
        if status.is_some_and(|status| !status.reserved_for.items().is_empty()) {
            states.push("reserved");
        }
    } else if !deleted {
        states.push("pending");
    }
    states.join(",")
}

pub(super) fn default_spec(spec: &mut ResourceClaimSpec) {
    let requests = spec.devices.iter_mut().flat_map(|devices| devices.requests.items_mut());
    for request in requests {
        let exactly = request.exactly.iter_mut().map(|exact| (&mut exact.allocation_mode, &mut exact.count));
        let alternatives = request.first_available.items_mut().iter_mut();
        let alternatives = alternatives.map(|alternative| (&mut alternative.allocation_mode, &mut alternative.count));
        for (mode, count) in exactly.chain(alternatives) {
            default_text(mode, "ExactCount");
            if mode.as_deref() == Some("ExactCount") {
                count.get_or_insert(1);
            }
        }
    }
}

static COLUMNS: &[Column<ResourceClaim>] = &[
    Column::NAME,
    C::string("State", |o, _| json!(state(o)))
        .describe("A summary of the current state (allocated, pending, reserved, etc.)."),
    Column::AGE,
];
