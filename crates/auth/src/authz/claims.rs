//! Who may say what in the status of a resource claim: what the claim is bound to, and how the devices of which driver
//! do. The right to write the status alone is not enough.
//!
//! Upstream: `pkg/registry/resource.AuthorizedForBinding` and `AuthorizedForDeviceStatus`, called by the claim's
//! strategy; here a validating admission plugin, as only those know the authorizer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api::resource::v1::{AllocatedDeviceStatus, ResourceClaim, ResourceClaimStatus};
use apimachinery::{
    ApiError,
    field::{Error, ErrorList, Path},
};
use futures::future::{BoxFuture, FutureExt as _};
use registry::{
    Info, UserInfo,
    admission::{Admission, AdmissionRequest, Operation},
    auth::{Attributes, Authorizer},
};

use crate::service_account::split_user_name;

const GROUP: &str = "resource.k8s.io";
const PLURAL: &str = "resourceclaims";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// The admission plugin. Cannot be turned off.
pub struct ClaimStatusCheck {
    authorizer: Arc<dyn Authorizer>,
}

impl ClaimStatusCheck {
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer }
    }

    async fn check(&self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        let (Some(new), Some(old)) = (request.object::<ResourceClaim>(), request.old_object::<ResourceClaim>()) else {
            return Ok(());
        };
        let nothing = ResourceClaimStatus::default();
        let (new, old) = (new.status.as_ref().unwrap_or(&nothing), old.status.as_ref().unwrap_or(&nothing));
        let (verb, path, mut errors) = (request.cx.verb.as_str(), Path::new("status"), ErrorList::new());
        let reserved = |status: &ResourceClaimStatus| status.reserved_for.clone().unwrap_or_default();
        if (new.allocation != old.allocation || reserved(new) != reserved(old))
            && let Err(why) = self.ask(request, verb.to_owned(), "binding", "", "").await
        {
            let what = "changing status.allocation or status.reservedFor";
            let detail = format!("{what} requires resource=\"{PLURAL}/binding\", verb=\"{verb}\" permission: {why}");
            errors.push(Error::forbidden(&path, detail));
        }
        let mut verbs = vec![format!("arbitrary-node:{verb}")];
        if is_on_node(&request.cx.user, node_of(new)) {
            verbs.insert(0, format!("associated-node:{verb}"));
        }
        for driver in changed_drivers(new, old) {
            if let Err(why) = self.ask_any(request, &verbs, driver).await {
                let (what, verbs) = ("changing status.devices", verbs.join(" "));
                let detail =
                    format!("{what} requires resource=\"{PLURAL}/driver\", verb=\"[{verbs}]\" permission: {why}");
                errors.push(Error::forbidden(&path, detail));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(GROUP, "ResourceClaim", request.name, &errors)) }
    }

    /// One of the verbs is enough; otherwise what was said to the first.
    async fn ask_any(&self, request: &AdmissionRequest<'_>, verbs: &[String], driver: &str) -> Result<(), ApiError> {
        let mut first = None;
        for verb in verbs {
            match self.ask(request, verb.clone(), "driver", request.namespace, driver).await {
                Ok(()) => return Ok(()),
                Err(why) => first = first.or(Some(why)),
            }
        }
        first.map_or(Ok(()), Err)
    }

    async fn ask(
        &self,
        request: &AdmissionRequest<'_>,
        verb: String,
        subresource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<(), ApiError> {
        let attributes = Attributes {
            user: Arc::clone(&request.cx.user),
            verb,
            namespace: namespace.to_owned(),
            api_group: GROUP.to_owned(),
            api_version: request.info.version.to_owned(),
            resource: PLURAL.to_owned(),
            subresource: subresource.to_owned(),
            name: name.to_owned(),
            is_resource_request: true,
            ..Attributes::default()
        };
        let decision = self.authorizer.authorize(&attributes).await;
        if decision.is_allowed() { Ok(()) } else { Err(attributes.forbidden(decision.reason())) }
    }
}

impl Admission for ClaimStatusCheck {
    fn name(&self) -> &'static str {
        "ResourceClaimStatusCheck"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        info.group == GROUP && info.plural == PLURAL && subresource == "status" && operation == Operation::Update
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        self.check(request).boxed()
    }
}

