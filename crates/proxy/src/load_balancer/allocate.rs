//! Which addresses a load balancer Service gets. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use apimachinery::ObjectKey;

/// What a Service asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Seconds since the epoch: who came first keeps a port.
    pub created: i64,
    pub name: ObjectKey,
    /// Protocol and port.
    pub ports: Vec<(String, u16)>,
    pub ipv4: bool,
    pub ipv6: bool,
    /// With policy Local, the nodes that have an endpoint.
    pub local_nodes: Option<BTreeSet<String>>,
}

/// What a node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    pub name: String,
    pub addresses: Vec<IpAddr>,
    pub ready: bool,
}

/// The addresses of all nodes that can answer, in a stable order; none while another Service has one of the ports.
pub fn allocate(claim: &Claim, rivals: &[Claim], nodes: &[NodeView], reserved: &BTreeSet<u16>) -> Vec<IpAddr> {
    let taken = |port: &(String, u16)| {
        port.0 == "TCP" && reserved.contains(&port.1)
            || rivals
                .iter()
                .any(|rival| rival.ports.contains(port) && (rival.created, &rival.name) < (claim.created, &claim.name))
    };
    if claim.ports.iter().any(taken) {
        return Vec::new();
    }
    let mut nodes: Vec<&NodeView> = nodes
        .iter()
        .filter(|node| node.ready)
        .filter(|node| claim.local_nodes.as_ref().is_none_or(|local| local.contains(&node.name)))
        .collect();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    let family = |address: &IpAddr| if address.is_ipv6() { claim.ipv6 } else { claim.ipv4 };
    let mut addresses = Vec::new();
    for ipv6 in [false, true] {
        let of_family = |node: &&NodeView| {
            node.addresses.iter().copied().find(|address| address.is_ipv6() == ipv6 && family(address))
        };
        addresses.extend(nodes.iter().filter_map(of_family));
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, created: i64, ports: &[u16]) -> Claim {
        Claim {
            created,
            name: ObjectKey::new("default", name),
            ports: ports.iter().map(|port| ("TCP".to_owned(), *port)).collect(),
            ipv4: true,
            ipv6: false,
            local_nodes: None,
        }
    }

    fn node(name: &str, addresses: &[&str], ready: bool) -> NodeView {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        NodeView { name: name.to_owned(), addresses, ready }
    }

    fn check(claim: &Claim, rivals: &[Claim], addresses: &[&str]) {
        let nodes = [
            node("b", &["192.0.2.2"], true),
            node("a", &["192.0.2.1", "2001:db8::1"], true),
            node("c", &["192.0.2.3"], false),
        ];
        let found = allocate(claim, rivals, &nodes, &[6443].into());
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), addresses);
    }

    #[test]
    fn every_ready_node_answers() {
        check(&claim("web", 1, &[80]), &[], &["192.0.2.1", "192.0.2.2"]);
        check(&Claim { ipv6: true, ..claim("web", 1, &[80]) }, &[], &["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    }

    #[test]
    fn who_came_first_keeps_a_port() {
        let (first, second) = (claim("z", 1, &[80, 81]), claim("a", 2, &[81]));
        check(&first, std::slice::from_ref(&second), &["192.0.2.1", "192.0.2.2"]);
        check(&second, &[first], &[]);
        check(&claim("b", 1, &[80]), &[claim("a", 1, &[80])], &[]);
        check(&claim("b", 1, &[80]), &[claim("a", 1, &[82])], &["192.0.2.1", "192.0.2.2"]);
        check(&claim("b", 1, &[6443]), &[], &[]);
    }

    #[test]
    fn policy_local_names_only_nodes_with_endpoints() {
        let local = |nodes: &[&str]| Claim {
            local_nodes: Some(nodes.iter().map(ToString::to_string).collect()),
            ..claim("web", 1, &[80])
        };
        check(&local(&["b", "c"]), &[], &["192.0.2.2"]);
        check(&local(&[]), &[], &[]);
    }
}
