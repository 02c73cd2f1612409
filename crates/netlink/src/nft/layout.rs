//! Installing a whole arrangement of chains and sets at once, over whatever an earlier process left in the table.
//!
//! One transaction: packets see the old rules or the new ones, never none. Connections are not touched by it, since
//! an established one no longer asks the rules. Several owners may share a table, each knows its objects by name.

use super::{BaseChain, Batch, Expr, Listed, ListedSet, Set, SetValue, Table, Type, list};
use crate::socket::{Error, Socket};

/// A chain and its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub name: String,
    pub base: Option<BaseChain>,
    pub rules: Vec<Vec<Expr>>,
}

/// What one owner has in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub table: Table,
    pub sets: Vec<Set>,
    /// Chains come after the ones they lead to.
    pub chains: Vec<Chain>,
}

impl Layout {
    /// Replaces everything in the table that `owns` names. Sets that `keep` names are left with their elements when
    /// their definition is the same. `fill` adds elements to the same transaction.
    pub async fn replace(
        &self,
        socket: &mut Socket,
        owns: impl Fn(&str) -> bool,
        keep: impl Fn(&str) -> bool,
        fill: impl FnOnce(&mut Batch),
    ) -> Result<(), Error> {
        let listed = list(socket, &self.table).await?;
        let mut batch = Batch::new();
        batch.add_table(&self.table);
        let kept = |old: &ListedSet| keep(&old.name) && self.sets.iter().any(|set| old.is(set));
        clear(&mut batch, &self.table, &listed, owns, kept);
        for set in &self.sets {
            batch.add_set(&self.table, set);
        }
        for chain in &self.chains {
            batch.add_chain(&self.table, &chain.name, chain.base);
            for rule in &chain.rules {
                batch.add_rule(&self.table, &chain.name, rule);
            }
        }
        fill(&mut batch);
        batch.send(socket).await
    }
}

/// Removes everything in the table that `owns` names, and the table itself when nothing is left in it.
pub async fn remove(socket: &mut Socket, table: &Table, owns: impl Fn(&str) -> bool) -> Result<(), Error> {
    let listed = list(socket, table).await?;
    let mut batch = Batch::new();
    // Also makes it certain that there is a table to delete.
    batch.add_table(table);
    let names = listed.chains.iter().chain(listed.sets.iter().map(|set| &set.name));
    if names.into_iter().all(|name| owns(name)) {
        batch.delete_table(table);
    } else {
        clear(&mut batch, table, &listed, owns, |_| false);
    }
    batch.send(socket).await
}

fn clear(
    batch: &mut Batch,
    table: &Table,
    listed: &Listed,
    owns: impl Fn(&str) -> bool,
    kept: impl Fn(&ListedSet) -> bool,
) {
    let chains: Vec<&String> = listed.chains.iter().filter(|name| owns(name)).collect();
    let sets: Vec<&ListedSet> = listed.sets.iter().filter(|set| owns(&set.name) && !kept(set)).collect();
    // References first: rules name chains and sets, verdict maps name chains.
    for chain in &chains {
        batch.flush_chain(table, chain);
    }
    for set in &sets {
        batch.flush_set(table, &set.name);
    }
    for set in &sets {
        batch.delete_set(table, &set.name);
    }
    for chain in &chains {
        batch.delete_chain(table, chain);
    }
}

impl ListedSet {
    /// Whether the kernel's set is what `set` would make.
    fn is(&self, set: &Set) -> bool {
        let data_length = match &set.value {
            SetValue::None => 0,
            SetValue::Verdict => 16,
            SetValue::Data(types) => Type::total(types),
        };
        self.name == set.name
            && self.flags == super::batch::set_flags(set)
            && self.key_length == Type::total(&set.key)
            && self.data_length == data_length
    }
}
