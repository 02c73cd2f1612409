//! Kinds of the `rbac.authorization.k8s.io` group.

mod binding;
mod cluster_role;
mod cluster_role_binding;
mod role;
mod role_binding;
mod rule;

pub use cluster_role::ClusterRoles;
pub use cluster_role_binding::ClusterRoleBindings;
pub use role::Roles;
pub use role_binding::RoleBindings;

const GROUP: &str = "rbac.authorization.k8s.io";
