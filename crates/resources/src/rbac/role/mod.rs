//! Roles for the registry. Upstream: `pkg/registry/rbac/role`.

use apimachinery::field::ErrorList;
use k8s_openapi::api::rbac::v1::Role;
use registry::{Info, NameRule, RequestCx, Strategy};

use super::{GROUP, rule};
use crate::optional::Items;

pub struct Roles;

impl Strategy for Roles {
    type Object = Role;

    const INFO: Info = Info::namespaced(GROUP, "v1", "Role", "roles");
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const ALLOW_CREATE_ON_UPDATE: bool = true;

    fn validate(&self, _cx: &RequestCx, role: &Role) -> ErrorList {
        rule::validate_all(role.rules.items(), true)
    }
}
