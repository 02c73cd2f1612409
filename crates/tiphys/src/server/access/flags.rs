//! Flags of authentication and authorization, named as those of kube-apiserver.

use std::{path::PathBuf, time::Duration};

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
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
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
    pub(super) service_account_key_files: Vec<PathBuf>,
    /// Key that signs service account tokens, PEM; one is made if not given
    #[arg(long)]
    pub(super) service_account_signing_key_file: Option<PathBuf>,
    /// Who service account tokens say has made them; the first in new ones, all are accepted
    #[arg(long = "service-account-issuer")]
    pub(super) service_account_issuers: Vec<String>,
    /// Where the discovery document says the keys of tokens are
    #[arg(long)]
    pub(super) service_account_jwks_uri: Option<String>,
    /// Longest life of a service account token; 0 is as long as the API allows
    #[arg(long, default_value = "0", value_parser = go_duration)]
    pub(super) service_account_max_token_expiration: Duration,
    /// Let tokens of pods that ask for an hour hold for a year, noted in the audit log
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub(super) service_account_extend_token_expiration: bool,
}
