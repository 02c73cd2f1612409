//! The canonical form of subsets: addresses with the same ports are together, all is sorted. Upstream:
//! `pkg/api/v1/endpoints` `RepackSubsets`.

use std::collections::{BTreeMap, BTreeSet};

use api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset};

type PortKey = (String, String, i32, String);
type AddressKey = (String, String);

pub(super) fn repack(subsets: Vec<EndpointSubset>) -> Vec<EndpointSubset> {
    let mut ports = BTreeMap::<PortKey, EndpointPort>::new();
    let mut addresses = BTreeMap::<AddressKey, (EndpointAddress, bool, BTreeSet<PortKey>)>::new();
    for subset in subsets {
        let keys: Vec<_> = subset
            .ports
            .into_iter()
            .flatten()
            .map(|port| {
                let key = key_of_port(&port);
                ports.insert(key.clone(), port);
                key
            })
            .collect();
        let ready = subset.addresses.into_iter().flatten().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.into_iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(not_ready) {
            let uid = address.target_ref.as_ref().and_then(|target| target.uid.clone()).unwrap_or_default();
            let entry = addresses.entry((address.ip.clone(), uid)).or_insert_with(|| (address, ready, BTreeSet::new()));
            // An address that is not ready for one port is not ready.
            entry.1 &= ready;
            entry.2.extend(keys.iter().cloned());
        }
    }
    let mut by_ports = BTreeMap::<BTreeSet<PortKey>, EndpointSubset>::new();
    for (address, ready, keys) in addresses.into_values() {
        let subset = by_ports.entry(keys).or_default();
        let list = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(address);
    }
    by_ports
        .into_iter()
        .map(|(keys, mut subset)| {
            let list: Vec<_> = keys.iter().filter_map(|key| ports.get(key).cloned()).collect();
            subset.ports = (!list.is_empty()).then_some(list);
            subset
        })
        .collect()
}

fn key_of_port(port: &EndpointPort) -> PortKey {
    let protocol = port.protocol.clone().unwrap_or_default();
    (port.name.clone().unwrap_or_default(), protocol, port.port, port.app_protocol.clone().unwrap_or_default())
}
