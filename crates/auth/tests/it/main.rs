//! Authenticators and authorizers that call others, against real HTTPS servers.

mod jwt;
mod server;
mod webhooks;
