//! Kinds of the `resource.k8s.io` group.

mod device_class;
mod devices;
mod resource_claim;
mod resource_claim_template;
mod resource_slice;

pub use device_class::DeviceClasses;
pub use resource_claim::ResourceClaims;
pub use resource_claim_template::ResourceClaimTemplates;
pub use resource_slice::ResourceSlices;
