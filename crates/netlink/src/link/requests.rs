//! The messages that change links, addresses, routes and neighbours.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::{
    IFA_ADDRESS, IFA_LOCAL, IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_INFO_SLAVE_DATA,
    IFLA_INFO_SLAVE_KIND, IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU, IFLA_NET_NS_FD, RTM_DELADDR, RTM_DELLINK, RTM_DELNEIGH,
    RTM_DELROUTE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH, RTM_NEWROUTE, family, link_header, octets,
};
use crate::socket::Requests;
use crate::wire::{Writer, flags};

const IFF_UP: u32 = 1;
const IFLA_GROUP: u16 = 27;
const VETH_INFO_PEER: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTNH_F_ONLINK: u32 = 4;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;
const NTF_SELF: u8 = 2;

/// The other end of a veth pair.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    pub name: &'a str,
    /// Where it is born; `None` is the socket's own namespace.
    pub namespace: Option<BorrowedFd<'a>>,
    pub hardware_address: Option<[u8; 6]>,
}

/// A unicast route of the main table.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Address and prefix length; `0.0.0.0/0` and `::/0` are the default routes.
    pub destination: (IpAddr, u8),
    pub link: u32,
    pub gateway: Option<IpAddr>,
    /// The gateway is on the link although no address of it says so.
    pub on_link: bool,
    pub source: Option<IpAddr>,
}

impl Requests {
    pub fn add_bridge(&mut self, name: &str, mtu: u32, hardware_address: Option<[u8; 6]>) {
        self.add(RTM_NEWLINK, flags::CREATE | flags::EXCL, format!("add bridge {name}"), |writer| {
            writer.raw(&link_header(0, 0, 0));
            writer.string(IFLA_IFNAME, name);
            writer.u32(IFLA_MTU, mtu);
            if let Some(address) = hardware_address {
                writer.attribute(IFLA_ADDRESS, &address);
            }
            writer.nested(IFLA_LINKINFO, |writer| writer.string(IFLA_INFO_KIND, "bridge"));
        });
    }

    /// A veth pair. It cannot be born up: the peer is not there yet when the kernel would open it.
    pub fn add_veth(&mut self, name: &str, mtu: u32, peer: Peer<'_>) {
        self.add(RTM_NEWLINK, flags::CREATE | flags::EXCL, format!("add veth {name}"), |writer| {
            writer.raw(&link_header(0, 0, 0));
            writer.string(IFLA_IFNAME, name);
            writer.u32(IFLA_MTU, mtu);
            writer.nested(IFLA_LINKINFO, |writer| {
                writer.string(IFLA_INFO_KIND, "veth");
                writer.nested(IFLA_INFO_DATA, |writer| {
                    writer.nested(VETH_INFO_PEER, |writer| {
                        writer.raw(&link_header(0, 0, 0));
                        writer.string(IFLA_IFNAME, peer.name);
                        writer.u32(IFLA_MTU, mtu);
                        if let Some(address) = peer.hardware_address {
                            writer.attribute(IFLA_ADDRESS, &address);
                        }
                        if let Some(namespace) = peer.namespace {
                            writer.u32(IFLA_NET_NS_FD, descriptor(namespace));
                        }
                    });
                });
            });
        });
    }

    pub fn delete_link(&mut self, name: &str) {
        self.add(RTM_DELLINK, 0, format!("delete link {name}"), |writer| {
            writer.raw(&link_header(0, 0, 0));
            writer.string(IFLA_IFNAME, name);
        });
    }

    /// Puts the link into a group, by which it can be deleted together with others.
    pub fn set_group(&mut self, name: &str, group: u32) {
        self.add(RTM_NEWLINK, 0, format!("set the group of link {name}"), |writer| {
            writer.raw(&link_header(0, 0, 0));
            writer.string(IFLA_IFNAME, name);
            writer.u32(IFLA_GROUP, group);
        });
    }

    /// Deletes all links of a group at the price of one.
    pub fn delete_group(&mut self, group: u32) {
        self.add(RTM_DELLINK, 0, format!("delete links of group {group}"), |writer| {
            writer.raw(&link_header(0, 0, 0));
            writer.u32(IFLA_GROUP, group);
        });
    }

    pub fn set_up(&mut self, name: &str) {
        self.add(RTM_NEWLINK, 0, format!("set link {name} up"), |writer| {
            writer.raw(&link_header(0, IFF_UP, IFF_UP));
            writer.string(IFLA_IFNAME, name);
        });
    }

    /// Makes the link a port of the bridge and brings it up.
    pub fn enslave(&mut self, name: &str, bridge: u32) {
        self.add(RTM_NEWLINK, 0, format!("make link {name} a bridge port"), |writer| {
            writer.raw(&link_header(0, IFF_UP, IFF_UP));
            writer.string(IFLA_IFNAME, name);
            writer.u32(IFLA_MASTER, bridge);
        });
    }

    /// Lets a bridge send a frame back out of the port it came in by.
    pub fn set_hairpin(&mut self, name: &str) {
        self.add(RTM_NEWLINK, 0, format!("set hairpin mode of {name}"), |writer| {
            writer.raw(&link_header(0, 0, 0));
            writer.string(IFLA_IFNAME, name);
            writer.nested(IFLA_LINKINFO, |writer| {
                writer.string(IFLA_INFO_SLAVE_KIND, "bridge");
                writer.nested(IFLA_INFO_SLAVE_DATA, |writer| writer.u8(IFLA_BRPORT_MODE, 1));
            });
        });
    }

