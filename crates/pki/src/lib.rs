//! The cluster's keys and certificates: made once, kept in files only root can read, renewed without a restart.
//!
//! Layout of the directory (names as kubeadm has them): `ca.crt`, `ca.key`, `<name>.crt`, `<name>.key`, `sa.pub`,
//! `sa.key`. Upstream counterpart: `cmd/kubeadm/app/phases/certs`.

mod authority;
mod clients;
mod error;
mod files;
mod identity;
mod kubeconfig;
mod named;
mod sign;
mod tls;

pub use authority::{Authority, CertificateSpec, Usage};
pub use clients::ClientAuthorities;
pub use error::PkiError;
pub use files::{read_or_create_secret, write_secret};
pub use identity::{ServingIdentity, signing_key};
pub use kubeconfig::Kubeconfig;
pub use named::{FileIdentity, NamedIdentities};
pub use sign::{RequestFacts, expires};
pub use tls::{
    TlsLimits, client_config, client_identity, server_config, server_config_for_any_client,
    server_config_for_any_client_within, serving_key, trust_roots,
};
