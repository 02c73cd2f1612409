//! What is known about a controller before it runs, and the start of those that were chosen.

use std::sync::Arc;

use informer::{Caches, Recorder};
use supervisor::Supervisor;
use tracing::{info, warn};

use crate::{CONTROLLERS, ClientFactory, Context, Options};

/// A resource that a controller watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural name; `*` for every resource that discovery knows.
    pub resource: &'static str,
}

/// A right that a controller needs for its writes. What it watches, it must also be able to list and watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural name, with the subresource after a slash.
    pub resource: &'static str,
    /// The only object; empty for all.
    pub name: &'static str,
    /// Verbs.
    pub verbs: &'static [&'static str],
}

/// One controller.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The name by which it is chosen; upstream's `--controllers` names.
    pub name: &'static str,
    /// The service account in `kube-system` whose rights it has; upstream's names.
    pub service_account: &'static str,
    /// What it watches.
    pub watches: &'static [Watch],
    /// What it writes.
    pub rules: &'static [Rule],
    /// Starts its tasks and returns.
    pub start: fn(Context),
}

/// Starts the chosen controllers; their tasks end with the supervisor. The caches' client must be allowed to list and
/// watch what they watch; each controller writes through a client of its own.
pub fn run(clients: &ClientFactory, caches: &Caches, supervisor: &Supervisor, options: Options) {
    let options = Arc::new(options);
    for name in &options.names {
        let name = name.strip_prefix('-').unwrap_or(name);
        if name != "*" && !CONTROLLERS.iter().any(|entry| entry.name == name) {
            warn!(name, "there is no such controller");
        }
    }
    for entry in CONTROLLERS {
        if !is_chosen(entry.name, &options.names) {
            info!(name = entry.name, "controller is switched off");
            continue;
        }
        let client = clients(entry.service_account);
        let recorder = Recorder::new(client.clone(), entry.service_account, "", supervisor);
        (entry.start)(Context {
            caches: caches.clone(),
            client,
            recorder,
            supervisor: supervisor.clone(),
            options: options.clone(),
        });
    }
}

/// Whether a controller runs. Upstream: `IsControllerEnabled`; the name itself wins over `*`.
fn is_chosen(name: &str, names: &[String]) -> bool {
    for wanted in names {
        if wanted == name {
            return true;
        }
        if wanted.strip_prefix('-') == Some(name) {
            return false;
        }
    }
    names.iter().any(|wanted| wanted == "*")
}

impl Watch {
    /// Of a resource in a group.
    pub const fn of(group: &'static str, resource: &'static str) -> Self {
        Self { group, resource }
    }
}

impl Rule {
    /// Of a resource in a group.
    pub const fn of(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Self {
        Self::named(group, resource, "", verbs)
    }

    /// Of one object of a resource in a group.
    pub const fn named(
        group: &'static str,
        resource: &'static str,
        name: &'static str,
        verbs: &'static [&'static str],
    ) -> Self {
        Self { group, resource, name, verbs }
    }

    /// Every controller may record events.
    pub const EVENTS: Self = Self::of("", "events", &["create", "patch", "update"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_choosable() {
        let mut names: Vec<_> = CONTROLLERS.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CONTROLLERS.len());
        let chosen = |name, names: &[&str]| is_chosen(name, &names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(chosen("a", &["*"]));
        assert!(!chosen("a", &["*", "-a"]));
        assert!(chosen("a", &["a"]));
        assert!(!chosen("b", &["a"]));
    }

    #[test]
    fn every_controller_says_what_it_watches() {
        for entry in CONTROLLERS {
            assert!(!entry.watches.is_empty(), "{}", entry.name);
        }
    }
}
