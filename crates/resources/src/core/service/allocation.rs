//! Which cluster addresses and node ports services hold.
//!
//! Each is claimed by a record of its own that comes and goes in the transaction of the service: an address by its
//! IPAddress object, a node port by a [`claims::NODE_PORTS`] record. So what is stored says what is taken, for all servers
//! over one store, and nothing can leak over a crash. In memory there is only what this process is about to write.
//! Addresses come from the configured ranges and from those that ServiceCIDR objects add. Upstream counterpart:
//! `ipallocator`, `portallocator` and `alloc.go` in `pkg/registry/core/service`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use apimachinery::ApiError;
use apimachinery::field::{ErrorList, Path};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use parking_lot::Mutex;
use registry::{Companion, Reader, RequestCx, Reservation};
use serde_json::json;

use super::claims::{self, Claims};
use super::families::{IPV4, IPV6};
use super::{allocates_node_ports, is_headless, kind, needs_health_check, needs_node_port, spec};
use crate::check::{self, Report};
use crate::optional::Items;

const NODE_PORTS: std::ops::RangeInclusive<i32> = 30_000..=32_767;
/// Ports at the start of the range are left to services that ask for one by number.
const STATIC_NODE_PORTS: i32 = 86;

pub(super) struct Allocator {
    ranges: Vec<IpNet>,
    families: Vec<&'static str>,
    under_way: Arc<Mutex<Claims>>,
}

/// What one write takes and what it gives back.
pub(super) struct Held {
    under_way: Arc<Mutex<Claims>>,
    new: Claims,
    companions: Vec<Companion>,
}

/// What is free, as one write sees it.
struct Free<'a> {
    reader: &'a Reader,
    under_way: &'a Mutex<Claims>,
}

// === impl Allocator ===

impl Allocator {
    pub(super) fn new(ranges: Vec<IpNet>) -> Self {
        let families = ranges.iter().map(|range| if range.addr().is_ipv4() { IPV4 } else { IPV6 }).collect();
        Self { ranges, families, under_way: Arc::default() }
    }

    /// The cluster's families, the default first.
    pub(super) fn families(&self) -> &[&'static str] {
        &self.families
    }

    /// Takes addresses and ports for `new` and writes them into it.
    pub(super) fn reserve(&self, cx: &RequestCx, new: &mut Service, old: Option<&Service>) -> Result<Held, ApiError> {
        let before = old.map(Claims::of).unwrap_or_default();
        let free = Free { reader: &cx.reader, under_way: &self.under_way };
        let mut held = Held { under_way: Arc::clone(&self.under_way), new: Claims::default(), companions: Vec::new() };
        self.addresses(&free, new, old, &before, &mut held)?;
        node_ports(&free, new, &before, &mut held)?;
        health_check_port(&free, new, old, &before, &mut held)?;
        let after = Claims::of(new);
        held.companions = held.new.taken_for(new, cx.now);
        if let Some(old) = old {
            held.companions.extend(before.without(&after).released_by(&cx.reader, old));
        }
        Ok(held)
    }

