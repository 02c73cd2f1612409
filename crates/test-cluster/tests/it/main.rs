//! The API server as clients meet it: over HTTPS and in process.

mod bad_input;
mod discovery;
mod encodings;
mod http;
mod identity;
mod objects;
mod streams;
mod watching;
