//! What an update of a service carries over from before, and what it leaves behind.
//!
//! Clients resubmit what they once wrote, without what was allocated for them since; that must work.
//! Upstream counterpart: `patchAllocatedValues`, `normalizeClusterIPs` and `dropTypeDependentFields`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::{kind, needs_cluster_ip, needs_health_check, needs_node_port, spec};
use crate::optional::{Items, Text};

/// Fills in what the client left out and the old object has.
pub(super) fn keep_allocated(new: &mut Service, old: Option<&Service>) {
    let Some(old) = old else { return };
    let (had_ip, had_ports) = (needs_cluster_ip(old), needs_node_port(old));
    let (has_ip, has_ports) = (needs_cluster_ip(new), needs_node_port(new));
    let (old_spec, new) = (spec(old), new.spec.get_or_insert_default());
    if had_ip && has_ip {
        if new.cluster_ip.text().is_empty() {
            new.cluster_ip.clone_from(&old_spec.cluster_ip);
        }
        if new.cluster_ips.items().is_empty() {
            new.cluster_ips.clone_from(&old_spec.cluster_ips);
        }
    }
    if had_ports && has_ports {
        let used = |spec: &ServiceSpec| -> BTreeSet<i32> {
            spec.ports.items().iter().filter_map(|port| port.node_port).collect()
        };
        let still_used: BTreeSet<i32> = used(old_spec).intersection(&used(new)).copied().collect();
        let by_name: BTreeMap<&str, Option<i32>> =
            old_spec.ports.items().iter().map(|port| (port.name.text(), port.node_port)).collect();
        for port in new.ports.items_mut().iter_mut().filter(|port| port.node_port.is_none()) {
            let before = by_name.get(port.name.text()).copied().flatten();
            port.node_port = before.filter(|before| !still_used.contains(before));
        }
    }
    if needs_health_check(old_spec) && needs_health_check(new) && new.health_check_node_port.is_none() {
        new.health_check_node_port = old_spec.health_check_node_port;
    }
}

/// `clusterIP` is the first of `clusterIPs`; old clients write only the former.
pub(super) fn sync_cluster_ips(new: &mut Service, old: Option<&Service>) {
    let new = new.spec.get_or_insert_default();
    let Some(old) = old.map(spec) else {
        if !new.cluster_ip.text().is_empty() && new.cluster_ips.items().is_empty() {
            new.cluster_ips = Some(vec![new.cluster_ip.text().to_owned()]);
        }
        return;
    };
    let same_address = old.cluster_ip.text() == new.cluster_ip.text();
    if !old.cluster_ips.items().is_empty() && new.cluster_ips.items().is_empty() && same_address {
        new.cluster_ips.clone_from(&old.cluster_ips);
    }
    if !same_address && new.cluster_ips.items() == old.cluster_ips.items() {
        let cleared = new.cluster_ip.text().is_empty();
        new.cluster_ips = (!cleared).then(|| vec![new.cluster_ip.text().to_owned()]);
    }
}

/// Drops fields that the new type has not, where the client did not change them.
pub(super) fn drop_what_the_type_has_not(new: &mut Service, old: &Service) {
    let lost_ip = needs_cluster_ip(old) && !needs_cluster_ip(new);
    let lost_ports = needs_node_port(old) && !needs_node_port(new);
    let lost_balancer = kind(old) == "LoadBalancer" && kind(new) != "LoadBalancer";
    let (old, new) = (spec(old), new.spec.get_or_insert_default());
    if lost_ip {
        if new.cluster_ips.items() == old.cluster_ips.items() {
            new.cluster_ip = None;
            new.cluster_ips = None;
        }
        clear_same(&mut new.ip_families, &old.ip_families);
        clear_same(&mut new.ip_family_policy, &old.ip_family_policy);
    }
    let ports =
        |spec: &ServiceSpec| -> BTreeSet<i32> { spec.ports.items().iter().filter_map(|port| port.node_port).collect() };
    if lost_ports && ports(new) == ports(old) {
        for port in new.ports.items_mut() {
            port.node_port = None;
        }
    }
    if needs_health_check(old) && !needs_health_check(new) {
        clear_same(&mut new.health_check_node_port, &old.health_check_node_port);
    }
    if lost_balancer {
        clear_same(&mut new.allocate_load_balancer_node_ports, &old.allocate_load_balancer_node_ports);
        clear_same(&mut new.load_balancer_class, &old.load_balancer_class);
    }
    if super::is_externally_accessible(old) && !super::is_externally_accessible(new) {
        clear_same(&mut new.external_traffic_policy, &old.external_traffic_policy);
    }
}

fn clear_same<T: PartialEq>(new: &mut Option<T>, old: &Option<T>) {
    if new == old {
        *new = None;
    }
}
