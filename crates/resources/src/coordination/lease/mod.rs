//! Leases for the registry. Upstream: `pkg/registry/coordination/lease`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::coordination::v1::Lease;
use registry::{Column, Durability, Info, RequestCx, Strategy};
use serde_json::json;

use crate::check::{self, Report};
use crate::optional::Text;

type C = Column<Lease>;

pub struct Leases;

impl Strategy for Leases {
    type Object = Lease;

    const INFO: Info = Info::namespaced("coordination.k8s.io", "v1", "Lease", "leases");
    const COLUMNS: &'static [Column<Lease>] = COLUMNS;
    const DURABILITY: Durability = Durability::Relaxed;
    const ALLOW_CREATE_ON_UPDATE: bool = true;
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;

    fn set_defaults(&self, lease: &mut Lease) {
        lease.spec.get_or_insert_default();
    }

    fn validate(&self, _cx: &RequestCx, lease: &Lease) -> ErrorList {
        validate(lease)
    }
}

fn validate(lease: &Lease) -> ErrorList {
    let mut errors = ErrorList::default();
    let Some(spec) = &lease.spec else { return errors };
    let path = Path::new("spec");
    if let Some(seconds) = spec.lease_duration_seconds
        && seconds <= 0
    {
        errors.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
    }
    if let Some(count) = spec.lease_transitions {
        check::non_negative(count, &path.child("leaseTransitions"), &mut errors);
    }
    if let Some(strategy) = &spec.strategy {
        let path = path.child("strategy");
        if strategy.contains('/') {
            check::qualified_name(strategy, &path.child("strategy"), &mut errors);
        } else if strategy != "OldestEmulationVersion" {
            errors.not_supported(&path.child("strategy"), strategy, &["OldestEmulationVersion"]);
        }
    }
    if !spec.preferred_holder.text().is_empty() && spec.strategy.text().is_empty() {
        errors.forbidden(&path.child("preferredHolder"), "may only be specified if `strategy` is defined");
    }
    errors
}

static COLUMNS: &[Column<Lease>] = &[
    Column::NAME,
    C::string("Holder", |lease, _| json!(lease.spec.as_ref().map_or("", |spec| spec.holder_identity.text()))).describe("holderIdentity contains the identity of the holder of a current lease. If Coordinated Leader Election is used, the holder identity must be equal to the elected LeaseCandidate.metadata.name field."),
    Column::AGE,
];
