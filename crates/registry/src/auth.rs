//! The seams to authentication and authorization. The `auth` crate implements them.
//!
//! Authorization is by operation (exec is a create), never by HTTP method.
//! Upstream counterparts: `authentication/authenticator`, `authorization/authorizer`.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt, ready};

use apimachinery::{ApiError, Gvr, field::go_quote};

use crate::request::UserInfo;

/// What a request presents to prove who it comes from.
pub struct Credentials<'a> {
    pub headers: &'a http::HeaderMap,
    /// Of the URL, decoded: some paths may be open to those who present nothing.
    pub path: &'a str,
    /// DER of the client's certificate chain, leaf first, as far as TLS has verified it against the client CA.
    pub peer_certificates: &'a [Vec<u8>],
}

/// A token that was found to be good.
#[derive(Clone, Debug)]
pub struct TokenIdentity {
    pub user: UserInfo,
    pub audiences: Vec<String>,
}

/// Why an identity could not be established. The client learns only "Unauthorized".
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AuthenticationError(pub String);

pub trait Authenticator: Send + Sync {
    /// `Ok(None)`: no credentials were presented. `Err`: credentials were presented and are bad.
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Option<Arc<UserInfo>>, AuthenticationError>>;

    /// Checks one token for the given audiences (empty: the API server's own). For TokenReview.
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<TokenIdentity>, AuthenticationError>>;
}

/// Everything a policy may decide on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub user: Arc<UserInfo>,
    pub verb: String,
    pub namespace: String,
    pub api_group: String,
    pub api_version: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    pub is_resource_request: bool,
    /// The URL path, for non-resource requests.
    pub path: String,
    pub field_selector: String,
    pub label_selector: String,
}

impl Attributes {
    /// What is answered to who may not do it. Upstream: `responsewriters.ForbiddenStatusError`.
    pub fn forbidden(&self, reason: &str) -> ApiError {
        let mut why = self.forbidden_message();
        if !reason.is_empty() {
            why.push_str(": ");
            why.push_str(reason);
        }
        ApiError::forbidden(&Gvr::new(&self.api_group, &self.api_version, &self.resource), &self.name, why)
    }

    /// Upstream: `responsewriters.forbiddenMessage`, with its escaping of what could read as HTML.
    fn forbidden_message(&self) -> String {
        let (user, verb) = (go_quote(&self.user.name), &self.verb);
        let message = if !self.is_resource_request {
            format!("User {user} cannot {verb} path {}", go_quote(&self.path))
        } else {
            let resource = match self.subresource.as_str() {
                "" => self.resource.clone(),
                subresource => format!("{}/{subresource}", self.resource),
            };
            let (resource, group) = (go_quote(&resource), go_quote(&self.api_group));
            let what = format!("User {user} cannot {verb} resource {resource} in API group {group}");
            if self.namespace.is_empty() {
                format!("{what} at the cluster scope")
            } else {
                format!("{what} in the namespace {}", go_quote(&self.namespace))
            }
        };
        message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow {
        reason: String,
    },
    /// Refused for good: no later authorizer is asked.
    Deny {
        reason: String,
    },
    NoOpinion {
        reason: String,
    },
}

impl Decision {
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    pub fn reason(&self) -> &str {
        match self {
            Self::Allow { reason } | Self::Deny { reason } | Self::NoOpinion { reason } => reason,
        }
    }
}

/// What a user may do in a namespace. For SelfSubjectRulesReview.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub resource: Vec<k8s_openapi::api::authorization::v1::ResourceRule>,
    pub non_resource: Vec<k8s_openapi::api::authorization::v1::NonResourceRule>,
    pub incomplete: bool,
    pub evaluation_error: String,
}

pub trait Authorizer: Send + Sync {
    fn authorize<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Decision>;

    fn rules_for<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> BoxFuture<'a, Rules>;
}

/// Allows everything. Never installed unless asked for by name.
pub struct AlwaysAllow;

impl Authorizer for AlwaysAllow {
    fn authorize<'a>(&'a self, _attributes: &'a Attributes) -> BoxFuture<'a, Decision> {
        ready(Decision::Allow { reason: String::new() }).boxed()
    }

    fn rules_for<'a>(&'a self, _user: &'a UserInfo, _namespace: &'a str) -> BoxFuture<'a, Rules> {
        let all = || vec!["*".to_owned()];
        ready(Rules {
            resource: vec![k8s_openapi::api::authorization::v1::ResourceRule {
                verbs: all(),
                api_groups: Some(all()),
                resources: Some(all()),
                resource_names: None,
            }],
            non_resource: vec![k8s_openapi::api::authorization::v1::NonResourceRule {
                verbs: all(),
                non_resource_urls: Some(all()),
            }],
            ..Rules::default()
        })
        .boxed()
    }
}

/// Makes service account tokens. For the `token` subresource and for pods.
pub trait TokenIssuer: Send + Sync {
    fn issue(&self, claims: TokenClaims) -> Result<IssuedToken, ApiError>;

    /// Audience of the API server itself, which a request that names none gets.
    fn default_audiences(&self) -> Vec<String>;

    /// What the cluster's settings say about tokens.
    fn policy(&self) -> TokenPolicy {
        TokenPolicy::default()
    }
}

/// Settings of whoever makes tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenPolicy {
    /// Longest life, in seconds; a request for more gets this much and a warning.
    pub max_seconds: Option<i64>,
    /// Whether a pod's token of an hour holds for a year, with a mark in the audit log when it is older than asked for.
    pub extends: bool,
}

/// What a service account token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenClaims {
    pub namespace: String,
    pub service_account: String,
    pub service_account_uid: String,
    pub audiences: Vec<String>,
    pub expiration_seconds: i64,
    /// After so many seconds its use is noted.
    pub warn_after_seconds: Option<i64>,
    /// (kind, name, uid) of the Pod, Secret or Node the token is bound to.
    pub bound_to: Option<(String, String, String)>,
    /// (name, uid) of the node the bound pod runs on.
    pub node: Option<(String, String)>,
}

#[derive(Clone, Debug)]
pub struct IssuedToken {
    pub token: String,
    pub expires: jiff::Timestamp,
    /// Stands for the token in audit logs.
    pub id: String,
}
