//! Numbers: of pools among all pools, and of endpoints within their pool. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use apimachinery::ObjectKey;

use crate::view::Protocol;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
}

/// The endpoints of one port of a Service in one family, all of them or this node's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PoolKey {
    pub(crate) service: ObjectKey,
    pub(crate) port: String,
    pub(crate) protocol: Protocol,
    pub(crate) ipv6: bool,
    pub(crate) local: bool,
}

/// The numbers of pools: even, and the same after a restart unless two pools' hashes meet, because remembered clients
/// go by them.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    by_pool: HashMap<PoolKey, u32>,
    taken: HashSet<u32>,
}

impl Ids {
    /// The pool's number, given at first use.
    pub(crate) fn of(&mut self, pool: &PoolKey) -> u32 {
        if let Some(id) = self.by_pool.get(pool) {
            return *id;
        }
        // Fixed keys: the number has to be the same in the next process.
        let mut hasher = DefaultHasher::new();
        pool.hash(&mut hasher);
        let mut id = (hasher.finish() >> 32) as u32 & !1;
        while self.taken.contains(&id) {
            id = id.wrapping_add(2);
        }
        self.by_pool.insert(pool.clone(), id);
        self.taken.insert(id);
        id
    }

    /// Forgets a pool's number.
    pub(crate) fn release(&mut self, pool: &PoolKey) {
        if let Some(id) = self.by_pool.remove(pool) {
            self.taken.remove(&id);
        }
    }
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

    #[test]
    fn pools_have_even_numbers_of_their_own() {
        let pool = |name: &str| PoolKey {
            service: ObjectKey::new("default", name),
            port: String::new(),
            protocol: Protocol::Tcp,
            ipv6: false,
            local: false,
        };
        let mut ids = Ids::default();
        let numbers: BTreeSet<u32> = (0..1000).map(|number| ids.of(&pool(&number.to_string()))).collect();
        assert_eq!(numbers.len(), 1000);
        assert!(numbers.iter().all(|number| number % 2 == 0));
        let first = ids.of(&pool("1"));
        ids.release(&pool("1"));
        assert_eq!(Ids::default().of(&pool("1")), first, "the same in another process");
        assert_eq!(ids.taken.len(), 999);
    }
}