    fn addresses(
        &self,
        free: &Free<'_>,
        new: &mut Service,
        old: Option<&Service>,
        before: &Claims,
        held: &mut Held,
    ) -> Result<(), ApiError> {
        let name = new.metadata.name.clone().unwrap_or_default();
        let was_headless = old.is_some_and(|old| kind(old) != "ExternalName" && is_headless(spec(old)));
        if kind(new) == "ExternalName" || is_headless(spec(new)) || was_headless {
            return Ok(());
        }
        let target = new.spec.get_or_insert_default();
        let families = target.ip_families.clone().unwrap_or_default();
        let addresses = target.cluster_ips.get_or_insert_default();
        addresses.resize_with(families.len().max(addresses.len()), String::new);
        for (index, family) in families.iter().enumerate() {
            let ranges = self.ranges(free.reader, family);
            if ranges.is_empty() {
                continue;
            }
            let wanted = addresses[index].clone();
            if wanted.is_empty() {
                let address = ranges
                    .iter()
                    .find_map(|range| free.any_address(range))
                    .ok_or_else(|| ApiError::internal("failed to allocate a serviceIP: range is full"))?;
                held.new.addresses.insert(address);
                addresses[index] = address.to_string();
                continue;
            }
            let Some(address) = check::parse_ip(&wanted) else { continue };
            if before.addresses.contains(&address) {
                continue;
            }
            if let Err(why) = free.take_address(&ranges, address) {
                let mut errors = ErrorList::default();
                let message = format!("failed to allocate IP {wanted}: {why}");
                errors.invalid(&Path::new("spec").child("clusterIPs"), json!(addresses), message);
                return Err(ApiError::invalid("", "Service", &name, &errors));
            }
            held.new.addresses.insert(address);
        }
        target.cluster_ip = target.cluster_ips.items().first().cloned();
        Ok(())
    }

    /// The configured range of a family, and those of ServiceCIDRs that are ready and not going.
    fn ranges(&self, reader: &Reader, family: &str) -> Vec<IpNet> {
        let own = self.families.iter().position(|known| *known == family).and_then(|index| self.ranges.get(index));
        let mut ranges: Vec<IpNet> = own.copied().into_iter().collect();
        for cidr in reader.list::<ServiceCIDR>("networking.k8s.io", "servicecidrs", None) {
            let conditions = cidr.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
            let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
            if !ready || cidr.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let spec = cidr.spec.unwrap_or_default();
            let more = spec.cidrs.items().iter().filter_map(|text| text.parse::<IpNet>().ok());
            ranges.extend(more.filter(|range| range.addr().is_ipv4() == (family == IPV4)));
        }
        ranges.dedup();
        ranges
    }
}

// === impl Free ===

impl Free<'_> {
    fn take_address(&self, ranges: &[IpNet], address: IpAddr) -> Result<(), String> {
        let within = |range: &IpNet| range.contains(&address) && usable(range).contains(&to_number(address));
        if !ranges.iter().any(within) {
            let mut all: Vec<String> = ranges.iter().map(|range| range.trunc().to_string()).collect();
            all.dedup();
            return Err(format!(
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is {}",
                all.join(",")
            ));
        }
        let taken = claims::has_address(self.reader, address) || !self.under_way.lock().addresses.insert(address);
        if taken { Err("provided IP is already allocated".to_owned()) } else { Ok(()) }
    }

    /// A free address, preferably not from the part that is left to static use. Random, so that an address is not
    /// reused while somebody still remembers its last owner.
    fn any_address(&self, range: &IpNet) -> Option<IpAddr> {
        let usable = usable(range);
        let (first, last) = (*usable.start(), *usable.end());
        let size = last.checked_sub(first)? + 1;
        let reserved = (size / 16).clamp(16, 256).min(size - 1);
        let mut under_way = self.under_way.lock();
        let dynamic = first + reserved;
        let start = dynamic + random_below(last - dynamic + 1);
        // Of one candidate more than there are taken addresses one is free; the bound holds also for a range that is too
        // large to be gone through.
        let tries = claims::count_addresses(self.reader) + under_way.addresses.len() + 1;
        let mut candidates = (start..=last).chain(dynamic..start).chain(first..dynamic).take(tries);
        let v4 = range.addr().is_ipv4();
        candidates.find_map(|number| {
            let address = to_address(number, v4);
            (!claims::has_address(self.reader, address) && under_way.addresses.insert(address)).then_some(address)
        })
    }

    fn take_port(&self, port: i32) -> Result<(), String> {
        if !NODE_PORTS.contains(&port) {
            let (first, last) = NODE_PORTS.into_inner();
            return Err(format!("provided port is not in the valid range. The range of valid ports is {first}-{last}"));
        }
        let taken = claims::has_port(self.reader, port) || !self.under_way.lock().ports.insert(port);
        if taken { Err("provided port is already allocated".to_owned()) } else { Ok(()) }
    }

    fn any_port(&self) -> Option<i32> {
        let (first, last) = NODE_PORTS.into_inner();
        let dynamic = first + STATIC_NODE_PORTS;
        let start = rand::random_range(dynamic..=last);
        let mut under_way = self.under_way.lock();
        (start..=last)
            .chain(dynamic..start)
            .chain(first..dynamic)
            .find(|port| !claims::has_port(self.reader, *port) && under_way.ports.insert(*port))
    }
}