    /// Moves a link to another namespace, under its name.
    pub fn move_link(&mut self, name: &str, namespace: &impl AsFd) {
        self.add(RTM_NEWLINK, 0, format!("move link {name}"), |writer| {
            writer.raw(&link_header(0, 0, 0));
            writer.string(IFLA_IFNAME, name);
            writer.u32(IFLA_NET_NS_FD, descriptor(namespace.as_fd()));
        });
    }

    /// Adds an address, or leaves it as it is. IPv6 without waiting for duplicate detection: who assigns it knows.
    pub fn add_address(&mut self, link: u32, address: IpAddr, prefix: u8) {
        let operation = format!("add address {address}/{prefix}");
        self.add(RTM_NEWADDR, flags::CREATE | flags::REPLACE, operation, |writer| {
            address_body(writer, link, address, prefix);
            if address.is_ipv6() {
                writer.u32(IFA_FLAGS, IFA_F_NODAD);
            }
        });
    }

    pub fn delete_address(&mut self, link: u32, address: IpAddr, prefix: u8) {
        self.add(RTM_DELADDR, 0, format!("delete address {address}/{prefix}"), |writer| {
            address_body(writer, link, address, prefix);
        });
    }

    pub fn add_route(&mut self, route: &Route) {
        let operation = format!("add route {}/{}", route.destination.0, route.destination.1);
        self.add(RTM_NEWROUTE, flags::CREATE | flags::REPLACE, operation, |writer| route_body(writer, route));
    }

    pub fn delete_route(&mut self, route: &Route) {
        let operation = format!("delete route {}/{}", route.destination.0, route.destination.1);
        self.add(RTM_DELROUTE, 0, operation, |writer| route_body(writer, route));
    }

    /// A neighbour that needs no asking.
    pub fn add_neighbour(&mut self, link: u32, address: IpAddr, hardware_address: [u8; 6]) {
        self.add(RTM_NEWNEIGH, flags::CREATE | flags::REPLACE, format!("add neighbour {address}"), |writer| {
            writer.raw(&neighbour_header(family(address), link, 0));
            writer.attribute(NDA_DST, &octets(address));
            writer.attribute(NDA_LLADDR, &hardware_address);
        });
    }

    pub fn delete_neighbour(&mut self, link: u32, address: IpAddr) {
        self.add(RTM_DELNEIGH, 0, format!("delete neighbour {address}"), |writer| {
            writer.raw(&neighbour_header(family(address), link, 0));
            writer.attribute(NDA_DST, &octets(address));
        });
    }

    /// A forwarding entry of a VXLAN link: frames for that hardware address go to that machine.
    pub fn add_forwarding(&mut self, link: u32, hardware_address: [u8; 6], machine: IpAddr) {
        self.add(RTM_NEWNEIGH, flags::CREATE | flags::REPLACE, format!("add forwarding to {machine}"), |writer| {
            writer.raw(&neighbour_header(7, link, NTF_SELF));
            writer.attribute(NDA_LLADDR, &hardware_address);
            writer.attribute(NDA_DST, &octets(machine));
        });
    }

    pub fn delete_forwarding(&mut self, link: u32, hardware_address: [u8; 6], machine: IpAddr) {
        self.add(RTM_DELNEIGH, 0, format!("delete forwarding to {machine}"), |writer| {
            writer.raw(&neighbour_header(7, link, NTF_SELF));
            writer.attribute(NDA_LLADDR, &hardware_address);
            writer.attribute(NDA_DST, &octets(machine));
        });
    }
}

pub(super) fn descriptor(namespace: BorrowedFd<'_>) -> u32 {
    // A borrowed descriptor is never negative.
    namespace.as_raw_fd().unsigned_abs()
}

fn address_body(writer: &mut Writer, link: u32, address: IpAddr, prefix: u8) {
    let mut header = [0; 8];
    header[0] = family(address);
    header[1] = prefix;
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    writer.raw(&header);
    writer.attribute(IFA_LOCAL, &octets(address));
    writer.attribute(IFA_ADDRESS, &octets(address));
}

fn route_body(writer: &mut Writer, route: &Route) {
    let (destination, prefix) = route.destination;
    let scope = if route.gateway.is_some() || destination.is_ipv6() { RT_SCOPE_UNIVERSE } else { RT_SCOPE_LINK };
    let mut header = [family(destination), prefix, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST, 0, 0, 0, 0];
    if route.on_link {
        header[8..12].copy_from_slice(&RTNH_F_ONLINK.to_ne_bytes());
    }
    writer.raw(&header);
    if prefix > 0 {
        writer.attribute(RTA_DST, &octets(destination));
    }
    writer.u32(RTA_OIF, route.link);
    if let Some(gateway) = route.gateway {
        writer.attribute(RTA_GATEWAY, &octets(gateway));
    }
    if let Some(source) = route.source {
        writer.attribute(RTA_PREFSRC, &octets(source));
    }
}

/// `struct ndmsg`.
fn neighbour_header(family: u8, link: u32, flags: u8) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = family;
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
    header[10] = flags;
    header
}
