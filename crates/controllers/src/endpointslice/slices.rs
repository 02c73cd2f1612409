//! Packs endpoints into slices with as few writes as possible; pure. Upstream: `reconcileByPortMapping`.

use std::{collections::BTreeMap, sync::Arc};

use api::{
    core::v1::Service,
    discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
};

use super::plan::{EndpointId, Plan, empty_slice, id_of, labels};

/// Upstream: `--max-endpoints-per-slice`.
pub(super) const MAX: usize = 100;

/// One set of ports: keeps endpoints where they are, fills slices that are written anyway, then the fullest one that
/// holds the rest, then new ones.
pub(super) fn reconcile(
    service: &Service,
    family: &str,
    ports: &[EndpointPort],
    existing: &[Arc<EndpointSlice>],
    mut desired: BTreeMap<EndpointId, Endpoint>,
) -> Plan {
    let labels = labels(service);
    let mut plan = Plan::default();
    let mut unchanged = Vec::new();
    for slice in existing {
        let mut kept = Vec::new();
        let mut changed = false;
        for endpoint in slice.endpoints.iter().flatten() {
            if let Some(wanted) = desired.remove(&id_of(endpoint)) {
                changed |= wanted != *endpoint;
                kept.push(wanted);
            } else {
                changed = true;
            }
        }
        if kept.is_empty() && changed {
            plan.delete.push(slice.clone());
        } else if changed || slice.metadata.labels.as_ref() != Some(&labels) {
            let mut updated = (**slice).clone();
            updated.metadata.labels = Some(labels.clone());
            updated.endpoints = Some(kept);
            plan.update.push(updated);
        } else if kept.is_empty() {
            plan.delete.push(slice.clone());
        } else {
            unchanged.push(slice.clone());
        }
    }
    for slice in &mut plan.update {
        fill(slice, &mut desired);
    }
    if !desired.is_empty() {
        let room = |slice: &Arc<EndpointSlice>| MAX.saturating_sub(slice.endpoints.as_ref().map_or(0, Vec::len));
        let fitting = unchanged.iter().filter(|slice| room(slice) >= desired.len()).min_by_key(|slice| room(slice));
        if let Some(slice) = fitting {
            let mut updated = (**slice).clone();
            fill(&mut updated, &mut desired);
            plan.update.push(updated);
        }
    }
    while !desired.is_empty() {
        let mut slice = empty_slice(service, family, ports);
        fill(&mut slice, &mut desired);
        plan.create.push(slice);
    }
    plan
}

fn fill(slice: &mut EndpointSlice, desired: &mut BTreeMap<EndpointId, Endpoint>) {
    let endpoints = slice.endpoints.get_or_insert_default();
    while endpoints.len() < MAX {
        let Some((_, endpoint)) = desired.pop_first() else { return };
        endpoints.push(endpoint);
    }
}
