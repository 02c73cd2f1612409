//! Kinds of the `discovery.k8s.io` group.

mod endpoint_slice;

pub use endpoint_slice::EndpointSlices;
