//! The policies that are bound, as they are stored now. Upstream: `generic.policySource`.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwapOption;
use serde_json::Value;
use store::{Resource, Revision};

use super::definition::{Binding, Policy, Rules};

/// A policy with what binds it.
pub(crate) struct Hook<R> {
    pub(crate) policy: Arc<Policy<R>>,
    pub(crate) bindings: Vec<Arc<Binding>>,
}

pub(crate) struct Source<R> {
    policies: Resource,
    bindings: Resource,
    known: ArcSwapOption<Known<R>>,
}

/// By name, with the revision they were read at.
type Read<T> = HashMap<String, (Revision, Arc<T>)>;

struct Known<R> {
    changed: (Revision, Revision),
    hooks: Arc<[Hook<R>]>,
    policies: Read<Policy<R>>,
    bindings: Read<Binding>,
}

impl<R: Rules> Source<R> {
    pub(crate) fn new(policies: Resource, bindings: Resource) -> Self {
        Self { policies, bindings, known: ArcSwapOption::empty() }
    }

    pub(crate) fn hooks(&self) -> Arc<[Hook<R>]> {
        let changed = self.changed();
        let known = self.known.load();
        match known.as_deref() {
            Some(known) if known.changed == changed => Arc::clone(&known.hooks),
            before => self.read(before),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hooks().is_empty()
    }

    fn changed(&self) -> (Revision, Revision) {
        (self.policies.changed(), self.bindings.changed())
    }

    /// Two requests at once may both read; they read the same.
    fn read(&self, before: Option<&Known<R>>) -> Arc<[Hook<R>]> {
        // Read before the snapshots, so that what changes in between is read again.
        let changed = self.changed();
        let bindings = renew(&self.bindings, before.map(|known| &known.bindings), |_| true, Binding::parse);
        let bound = |name: &str| bindings.values().any(|(_, binding)| binding.policy == name);
        let policies = renew(&self.policies, before.map(|known| &known.policies), bound, Policy::parse);
        let mut names: Vec<&String> = policies.keys().collect();
        names.sort_unstable();
        let hooks = names.into_iter().map(|name| {
            let mut bindings: Vec<Arc<Binding>> = bindings
                .values()
                .filter(|(_, binding)| binding.policy == *name)
                .map(|(_, binding)| Arc::clone(binding))
                .collect();
            bindings.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            Hook { policy: Arc::clone(&policies[name].1), bindings }
        });
        let hooks: Arc<[Hook<R>]> = hooks.collect();
        self.known.store(Some(Arc::new(Known { changed, hooks: Arc::clone(&hooks), policies, bindings })));
        hooks
    }
}

/// What is stored and wanted; what has not changed is not compiled again.
fn renew<T>(
    resource: &Resource,
    before: Option<&Read<T>>,
    wanted: impl Fn(&str) -> bool,
    parse: fn(&str, &Value) -> T,
) -> Read<T> {
    let mut read = HashMap::new();
    for entry in resource.snapshot().iter() {
        let (name, revision) = (entry.key().name(), entry.mod_revision());
        if !wanted(name) {
            continue;
        }
        let item = match before.and_then(|before| before.get(name)) {
            Some((known, item)) if *known == revision => Arc::clone(item),
            _ => match serde_json::from_slice::<Value>(entry.bytes()) {
                Ok(value) => Arc::new(parse(name, &value)),
                Err(error) => {
                    tracing::error!(name, %error, "stored admission policy does not decode");
                    continue;
                }
            },
        };
        read.insert(name.to_owned(), (revision, item));
    }
    read
}
