//! The image crate from outside: archives of real packages, a real registry. Needs root, as unpacking owners does.

mod packing;
mod registry;
