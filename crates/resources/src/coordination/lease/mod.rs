//! Leases for the registry. Upstream: `pkg/registry/coordination/lease`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
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

    fn prepare_for_create(&self, _cx: &RequestCx, lease: &mut Lease) {
        without_election(lease, None);
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut Lease, old: &Lease) {
        without_election(new, old.spec.as_ref());
    }

    fn validate(&self, _cx: &RequestCx, lease: &Lease) -> ErrorList {
        validate(lease)
    }
}

/// `CoordinatedLeaderElection` is off: its fields are only kept where they were before.
fn without_election(lease: &mut Lease, old: Option<&LeaseSpec>) {
    let Some(spec) = &mut lease.spec else { return };
    if old.is_none_or(|old| old.strategy.is_none()) {
        spec.strategy = None;
    }
    if old.is_none_or(|old| old.preferred_holder.is_none()) {
        spec.preferred_holder = None;
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};

    #[test]
    fn fields_of_a_feature_that_is_off_are_dropped_unless_they_were_there() {
        let spec = LeaseSpec {
            strategy: Some("OldestEmulationVersion".to_owned()),
            preferred_holder: Some("a".to_owned()),
            ..Default::default()
        };
        let dropped = |old: Option<&LeaseSpec>| {
            let mut lease = Lease { spec: Some(spec.clone()), ..Default::default() };
            super::without_election(&mut lease, old);
            lease.spec.expect("a spec")
        };
        assert_eq!(dropped(None), LeaseSpec::default());
        assert_eq!(dropped(Some(&LeaseSpec::default())), LeaseSpec::default());
        assert_eq!(dropped(Some(&spec)), spec);
    }
}
