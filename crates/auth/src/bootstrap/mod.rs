//! The roles and bindings that every cluster starts with, and how they are kept up.
//!
//! Upstream: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy` and `pkg/registry/rbac/reconciliation`. As there,
//! reconciling only adds: what an administrator added to a default role stays, and objects annotated
//! `rbac.authorization.kubernetes.io/autoupdate: "false"` are left alone.

mod controllers;
mod ensure;
mod roles;

use api::{
    LabelSelector, ObjectMeta,
    rbac::v1::{AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject},
};

pub use ensure::ensure;

use crate::authz::not_covered;

const GROUP: &str = "rbac.authorization.k8s.io";
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// One row of the tables: name, aggregation labels it carries, rules.
struct RoleRow {
    name: &'static str,
    labels: &'static [(&'static str, &'static str)],
    rules: &'static [&'static str],
}

/// Everything a cluster starts with.
#[derive(Default)]
pub struct Policy {
    /// ClusterRoles.
    pub cluster_roles: Vec<ClusterRole>,
    /// ClusterRoleBindings.
    pub cluster_role_bindings: Vec<ClusterRoleBinding>,
    /// Roles of system namespaces.
    pub roles: Vec<Role>,
    /// RoleBindings of system namespaces.
    pub role_bindings: Vec<RoleBinding>,
}

/// The default policy.
pub fn policy() -> Policy {
    let mut policy = Policy::default();
    for row in roles::ROLES.iter().chain(controllers::ROLES) {
        policy.cluster_roles.push(ClusterRole {
            metadata: metadata("", row.name, row.labels),
            rules: Some(row.rules.iter().map(|rule| parse_rule(rule)).collect()),
            aggregation_rule: None,
        });
    }
    for (name, label) in roles::AGGREGATED {
        policy.cluster_roles.push(aggregated(name, label, &policy.cluster_roles));
    }
    for (role, subjects) in roles::BINDINGS {
        policy.cluster_role_bindings.push(cluster_binding(role, subjects.iter().map(|subject| parse_subject(subject))));
    }
    for row in controllers::ROLES {
        let account = row.name.trim_start_matches("system:controller:");
        let subject = parse_subject(&format!("ServiceAccount kube-system/{account}"));
        policy.cluster_role_bindings.push(cluster_binding(row.name, std::iter::once(subject)));
    }
    for (namespace, name, rules) in roles::NAMESPACED_ROLES {
        policy.roles.push(Role {
            metadata: metadata(namespace, name, &[]),
            rules: Some(rules.iter().map(|rule| parse_rule(rule)).collect()),
        });
    }
    for (namespace, name, role, subjects) in roles::NAMESPACED_BINDINGS {
        policy.role_bindings.push(RoleBinding {
            metadata: metadata(namespace, name, &[]),
            role_ref: RoleRef { api_group: Some(GROUP.to_owned()), kind: "Role".to_owned(), name: (*role).to_owned() },
            subjects: Some(subjects.iter().map(|subject| parse_subject(subject)).collect()),
        });
    }
    policy
}

/// A role whose rules are those of all roles with a label. They are filled in from the start, so that it means
/// something before the aggregating controller runs.
fn aggregated(name: &str, label: &str, roles: &[ClusterRole]) -> ClusterRole {
    let own = match name {
        "edit" => vec![("rbac.authorization.k8s.io/aggregate-to-admin", "true")],
        "view" => vec![("rbac.authorization.k8s.io/aggregate-to-edit", "true")],
        _ => Vec::new(),
    };
    let labels_of = |role: &ClusterRole| role.metadata.labels.clone().unwrap_or_default();
    let mut wanted = vec![label];
    // admin contains edit, and edit contains view.
    match name {
        "admin" => wanted
            .extend(["rbac.authorization.k8s.io/aggregate-to-edit", "rbac.authorization.k8s.io/aggregate-to-view"]),
        "edit" => wanted.push("rbac.authorization.k8s.io/aggregate-to-view"),
        _ => {}
    }
    let rules = roles
        .iter()
        .filter(|role| wanted.iter().any(|label| labels_of(role).contains_key(*label)))
        .flat_map(|role| role.rules.clone().unwrap_or_default())
        .collect();
    let selector =
        LabelSelector { match_labels: Some([(label.to_owned(), "true".to_owned())].into()), ..Default::default() };
    ClusterRole {
        metadata: metadata("", name, &own),
        rules: Some(rules),
        aggregation_rule: Some(AggregationRule { cluster_role_selectors: Some(vec![selector]) }),
    }
}

fn cluster_binding(role: &str, subjects: impl Iterator<Item = Subject>) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: metadata("", role, &[]),
        role_ref: RoleRef { api_group: Some(GROUP.to_owned()), kind: "ClusterRole".to_owned(), name: role.to_owned() },
        subjects: Some(subjects.collect()),
    }
}

fn metadata(namespace: &str, name: &str, labels: &[(&str, &str)]) -> ObjectMeta {
    let own = [("kubernetes.io/bootstrapping", "rbac-defaults")];
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        labels: Some(own.iter().chain(labels).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
        annotations: Some([(AUTO_UPDATE.to_owned(), "true".to_owned())].into()),
        ..ObjectMeta::default()
    }
}

