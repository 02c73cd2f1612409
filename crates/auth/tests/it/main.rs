//! Authenticators and authorizers that call others, against real HTTPS servers.

#![expect(clippy::unwrap_used, reason = "what tests share fails by panicking as they do")]

mod jwt;
mod server;
mod webhooks;
