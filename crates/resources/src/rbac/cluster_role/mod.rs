//! Cluster roles for the registry. Upstream: `pkg/registry/rbac/clusterrole`.

use apimachinery::field::ErrorList;
use k8s_openapi::api::rbac::v1::ClusterRole;
use registry::{Info, NameRule, RequestCx, Strategy};

use super::{GROUP, rule};
use crate::optional::Items;

pub struct ClusterRoles;

impl Strategy for ClusterRoles {
    type Object = ClusterRole;

    const INFO: Info = Info::cluster(GROUP, "v1", "ClusterRole", "clusterroles");
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const ALLOW_CREATE_ON_UPDATE: bool = true;

    fn validate(&self, _cx: &RequestCx, role: &ClusterRole) -> ErrorList {
        rule::validate_all(role.rules.items(), false)
    }
}