/// A rule of the tables: `verbs | groups | resources [| names]`, or `verbs | /urls`; `core` is the core group.
pub(crate) fn parse_rule(text: &str) -> PolicyRule {
    let mut columns = text.split('|').map(|column| column.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let verbs = columns.next().unwrap_or_default();
    let second = columns.next().unwrap_or_default();
    match columns.next() {
        None => PolicyRule { verbs, non_resource_urls: Some(second), ..PolicyRule::default() },
        Some(resources) => PolicyRule {
            verbs,
            api_groups: Some(
                second.into_iter().map(|group| if group == "core" { String::new() } else { group }).collect(),
            ),
            resources: Some(resources),
            resource_names: columns.next(),
            non_resource_urls: None,
        },
    }
}

/// A subject of the tables: `User name`, `Group name` or `ServiceAccount namespace/name`.
fn parse_subject(text: &str) -> Subject {
    let (kind, name) = text.split_once(' ').unwrap_or(("Group", text));
    match (kind, name.split_once('/')) {
        ("ServiceAccount", Some((namespace, name))) => Subject {
            kind: kind.to_owned(),
            name: name.to_owned(),
            namespace: Some(namespace.to_owned()),
            api_group: None,
        },
        _ => {
            Subject { kind: kind.to_owned(), name: name.to_owned(), namespace: None, api_group: Some(GROUP.to_owned()) }
        }
    }
}

/// What a stored ClusterRole has to become, or `None` where it is as it should be.
pub fn reconcile_cluster_role(stored: &ClusterRole, wanted: &ClusterRole) -> Option<ClusterRole> {
    if is_left_alone(&stored.metadata) {
        return None;
    }
    let mut result = stored.clone();
    if wanted.aggregation_rule.is_none() {
        let have = stored.rules.clone().unwrap_or_default();
        let missing = not_covered(&have.iter().collect::<Vec<_>>(), wanted.rules.as_deref().unwrap_or_default());
        result.rules.get_or_insert_default().extend(missing);
    } else {
        result.aggregation_rule.clone_from(&wanted.aggregation_rule);
    }
    add_missing(&mut result.metadata, &wanted.metadata);
    (result != *stored).then_some(result)
}

/// What a stored Role has to become, or `None` where it is as it should be.
pub fn reconcile_role(stored: &Role, wanted: &Role) -> Option<Role> {
    if is_left_alone(&stored.metadata) {
        return None;
    }
    let mut result = stored.clone();
    let have = stored.rules.clone().unwrap_or_default();
    let missing = not_covered(&have.iter().collect::<Vec<_>>(), wanted.rules.as_deref().unwrap_or_default());
    result.rules.get_or_insert_default().extend(missing);
    add_missing(&mut result.metadata, &wanted.metadata);
    (result != *stored).then_some(result)
}

/// What the subjects of a stored binding have to become, or `None` where none is missing.
pub fn reconcile_subjects(
    metadata: &ObjectMeta,
    stored: Option<&Vec<Subject>>,
    wanted: Option<&Vec<Subject>>,
) -> Option<Vec<Subject>> {
    let stored = stored.cloned().unwrap_or_default();
    let missing: Vec<_> = wanted.into_iter().flatten().filter(|subject| !stored.contains(subject)).cloned().collect();
    if is_left_alone(metadata) || missing.is_empty() {
        return None;
    }
    Some(stored.into_iter().chain(missing).collect())
}

fn is_left_alone(metadata: &ObjectMeta) -> bool {
    metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(AUTO_UPDATE))
        .is_some_and(|value| value == "false")
}

fn add_missing(metadata: &mut ObjectMeta, wanted: &ObjectMeta) {
    for (key, value) in wanted.labels.iter().flatten() {
        metadata.labels.get_or_insert_default().entry(key.clone()).or_insert_with(|| value.clone());
    }
    for (key, value) in wanted.annotations.iter().flatten() {
        metadata.annotations.get_or_insert_default().entry(key.clone()).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_bindings_point_to_roles() {
        let policy = policy();
        let names: Vec<_> = policy.cluster_roles.iter().map(|role| role.metadata.name.clone().unwrap()).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        for binding in &policy.cluster_role_bindings {
            assert!(names.contains(&binding.role_ref.name), "{}", binding.role_ref.name);
        }
        for role in &policy.cluster_roles {
            for rule in role.rules.iter().flatten() {
                assert!(!rule.verbs.is_empty(), "{:?}", role.metadata.name);
                assert!(
                    rule.non_resource_urls
                        .as_ref()
                        .is_none_or(|urls| urls.iter().all(|url| url == "*" || url.starts_with('/')))
                );
            }
        }
    }

    #[test]
    fn reconciling_adds_what_is_missing_and_keeps_what_was_added() {
        let wanted = ClusterRole { rules: Some(vec![parse_rule("get list | core | pods")]), ..Default::default() };
        let stored = ClusterRole { rules: Some(vec![parse_rule("get | core | pods secrets")]), ..Default::default() };
        let result = reconcile_cluster_role(&stored, &wanted).unwrap();
        assert_eq!(result.rules.unwrap(), [parse_rule("get | core | pods secrets"), parse_rule("list | core | pods")]);
        assert_eq!(reconcile_cluster_role(&wanted, &wanted), None);
        let mut alone = stored;
        alone.metadata.annotations = Some([(AUTO_UPDATE.to_owned(), "false".to_owned())].into());
        assert_eq!(reconcile_cluster_role(&alone, &wanted), None);
    }

    #[test]
    fn admin_contains_edit_contains_view() {
        let policy = policy();
        let rules = |name: &str| {
            let role = policy.cluster_roles.iter().find(|role| role.metadata.name.as_deref() == Some(name)).unwrap();
            role.rules.clone().unwrap()
        };
        let (admin, edit, view) = (rules("admin"), rules("edit"), rules("view"));
        assert!(not_covered(&admin.iter().collect::<Vec<_>>(), &edit).is_empty());
        assert!(not_covered(&edit.iter().collect::<Vec<_>>(), &view).is_empty());
        assert!(!not_covered(&view.iter().collect::<Vec<_>>(), &edit).is_empty());
    }
}