/// Drivers with devices that came, changed or went.
fn changed_drivers<'a>(new: &'a ResourceClaimStatus, old: &'a ResourceClaimStatus) -> BTreeSet<&'a str> {
    fn devices(status: &ResourceClaimStatus) -> BTreeMap<[&str; 4], &AllocatedDeviceStatus> {
        let devices = status.devices.iter().flatten();
        let keyed = devices.map(|device| {
            let share = device.share_id.as_deref().unwrap_or_default();
            ([device.driver.as_str(), device.pool.as_str(), device.device.as_str(), share], device)
        });
        keyed.collect()
    }
    let (new, old) = (devices(new), devices(old));
    let differs = |key: &&[&'a str; 4]| new.get(*key) != old.get(*key);
    new.keys().chain(old.keys()).filter(differs).map(|key| key[0]).collect()
}

/// The only node that the claim was allocated on, if it is one node's.
fn node_of(status: &ResourceClaimStatus) -> Option<&str> {
    let [term] = status.allocation.as_ref()?.node_selector.as_ref()?.node_selector_terms.as_slice() else {
        return None;
    };
    let [field] = term.match_fields.as_deref()? else { return None };
    let [name] = field.values.as_deref()? else { return None };
    let only_this = term.match_expressions.iter().flatten().next().is_none();
    (only_this && field.key == "metadata.name" && field.operator == "In").then_some(name)
}

/// Whether the user is a service account whose token is bound to this node.
fn is_on_node(user: &UserInfo, node: Option<&str>) -> bool {
    let Some(node) = node.filter(|_| split_user_name(&user.name).is_some()) else { return false };
    let own = user.extra.get(NODE_NAME).map(Vec::as_slice);
    matches!(own, Some([own]) if own == node) && apimachinery::names::is_dns1123_subdomain(node).is_empty()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use registry::{AnyObject, Nothing, Reader, RequestCx, Verb};
    use serde_json::{Value, json};

    use super::*;
    use crate::{Rbac, bootstrap::parse_rule};

    const INFO: Info = Info::namespaced(GROUP, "v1", "ResourceClaim", PLURAL);
    const DRIVER: &str = "system:serviceaccount:kube-system:driver";

    fn claim(status: &Value) -> ResourceClaim {
        serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "ns"}, "spec": {}, "status": status}))
            .unwrap()
    }

    /// `rules` are those of the driver, whose token is bound to the node `a`; the answer is the error's text.
    async fn attempt(rules: &[&str], old: &Value, new: &Value) -> String {
        let rbac = Arc::new(Rbac::new());
        let role = api::rbac::v1::ClusterRole {
            rules: Some(rules.iter().map(|rule| parse_rule(rule)).collect()),
            ..<_>::default()
        };
        rbac.set_cluster_role("its", Some(role));
        let binding = json!({"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": DRIVER}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "its"}});
        rbac.set_cluster_role_binding("b", Some(serde_json::from_value(binding).unwrap()));
        let mut user = UserInfo::new(DRIVER, ["system:authenticated"]);
        user.extra.insert(NODE_NAME.to_owned(), vec!["a".to_owned()]);
        let reader = Reader::new(Arc::new(Nothing));
        let cx = RequestCx::new(Arc::new(user), Verb::Patch, jiff::Timestamp::UNIX_EPOCH, reader);
        let (mut new, old) = (claim(new), claim(old));
        let request = AdmissionRequest {
            namespace: "ns",
            name: "c",
            object: Some(&mut new),
            old_object: Some(&old as &dyn AnyObject),
            subresource: "status",
            ..AdmissionRequest::new(&cx, &INFO, Operation::Update)
        };
        let check = ClaimStatusCheck::new(rbac);
        assert!(check.handles(&INFO, "status", Operation::Update) && !check.handles(&INFO, "", Operation::Update));
        check.validate(&request).await.map_or_else(|error| error.to_string(), |()| "allowed".to_owned())
    }

    fn allocated(node: &str, devices: &Value) -> Value {
        json!({"devices": devices, "allocation": {"nodeSelector": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}}})
    }

    #[tokio::test]
    async fn binding_is_a_right_of_its_own() {
        let (free, bound) = (json!({}), allocated("a", &json!([])));
        let text = attempt(&["patch | resource.k8s.io | resourceclaims/status"], &free, &bound).await;
        expect![[r#"ResourceClaim.resource.k8s.io "c" is invalid: status: Forbidden: changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="patch" permission: resourceclaims.resource.k8s.io is forbidden: User "system:serviceaccount:kube-system:driver" cannot patch resource "resourceclaims/binding" in API group "resource.k8s.io" at the cluster scope"#]].assert_eq(&text);
        assert_eq!(attempt(&["patch | resource.k8s.io | resourceclaims/binding"], &free, &bound).await, "allowed");
        assert_eq!(attempt(&[], &bound, &bound).await, "allowed", "nothing changes");
        let reserved = json!({"reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]});
        assert!(attempt(&[], &free, &reserved).await.contains("resourceclaims/binding"));
    }

    #[tokio::test]
    async fn devices_are_reported_by_their_driver_on_their_node() {
        let device = |driver: &str, data: i32| json!({"driver": driver, "pool": "p", "device": "d", "data": data});
        let (none, here) = (allocated("a", &json!([])), allocated("a", &json!([device("one", 1)])));
        let rule = "associated-node:patch | resource.k8s.io | resourceclaims/driver | one";
        assert_eq!(attempt(&[rule], &none, &here).await, "allowed");
        assert_eq!(attempt(&[rule], &here, &none).await, "allowed");
        assert_eq!(attempt(&[], &here, &here).await, "allowed", "nothing changes");
        // Changed, of another driver, of another node.
        let changed = allocated("a", &json!([device("one", 2)]));
        assert!(attempt(&[], &here, &changed).await.contains("verb=\"[associated-node:patch arbitrary-node:patch]\""));
        let other = allocated("a", &json!([device("one", 1), device("two", 1)]));
        let text = attempt(&[rule], &here, &other).await;
        assert!(
            text.contains("resourceclaims.resource.k8s.io \"two\" is forbidden") && !text.contains("\"one\""),
            "{text}"
        );
        let (none, there) = (allocated("b", &json!([])), allocated("b", &json!([device("one", 1)])));
        assert!(attempt(&[rule], &none, &there).await.contains("verb=\"[arbitrary-node:patch]\""));
        let any = "arbitrary-node:patch | resource.k8s.io | resourceclaims/driver | one";
        assert_eq!(attempt(&[any], &none, &there).await, "allowed");
    }
}
