//! What many kinds share beside validation: quantities, differences, addresses, controllers, printing of labels.
//!
//! Knows no kind.

pub(crate) mod addresses;
pub(crate) mod diff;
pub(crate) mod print;
pub(crate) mod quantity;
