//! The API server: the only door to the store. HTTP, TLS, discovery, OpenAPI, tables, streams to nodes.
//!
//! Invariants: authorization is by operation, never by HTTP method; redirects are never followed and the client's
//! credentials never leave; everything that is read has a limit; an error is an answer with a full Status.
//! Upstream counterpart: `k8s.io/apiserver/pkg/server`, `pkg/endpoints` and `pkg/kubeapiserver`.

mod actions;
pub mod aggregator;
mod audit;
mod batch;
mod body;
pub mod bootstrap;
mod chain;
mod client;
mod compress;
mod connect;
mod discovery;
mod encode;
pub mod expire;
mod filters;
mod flow;
pub mod flow_control;
pub mod gates;
mod handlers;
pub mod identity;
pub mod kinds;
pub mod masters;
mod metrics;
mod negotiate;
mod openapi;
pub mod options;
mod others;
mod request_info;
mod respond;
mod reviews;
mod serve;
mod server;
pub mod service_addresses;
mod slots;
mod table;
mod trace;
mod unread;
pub mod version;

pub use body::{Body, BoxError, RequestBody};
pub use client::InProcess;
pub use connect::{NodeAddress, NodeDialer, NodeStream, Services, TlsDialer};
pub use options::ServerOptions;
pub use others::{OtherDocument, OtherServers, OtherVersion};
pub use server::{ApiServer, ApiServerBuilder, Document, HealthCheck, PathHandler, Peer};
