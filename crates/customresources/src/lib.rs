//! Custom resources: what definitions make the server serve.
//!
//! A definition that is accepted becomes one [`registry::Resource`] for each served version, with the schema as its
//! rules, and goes the way of every built-in kind. [`start`] serves what is stored before it returns, so that a server
//! that says it is ready serves what it served before; a task then follows the definitions.
//! It must not know the pipeline, nor HTTP. Upstream counterpart: `apiextensions-apiserver` without its API types.

mod columns;
mod convert;
mod definition;
mod jsonpath;
mod kind;
mod lifecycle;
mod names;
mod object;
mod paths;
mod serve;

pub use convert::{ConversionError, Webhooks};
pub use definition::{Definition, Version};
pub use serve::start;
