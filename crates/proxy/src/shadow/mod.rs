//! What the kernel holds, as we told it; and the difference to what it should hold. Pure.
//!
//! Several Services may claim the same place (an external address, a cluster IP's hairpin): the earliest Service's
//! value is the one in the kernel, and the next one's takes its place when it goes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use apimachinery::ObjectKey;
use netlink::nft::{Batch, Element, Value};

use crate::chains::SharedChain;
use crate::config::Config;
use crate::plan::{Endpoint, Entry, Plan, StickyFront};
use crate::tables::SetId;

/// Chains nobody uses are kept: their Services come and go. The oldest of more than these are removed.
const IDLE_CHAINS: usize = 128;

#[derive(Debug, Default)]
pub(crate) struct Shadow {
    plans: HashMap<ObjectKey, Plan>,
    claims: HashMap<Entry, BTreeMap<Claimant, Value>>,
    chains: HashMap<SharedChain, usize>,
    idle: VecDeque<SharedChain>,
}

/// Who comes first: created earlier, then by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    created: i64,
    service: ObjectKey,
}

/// Changes gathered for one transaction: what each touched place held before the first of them.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    before: BTreeMap<Entry, Option<Value>>,
    /// Whether each touched chain was there.
    chains: BTreeMap<SharedChain, bool>,
}

impl Shadow {
    pub(crate) fn plan_of(&self, service: &ObjectKey) -> Option<&Plan> {
        self.plans.get(service)
    }

    /// All fronts with session affinity.
    pub(crate) fn sticky(&self) -> impl Iterator<Item = (&StickyFront, &BTreeSet<Endpoint>)> {
        self.plans.values().flat_map(|plan| &plan.sticky)
    }

    /// How many Services there are rules for.
    pub(crate) fn services(&self) -> usize {
        self.plans.len()
    }

    /// Takes a Service's new plan in; `None` when the Service is gone. Answers the old one.
    pub(crate) fn replace(
        &mut self,
        service: &ObjectKey,
        plan: Option<Plan>,
        difference: &mut Difference,
    ) -> Option<Plan> {
        let old = self.plans.remove(service);
        // Chains first taken, then given back: one that is in both is never idle in between.
        for chain in plan.iter().flat_map(|plan| &plan.chains) {
            self.take_chain(*chain, difference);
        }
        for chain in old.iter().flat_map(|plan| &plan.chains) {
            self.give_chain(*chain, difference);
        }
        let claimant = |plan: &Plan| Claimant { created: plan.created, service: service.clone() };
        if let Some(old) = &old {
            let same_rank = plan.as_ref().is_some_and(|plan| plan.created == old.created);
            let wanted =
                |entry: &Entry| same_rank && plan.as_ref().is_some_and(|plan| plan.entries.contains_key(entry));
            for entry in old.entries.keys().filter(|entry| !wanted(entry)) {
                self.claim(entry, claimant(old), None, difference);
            }
        }
        if let Some(plan) = &plan {
            for (entry, value) in &plan.entries {
                self.claim(entry, claimant(plan), Some(value), difference);
            }
        }
        if let Some(plan) = plan {
            self.plans.insert(service.clone(), plan);
        }
        old
    }

    fn claim(&mut self, entry: &Entry, claimant: Claimant, value: Option<&Value>, difference: &mut Difference) {
        let claims = self.claims.entry(entry.clone()).or_default();
        let before = claims.values().next().cloned();
        match value {
            Some(value) => claims.insert(claimant, value.clone()),
            None => claims.remove(&claimant),
        };
        let after = claims.values().next();
        if before.as_ref() != after {
            difference.before.entry(entry.clone()).or_insert(before);
        }
        if claims.is_empty() {
            self.claims.remove(entry);
        }
    }

    fn take_chain(&mut self, chain: SharedChain, difference: &mut Difference) {
        let known = self.chains.get_mut(&chain);
        difference.chains.entry(chain).or_insert(known.is_some());
        match known {
            Some(users) => *users += 1,
            None => drop(self.chains.insert(chain, 1)),
        }
        self.idle.retain(|idle| *idle != chain);
    }

    fn give_chain(&mut self, chain: SharedChain, difference: &mut Difference) {
        let Some(users) = self.chains.get_mut(&chain) else { return };
        *users -= 1;
        if *users > 0 {
            return;
        }
        if !chain.is_removable() {
            return;
        }
        self.idle.push_back(chain);
        if self.idle.len() > IDLE_CHAINS
            && let Some(oldest) = self.idle.pop_front()
        {
            self.chains.remove(&oldest);
            difference.chains.entry(oldest).or_insert(true);
        }
    }

    fn value(&self, entry: &Entry) -> Option<&Value> {
        self.claims.get(entry).and_then(|claims| claims.values().next())
    }

    /// Encodes the difference. Chains come before the elements that lead to them and go after.
    pub(crate) fn encode(&self, config: &Config, difference: &Difference, batch: &mut Batch) {
        let table = &config.table;
        let touched = |was: bool, is: bool| {
            let chains = difference.chains.iter();
            chains
                .filter(move |(chain, before)| (**before, self.chains.contains_key(chain)) == (was, is))
                .map(|(chain, _)| *chain)
        };
        for chain in touched(false, true) {
            chain.add(config, batch);
        }
        let mut gone: BTreeMap<SetId, Vec<Element>> = BTreeMap::new();
        let mut come: BTreeMap<SetId, Vec<Element>> = BTreeMap::new();
        for (entry, before) in &difference.before {
            let after = self.value(entry);
            if before.as_ref() == after {
                continue;
            }
            if let Some(value) = before {
                gone.entry(entry.set).or_default().push(element(entry, value));
            }
            if let Some(value) = after {
                come.entry(entry.set).or_default().push(element(entry, value));
            }
        }
        for (set, elements) in &gone {
            batch.delete_elements(table, &set.definition(), elements);
        }
        for (set, elements) in &come {
            batch.add_elements(table, &set.definition(), elements);
        }
        for chain in touched(true, false) {
            batch.flush_chain(table, &chain.name());
            batch.delete_chain(table, &chain.name());
        }
    }

    /// Encodes everything, for a table that has the fixed chains and empty sets.
    pub(crate) fn encode_all(&self, config: &Config, batch: &mut Batch) {
        let chains: BTreeSet<SharedChain> = self.chains.keys().copied().collect();
        for chain in chains {
            chain.add(config, batch);
        }
        let mut sets: BTreeMap<SetId, Vec<Element>> = BTreeMap::new();
        for (entry, claims) in &self.claims {
            if let Some(value) = claims.values().next() {
                sets.entry(entry.set).or_default().push(element(entry, value));
            }
        }
        for (set, elements) in &sets {
            batch.add_elements(&config.table, &set.definition(), elements);
        }
    }
}

fn element(entry: &Entry, value: &Value) -> Element {
    Element { key: entry.key.clone(), end: entry.end.clone(), value: value.clone(), timeout: None }
}

#[cfg(test)]
mod tests;
