//! The kinds that many crates read and write, compiled here once.
//!
//! A generic function is compiled in the crate that asks for it, and again in every other that cannot see that copy:
//! crates above reuse what a crate below them has, crates beside each other do not. What serde makes of the large kinds
//! would be in the program up to eight times.

use apimachinery::json;
use serde::{Serialize, de::DeserializeOwned};

/// Where the code of one kind is: read, write, copy, drop.
pub type Code = [*const (); 4];

fn code<T: DeserializeOwned + Serialize + Clone>() -> Code {
    [
        json::from_bytes::<T> as fn(&[u8]) -> Result<T, serde_json::Error> as *const (),
        serde_json::to_vec::<T> as fn(&T) -> Result<Vec<u8>, serde_json::Error> as *const (),
        T::clone as fn(&T) -> T as *const (),
        drop::<T> as fn(T) as *const (),
    ]
}

macro_rules! compiled_here {
    ($($kind:path,)*) => {
        /// The code of all kinds that are compiled here. Nobody has to call it: that it could be is enough.
        pub fn compiled_here() -> Vec<Code> {
            vec![$(code::<$kind>(),)*]
        }
    };
}

compiled_here![
    crate::admissionregistration::v1::MutatingWebhookConfiguration,
    crate::admissionregistration::v1::ValidatingAdmissionPolicy,
    crate::admissionregistration::v1::ValidatingAdmissionPolicyBinding,
    crate::admissionregistration::v1::ValidatingWebhookConfiguration,
    crate::apps::v1::ControllerRevision,
    crate::apps::v1::DaemonSet,
    crate::apps::v1::Deployment,
    crate::apps::v1::ReplicaSet,
    crate::apps::v1::StatefulSet,
    crate::authentication::v1::TokenReview,
    crate::authorization::v1::SubjectAccessReview,
    crate::batch::v1::CronJob,
    crate::batch::v1::Job,
    crate::certificates::v1::CertificateSigningRequest,
    crate::coordination::v1::Lease,
    crate::core::v1::ConfigMap,
    crate::core::v1::Endpoints,
    crate::core::v1::Event,
    crate::core::v1::LimitRange,
    crate::core::v1::Namespace,
    crate::core::v1::Node,
    crate::core::v1::PersistentVolume,
    crate::core::v1::PersistentVolumeClaim,
    crate::core::v1::Pod,
    crate::core::v1::ReplicationController,
    crate::core::v1::ResourceQuota,
    crate::core::v1::Secret,
    crate::core::v1::Service,
    crate::core::v1::ServiceAccount,
    crate::discovery::v1::EndpointSlice,
    crate::networking::v1::IPAddress,
    crate::networking::v1::Ingress,
    crate::networking::v1::IngressClass,
    crate::networking::v1::NetworkPolicy,
    crate::networking::v1::ServiceCIDR,
    crate::policy::v1::PodDisruptionBudget,
    crate::rbac::v1::ClusterRole,
    crate::rbac::v1::ClusterRoleBinding,
    crate::rbac::v1::Role,
    crate::rbac::v1::RoleBinding,
    crate::resource::v1::ResourceClaim,
    crate::resource::v1::ResourceSlice,
    crate::scheduling::v1::PriorityClass,
    crate::storage::v1::StorageClass,
    crate::storage::v1::VolumeAttachment,
];
