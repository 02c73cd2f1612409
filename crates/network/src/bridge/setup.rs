//! The node's side: bridge, kernel settings, rules; and their removal.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use netlink::link::Route;
use netlink::nft::{self, Batch};
use netlink::socket::Requests;
use netlink::{Protocol, Socket, link, namespace};

use super::Error;
use crate::config::Config;
use crate::leases::{Leases, gateway};
use crate::rules::{self, Sets};

/// Who assigns the addresses knows that there is no duplicate, and a link that first looks for one is deaf for a second.
pub(super) const NO_DUPLICATES: &str = "accept_dad";

/// Makes the bridge, or adopts the one that is there, and answers its number.
pub(super) async fn bridge(config: &Config, route: &mut Socket, ranges: &[IpNet]) -> Result<u32, Error> {
    let name = &config.bridge;
    if name.is_empty() || name.len() > link::NAME_MAX {
        return Err(Error::Invalid(format!("{name:?} is no name for a link")));
    }
    if link::find(route, name).await?.is_none() {
        let mut requests = Requests::new();
        let hardware_address = ranges.first().map(|range| hardware_address(gateway(range)));
        requests.add_bridge(name, config.mtu, hardware_address);
        route.run(requests).await?;
        if ranges.iter().any(|range| range.addr().is_ipv6()) {
            set(&format!("ipv6/conf/{name}/{NO_DUPLICATES}"), "0")?;
        }
    }
    let bridge = link::find(route, name).await?.ok_or_else(|| Error::NoBridge(name.clone()))?;
    let wanted: Vec<(IpAddr, u8)> = ranges.iter().map(|range| (gateway(range), range.prefix_len())).collect();
    let mut requests = Requests::new();
    requests.set_up(name);
    for old in link::addresses(route).await? {
        // A node that was given another range keeps nothing of the old one; link-local addresses stay.
        let listed = (old.address, old.prefix);
        if old.link == bridge.index && old.scope == 0 && !wanted.contains(&listed) {
            requests.delete_address(bridge.index, old.address, old.prefix);
        }
    }
    for (address, prefix) in wanted {
        requests.add_address(bridge.index, address, prefix);
    }
    for range in &config.service_ranges {
        let Some(node) = ranges.iter().find(|node| node.addr().is_ipv6() == range.addr().is_ipv6()) else { continue };
        requests.add_route(&Route {
            destination: (range.network(), range.prefix_len()),
            link: bridge.index,
            gateway: None,
            on_link: false,
            source: Some(gateway(node)),
        });
    }
    route.run(requests).await?;
    settings(config, ranges)?;
    Ok(bridge.index)
}

/// Installs the rules in one transaction, with what the leases hold.
pub(super) async fn rules(config: &Config, netfilter: &mut Socket, leases: &Leases) -> Result<(), Error> {
    let layout = rules::layout(config, leases.ranges());
    let fill = |batch: &mut Batch| {
        for range in leases.ranges() {
            let ipv6 = range.addr().is_ipv6();
            batch.add_elements(&config.table, &Sets::of(ipv6).cluster, &Sets::cluster_elements(config, ipv6));
        }
        for lease in leases.iter() {
            add_ports(config, batch, &lease.addresses, &lease.ports);
        }
    };
    Ok(layout.replace(netfilter, rules::owns, |_| false, fill).await?)
}

pub(super) fn add_ports(config: &Config, batch: &mut Batch, addresses: &[IpAddr], ports: &[cri::PortMapping]) {
    for found in crate::ports::elements(addresses, ports) {
        let sets = Sets::of(found.ipv6);
        batch.add_elements(&config.table, sets.get(found.map), [&found.element]);
    }
}

