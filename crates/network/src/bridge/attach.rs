//! One pod's side: its link, address and routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use cri::PodNetworkRequest;
use netlink::conntrack::{self, Connection};
use netlink::link::{self, Peer, Route};
use netlink::nft::Batch;
use netlink::socket::Requests;
use netlink::{Namespace, Protocol, Socket, namespace};

use super::{Error, State, setup};
use crate::bandwidth::Bandwidth;
use crate::config::Config;
use crate::leases::{Lease, gateway};
use crate::rules::Sets;

/// What a pod's interface is called inside.
const INTERFACE: &str = "eth0";

pub(super) async fn attach(
    config: &Config,
    state: &mut State,
    request: &PodNetworkRequest,
) -> Result<Vec<IpAddr>, Error> {
    let bandwidth = Bandwidth::of(&request.annotations).map_err(Error::Invalid)?;
    let pod = Namespace::open(&request.netns).map_err(Error::State)?;
    let known = state.leases.get(&request.sandbox_id).is_some();
    let mut inside = Socket::open_in(&pod, Protocol::Route)?;
    if known && link::find(&mut inside, INTERFACE).await?.is_some_and(|found| found.up) {
        let lease = state.leases.acquire(&request.sandbox_id, &request.port_mappings)?;
        return Ok(lease.addresses);
    }
    let lease = state.leases.acquire(&request.sandbox_id, &request.port_mappings)?;
    match plumb(config, state, &pod, &mut inside, &lease, bandwidth, known).await {
        Ok(()) => Ok(lease.addresses),
        Err(error) => {
            if let Err(undo) = detach(config, state, &request.sandbox_id).await {
                tracing::warn!(sandbox = request.sandbox_id, error = %undo, "could not undo a failed attach");
            }
            Err(error)
        }
    }
}

pub(super) async fn detach(config: &Config, state: &mut State, sandbox: &str) -> Result<(), Error> {
    state.reaper.delete(link_name(config, sandbox));
    if let Some(lease) = state.leases.get(sandbox).cloned() {
        remove_ports(config, state, &lease).await?;
    }
    Ok(state.leases.release(sandbox)?)
}

async fn plumb(
    config: &Config,
    state: &mut State,
    pod: &Namespace,
    inside: &mut Socket,
    lease: &Lease,
    bandwidth: Bandwidth,
    again: bool,
) -> Result<(), Error> {
    let name = link_name(config, &lease.sandbox);
    let hardware_address = lease.addresses.first().map(|address| setup::hardware_address(*address));
    let make = || {
        let mut requests = Requests::new();
        requests.add_veth(&name, config.mtu, Peer { name: INTERFACE, namespace: Some(pod.as_fd()), hardware_address });
        requests.enslave(&name, state.bridge);
        requests.set_hairpin(&name);
        requests
    };
    match state.route.run(make()).await {
        // What an attach left that was cut short is of no use.
        Err(error) if error.is_exists() => {
            let mut requests = Requests::new();
            requests.delete_link(&name);
            match state.route.run(requests).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
            state.route.run(make()).await?;
        }
        other => drop(other?),
    }

    if lease.addresses.iter().any(IpAddr::is_ipv6) {
        let key = format!("ipv6/conf/{INTERFACE}/{}", setup::NO_DUPLICATES);
        let written = pod.run(|| namespace::set_sysctl(&key, "0")).map_err(Error::State)?;
        written.map_err(|source| Error::Sysctl { key, source })?;
    }
    let interface = link::find(inside, INTERFACE).await?.ok_or_else(|| Error::NoBridge(INTERFACE.to_owned()))?.index;
    let mut requests = Requests::new();
    requests.set_up("lo");
    for address in &lease.addresses {
        requests.add_address(interface, *address, if address.is_ipv6() { 128 } else { 32 });
    }
    requests.set_up(INTERFACE);
    for range in state.leases.ranges() {
        for route in routes(interface, gateway(range)) {
            requests.add_route(&route);
        }
    }
    if let Some(rate) = bandwidth.egress {
        requests.limit_rate(INTERFACE, interface, rate);
    }
    inside.run(requests).await?;
    if let Some(rate) = bandwidth.ingress
        && let Some(outside) = link::find(&mut state.route, &name).await?
    {
        let mut requests = Requests::new();
        requests.limit_rate(&name, outside.index, rate);
        state.route.run(requests).await?;
    }
    if again {
        remove_ports(config, state, lease).await?;
    }
    if !lease.ports.is_empty() {
        let mut batch = Batch::new();
        setup::add_ports(config, &mut batch, &lease.addresses, &lease.ports);
        batch.send(&mut state.netfilter).await?;
        forget_datagrams(state, lease).await?;
    }
    Ok(())
}

/// Clients that keep sending from one port are tracked: to whoever had the host port before, or to nobody.
async fn forget_datagrams(state: &mut State, lease: &Lease) -> Result<(), Error> {
    const UDP: u8 = 17;
    let ports: Vec<_> =
        lease.ports.iter().filter(|port| port.protocol == cri::Protocol::Udp && port.host_port != 0).collect();
    if ports.is_empty() {
        return Ok(());
    }
    let stale = |connection: &Connection| {
        ports.iter().any(|port| {
            let here = |(address, to)| lease.addresses.contains(&address) && to == port.container_port;
            connection.original.destination_port == port.host_port
                && port.host_ip.is_none_or(|host| host.is_unspecified() || host == connection.original.destination)
                && !connection.translated_to().is_some_and(here)
        })
    };
    conntrack::forget(&mut state.netfilter, UDP, stale).await?;
    Ok(())
}

/// Each element in a transaction of its own: one that is not there must not keep the others.
async fn remove_ports(config: &Config, state: &mut State, lease: &Lease) -> Result<(), Error> {
    for found in crate::ports::elements(&lease.addresses, &lease.ports) {
        let sets = Sets::of(found.ipv6);
        let mut batch = Batch::new();
        batch.delete_elements(&config.table, sets.get(found.map), [&found.element]);
        match batch.send(&mut state.netfilter).await {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// The gateway is on the link, and everything else is behind it.
fn routes(interface: u32, gateway: IpAddr) -> [Route; 2] {
    let (everything, full): (IpAddr, u8) = match gateway {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), 32),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), 128),
    };
    let direct = Route { destination: (gateway, full), link: interface, gateway: None, on_link: false, source: None };
    [direct, Route { destination: (everything, 0), gateway: Some(gateway), ..direct }]
}

/// The host's end, the same for the same sandbox at any time: a hash of the id in base 32.
pub(super) fn link_name(config: &Config, sandbox: &str) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let hash = sandbox
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let room = link::NAME_MAX.saturating_sub(config.link_prefix.len()).min(12);
    let digits = (0..room).map(|digit| char::from(DIGITS[(hash >> (digit * 5)) as usize & 31]));
    config.link_prefix.chars().chain(digits).collect()
}

/// The group in which a network's links are put to be deleted together.
pub(super) fn group(config: &Config) -> u32 {
    // Group 0 is that of every other link.
    (fnv(&config.link_prefix) >> 33) as u32 | 1
}

/// FNV-1a.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
