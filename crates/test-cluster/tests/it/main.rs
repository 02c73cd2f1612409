//! The API server as clients meet it: over HTTPS and in process.

#![expect(clippy::unwrap_used, reason = "what tests share fails by panicking as they do")]

mod aggregation;
mod apply;
mod authorization;
mod bad_input;
mod claims;
mod closed;
mod custom;
mod derived;
mod discovery;
mod encodings;
mod every_kind;
mod http;
mod identity;
mod keep_alive;
mod kinds;
mod objects;
mod operations;
mod outside;
mod policies;
mod proxies;
mod schemas;
mod streams;
mod versions;
mod watching;
mod webhooks;
