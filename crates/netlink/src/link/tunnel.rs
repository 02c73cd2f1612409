//! VXLAN links: the overlay between machines.

use std::net::IpAddr;

use super::{
    IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MTU, RTM_NEWLINK, link_header,
    octets,
};
use crate::socket::Requests;
use crate::wire::flags;

const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_LINK: u16 = 3;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_LEARNING: u16 = 7;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_LOCAL6: u16 = 17;

/// A VXLAN link without learning: the cluster knows where every node is.
#[derive(Debug, Clone, Copy)]
pub struct Vxlan<'a> {
    pub name: &'a str,
    pub id: u32,
    pub port: u16,
    pub local: IpAddr,
    /// The link that carries it, by number.
    pub link: Option<u32>,
    pub mtu: u32,
    pub hardware_address: [u8; 6],
}

impl Requests {
    pub fn add_vxlan(&mut self, vxlan: &Vxlan<'_>) {
        self.add(RTM_NEWLINK, flags::CREATE | flags::EXCL, format!("add vxlan {}", vxlan.name), |writer| {
            writer.raw(&link_header(0, 0, 0));
            writer.string(IFLA_IFNAME, vxlan.name);
            writer.u32(IFLA_MTU, vxlan.mtu);
            writer.attribute(IFLA_ADDRESS, &vxlan.hardware_address);
            writer.nested(IFLA_LINKINFO, |writer| {
                writer.string(IFLA_INFO_KIND, "vxlan");
                writer.nested(IFLA_INFO_DATA, |writer| {
                    writer.u32(IFLA_VXLAN_ID, vxlan.id);
                    let kind = if vxlan.local.is_ipv4() { IFLA_VXLAN_LOCAL } else { IFLA_VXLAN_LOCAL6 };
                    writer.attribute(kind, &octets(vxlan.local));
                    if let Some(link) = vxlan.link {
                        writer.u32(IFLA_VXLAN_LINK, link);
                    }
                    writer.u8(IFLA_VXLAN_LEARNING, 0);
                    writer.be16(IFLA_VXLAN_PORT, vxlan.port);
                });
            });
        });
    }
}
