//! How the API server calls out: to admission, conversion, authentication, authorization and audit webhooks, to
//! extension API servers, and to the pods and Services that clients reach through its proxy.
//!
//! Invariants: a redirect is an answer like any other and is never followed (CVE-2020-8561); a name is resolved once
//! and the address that was checked is the one that is dialled (CVE-2020-8562); every call has a time and every answer
//! a size; a caller's own credentials are never sent along. A Service is asked for anew with every call, and
//! connections are kept by address, so that an endpoint that has gone is not called again.
//! Upstream counterpart: `k8s.io/apiserver/pkg/util/webhook`, `k8s.io/client-go/transport`.

mod client;
mod config;
mod connect;
mod credentials;
mod error;
mod kubeconfig;
mod manager;
mod resolve;
mod tls;

pub use client::{Body, BoxError, Client, Post, empty, whole};
pub use config::{ClientConfig, ServiceReference, Target};
pub use credentials::{Credentials, Identity, Token};
pub use error::{CallError, go_duration};
pub use kubeconfig::{Cluster, Kubeconfig, KubeconfigError};
pub use manager::{Outbound, Settings};
pub use resolve::{AddressRule, Place, ResolveError, ResolveService, is_proxyable};
pub use tls::{Protocols, Trust, client_config, words as go_words};
