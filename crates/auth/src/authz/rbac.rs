//! Role-based access control over an index of roles and bindings that single changes update.
//!
//! Nothing here proportional to the number of bindings: a request costs the bindings of its own user and groups.
//! Upstream: `plugin/pkg/auth/authorizer/rbac` and `pkg/registry/rbac/validation`.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
    sync::{Arc, OnceLock},
};

use api::{
    authorization::v1::{NonResourceRule, ResourceRule},
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use futures::future::{BoxFuture, FutureExt as _};
use parking_lot::RwLock;
use registry::{
    UserInfo,
    auth::{Attributes, Authorizer, Decision, Rules},
};

use super::rules;
use crate::follow::Freshness;

/// Namespace and name; the namespace is empty for the cluster's own.
type Key = (String, String);

/// The authorizer `RBAC`.
#[derive(Default)]
pub struct Rbac {
    index: RwLock<Index>,
    freshness: OnceLock<Freshness>,
}

#[derive(Default)]
struct Index {
    roles: HashMap<Key, Arc<Vec<PolicyRule>>>,
    bindings: HashMap<Key, Arc<Binding>>,
    /// Which bindings name a subject.
    by_subject: HashMap<SubjectKey, HashSet<Key>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum SubjectKey {
    User(String),
    Group(String),
}

struct Binding {
    subjects: Vec<(SubjectKey, String)>,
    role: RoleRef,
}

impl Rbac {
    /// An index without any rules: nobody may do anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// A ClusterRole as it is now; `None`: it is gone.
    pub fn set_cluster_role(&self, name: &str, role: Option<ClusterRole>) {
        self.set_role(("".to_owned(), name.to_owned()), role.map(|role| role.rules.unwrap_or_default()));
    }

    /// A Role as it is now; `None`: it is gone.
    pub fn set_namespaced_role(&self, namespace: &str, name: &str, role: Option<Role>) {
        self.set_role((namespace.to_owned(), name.to_owned()), role.map(|role| role.rules.unwrap_or_default()));
    }

    /// A ClusterRoleBinding as it is now; `None`: it is gone.
    pub fn set_cluster_role_binding(&self, name: &str, binding: Option<ClusterRoleBinding>) {
        let binding = binding.map(|binding| (binding.subjects.unwrap_or_default(), binding.role_ref));
        self.set_binding(("".to_owned(), name.to_owned()), binding);
    }

    /// A RoleBinding as it is now; `None`: it is gone.
    pub fn set_role_binding(&self, namespace: &str, name: &str, binding: Option<RoleBinding>) {
        let binding = binding.map(|binding| (binding.subjects.unwrap_or_default(), binding.role_ref));
        self.set_binding((namespace.to_owned(), name.to_owned()), binding);
    }

    /// Whose changes are to be waited for before anything is decided.
    pub(crate) fn set_freshness(&self, freshness: Freshness) {
        // Followed once.
        self.freshness.set(freshness).ok();
    }

    /// Returns once everything that is stored now counts: what was granted holds at once, and what was revoked no
    /// longer does. Costs a few loads where nothing has changed.
    pub(crate) async fn catch_up(&self) {
        if let Some(freshness) = self.freshness.get() {
            freshness.catch_up().await;
        }
    }

    fn set_role(&self, key: Key, rules: Option<Vec<PolicyRule>>) {
        let mut index = self.index.write();
        match rules {
            Some(rules) => index.roles.insert(key, Arc::new(rules)),
            None => index.roles.remove(&key),
        };
    }

    fn set_binding(&self, key: Key, binding: Option<(Vec<Subject>, RoleRef)>) {
        let mut index = self.index.write();
        if let Some(old) = index.bindings.remove(&key) {
            for (subject, _) in &old.subjects {
                if let Some(keys) = index.by_subject.get_mut(subject) {
                    keys.remove(&key);
                    if keys.is_empty() {
                        index.by_subject.remove(subject);
                    }
                }
            }
        }
        let Some((subjects, role)) = binding else { return };
        let subjects: Vec<_> = subjects.iter().filter_map(|subject| subject_key(subject, &key.0)).collect();
        for (subject, _) in &subjects {
            index.by_subject.entry(subject.clone()).or_default().insert(key.clone());
        }
        index.bindings.insert(key, Arc::new(Binding { subjects, role }));
    }

    /// The rules of a user in a namespace (empty: only the cluster's own), those of the whole cluster first.
    pub(crate) fn grants(&self, user: &UserInfo, namespace: &str) -> Vec<Arc<Vec<PolicyRule>>> {
        let mut grants = Vec::new();
        self.index.read().each(user, namespace, |binding| {
            grants.push(Arc::clone(binding.rules));
            ControlFlow::Continue(())
        });
        grants
    }

    /// Roles that the user's bindings name and that are not there, as upstream says it.
    fn missing(&self, user: &UserInfo, namespace: &str) -> Vec<String> {
        let index = self.index.read();
        let groups = user.groups.iter().cloned().map(SubjectKey::Group);
        let keys: HashSet<&Key> = std::iter::once(SubjectKey::User(user.name.clone()))
            .chain(groups)
            .filter_map(|subject| index.by_subject.get(&subject))
            .flatten()
            .filter(|key| key.0.is_empty() || key.0 == namespace)
            .collect();
        let roles = keys.into_iter().filter_map(|key| Some((key, &index.bindings.get(key)?.role)));
        let missing = roles.filter(|(key, role)| !index.roles.contains_key(&role_key(role, &key.0)));
        let mut missing: Vec<String> = missing
            .map(|(_, role)| {
                let name = apimachinery::field::go_quote(&role.name);
                format!("{}.rbac.authorization.k8s.io {name} not found", role.kind.to_lowercase())
            })
            .collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// The rules that a reference in a binding of `namespace` (empty: of the cluster) stands for; `None`: there is no
    /// such role.
    pub(crate) fn rules_of(&self, role: &RoleRef, namespace: &str) -> Option<Arc<Vec<PolicyRule>>> {
        self.index.read().roles.get(&role_key(role, namespace)).cloned()
    }

    fn decide(&self, attributes: &Attributes) -> Decision {
        let mut decision = Decision::NoOpinion { reason: String::new() };
        self.index.read().each(&attributes.user, &attributes.namespace, |binding| {
            if !binding.rules.iter().any(|rule| rules::allows(rule, attributes)) {
                return ControlFlow::Continue(());
            }
            // In words only now: most bindings that are looked at are not the one.
            decision = Decision::Allow { reason: format!("RBAC: allowed by {}", binding.source()) };
            ControlFlow::Break(())
        });
        decision
    }
}

/// A binding that names a user or one of the user's groups, and the rules of its role.
struct Bound<'a> {
    key: &'a Key,
    subject: &'a SubjectKey,
    binding: &'a Binding,
    rules: &'a Arc<Vec<PolicyRule>>,
}

impl Index {
    /// Tells of all that is bound to a user in a namespace (empty: only in the cluster), that of the whole cluster
    /// first.
    fn each(&self, user: &UserInfo, namespace: &str, mut tell: impl FnMut(Bound<'_>) -> ControlFlow<()>) {
        let user_key = SubjectKey::User(user.name.clone());
        let subjects: Vec<SubjectKey> =
            std::iter::once(user_key).chain(user.groups.iter().cloned().map(SubjectKey::Group)).collect();
        let scopes: &[&str] = if namespace.is_empty() { &[""] } else { &["", namespace] };
        for scope in scopes {
            for subject in &subjects {
                for key in self.by_subject.get(subject).into_iter().flatten().filter(|key| key.0 == *scope) {
                    let Some(binding) = self.bindings.get(key) else { continue };
                    let Some(rules) = self.roles.get(&role_key(&binding.role, &key.0)) else { continue };
                    if tell(Bound { key, subject, binding, rules }).is_break() {
                        return;
                    }
                }
            }
        }
    }
}

impl Bound<'_> {
    /// Where the rules come from, as upstream says it.
    fn source(&self) -> String {
        let Self { key, subject, binding, .. } = self;
        let described =
            binding.subjects.iter().find(|(candidate, _)| candidate == *subject).map(|(_, text)| text.as_str());
        let (kind, name) = if key.0.is_empty() {
            ("ClusterRoleBinding", apimachinery::field::go_quote(&key.1))
        } else {
            ("RoleBinding", apimachinery::field::go_quote(&format!("{}/{}", key.1, key.0)))
        };
        format!(
            "{kind} {name} of {} {} to {}",
            binding.role.kind,
            apimachinery::field::go_quote(&binding.role.name),
            described.unwrap_or_default()
        )
    }
}

fn role_key(role: &RoleRef, namespace: &str) -> Key {
    let namespace = if role.kind == "ClusterRole" { "" } else { namespace };
    (namespace.to_owned(), role.name.clone())
}

/// Service accounts are users of a fixed name; in a RoleBinding they default to its namespace.
fn subject_key(subject: &Subject, namespace: &str) -> Option<(SubjectKey, String)> {
    let quoted = apimachinery::field::go_quote(&subject.name);
    match subject.kind.as_str() {
        "User" => Some((SubjectKey::User(subject.name.clone()), format!("User {quoted}"))),
        "Group" => Some((SubjectKey::Group(subject.name.clone()), format!("Group {quoted}"))),
        "ServiceAccount" => {
            let namespace = subject.namespace.as_deref().filter(|text| !text.is_empty()).unwrap_or(namespace);
            (!namespace.is_empty()).then(|| {
                let text = format!(
                    "ServiceAccount {}",
                    apimachinery::field::go_quote(&format!("{}/{namespace}", subject.name))
                );
                (SubjectKey::User(crate::service_account::user_name(namespace, &subject.name)), text)
            })
        }
        _ => None,
    }
}

impl Authorizer for Rbac {
    fn authorize<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Decision> {
        async move {
            self.catch_up().await;
            self.decide(attributes)
        }
        .boxed()
    }

    fn rules_for<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> BoxFuture<'a, Rules> {
        async move {
            self.catch_up().await;
            let mut result = Rules::default();
            for rule in self.grants(user, namespace).iter().flat_map(|rules| rules.iter()) {
                if rule.resources.as_ref().is_some_and(|resources| !resources.is_empty()) {
                    result.resource.push(ResourceRule {
                        verbs: rule.verbs.clone(),
                        api_groups: rule.api_groups.clone(),
                        resources: rule.resources.clone(),
                        resource_names: rule.resource_names.clone(),
                    });
                }
                if rule.non_resource_urls.as_ref().is_some_and(|urls| !urls.is_empty()) {
                    result.non_resource.push(NonResourceRule {
                        verbs: rule.verbs.clone(),
                        non_resource_urls: rule.non_resource_urls.clone(),
                    });
                }
            }
            result.evaluation_error = super::aggregate(self.missing(user, namespace));
            result
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &str, resources: &str) -> PolicyRule {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        PolicyRule {
            verbs: words(verbs),
            api_groups: Some(vec![String::new()]),
            resources: Some(words(resources)),
            ..PolicyRule::default()
        }
    }

    fn role_ref(kind: &str, name: &str) -> RoleRef {
        RoleRef { api_group: Some("rbac.authorization.k8s.io".into()), kind: kind.into(), name: name.into() }
    }

    fn subject(kind: &str, name: &str) -> Subject {
        Subject { kind: kind.into(), name: name.into(), ..Subject::default() }
    }

    fn ask(rbac: &Rbac, user: &str, verb: &str, namespace: &str, resource: &str) -> Decision {
        rbac.decide(&Attributes {
            user: Arc::new(UserInfo::new(user, ["system:authenticated"])),
            verb: verb.into(),
            namespace: namespace.into(),
            resource: resource.into(),
            is_resource_request: true,
            ..Attributes::default()
        })
    }

    #[test]
    fn a_binding_in_a_namespace_holds_only_there_and_only_as_long_as_it_exists() {
        let rbac = Rbac::new();
        rbac.set_cluster_role(
            "view",
            Some(ClusterRole { rules: Some(vec![rule("get", "pods")]), ..Default::default() }),
        );
        let binding = RoleBinding {
            subjects: Some(vec![subject("User", "ada"), subject("ServiceAccount", "bot")]),
            role_ref: role_ref("ClusterRole", "view"),
            ..Default::default()
        };
        rbac.set_role_binding("a", "b", Some(binding));
        assert_eq!(
            ask(&rbac, "ada", "get", "a", "pods"),
            Decision::Allow {
                reason: r#"RBAC: allowed by RoleBinding "b/a" of ClusterRole "view" to User "ada""#.into()
            }
        );
        assert!(ask(&rbac, "system:serviceaccount:a:bot", "get", "a", "pods").is_allowed());
        assert!(!ask(&rbac, "ada", "get", "other", "pods").is_allowed());
        assert!(!ask(&rbac, "ada", "get", "", "pods").is_allowed());
        assert!(!ask(&rbac, "ada", "list", "a", "pods").is_allowed());
        assert!(!ask(&rbac, "eve", "get", "a", "pods").is_allowed());
        rbac.set_role_binding("a", "b", None);
        assert!(!ask(&rbac, "ada", "get", "a", "pods").is_allowed());
        assert!(rbac.index.read().by_subject.is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_binding_changes_with_its_role() {
        let rbac = Rbac::new();
        let binding = ClusterRoleBinding {
            subjects: Some(vec![subject("Group", "system:authenticated")]),
            role_ref: role_ref("ClusterRole", "r"),
            ..Default::default()
        };
        rbac.set_cluster_role_binding("b", Some(binding));
        assert!(!ask(&rbac, "x", "get", "", "nodes").is_allowed(), "the role is not there yet");
        rbac.set_cluster_role("r", Some(ClusterRole { rules: Some(vec![rule("*", "nodes")]), ..Default::default() }));
        assert!(ask(&rbac, "x", "delete", "", "nodes").is_allowed());
        assert!(!ask(&rbac, "x", "get", "", "pods").is_allowed());
    }
}
