//! Who is asking, and may they: authenticators, authorizers, and the policy a cluster starts with.
//!
//! Implements the traits of `registry::auth`. Holds no connection and serves nothing; what it knows of the
//! cluster's objects it follows in the store (`follow`) or reads from a snapshot (`registry::Reader`).
//! No token, key or certificate is ever logged.

pub mod authn;
pub mod authz;
pub mod bootstrap;
mod cache;
mod follow;
pub mod jose;
mod outgoing;
mod reload;
pub mod service_account;

pub use authn::{
    Anonymous, AuthenticationOptions, Authenticators, BootstrapTokens, CachedTokens, RequestHeaderOptions,
    TokenAuthenticator, TokenFile,
};
pub use authz::{ClaimStatusCheck, EscalationCheck, NodeAuthorizer, Rbac, Union};
pub use follow::follow;
pub use reload::{Reloads, watch_file};
pub use service_account::{ServiceAccountTokens, TokenError, TokenSettings};
