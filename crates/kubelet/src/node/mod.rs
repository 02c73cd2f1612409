//! The node's own object: registration, status, lease. Upstream: pkg/kubelet/kubelet_node_status.go,
//! component-helpers/apimachinery/lease.

mod conditions;
mod facts;
mod lease;
mod status;

pub(crate) use facts::MachineFacts;
pub(crate) use lease::keep_lease;
pub(crate) use status::keep_status;

/// How often the node looks at itself.
pub(crate) const INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);
