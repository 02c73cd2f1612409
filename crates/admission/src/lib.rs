//! Admission plugins: what may be written beyond what a kind's own rules say, and what is filled in on the way.
//!
//! One file a plugin, named as upstream's (`plugin/pkg/admission`). [`plugins`] is the list in the order in which
//! they run. They see the cluster through the request's snapshot reader and keep no state of their own.

mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
pub mod pod_security;
mod priority;
mod runtime_class;
mod service_account;
mod storage_object_in_use_protection;
mod taint_nodes_by_condition;
pub mod webhook;

use std::sync::Arc;

use registry::admission::Admission;

/// The plugins that are on unless switched off, in upstream's order
/// (`pkg/kubeapiserver/options.AllOrderedPlugins`).
pub fn plugins() -> Vec<Arc<dyn Admission>> {
    vec![
        Arc::new(namespace_lifecycle::NamespaceLifecycle),
        Arc::new(limit_ranger::LimitRanger),
        Arc::new(service_account::ServiceAccount),
        Arc::new(node_restriction::NodeRestriction),
        Arc::new(taint_nodes_by_condition::TaintNodesByCondition),
        Arc::new(pod_security::PodSecurity::default()),
        Arc::new(priority::Priority),
        Arc::new(default_toleration_seconds::DefaultTolerationSeconds),
        Arc::new(storage_object_in_use_protection::StorageObjectInUseProtection),
        Arc::new(runtime_class::RuntimeClass),
        Arc::new(default_ingress_class::DefaultIngressClass),
        Arc::new(default_storage_class::DefaultStorageClass),
    ]
}

/// The resource as errors name it.
fn gvr(info: &registry::Info) -> apimachinery::Gvr {
    apimachinery::Gvr::new(info.group, info.version, info.plural)
}

#[cfg(test)]
mod testing;
