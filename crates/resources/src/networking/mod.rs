//! Kinds of the `networking.k8s.io` group.

mod ingress;
mod ingress_class;
mod ip_address;
mod network_policy;
mod service_cidr;

pub use ingress::Ingresses;
pub use ingress_class::IngressClasses;
pub use ip_address::IPAddresses;
pub use network_policy::NetworkPolicies;
pub use service_cidr::ServiceCIDRs;