fn node_ports(free: &Free<'_>, new: &mut Service, before: &Claims, held: &mut Held) -> Result<(), ApiError> {
    if !needs_node_port(new) {
        return Ok(());
    }
    let name = new.metadata.name.clone().unwrap_or_default();
    let target = new.spec.get_or_insert_default();
    let allocates = allocates_node_ports(target);
    // Ports of one number share a node port: TCP and UDP of the same service.
    let mut by_port: BTreeMap<i32, i32> = BTreeMap::new();
    for port in target.ports.items().iter().rev() {
        if let Some(node_port) = port.node_port {
            by_port.insert(port.port, node_port);
        }
    }
    for (index, port) in target.ports.items_mut().iter_mut().enumerate() {
        let Some(wanted) = port.node_port else {
            if !allocates {
                continue;
            }
            if let Some(shared) = by_port.get(&port.port) {
                port.node_port = Some(*shared);
            } else {
                let number = free
                    .any_port()
                    .ok_or_else(|| ApiError::internal("failed to allocate a nodePort: range is full"))?;
                held.new.ports.insert(number);
                by_port.insert(port.port, number);
                port.node_port = Some(number);
            }
            continue;
        };
        if before.ports.contains(&wanted) || held.new.ports.contains(&wanted) {
            continue;
        }
        if let Err(why) = free.take_port(wanted) {
            let mut errors = ErrorList::default();
            let path = Path::new("spec").child("ports").index(index).child("nodePort");
            errors.invalid(&path, wanted, why);
            return Err(ApiError::invalid("", "Service", &name, &errors));
        }
        held.new.ports.insert(wanted);
    }
    Ok(())
}

fn health_check_port(
    free: &Free<'_>,
    new: &mut Service,
    old: Option<&Service>,
    before: &Claims,
    held: &mut Held,
) -> Result<(), ApiError> {
    let needed_before = old.is_some_and(|old| needs_health_check(spec(old)));
    let target = new.spec.get_or_insert_default();
    if !needs_health_check(target) || needed_before {
        return Ok(());
    }
    match target.health_check_node_port {
        Some(wanted) if before.ports.contains(&wanted) => {}
        Some(wanted) => {
            free.take_port(wanted).map_err(|why| {
                ApiError::internal(format!("failed to allocate requested HealthCheck NodePort {wanted}: {why}"))
            })?;
            held.new.ports.insert(wanted);
        }
        None => {
            let number = free
                .any_port()
                .ok_or_else(|| ApiError::internal("failed to allocate a HealthCheck NodePort 0: range is full"))?;
            held.new.ports.insert(number);
            target.health_check_node_port = Some(number);
        }
    }
    Ok(())
}

/// The addresses of a range that services may have: not the first, and for IPv4 not the last.
fn usable(range: &IpNet) -> std::ops::RangeInclusive<u128> {
    let (first, last) = (to_number(range.network()), to_number(range.broadcast()));
    first + 1..=if range.addr().is_ipv4() { last.saturating_sub(1) } else { last }
}

fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn to_address(number: u128, v4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if v4 => IpAddr::V4(Ipv4Addr::from(number)),
        _ => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

fn random_below(bound: u128) -> u128 {
    if bound == 0 { 0 } else { rand::random::<u128>() % bound }
}

// === impl Held ===

impl Reservation for Held {
    fn companions(&self) -> &[Companion] {
        &self.companions
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.new);
    }
}
