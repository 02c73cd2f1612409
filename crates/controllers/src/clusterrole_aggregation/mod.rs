//! Fills the rules of cluster roles that are made of others. Upstream: `pkg/controller/clusterroleaggregation`.

use std::sync::Arc;

use api::rbac::v1::{ClusterRole, PolicyRule};
use apimachinery::{ObjectKey, Selector};
use informer::{Cache, Controller, Next, Reconcile, ReconcileError};
use kube::{Api, Client, api::PostParams};

use crate::{Context, Entry, Rule, Watch};

pub(crate) const ENTRY: Entry = Entry {
    name: "clusterrole-aggregation-controller",
    service_account: "clusterrole-aggregation-controller",
    watches: &[Watch::of("rbac.authorization.k8s.io", "clusterroles")],
    rules: &[Rule::of("rbac.authorization.k8s.io", "clusterroles", &["escalate", "get", "update"])],
    start,
};

struct Aggregation {
    client: Client,
    roles: Cache<ClusterRole>,
}

fn start(context: Context) {
    let roles = context.caches.of::<ClusterRole>();
    let reconciler = Aggregation { client: context.client, roles: roles.clone() };
    Controller::new(ENTRY.name, reconciler)
        .workers(1)
        .watch_for(&roles.clone(), move |_, keys| {
            let made = roles.list().into_iter().filter(|role| role.aggregation_rule.is_some());
            keys.extend(made.map(|role| informer::Object::key(&*role)));
        })
        .start(&context.supervisor);
}

impl Reconcile for Aggregation {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(role) = self.roles.get(key) else { return Ok(Next::Await) };
        if let Some(updated) = plan(&role, &self.roles.list()) {
            Api::<ClusterRole>::all(self.client.clone()).replace(&key.name, &PostParams::default(), &updated).await?;
        }
        Ok(Next::Await)
    }
}

/// The role with the rules of those it is made of, each once; `None` if it has them.
fn plan(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<ClusterRole> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_deref().unwrap_or_default();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        // Validation allows none that cannot be read; one that can not selects nothing.
        let Ok(selector) = Selector::from_label_selector(Some(selector)) else { continue };
        for other in all.iter().filter(|other| other.metadata.name != role.metadata.name) {
            if selector.matches(other.metadata.labels.as_ref().unwrap_or(&Default::default())) {
                for rule in other.rules.iter().flatten() {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
        }
    }
    (role.rules.as_deref().unwrap_or_default() != rules).then(|| ClusterRole { rules: Some(rules), ..role.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn role(name: &str, label: bool, verbs: &[&str], made: bool) -> Arc<ClusterRole> {
        let rules: Vec<_> =
            verbs.iter().map(|verb| json!({"verbs": [verb], "resources": ["pods"], "apiGroups": [""]})).collect();
        let labels = if label { json!({"to-admin": "true"}) } else { json!({}) };
        let rule = made.then(|| json!({"clusterRoleSelectors": [{"matchLabels": {"to-admin": "true"}}]}));
        let value = json!({"metadata": {"name": name, "labels": labels}, "rules": rules, "aggregationRule": rule});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn rules_are_collected_once_and_follow() {
        let verbs =
            |role: &ClusterRole| -> Vec<_> { role.rules.iter().flatten().map(|rule| rule.verbs[0].clone()).collect() };
        let all = [
            role("admin", false, &["old"], true),
            role("a", true, &["get", "list"], false),
            role("b", true, &["get"], false),
            role("c", false, &["delete"], false),
        ];
        let updated = plan(&all[0], &all).unwrap();
        assert_eq!(verbs(&updated), ["get", "list"]);
        assert!(plan(&updated, &all).is_none());
        assert!(plan(&all[1], &all).is_none(), "only roles that are made of others are touched");
    }
}
