//! Kinds of the `apiregistration.k8s.io` group.

mod api_service;

pub use api_service::{APIServices, AVAILABLE, local_condition, set_condition};
