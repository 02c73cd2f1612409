//! Kinds of the core group.

mod component_status;
mod config_map;
mod endpoints;
pub(crate) mod event;
mod limit_range;
mod namespace;
mod node;
pub(crate) mod persistent_volume;
pub mod persistent_volume_claim;
pub mod pod;
mod pod_template;
mod replication_controller;
mod resource_quota;
mod secret;
pub mod service;
mod service_account;
pub(crate) mod volume;

pub use component_status::ComponentStatuses;
pub use config_map::ConfigMaps;
pub use endpoints::Endpoints;
pub use event::Events;
pub use limit_range::LimitRanges;
pub use namespace::Namespaces;
pub use node::Nodes;
pub use persistent_volume::PersistentVolumes;
pub use persistent_volume_claim::PersistentVolumeClaims;
pub use pod::Pods;
pub use pod_template::PodTemplates;
pub use replication_controller::ReplicationControllers;
pub use resource_quota::ResourceQuotas;
pub use secret::Secrets;
pub use service::Services;
pub use service_account::ServiceAccounts;
