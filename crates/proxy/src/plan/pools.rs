//! The numbers of endpoints within their pool. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::view::Protocol;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
}

/// The endpoints of one port of a Service in one family, all of them or this node's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolKey {
    pub(crate) port: String,
    pub(crate) protocol: Protocol,
    pub(crate) ipv6: bool,
    pub(crate) local: bool,
}

/// Numbers the wanted endpoints 0, 1, 2, …: those who have a number keep it, newcomers take the places of those who
/// left, and the last ones move into what gaps are then left.
pub(crate) fn assign(old: &[Endpoint], wanted: &BTreeSet<Endpoint>) -> Vec<Endpoint> {
    let mut places: Vec<Option<Endpoint>> =
        old.iter().map(|endpoint| wanted.contains(endpoint).then_some(*endpoint)).collect();
    let known: BTreeSet<Endpoint> = places.iter().flatten().copied().collect();
    let mut newcomers = wanted.difference(&known).copied();
    for place in &mut places {
        if place.is_none() {
            *place = newcomers.next();
        }
    }
    places.extend(newcomers.map(Some));
    let mut numbered = Vec::with_capacity(wanted.len());
    let mut index = 0;
    while index < places.len() {
        match places[index] {
            Some(endpoint) => {
                numbered.push(endpoint);
                index += 1;
            }
            None => {
                // A gap is filled by the last, which only shortens the list.
                let last = places.pop().flatten();
                if index < places.len() {
                    places[index] = last;
                }
            }
        }
    }
    numbered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(ports: &[u16]) -> Vec<Endpoint> {
        ports.iter().map(|port| Endpoint { address: IpAddr::from([10, 42, 0, 1]), port: *port }).collect()
    }

    fn check(old: &[u16], wanted: &[u16], numbered: &[u16]) {
        let wanted = endpoints(wanted).into_iter().collect();
        assert_eq!(assign(&endpoints(old), &wanted), endpoints(numbered));
    }

    #[test]
    fn numbers_are_kept_and_gaps_filled() {
        check(&[], &[3, 1, 2], &[1, 2, 3]);
        check(&[3, 1, 2], &[1, 2, 3, 4], &[3, 1, 2, 4]);
        check(&[3, 1, 2], &[1, 2], &[2, 1]);
        check(&[3, 1, 2], &[1, 2, 9], &[9, 1, 2]);
        check(&[3, 1, 2], &[3, 1], &[3, 1]);
        check(&[1, 2, 3, 4, 5], &[3, 5], &[5, 3]);
        check(&[1, 2], &[], &[]);
    }
}
