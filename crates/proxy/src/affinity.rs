//! Session affinity when endpoints leave: the clients that are remembered with them have to be forgotten.
//!
//! Rules fill these maps, so here, and only when a Service with affinity loses an endpoint, the kernel is asked.
//! Upstream keeps a set for each endpoint and removes it with the endpoint.

use std::collections::{BTreeMap, BTreeSet};

use netlink::nft::{self, Batch, Element, Key};
use netlink::{Error, Socket};

use crate::config::Config;
use crate::plan::{Endpoint, Plan, StickyFront};
use crate::shadow::Shadow;
use crate::tables::{Front, SetId, SetKind};

/// Elements removed by one transaction; one that expired meanwhile makes the others wait for a second try.
const TOGETHER: usize = 256;

/// What has to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    fronts: BTreeMap<StickyFront, BTreeSet<Endpoint>>,
    everything: bool,
}

/// The maps that the rules fill.
pub(crate) fn maps(config: &Config) -> impl Iterator<Item = SetId> {
    Front::all(config.families()).map(|front| front.set(SetKind::Affinity))
}

impl Forgotten {
    /// Notes the fronts that lost endpoints.
    pub(crate) fn note(&mut self, old: Option<&Plan>, new: Option<&Plan>) {
        let nobody = BTreeSet::new();
        for (front, before) in old.iter().flat_map(|plan| &plan.sticky) {
            let now = new.and_then(|plan| plan.sticky.get(front)).unwrap_or(&nobody);
            if !before.is_subset(now) {
                self.fronts.insert(front.clone(), now.clone());
            }
        }
    }

    /// The maps were filled under an earlier process.
    pub(crate) fn everything(&mut self) {
        self.everything = true;
    }

    /// Removes remembered clients of endpoints that are gone.
    pub(crate) async fn forget(&mut self, config: &Config, shadow: &Shadow, socket: &mut Socket) -> Result<(), Error> {
        if self.everything {
            self.fronts = shadow.sticky().map(|(front, endpoints)| (front.clone(), endpoints.clone())).collect();
        }
        for map in maps(config) {
            if !self.everything && !self.fronts.keys().any(|front| front.map == map) {
                continue;
            }
            let mut stale = nft::elements(socket, &config.table, &map.name()).await?;
            stale.retain(|(key, value)| self.is_stale(map, key, value));
            remove(config, socket, map, &stale).await?;
        }
        *self = Self::default();
        Ok(())
    }

    fn is_stale(&self, map: SetId, key: &[u8], value: &[u8]) -> bool {
        let client = if map.front.ipv6 { 16 } else { 4 };
        let Some(front) = key.len().checked_sub(client).and_then(|length| key.get(..length)) else { return false };
        // A front's own key ends where padding begins.
        let front = StickyFront { map, key: Key::from_bytes(&front[..front.len().saturating_sub(2)]) };
        match self.fronts.get(&front) {
            Some(endpoints) => !endpoints.iter().any(|endpoint| {
                let wanted = Key::new().address(endpoint.address).port(endpoint.port);
                value.starts_with(wanted.bytes())
            }),
            None => self.everything,
        }
    }
}

async fn remove(config: &Config, socket: &mut Socket, map: SetId, stale: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Error> {
    let definition = map.definition();
    let elements: Vec<Element> = stale.iter().map(|(key, _)| Element::key(Key::from_bytes(key))).collect();
    for chunk in elements.chunks(TOGETHER) {
        match delete(config, socket, &definition, chunk).await {
            Err(error) if error.is_not_found() => {
                for element in chunk {
                    match delete(config, socket, &definition, std::slice::from_ref(element)).await {
                        Err(error) if !error.is_not_found() => return Err(error),
                        _ => {}
                    }
                }
            }
            other => other?,
        }
    }
    if !elements.is_empty() {
        tracing::debug!(clients = elements.len(), "forgot clients of endpoints that are gone");
    }
    Ok(())
}

async fn delete(config: &Config, socket: &mut Socket, map: &nft::Set, elements: &[Element]) -> Result<(), Error> {
    let mut batch = Batch::new();
    batch.delete_elements(&config.table, map, elements);
    batch.send(socket).await
}
