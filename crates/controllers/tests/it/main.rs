//! The controllers against a real API server in the same process, each with the rights of its own service account.

mod garbage;
mod harness;
mod namespaces;
mod nodes;
mod tokens;
mod workloads;
