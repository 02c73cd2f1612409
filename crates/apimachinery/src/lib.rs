//! What all objects of the API have in common, without I/O, clock or knowledge of any kind.
//!
//! Upstream counterpart: `staging/src/k8s.io/apimachinery`. Everything that parses here parses text from
//! outside, so every parser returns an error with upstream's words and none panics.

pub mod field;
pub mod fields;
pub mod json;
pub mod key;
pub mod labels;
pub mod names;
pub mod patch;
pub mod quantity;
pub mod scan;
pub mod status;
pub mod time;

pub use field::{ErrorList, Path};
pub use key::{Gvk, Gvr, ObjectKey, ResourceVersion};
pub use labels::Selector;
pub use quantity::Quantity;
pub use status::ApiError;
