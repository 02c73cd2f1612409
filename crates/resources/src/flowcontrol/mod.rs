//! Kinds of the `flowcontrol.apiserver.k8s.io` group.

mod flow_schema;
mod priority_level_configuration;

pub use flow_schema::FlowSchemas;
pub use priority_level_configuration::PriorityLevelConfigurations;
