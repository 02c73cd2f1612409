//! Nobody grants what he does not have: writes of roles and bindings are held to the writer's own rules, to the verb
//! `escalate` on roles and the verb `bind` on the role that is bound.
//!
//! Upstream: `pkg/registry/rbac/*/policybased` and `pkg/registry/rbac/escalation_check.go`. There the check wraps the
//! storage; here it is the first of the validating admission plugins, so it sees what mutating plugins made.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef};
use apimachinery::{ApiError, Gvr, field::go_quote};
use futures::future::{BoxFuture, FutureExt as _};
use registry::{
    AnyObject, Info, UserInfo, Verb,
    admission::{Admission, AdmissionRequest, Operation},
    auth::{Attributes, Authorizer},
};

use super::{Rbac, rules};

const GROUP: &str = "rbac.authorization.k8s.io";

/// The admission plugin. Cannot be turned off, as upstream's check cannot.
pub struct EscalationCheck {
    rbac: Arc<Rbac>,
    authorizer: Arc<dyn Authorizer>,
}

impl EscalationCheck {
    /// `rbac` says which rules users have, `authorizer` whether they may escalate or bind all the same.
    pub fn new(rbac: Arc<Rbac>, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { rbac, authorizer }
    }

    async fn check(&self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        // The API server's own writes, and those of whoever can do anything.
        if request.cx.user.in_group(UserInfo::MASTERS_GROUP) || only_lets_go(request) {
            return Ok(());
        }
        self.rbac.catch_up().await;
        if let Some(role) = request.object::<ClusterRole>() {
            if self.may_escalate(request).await {
                return Ok(());
            }
            let aggregates = |role: &ClusterRole| role.aggregation_rule.is_some();
            if aggregates(role) || request.old_object::<ClusterRole>().is_some_and(aggregates) {
                let everything = [crate::bootstrap::parse_rule("* | * | *"), crate::bootstrap::parse_rule("* | *")];
                if self.missing(request, &everything).is_some() {
                    let why = "must have cluster-admin privileges to use the aggregationRule";
                    return Err(forbidden(request, why.to_owned()));
                }
            }
            return self.confirm(request, role.rules.as_deref().unwrap_or_default());
        }
        if let Some(role) = request.object::<Role>() {
            if self.may_escalate(request).await {
                return Ok(());
            }
            return self.confirm(request, role.rules.as_deref().unwrap_or_default());
        }
        let reference = match (request.object::<ClusterRoleBinding>(), request.object::<RoleBinding>()) {
            (Some(binding), _) => &binding.role_ref,
            (_, Some(binding)) => &binding.role_ref,
            (None, None) => return Ok(()),
        };
        if self.may_bind(request, reference).await {
            return Ok(());
        }
        let plural = if reference.kind == "ClusterRole" { "clusterroles" } else { "roles" };
        let Some(rules) = self.rbac.rules_of(reference, request.namespace) else {
            return Err(ApiError::not_found(&Gvr::new(GROUP, "v1", plural), &reference.name));
        };
        self.confirm(request, &rules)
    }

    async fn may_escalate(&self, request: &AdmissionRequest<'_>) -> bool {
        // As upstream: the name in the URL, which a create has none of.
        let name = if request.cx.verb == Verb::Create { "" } else { request.cx.name.as_str() };
        self.asks(request, "escalate", request.info.plural, name).await
    }

    async fn may_bind(&self, request: &AdmissionRequest<'_>, role: &RoleRef) -> bool {
        let plural = match role.kind.as_str() {
            "ClusterRole" => "clusterroles",
            "Role" => "roles",
            _ => return false,
        };
        self.asks(request, "bind", plural, &role.name).await
    }

    async fn asks(&self, request: &AdmissionRequest<'_>, verb: &str, resource: &str, name: &str) -> bool {
        let attributes = Attributes {
            user: Arc::clone(&request.cx.user),
            verb: verb.to_owned(),
            namespace: request.namespace.to_owned(),
            api_group: GROUP.to_owned(),
            api_version: "*".to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            is_resource_request: true,
            ..Attributes::default()
        };
        self.authorizer.authorize(&attributes).await.is_allowed()
    }

    fn confirm(&self, request: &AdmissionRequest<'_>, wanted: &[PolicyRule]) -> Result<(), ApiError> {
        match self.missing(request, wanted) {
            None => Ok(()),
            Some(why) => Err(forbidden(request, why)),
        }
    }

