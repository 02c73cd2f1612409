//! The kinds of the API: one folder a kind, with its strategy, defaults, validation and table columns.
//!
//! Pure over the object and the request: no I/O, no clock. Upstream counterpart: `pkg/registry/<group>/<kind>`,
//! `pkg/apis/<group>` and `pkg/printers/internalversion`.

mod check;
#[cfg(test)]
mod completeness;
mod expressions;
mod meta;
mod optional;

pub mod admissionregistration;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod events;
pub mod flowcontrol;
pub mod networking;
pub mod node;
pub mod policy;
pub mod rbac;
#[cfg(test)]
mod resets;
pub mod resource;
pub mod scheduling;
pub mod storage;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use registry::Resource;

/// What differs between clusters.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the addresses of Services come from, the default family first.
    pub service_ranges: Vec<IpNet>,
}

impl Default for Options {
    fn default() -> Self {
        Self { service_ranges: vec![IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(10, 43, 0, 0)), 16)] }
    }
}

/// Every kind that is stored, in the order of discovery, in the version in which it is stored.
pub fn all(options: &Options) -> Vec<Arc<dyn Resource>> {
    vec![
        Arc::new(core::ComponentStatuses),
        Arc::new(core::ConfigMaps),
        Arc::new(core::Endpoints),
        Arc::new(core::Events),
        Arc::new(core::LimitRanges),
        Arc::new(core::Namespaces),
        Arc::new(core::Nodes),
        Arc::new(core::PersistentVolumeClaims),
        Arc::new(core::PersistentVolumes),
        Arc::new(core::Pods),
        Arc::new(core::PodTemplates),
        Arc::new(core::ReplicationControllers),
        Arc::new(core::ResourceQuotas),
        Arc::new(core::Secrets),
        Arc::new(core::ServiceAccounts),
        Arc::new(core::Services::new(options.service_ranges.clone())),
        Arc::new(apiregistration::APIServices),
        Arc::new(apps::ControllerRevisions),
        Arc::new(apps::DaemonSets),
        Arc::new(apps::Deployments),
        Arc::new(apps::ReplicaSets),
        Arc::new(apps::StatefulSets),
        Arc::new(autoscaling::HorizontalPodAutoscalers),
        Arc::new(batch::CronJobs),
        Arc::new(batch::Jobs),
        Arc::new(certificates::CertificateSigningRequests),
        Arc::new(networking::IngressClasses),
        Arc::new(networking::Ingresses),
        Arc::new(networking::IPAddresses),
        Arc::new(networking::NetworkPolicies),
        Arc::new(networking::ServiceCIDRs),
        Arc::new(policy::PodDisruptionBudgets),
        Arc::new(rbac::ClusterRoleBindings),
        Arc::new(rbac::ClusterRoles),
        Arc::new(rbac::RoleBindings),
        Arc::new(rbac::Roles),
        Arc::new(storage::CSIDrivers),
        Arc::new(storage::CSINodes),
        Arc::new(storage::CSIStorageCapacities),
        Arc::new(storage::StorageClasses),
        Arc::new(storage::VolumeAttachments),
        Arc::new(storage::VolumeAttributesClasses),
        Arc::new(admissionregistration::MutatingAdmissionPolicies),
        Arc::new(admissionregistration::MutatingAdmissionPolicyBindings),
        Arc::new(admissionregistration::MutatingWebhookConfigurations),
        Arc::new(admissionregistration::ValidatingAdmissionPolicies),
        Arc::new(admissionregistration::ValidatingAdmissionPolicyBindings),
        Arc::new(admissionregistration::ValidatingWebhookConfigurations),
        Arc::new(apiextensions::CustomResourceDefinitions),
        Arc::new(scheduling::PriorityClasses),
        Arc::new(coordination::Leases),
        Arc::new(node::RuntimeClasses),
        Arc::new(discovery::EndpointSlices),
        Arc::new(flowcontrol::FlowSchemas),
        Arc::new(flowcontrol::PriorityLevelConfigurations),
        Arc::new(resource::DeviceClasses),
        Arc::new(resource::ResourceClaims),
        Arc::new(resource::ResourceClaimTemplates),
        Arc::new(resource::ResourceSlices),
    ]
}
