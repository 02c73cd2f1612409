//! Links, addresses, routes and neighbours over rtnetlink.
//!
//! Every operation is a message added to [`Requests`], so that a whole pod's network is one or two system calls.
//! Links are named, not numbered, wherever the kernel allows it.

mod requests;
mod shaping;
mod tunnel;

use std::net::IpAddr;

use crate::socket::{Error, Requests, Socket};
use crate::wire;

pub use requests::{Peer, Route};
pub use tunnel::Vxlan;

/// Longest interface name, without its NUL.
pub const NAME_MAX: usize = 15;

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
pub(crate) const RTM_NEWADDR: u16 = 20;
pub(crate) const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
pub(crate) const RTM_NEWQDISC: u16 = 36;
pub(crate) const RTM_NEWROUTE: u16 = 24;
pub(crate) const RTM_DELROUTE: u16 = 25;
pub(crate) const RTM_NEWNEIGH: u16 = 28;
pub(crate) const RTM_DELNEIGH: u16 = 29;

pub(crate) const IFLA_ADDRESS: u16 = 1;
pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFLA_MTU: u16 = 4;
pub(crate) const IFLA_MASTER: u16 = 10;
pub(crate) const IFLA_LINKINFO: u16 = 18;
pub(crate) const IFLA_NET_NS_FD: u16 = 28;
pub(crate) const IFLA_INFO_KIND: u16 = 1;
pub(crate) const IFLA_INFO_DATA: u16 = 2;
pub(crate) const IFLA_INFO_SLAVE_KIND: u16 = 4;
pub(crate) const IFLA_INFO_SLAVE_DATA: u16 = 5;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// A link as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub up: bool,
    pub mtu: u32,
    pub master: Option<u32>,
    pub hardware_address: Vec<u8>,
}

/// An address as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub link: u32,
    pub address: IpAddr,
    pub prefix: u8,
    /// Scope of `rtnetlink`: 0 is global, 253 is the link, 254 is the host.
    pub scope: u8,
}

/// The link of that name, if there is one.
pub async fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, Error> {
    let mut requests = Requests::new();
    requests.add(RTM_GETLINK, 0, format!("get link {name}"), |writer| {
        writer.raw(&link_header(0, 0, 0));
        writer.string(IFLA_IFNAME, name);
    });
    match socket.run(requests).await {
        Ok(replies) => Ok(replies.first().and_then(|reply| parse_link(&reply.payload))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// All links of the socket's namespace.
pub async fn list(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    let payloads = socket.collect(RTM_GETLINK, "list links", |writer| writer.raw(&link_header(0, 0, 0))).await?;
    Ok(payloads.iter().filter_map(|payload| parse_link(payload)).collect())
}

/// All addresses of the socket's namespace, both families.
pub async fn addresses(socket: &mut Socket) -> Result<Vec<Address>, Error> {
    let payloads = socket.collect(RTM_GETADDR, "list addresses", |writer| writer.raw(&[0; 8])).await?;
    Ok(payloads.iter().filter_map(|payload| parse_address(payload)).collect())
}

/// `struct ifinfomsg`.
pub(crate) fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn parse_link(payload: &[u8]) -> Option<Link> {
    let (header, rest) = payload.split_first_chunk::<16>()?;
    let number = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let mut link = Link {
        index: number(4),
        name: String::new(),
        up: number(8) & 1 != 0,
        mtu: 0,
        master: None,
        hardware_address: Vec::new(),
    };
    for attribute in wire::attributes(rest) {
        match attribute.kind {
            IFLA_IFNAME => link.name = attribute.string().into_owned(),
            IFLA_MTU => link.mtu = attribute.u32()?,
            IFLA_MASTER => link.master = attribute.u32(),
            IFLA_ADDRESS => link.hardware_address = attribute.value.to_vec(),
            _ => {}
        }
    }
    Some(link)
}

fn parse_address(payload: &[u8]) -> Option<Address> {
    let (header, rest) = payload.split_first_chunk::<8>()?;
    let link = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
    // On a point-to-point link IFA_ADDRESS is the other end; IFA_LOCAL, where there is one, is always ours.
    let found = wire::find(rest, IFA_LOCAL).or_else(|| wire::find(rest, IFA_ADDRESS))?;
    let address = match found.value.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(found.value).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(found.value).ok()?),
        _ => return None,
    };
    Some(Address { link, address, prefix: header[1], scope: header[3] })
}

pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub(crate) fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

/// For the test that everything can be read.
#[cfg(test)]
pub(crate) fn read_noise(bytes: &[u8]) {
    let _ = (parse_link(bytes), parse_address(bytes));
}

#[cfg(test)]
mod tests;
