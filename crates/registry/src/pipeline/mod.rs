//! The pipeline itself: every request to a resource goes through here.

/// All registered kinds and what serves them.
pub struct Registry {}
