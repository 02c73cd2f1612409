//! Ranges of costs and sizes, which do not overflow.

use super::scaled;

/// At least and at most. Of sizes as well as of costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CostRange {
    pub min: u64,
    pub max: u64,
}

impl CostRange {
    pub(crate) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    pub const fn new(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    pub const fn fixed(value: u64) -> Self {
        Self { min: value, max: value }
    }

    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    #[must_use]
    pub(crate) fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    #[must_use]
    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self { min: scaled(self.min, factor), max: scaled(self.max, factor) }
    }

    #[must_use]
    pub(crate) fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}