    /// What the user would grant without having it, in upstream's words.
    fn missing(&self, request: &AdmissionRequest<'_>, wanted: &[PolicyRule]) -> Option<String> {
        let user = &request.cx.user;
        let grants = self.rbac.grants(user, request.namespace);
        let owned: Vec<&PolicyRule> = grants.iter().flat_map(|rules| rules.iter()).collect();
        let missing = rules::not_covered(&owned, wanted);
        if missing.is_empty() {
            return None;
        }
        let descriptions: BTreeSet<String> = compact(missing).iter().map(describe).collect();
        let descriptions: Vec<String> = descriptions.into_iter().collect();
        Some(format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            go_quote(&user.name),
            quoted(&user.groups),
            descriptions.join("\n")
        ))
    }
}

impl Admission for EscalationCheck {
    fn name(&self) -> &'static str {
        "RBACEscalationCheck"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        info.group == GROUP && subresource.is_empty() && matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        self.check(request).boxed()
    }
}

fn forbidden(request: &AdmissionRequest<'_>, why: String) -> ApiError {
    let name = request.object.as_deref().and_then(|object| object.metadata().name.clone()).unwrap_or_default();
    ApiError::forbidden(&Gvr::new(GROUP, "v1", request.info.plural), &name, why)
}

/// Whether an update changes only what garbage collection changes: it could not be kept from going away otherwise.
fn only_lets_go(request: &AdmissionRequest<'_>) -> bool {
    let (Some(new), Some(old)) = (request.object.as_deref(), request.old_object) else { return false };
    let mut new: Box<dyn AnyObject> = new.clone_box();
    let (meta, before) = (new.metadata_mut(), old.metadata());
    meta.owner_references.clone_from(&before.owner_references);
    meta.finalizers.clone_from(&before.finalizers);
    meta.managed_fields.clone_from(&before.managed_fields);
    meta.self_link.clone_from(&before.self_link);
    meta.resource_version.clone_from(&before.resource_version);
    new.equals(old)
}

/// API groups, resources and names of a rule.
type Scope = (Vec<String>, Vec<String>, Vec<String>);

/// Rules that differ only in their verbs, as one.
fn compact(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut simple: BTreeMap<Scope, PolicyRule> = BTreeMap::new();
    let mut compacted = Vec::new();
    for rule in rules {
        let list = |values: &Option<Vec<String>>| values.clone().unwrap_or_default();
        let key = (list(&rule.api_groups), list(&rule.resources), list(&rule.resource_names));
        if !list(&rule.non_resource_urls).is_empty() {
            compacted.push(rule);
        } else if let Some(known) = simple.get_mut(&key) {
            known.verbs.extend(rule.verbs);
        } else {
            simple.insert(key, rule);
        }
    }
    compacted.extend(simple.into_values());
    compacted
}

/// Go's `%q` of a list.
fn quoted(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| go_quote(value)).collect();
    format!("[{}]", values.join(" "))
}

