//! The proxy's chains. Pure.
//!
//! Fixed ones are hooked in; chosen ones say how a front is answered, are named after that, and are shared by every
//! Service of the same shape.

mod base;
mod choice;

pub(crate) use base::{DROP, REJECT, layout, owns};
pub(crate) use choice::{Choice, Masquerade, Pool, Route};
