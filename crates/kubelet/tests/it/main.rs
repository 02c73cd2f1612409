//! The node's agent against a real API server, with containers that exist only in memory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fake;
mod fixture;
mod lifecycle;
mod node;
mod streams;