/// Upstream: `rbacv1helpers.CompactString`.
fn describe(rule: &PolicyRule) -> String {
    let none = Vec::new();
    let parts = [
        ("APIGroups", rule.api_groups.as_ref().unwrap_or(&none)),
        ("Resources", rule.resources.as_ref().unwrap_or(&none)),
        ("NonResourceURLs", rule.non_resource_urls.as_ref().unwrap_or(&none)),
        ("ResourceNames", rule.resource_names.as_ref().unwrap_or(&none)),
        ("Verbs", &rule.verbs),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(name, values)| format!("{name}:{}", quoted(values)))
        .collect();
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use registry::{Nothing, Reader, RequestCx};

    use super::*;
    use crate::bootstrap::parse_rule;

    const INFO: Info = Info::cluster(GROUP, "v1", "ClusterRole", "clusterroles");
    const BINDING: Info = Info::namespaced(GROUP, "v1", "RoleBinding", "rolebindings");

    /// `owned` are the rules of the user ada; the answer is the error's text.
    async fn attempt(owned: &[&str], info: &Info, object: &mut dyn AnyObject, old: Option<&dyn AnyObject>) -> String {
        let rbac = Arc::new(Rbac::new());
        let role = |rules: &[&str]| ClusterRole {
            rules: Some(rules.iter().map(|rule| parse_rule(rule)).collect()),
            ..ClusterRole::default()
        };
        rbac.set_cluster_role("hers", Some(role(owned)));
        rbac.set_cluster_role("target", Some(role(&["get list | core | secrets"])));
        let binding = r#"{"metadata":{"name":"b"},"subjects":[{"kind":"User","name":"ada"}],
            "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"hers"}}"#;
        rbac.set_cluster_role_binding("b", Some(serde_json::from_str(binding).unwrap()));
        let reader = Reader::new(Arc::new(Nothing));
        let user = Arc::new(UserInfo::new("ada", ["dev"]));
        let cx = RequestCx::new(user, Verb::Create, jiff::Timestamp::UNIX_EPOCH, reader);
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let request = AdmissionRequest {
            namespace: if info.is_namespaced() { "ns" } else { "" },
            name: "x",
            object: Some(object),
            old_object: old,
            ..AdmissionRequest::new(&cx, info, operation)
        };
        let plugin = EscalationCheck::new(rbac.clone(), rbac);
        match plugin.validate(&request).await {
            Ok(()) => "allowed".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn cluster_role(rules: &[&str]) -> ClusterRole {
        let mut role =
            ClusterRole { rules: Some(rules.iter().map(|rule| parse_rule(rule)).collect()), ..<_>::default() };
        role.metadata.name = Some("x".into());
        role
    }

    #[tokio::test]
    async fn roles() {
        let wanted = &["get list delete | core | secrets", "get | /metrics"];
        let text = attempt(&["get | core | secrets"], &INFO, &mut cluster_role(wanted), None).await;
        expect![[r#"
            clusterroles.rbac.authorization.k8s.io "x" is forbidden: user "ada" (groups=["dev"]) is attempting to grant RBAC permissions not currently held:
            {APIGroups:[""], Resources:["secrets"], Verbs:["list" "delete"]}
            {NonResourceURLs:["/metrics"], Verbs:["get"]}"#]]
        .assert_eq(&text);
        let all = &["get list delete | core | *", "* | *"];
        assert_eq!(attempt(all, &INFO, &mut cluster_role(wanted), None).await, "allowed");
        let escalate = &["escalate | rbac.authorization.k8s.io | clusterroles"];
        assert_eq!(attempt(escalate, &INFO, &mut cluster_role(wanted), None).await, "allowed");
        assert!(
            attempt(&["escalate | apps | clusterroles"], &INFO, &mut cluster_role(wanted), None).await.contains("held")
        );
    }

    #[tokio::test]
    async fn aggregation_needs_everything() {
        let mut role = cluster_role(&[]);
        role.aggregation_rule = Some(api::rbac::v1::AggregationRule::default());
        let text = attempt(&["* | core | *"], &INFO, &mut role, None).await;
        assert!(text.contains("must have cluster-admin privileges"), "{text}");
        let (mut plain, old) = (cluster_role(&[]), role.clone());
        assert!(attempt(&["* | core | *"], &INFO, &mut plain, Some(&old)).await.contains("cluster-admin"));
        assert_eq!(attempt(&["* | * | *", "* | *"], &INFO, &mut role, None).await, "allowed");
    }

    #[tokio::test]
    async fn finalizers_may_go() {
        let mut old = cluster_role(&["* | * | *"]);
        old.metadata.finalizers = Some(vec!["a".into()]);
        let mut new = old.clone();
        new.metadata.finalizers = None;
        assert_eq!(attempt(&[], &INFO, &mut new, Some(&old)).await, "allowed");
        new.rules = Some(vec![parse_rule("get | core | pods")]);
        assert!(attempt(&[], &INFO, &mut new, Some(&old)).await.contains("not currently held"));
    }

    #[tokio::test]
    async fn bindings() {
        let binding = |name: &str| -> RoleBinding {
            let text = format!(
                r#"{{"metadata":{{"name":"x","namespace":"ns"}},"subjects":[{{"kind":"User","name":"eve"}}],
                "roleRef":{{"apiGroup":"{GROUP}","kind":"ClusterRole","name":"{name}"}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        assert!(
            attempt(&["get | core | secrets"], &BINDING, &mut binding("target"), None)
                .await
                .contains("Verbs:[\"list\"]")
        );
        assert_eq!(attempt(&["get list | core | secrets"], &BINDING, &mut binding("target"), None).await, "allowed");
        let bind = &["bind | rbac.authorization.k8s.io | clusterroles | target"];
        assert_eq!(attempt(bind, &BINDING, &mut binding("target"), None).await, "allowed");
        assert_eq!(
            attempt(&["* | core | *"], &BINDING, &mut binding("none"), None).await,
            "clusterroles.rbac.authorization.k8s.io \"none\" not found"
        );
        let other = &["bind | rbac.authorization.k8s.io | clusterroles | other"];
        assert!(attempt(other, &BINDING, &mut binding("target"), None).await.contains("not currently held"));
    }
}
