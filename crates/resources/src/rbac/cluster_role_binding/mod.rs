//! Cluster role bindings for the registry. Upstream: `pkg/registry/rbac/clusterrolebinding`.

use apimachinery::field::ErrorList;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use registry::{Column, Info, NameRule, RequestCx, Strategy};
use serde_json::json;

use super::{GROUP, binding};
use crate::optional::Items;

type C = Column<ClusterRoleBinding>;

pub struct ClusterRoleBindings;

impl Strategy for ClusterRoleBindings {
    type Object = ClusterRoleBinding;

    const INFO: Info = Info::cluster(GROUP, "v1", "ClusterRoleBinding", "clusterrolebindings");
    const COLUMNS: &'static [Column<ClusterRoleBinding>] = COLUMNS;
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const ALLOW_CREATE_ON_UPDATE: bool = true;

    fn set_defaults(&self, binding: &mut ClusterRoleBinding) {
        binding::set_defaults(&mut binding.role_ref, binding.subjects.items_mut());
    }

    fn validate(&self, _cx: &RequestCx, binding: &ClusterRoleBinding) -> ErrorList {
        binding::validate(&binding.role_ref, binding.subjects.items(), false)
    }

    fn validate_update(&self, cx: &RequestCx, new: &ClusterRoleBinding, old: &ClusterRoleBinding) -> ErrorList {
        let mut errors = self.validate(cx, new);
        binding::validate_change(&new.role_ref, &old.role_ref, &mut errors);
        errors
    }
}

static COLUMNS: &[Column<ClusterRoleBinding>] = &[
    Column::NAME,
    C::string("Role", |o, _| json!(binding::role(&o.role_ref))).describe("RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error."),
    Column::AGE,
    C::string("Users", |o, _| json!(binding::subjects(o.subjects.items(), "User"))).wide().describe("Users in the clusterRoleBinding"),
    C::string("Groups", |o, _| json!(binding::subjects(o.subjects.items(), "Group"))).wide().describe("Groups in the clusterRoleBinding"),
    C::string("ServiceAccounts", |o, _| json!(binding::subjects(o.subjects.items(), "ServiceAccount"))).wide().describe("ServiceAccounts in the clusterRoleBinding"),
];
