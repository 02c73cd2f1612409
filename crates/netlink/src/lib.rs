//! Netlink of our own: sockets, links and addresses, nf_tables, connection tracking, network namespaces.
//!
//! Everything here encodes bytes the kernel documents in its `uapi` headers and reads back what it answers; nothing
//! here decides anything. It knows no pod, no Service and no cluster. A socket belongs to the network namespace it
//! was opened in, so one thread can work in many namespaces without ever entering them.
//!
//! Upstream counterparts: `github.com/vishvananda/netlink` and `sigs.k8s.io/knftables` (which runs the `nft` program).
//!
//! Invariants: no polling (a socket waits on the reactor); a batch is one transaction, applied whole or not at all;
//! an error names the operation that failed.

pub mod conntrack;
pub mod link;
pub mod namespace;
pub mod nft;
pub mod socket;
pub mod wire;

pub use namespace::Namespace;
pub use socket::{Error, Monitor, Protocol, Socket, Topic};