/// Links of pods that no lease is of: an earlier process was killed before they were deleted.
pub(super) async fn strays(
    config: &Config,
    route: &mut Socket,
    bridge: u32,
    leases: &Leases,
) -> Result<Vec<String>, Error> {
    let wanted: BTreeSet<String> =
        leases.iter().map(|lease| super::attach::link_name(config, &lease.sandbox)).collect();
    let mut links = link::list(route).await?;
    links.retain(|link| {
        link.master == Some(bridge) && link.name.starts_with(&config.link_prefix) && !wanted.contains(&link.name)
    });
    Ok(links.into_iter().map(|link| link.name).collect())
}

pub(super) async fn teardown(config: &Config) -> Result<(), Error> {
    let mut route = Socket::open(Protocol::Route)?;
    if let Some(bridge) = link::find(&mut route, &config.bridge).await? {
        let mut requests = Requests::new();
        for port in link::list(&mut route).await? {
            if port.master == Some(bridge.index) && port.name.starts_with(&config.link_prefix) {
                requests.set_group(&port.name, super::attach::group(config));
            }
        }
        requests.delete_group(super::attach::group(config));
        requests.delete_link(&config.bridge);
        match route.run(requests).await {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
    }
    let mut netfilter = Socket::open(Protocol::Netfilter)?;
    nft::remove(&mut netfilter, &config.table, rules::owns).await?;
    restore_settings(config)?;
    match std::fs::remove_dir_all(&config.directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::State(error)),
        _ => Ok(()),
    }
}

/// A hardware address that says which address it is of, so that no neighbour entry goes stale when an address moves.
pub(super) fn hardware_address(address: IpAddr) -> [u8; 6] {
    let last: [u8; 4] = match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let octets = address.octets();
            [octets[12], octets[13], octets[14], octets[15]]
        }
    };
    [0x0a, 0x58, last[0], last[1], last[2], last[3]]
}

// === kernel settings ===

/// Settings of the whole machine (not of our bridge, which goes with its own), remembered to be put back.
fn settings(config: &Config, ranges: &[IpNet]) -> Result<(), Error> {
    let mut global = vec![("ipv4/ip_forward", "1"), ("ipv4/conf/all/send_redirects", "0")];
    if ranges.iter().any(|range| range.addr().is_ipv6()) {
        global.push(("ipv6/conf/all/forwarding", "1"));
    }
    let kept = kept_settings(config);
    if !kept.exists() {
        let old: BTreeMap<&str, String> =
            global.iter().filter_map(|(key, _)| Some((*key, namespace::sysctl(key).ok()?))).collect();
        let bytes = serde_json::to_vec(&old).map_err(|error| Error::State(error.into()))?;
        std::fs::create_dir_all(&config.directory).and_then(|()| std::fs::write(&kept, bytes)).map_err(Error::State)?;
    }
    for (key, value) in global {
        set(key, value)?;
    }
    let bridge = &config.bridge;
    // Pods of one node talk through the gateway; telling them to talk directly would undo that.
    set(&format!("ipv4/conf/{bridge}/send_redirects"), "0")?;
    // For `localhost` on the machine to reach pods; the guard chain keeps the other direction shut.
    set(&format!("ipv4/conf/{bridge}/route_localnet"), "1")?;
    Ok(())
}

fn set(key: &str, value: &str) -> Result<(), Error> {
    namespace::set_sysctl(key, value).map_err(|source| Error::Sysctl { key: key.to_owned(), source })
}

fn restore_settings(config: &Config) -> Result<(), Error> {
    let kept = match std::fs::read(kept_settings(config)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::State)?,
    };
    let old: BTreeMap<String, String> = serde_json::from_slice(&kept).unwrap_or_default();
    for (key, value) in old {
        // Names come from a file: only what this crate sets is put back.
        if matches!(key.as_str(), "ipv4/ip_forward" | "ipv4/conf/all/send_redirects" | "ipv6/conf/all/forwarding") {
            namespace::set_sysctl(&key, &value).map_err(|source| Error::Sysctl { key, source })?;
        }
    }
    Ok(())
}

fn kept_settings(config: &Config) -> PathBuf {
    Path::new(&config.directory).join("settings.json")
}
