//! Which tracked UDP "connections" have to be forgotten after a change. Pure. Upstream: `pkg/proxy/conntrack`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netlink::conntrack::Connection;

use crate::plan::{Endpoint, Plan, UdpFront};

/// Fronts whose tracked connections may be wrong, and the endpoints they may go to now.
#[derive(Debug, Default)]
pub(crate) struct Stale {
    fronts: BTreeMap<UdpFront, BTreeSet<Endpoint>>,
}

impl Stale {
    /// Notes what a Service's change makes wrong: endpoints that left, and first endpoints of fronts that had none,
    /// whose clients are tracked untranslated.
    pub(crate) fn note(&mut self, old: Option<&Plan>, new: Option<&Plan>) {
        let none = BTreeMap::new();
        let old = old.map_or(&none, |plan| &plan.udp);
        let new = new.map_or(&none, |plan| &plan.udp);
        let nobody = BTreeSet::new();
        for (front, before) in old {
            let now = new.get(front).unwrap_or(&nobody);
            if !before.is_subset(now) || before.is_empty() && !now.is_empty() {
                self.fronts.insert(*front, now.clone());
            }
        }
        for (front, now) in new {
            if !old.contains_key(front) && !now.is_empty() {
                self.fronts.insert(*front, now.clone());
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fronts.is_empty()
    }

    pub(crate) fn is(&self, connection: &Connection, node_addresses: &[IpAddr]) -> bool {
        let (address, port) = (connection.original.destination, connection.original.destination_port);
        let went_to = connection.translated_to().map(|(address, port)| Endpoint { address, port });
        let wrong = |endpoints: &BTreeSet<Endpoint>| match went_to {
            Some(endpoint) => !endpoints.contains(&endpoint),
            None => !endpoints.is_empty(),
        };
        if let Some(endpoints) = self.fronts.get(&UdpFront { address: Some(address), port }) {
            return wrong(endpoints);
        }
        let Some(endpoints) = self.fronts.get(&UdpFront { address: None, port }) else { return false };
        // An untranslated connection to that port of some other machine is none of ours.
        (went_to.is_some() || node_addresses.contains(&address) || address.is_loopback()) && wrong(endpoints)
    }
}
