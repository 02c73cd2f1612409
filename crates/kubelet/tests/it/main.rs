//! The node's agent against a real API server, with containers that exist only in memory.

mod fake;
mod fixture;
mod lifecycle;
mod node;
mod streams;
