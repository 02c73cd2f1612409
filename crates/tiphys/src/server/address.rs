//! The machine's own address and name.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use anyhow::Context as _;

/// An address that documentation uses and nobody has: only the route to it is asked for, nothing is sent.
const SOMEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// The address under which the machine reaches others; loopback where it reaches nobody.
pub(super) fn primary() -> IpAddr {
    let asked = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(SOMEWHERE)?;
        socket.local_addr()
    });
    asked.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

/// The machine's name, as nodes are named after it: lower case.
pub(super) fn hostname() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname().context("the machine's name")?;
    Ok(name.to_string_lossy().trim().to_lowercase())
}
