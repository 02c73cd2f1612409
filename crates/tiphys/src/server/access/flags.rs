//! Flags of authentication and authorization, named as those of kube-apiserver.

use std::{path::PathBuf, time::Duration};

use auth::jose::Algorithm;
use clap::{ArgAction, Args};

use super::go_duration;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Authentication and authorization")]
pub(crate) struct AccessFlags {
    /// Let requests without credentials go on as system:anonymous
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub(super) anonymous_auth: bool,
    /// Authorities of users' certificates, PEM; read again when it changes. The cluster's own if not given
    #[arg(long)]
    pub(crate) client_ca_file: Option<PathBuf>,
    /// Let Secrets of type bootstrap.kubernetes.io/token in kube-system be used as tokens
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub(super) enable_bootstrap_token_auth: bool,
    /// File of tokens: token,user,uid,"group,group"
    #[arg(long)]
    pub(super) token_auth_file: Option<PathBuf>,
    /// Identifiers of the API that tokens may be for; the issuers of service account tokens if not given
    #[arg(long, value_delimiter = ',')]
    pub(super) api_audiences: Vec<String>,

    /// Authorities of a proxy in front that says in headers whom it speaks for
    #[arg(long)]
    pub(crate) requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of that proxy; whoever the authorities have signed if not given
    #[arg(long, value_delimiter = ',')]
    pub(crate) requestheader_allowed_names: Vec<String>,
    /// Headers with the user's name
    #[arg(long, value_delimiter = ',')]
    pub(super) requestheader_username_headers: Vec<String>,
    /// Headers with the user's UID
    #[arg(long, value_delimiter = ',')]
    pub(super) requestheader_uid_headers: Vec<String>,
    /// Headers with the user's groups
    #[arg(long, value_delimiter = ',')]
    pub(super) requestheader_group_headers: Vec<String>,
    /// Prefixes of headers with more about the user
    #[arg(long, value_delimiter = ',')]
    pub(super) requestheader_extra_headers_prefix: Vec<String>,

    /// Further keys whose service account tokens are good, public or private, PEM
    #[arg(long = "service-account-key-file")]
    pub(crate) service_account_key_files: Vec<PathBuf>,
    /// Key that signs service account tokens, PEM; one is made if not given
    #[arg(long)]
    pub(crate) service_account_signing_key_file: Option<PathBuf>,
    /// Who service account tokens say has made them; the first in new ones, all are accepted
    #[arg(long = "service-account-issuer")]
    pub(crate) service_account_issuers: Vec<String>,
    /// Where the discovery document says the keys of tokens are
    #[arg(long)]
    pub(super) service_account_jwks_uri: Option<String>,
    /// Longest life of a service account token; 0 is as long as the API allows
    #[arg(long, default_value = "0", value_parser = go_duration)]
    pub(super) service_account_max_token_expiration: Duration,
    /// Let tokens of pods that ask for an hour hold for a year, noted in the audit log
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub(super) service_account_extend_token_expiration: bool,

    /// AuthenticationConfiguration: issuers of tokens, and who may come without credentials; read again when it changes
    #[arg(long)]
    pub(super) authentication_config: Option<PathBuf>,
    /// An OpenID issuer whose tokens are good, an https URL
    #[arg(long, conflicts_with = "authentication_config", requires = "oidc_client_id")]
    pub(super) oidc_issuer_url: Option<String>,
    /// Audience that its tokens have to be for
    #[arg(long, conflicts_with = "authentication_config", requires = "oidc_issuer_url")]
    pub(super) oidc_client_id: Option<String>,
    /// Authorities of the issuer's certificate, PEM; the system's if not given
    #[arg(long)]
    pub(super) oidc_ca_file: Option<PathBuf>,
    /// Claim with the user's name
    #[arg(long, default_value = "sub")]
    pub(super) oidc_username_claim: String,
    /// What stands before users' names; the issuer's URL if not given, nothing if it is -
    #[arg(long, default_value = "")]
    pub(super) oidc_username_prefix: String,
    /// Claim with the user's groups
    #[arg(long, default_value = "")]
    pub(super) oidc_groups_claim: String,
    /// What stands before groups' names
    #[arg(long, default_value = "")]
    pub(super) oidc_groups_prefix: String,
    /// Algorithms that the issuer may sign with
    #[arg(long, value_delimiter = ',', default_value = "RS256", value_parser = algorithm)]
    pub(super) oidc_signing_algs: Vec<Algorithm>,
    /// A claim that tokens must have, as name=value
    #[arg(long = "oidc-required-claim", value_parser = pair)]
    pub(super) oidc_required_claims: Vec<(String, String)>,
    /// Kubeconfig of a webhook that knows tokens
    #[arg(long)]
    pub(super) authentication_token_webhook_config_file: Option<PathBuf>,
    /// Version of TokenReview that it is asked with
    #[arg(long, default_value = "v1beta1", value_parser = ["v1", "v1beta1"])]
    pub(super) authentication_token_webhook_version: String,
    /// How long its answers are remembered
    #[arg(long, default_value = "2m", value_parser = go_duration)]
    pub(super) authentication_token_webhook_cache_ttl: Duration,

    /// Authorizers in the order in which they are asked: ABAC, AlwaysAllow, AlwaysDeny, Node, RBAC, Webhook
    #[arg(long, value_delimiter = ',', default_value = "Node,RBAC")]
    pub(super) authorization_mode: Vec<String>,
    /// Policies of the mode ABAC, one JSON object a line
    #[arg(long)]
    pub(super) authorization_policy_file: Option<PathBuf>,
    /// AuthorizationConfiguration, instead of modes; read again when it changes
    #[arg(long)]
    pub(super) authorization_config: Option<PathBuf>,
    /// Kubeconfig of the webhook of the mode Webhook
    #[arg(long)]
    pub(super) authorization_webhook_config_file: Option<PathBuf>,
    /// Version of SubjectAccessReview that it is asked with
    #[arg(long, default_value = "v1beta1", value_parser = ["v1", "v1beta1"])]
    pub(super) authorization_webhook_version: String,
    /// How long a yes is remembered
    #[arg(long, default_value = "5m", value_parser = go_duration)]
    pub(super) authorization_webhook_cache_authorized_ttl: Duration,
    /// How long a no is remembered
    #[arg(long, default_value = "30s", value_parser = go_duration)]
    pub(super) authorization_webhook_cache_unauthorized_ttl: Duration,
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::parse(name).ok_or_else(|| format!("oidc: unsupported signing alg: {name:?}"))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has to be name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}
