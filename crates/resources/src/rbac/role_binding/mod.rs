//! Role bindings for the registry. Upstream: `pkg/registry/rbac/rolebinding`.

use apimachinery::field::ErrorList;
use k8s_openapi::api::rbac::v1::RoleBinding;
use registry::{Column, Info, NameRule, RequestCx, Strategy};
use serde_json::json;

use super::{GROUP, binding};
use crate::optional::Items;

type C = Column<RoleBinding>;

pub struct RoleBindings;

impl Strategy for RoleBindings {
    type Object = RoleBinding;

    const INFO: Info = Info::namespaced(GROUP, "v1", "RoleBinding", "rolebindings");
    const COLUMNS: &'static [Column<RoleBinding>] = COLUMNS;
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const ALLOW_CREATE_ON_UPDATE: bool = true;

    fn set_defaults(&self, binding: &mut RoleBinding) {
        binding::set_defaults(&mut binding.role_ref, binding.subjects.items_mut());
    }

    fn validate(&self, _cx: &RequestCx, binding: &RoleBinding) -> ErrorList {
        binding::validate(&binding.role_ref, binding.subjects.items(), true)
    }

    fn validate_update(&self, cx: &RequestCx, new: &RoleBinding, old: &RoleBinding) -> ErrorList {
        let mut errors = self.validate(cx, new);
        binding::validate_change(&new.role_ref, &old.role_ref, &mut errors);
        errors
    }
}

static COLUMNS: &[Column<RoleBinding>] = &[
    Column::NAME,
    C::string("Role", |o, _| json!(binding::role(&o.role_ref))).describe("RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error."),
    Column::AGE,
    C::string("Users", |o, _| json!(binding::subjects(o.subjects.items(), "User"))).wide().describe("Users in the roleBinding"),
    C::string("Groups", |o, _| json!(binding::subjects(o.subjects.items(), "Group"))).wide().describe("Groups in the roleBinding"),
    C::string("ServiceAccounts", |o, _| json!(binding::subjects(o.subjects.items(), "ServiceAccount"))).wide().describe("ServiceAccounts in the roleBinding"),
];
