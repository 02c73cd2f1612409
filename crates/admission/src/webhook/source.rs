//! All webhooks of one kind of configuration, in the order in which they are asked: configurations by name, webhooks as
//! they are written. Upstream: `configuration.NewMutatingWebhookConfigurationManager` and its sibling.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwapOption;
use registry::auth::Authorizer;
use store::{Resource, Revision};

use super::hook::Hook;

pub(crate) struct Source {
    resource: Resource,
    /// `admit` or `validate`.
    step: &'static str,
    authorizer: Arc<dyn Authorizer>,
    known: ArcSwapOption<Known>,
}

struct Known {
    changed: Revision,
    hooks: Arc<[Arc<Hook>]>,
    /// By name of the configuration and its revision: what has not changed is not compiled again.
    configurations: HashMap<String, (Revision, Vec<Arc<Hook>>)>,
}

impl Source {
    pub(crate) fn new(resource: Resource, step: &'static str, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { resource, step, authorizer, known: ArcSwapOption::empty() }
    }

    /// As they are stored now.
    pub(crate) fn hooks(&self) -> Arc<[Arc<Hook>]> {
        let changed = self.resource.changed();
        let known = self.known.load();
        match known.as_deref() {
            Some(known) if known.changed == changed => Arc::clone(&known.hooks),
            before => self.read(before),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hooks().is_empty()
    }

    /// Two requests at once may both read; they read the same.
    fn read(&self, before: Option<&Known>) -> Arc<[Arc<Hook>]> {
        // Read before the snapshot, so that what changes in between is read again.
        let changed = self.resource.changed();
        let mut configurations = HashMap::new();
        let mut all = Vec::new();
        for entry in self.resource.snapshot().iter() {
            let (name, revision) = (entry.key().name(), entry.mod_revision());
            let hooks = match before.and_then(|before| before.configurations.get(name)) {
                Some((known, hooks)) if *known == revision => hooks.clone(),
                _ => parse(name, entry.bytes(), self.step, &self.authorizer),
            };
            all.extend(hooks.iter().cloned());
            configurations.insert(name.to_owned(), (revision, hooks));
        }
        let hooks: Arc<[Arc<Hook>]> = all.into();
        self.known.store(Some(Arc::new(Known { changed, hooks: Arc::clone(&hooks), configurations })));
        hooks
    }
}

fn parse(configuration: &str, json: &[u8], step: &'static str, authorizer: &Arc<dyn Authorizer>) -> Vec<Arc<Hook>> {
    let value: serde_json::Value = match serde_json::from_slice(json) {
        Ok(value) => value,
        Err(error) => {
            tracing::error!(configuration, %error, "stored webhook configuration does not decode");
            return Vec::new();
        }
    };
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let webhooks = value["webhooks"].as_array().into_iter().flatten();
    webhooks
        .map(|webhook| {
            let name = webhook["name"].as_str().unwrap_or_default();
            let index = seen.entry(name).or_default();
            let id = format!("{configuration}/{name}/{index}");
            *index += 1;
            Arc::new(Hook::parse(configuration, id, webhook, step, authorizer))
        })
        .collect()
}
