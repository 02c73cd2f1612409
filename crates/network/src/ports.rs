//! Host ports as elements of the maps that translate them. Pure. Upstream: the CNI plugin `portmap`.

use std::net::IpAddr;

use cri::{PortMapping, Protocol};
use netlink::nft::{Element, Key};

/// An element and whether its map's key begins with the host's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortElement {
    pub(crate) ipv6: bool,
    pub(crate) map: PortMap,
    pub(crate) element: Element,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortMap {
    AnyAddress,
    OneAddress,
    /// Pods whose own traffic may come back to them.
    Hairpin,
}

/// What the maps hold for a pod with these addresses.
pub(crate) fn elements(addresses: &[IpAddr], ports: &[PortMapping]) -> Vec<PortElement> {
    let mut elements = Vec::new();
    for address in addresses {
        let ipv6 = address.is_ipv6();
        let before = elements.len();
        for port in ports.iter().filter(|port| port.host_port != 0) {
            let to = Key::new().address(*address).port(port.container_port);
            let host = port.host_ip.filter(|host| !host.is_unspecified());
            // An unspecified address of one family means that family only, as a listening socket would.
            let family_of = host.or(port.host_ip).map(|host| host.is_ipv6());
            if family_of.is_some_and(|host_is_ipv6| host_is_ipv6 != ipv6) {
                continue;
            }
            let (map, key) = match host {
                Some(host) => (PortMap::OneAddress, Key::new().address(host)),
                None => (PortMap::AnyAddress, Key::new()),
            };
            let key = key.protocol(number(port.protocol)).port(port.host_port);
            elements.push(PortElement { ipv6, map, element: Element::data(key, to) });
        }
        if elements.len() > before {
            let element = Element::key(Key::new().address(*address).address(*address));
            elements.push(PortElement { ipv6, map: PortMap::Hairpin, element });
        }
    }
    elements
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(addresses: &[&str], ports: &[(Protocol, u16, u16, Option<&str>)], expect: Expect) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let mappings: Vec<PortMapping> = ports
            .iter()
            .map(|(protocol, host_port, container_port, host_ip)| PortMapping {
                protocol: *protocol,
                host_port: *host_port,
                container_port: *container_port,
                host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            })
            .collect();
        let mut text = String::new();
        for found in elements(&addresses, &mappings) {
            text.push_str(&format!("{:?} {:?} {:?}\n", found.map, found.element.key, found.element.value));
        }
        expect.assert_eq(&text);
    }

    #[test]
    fn each_mapping_goes_to_its_map() {
        check(
            &["10.42.0.2"],
            &[
                (Protocol::Tcp, 8080, 80, None),
                (Protocol::Udp, 53, 53, Some("192.168.1.1")),
                (Protocol::Tcp, 9090, 90, Some("0.0.0.0")),
                (Protocol::Tcp, 0, 91, None),
                (Protocol::Tcp, 9091, 91, Some("::")),
            ],
            expect![[r#"
                AnyAddress 060000001f90 Data(0a2a00020050)
                OneAddress c0a80101110000000035 Data(0a2a00020035)
                AnyAddress 060000002382 Data(0a2a0002005a)
                Hairpin 0a2a00020a2a0002 None
            "#]],
        );
    }

    #[test]
    fn a_pod_without_host_ports_has_no_element() {
        check(&["10.42.0.2"], &[], expect![[""]]);
    }
}
