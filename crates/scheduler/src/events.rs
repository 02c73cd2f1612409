//! What happened in the cluster that can make a waiting pod fit. Upstream: `framework.ClusterEvent`.

/// A set of kinds of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Events(u16);

impl Events {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const NODE_ADDED: Self = Self(1);
    pub(crate) const NODE_ALLOCATABLE: Self = Self(1 << 1);
    pub(crate) const NODE_LABELS: Self = Self(1 << 2);
    pub(crate) const NODE_TAINTS: Self = Self(1 << 3);
    /// A pod left a node.
    pub(crate) const POD_GONE: Self = Self(1 << 4);
    /// The waiting pod itself changed.
    pub(crate) const OWN_UPDATE: Self = Self(1 << 5);

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}
