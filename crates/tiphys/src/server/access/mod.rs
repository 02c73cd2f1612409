//! Who may come in and what they may do: from flags to the authenticators and authorizers of the API server.

mod flags;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use apiserver::{PathHandler, identity::Identity};
use auth::{
    Anonymous, AuthenticationOptions, Authenticators, BootstrapTokens, CachedTokens, NodeAuthorizer, Rbac, Reloads,
    RequestHeaderOptions, ServiceAccountTokens, TokenAuthenticator, TokenFile, TokenSettings, Union,
    authn::{
        WebhookTokens,
        jwt::{AuthenticationConfiguration, JwtAuthenticators, OidcFlags},
    },
    authz::{AuthorizationConfiguration, WebhookFlags},
    jose::Algorithm,
};
use bytes::Bytes;
use pki::{Authority, ClientAuthorities};
use registry::{Registry, auth::TokenIssuer as _};
use supervisor::Supervisor;

use super::Settings;

pub(crate) use flags::AccessFlags;

/// What tokens say who made them, unless a flag says otherwise.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// The name that the API server's own requests to extension servers are made under.
pub(super) const PROXY_NAME: &str = "front-proxy-client";

/// The parts that say who comes.
pub(super) struct Authentication {
    pub(super) authenticators: Arc<Authenticators>,
    pub(super) tokens: Arc<ServiceAccountTokens>,
    /// Where the keys of tokens are to be had.
    pub(super) jwks_uri: String,
}

/// Serves what tokens can be checked with, as it is at the moment.
struct KeyDocuments {
    tokens: Arc<ServiceAccountTokens>,
    jwks_uri: String,
    kind: Document,
}

#[derive(Clone, Copy)]
enum Document {
    Discovery,
    Keys,
}

impl PathHandler for KeyDocuments {
    fn get(&self) -> Result<(&'static str, Bytes), apimachinery::ApiError> {
        let (kind, value) = match self.kind {
            Document::Discovery => ("application/json", self.tokens.discovery(&self.jwks_uri)),
            Document::Keys => ("application/jwk-set+json", self.tokens.key_set()),
        };
        Ok((kind, value.to_string().into()))
    }
}

impl Authentication {
    /// What is served of the keys: path and handler.
    pub(super) fn documents(&self) -> [(&'static str, Arc<dyn PathHandler>); 2] {
        let document = |kind| -> Arc<dyn PathHandler> {
            Arc::new(KeyDocuments { tokens: self.tokens.clone(), jwks_uri: self.jwks_uri.clone(), kind })
        };
        [
            ("/.well-known/openid-configuration", document(Document::Discovery)),
            ("/openid/v1/jwks", document(Document::Keys)),
        ]
    }
}

/// Everything that says who comes. Files of authorities are followed while the server runs.
pub(super) fn authentication(
    settings: &Settings,
    authority: &Authority,
    registry: &Registry,
    supervisor: &Supervisor,
) -> anyhow::Result<Authentication> {
    let (flags, pki_directory) = (&settings.arguments.access, &settings.layout.pki());
    let tokens = Arc::new(service_account_tokens(flags, pki_directory, registry)?);
    tokens.note_uses(auth::service_account::LegacyUses::start(registry, supervisor));
    let client_authorities = match &flags.client_ca_file {
        Some(path) => authorities(path, "--client-ca-file", supervisor)?,
        None => {
            let bundle = pki_directory.join("ca.crt");
            follow_authorities(ClientAuthorities::new(authority.certificate())?, &bundle, supervisor)
        }
    };
    let mut kinds: Vec<Arc<dyn TokenAuthenticator>> = Vec::new();
    if let Some(path) = &flags.token_auth_file {
        kinds.push(Arc::new(TokenFile::read(path)?));
    }
    kinds.push(tokens.clone());
    if flags.enable_bootstrap_token_auth {
        kinds.push(Arc::new(BootstrapTokens::new(registry.reader())));
    }
    let issuers = issuers(flags, &tokens, supervisor)?;
    if let Some(issuers) = &issuers {
        kinds.push(issuers.cached.clone());
    }
    if let Some(path) = &flags.authentication_token_webhook_config_file {
        let version = &flags.authentication_token_webhook_version;
        let webhook = Arc::new(WebhookTokens::new(path, version, tokens.default_audiences())?);
        kinds.push(Arc::new(CachedTokens::lasting(webhook, flags.authentication_token_webhook_cache_ttl)));
    }
    let of_file = issuers.as_ref().and_then(|issuers| issuers.anonymous.clone());
    let options = AuthenticationOptions {
        client_authorities: Some(client_authorities),
        request_header: Some(request_header(flags, pki_directory, supervisor)?),
        tokens: kinds,
        audiences: tokens.default_audiences(),
        anonymous: of_file.unwrap_or_else(|| Anonymous::everywhere(flags.anonymous_auth)),
    };
    let jwks_uri =
        flags.service_account_jwks_uri.clone().unwrap_or_else(|| match &settings.arguments.external_hostname {
            Some(host) => format!("https://{host}:{}/openid/v1/jwks", settings.arguments.secure_port),
            None => format!("{}/openid/v1/jwks", tokens.issuer().trim_end_matches('/')),
        });
    let authenticators = Arc::new(Authenticators::new(options));
    if let (Some(issuers), Some(path)) = (issuers, &flags.authentication_config) {
        let reloads = Reloads::of_authentication(&server_id(settings));
        issuers.follow(path, authenticators.clone(), flags.anonymous_auth, reloads, supervisor);
    }
    Ok(Authentication { authenticators, tokens, jwks_uri })
}

/// Issuers of a file or of flags.
struct Issuers {
    all: Arc<JwtAuthenticators>,
    cached: Arc<CachedTokens>,
    anonymous: Option<Anonymous>,
    text: String,
}

fn issuers(
    flags: &AccessFlags,
    tokens: &ServiceAccountTokens,
    supervisor: &Supervisor,
) -> anyhow::Result<Option<Issuers>> {
    let (configuration, algorithms, text) = match (&flags.authentication_config, &flags.oidc_issuer_url) {
        (Some(path), _) => {
            let text = read(path, "--authentication-config")?;
            let configuration = AuthenticationConfiguration::parse(&text).context("--authentication-config")?;
            (configuration, Algorithm::ALL.to_vec(), text)
        }
        (None, Some(url)) => {
            let authority = flags.oidc_ca_file.as_ref().map(|path| read(path, "--oidc-ca-file")).transpose()?;
            let flags_of_issuer = OidcFlags {
                issuer_url: url.clone(),
                client_id: flags.oidc_client_id.clone().unwrap_or_default(),
                authority: authority.unwrap_or_default(),
                username_claim: flags.oidc_username_claim.clone(),
                username_prefix: flags.oidc_username_prefix.clone(),
                groups_claim: flags.oidc_groups_claim.clone(),
                groups_prefix: flags.oidc_groups_prefix.clone(),
                required_claims: flags.oidc_required_claims.iter().cloned().collect(),
            };
            let configuration = AuthenticationConfiguration::of_issuers(vec![flags_of_issuer.configuration()]);
            (configuration, flags.oidc_signing_algs.clone(), String::new())
        }
        (None, None) => return Ok(None),
    };
    let own = vec![tokens.issuer().to_owned()];
    let all = JwtAuthenticators::start(&configuration, algorithms, own, supervisor)?;
    let cached = Arc::new(CachedTokens::new(all.clone()));
    Ok(Some(Issuers { all, cached, anonymous: configuration.anonymous, text }))
}

impl Issuers {
    /// Takes what the file says from now on.
    fn follow(
        self,
        path: &Path,
        authenticators: Arc<Authenticators>,
        anonymous: bool,
        reloads: Reloads,
        supervisor: &Supervisor,
    ) {
        let Self { all, cached, text, .. } = self;
        auth::watch_file(path.to_owned(), text, supervisor, move |text| {
            let configuration = AuthenticationConfiguration::parse(text);
            let configuration =
                configuration.inspect_err(|_| reloads.note(false)).map_err(|error| error.to_string())?;
            let (authenticators, cached, used) = (authenticators.clone(), cached.clone(), reloads.clone());
            let allowed = configuration.anonymous.clone().unwrap_or_else(|| Anonymous::everywhere(anonymous));
            let counts = move || {
                authenticators.set_anonymous(allowed);
                cached.clear();
                used.note(true);
            };
            let replaced = all.replace(&configuration, counts).inspect_err(|_| reloads.note(false));
            replaced.map_err(|error| error.to_string())
        });
    }
}

/// Who decides, in the order of flags or file; a file is followed from now on.
pub(super) fn authorization(
    settings: &Settings,
    rbac: &Arc<Rbac>,
    nodes: &Arc<NodeAuthorizer>,
    supervisor: &Supervisor,
) -> anyhow::Result<Arc<Union>> {
    let flags = &settings.arguments.access;
    let Some(path) = &flags.authorization_config else {
        let webhook = flags.authorization_webhook_config_file.as_ref().map(|path| WebhookFlags {
            config_file: std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string(),
            version: flags.authorization_webhook_version.clone(),
            authorized: flags.authorization_webhook_cache_authorized_ttl,
            unauthorized: flags.authorization_webhook_cache_unauthorized_ttl,
        });
        let configuration = AuthorizationConfiguration::of_modes(
            &flags.authorization_mode,
            webhook.as_ref(),
            flags.authorization_policy_file.as_deref(),
        )?;
        return Ok(Arc::new(Union::new(configuration.build(rbac, nodes)?)));
    };
    let text = read(path, "--authorization-config")?;
    let build = {
        let (rbac, nodes) = (rbac.clone(), nodes.clone());
        move |text: &str| AuthorizationConfiguration::parse(text)?.build(&rbac, &nodes)
    };
    let union = Arc::new(Union::new(build(&text).context("--authorization-config")?));
    let changed = union.clone();
    let reloads = Reloads::of_authorization(&server_id(settings));
    auth::watch_file(path.clone(), text, supervisor, move |text| {
        let built = build(text);
        reloads.note(built.is_ok());
        changed.replace(built.map_err(|error| error.to_string())?);
        Ok(())
    });
    Ok(union)
}

/// The name under which the server is known among others of the cluster.
fn server_id(settings: &Settings) -> String {
    let port = settings.arguments.secure_port;
    Identity::new(&settings.node_name, (port != 6443).then_some(port)).id
}

fn service_account_tokens(
    flags: &AccessFlags,
    pki_directory: &Path,
    registry: &Registry,
) -> anyhow::Result<ServiceAccountTokens> {
    let signing_key = match &flags.service_account_signing_key_file {
        Some(path) => read(path, "--service-account-signing-key-file")?,
        None => pki::signing_key(pki_directory)?.0,
    };
    let verification_keys = flags.service_account_key_files.iter();
    let verification_keys =
        verification_keys.map(|path| read(path, "--service-account-key-file")).collect::<anyhow::Result<_>>()?;
    let issuers = match flags.service_account_issuers.as_slice() {
        [] => vec![ISSUER.to_owned()],
        given => given.to_vec(),
    };
    let longest = flags.service_account_max_token_expiration;
    anyhow::ensure!(
        longest.is_zero() || (3600..=1 << 32).contains(&longest.as_secs()),
        "the service-account-max-token-expiration must be between 1 hour and 2^32 seconds"
    );
    let settings = TokenSettings {
        signing_key,
        verification_keys,
        issuers,
        audiences: flags.api_audiences.clone(),
        max_expiration: (!longest.is_zero()).then(|| longest.try_into()).transpose()?,
        extend_expiration: flags.service_account_extend_token_expiration,
    };
    Ok(ServiceAccountTokens::new(settings, registry.reader())?)
}

/// The proxy in front that is believed: the API server's own, towards extension servers, unless flags say another.
fn request_header(
    flags: &AccessFlags,
    pki_directory: &Path,
    supervisor: &Supervisor,
) -> anyhow::Result<RequestHeaderOptions> {
    let mut options = match &flags.requestheader_client_ca_file {
        Some(path) => {
            let mut options =
                RequestHeaderOptions::new(authorities(path, "--requestheader-client-ca-file", supervisor)?);
            options.allowed_names.clone_from(&flags.requestheader_allowed_names);
            options
        }
        None => {
            let authority = Authority::open(pki_directory, "front-proxy-ca", "front-proxy-ca")?;
            let mut options = RequestHeaderOptions::new(ClientAuthorities::new(authority.certificate())?);
            options.allowed_names = vec![PROXY_NAME.to_owned()];
            options
        }
    };
    for (given, wanted) in [
        (&flags.requestheader_username_headers, &mut options.username_headers),
        (&flags.requestheader_uid_headers, &mut options.uid_headers),
        (&flags.requestheader_group_headers, &mut options.group_headers),
        (&flags.requestheader_extra_headers_prefix, &mut options.extra_header_prefixes),
    ] {
        if !given.is_empty() {
            wanted.clone_from(given);
        }
    }
    Ok(options)
}

/// A bundle of a file, followed from now on.
fn authorities(path: &Path, flag: &str, supervisor: &Supervisor) -> anyhow::Result<Arc<ClientAuthorities>> {
    let bundle = ClientAuthorities::new(&read(path, flag)?).with_context(|| format!("{flag} {}", path.display()))?;
    Ok(follow_authorities(bundle, path, supervisor))
}

fn follow_authorities(bundle: Arc<ClientAuthorities>, path: &Path, supervisor: &Supervisor) -> Arc<ClientAuthorities> {
    let changed = bundle.clone();
    auth::watch_file(path.to_owned(), bundle.pem(), supervisor, move |text| {
        changed.replace(text).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    });
    bundle
}

fn read(path: &Path, flag: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{flag} {}", path.display()))
}

/// For flags: a duration as Go writes it.
fn go_duration(text: &str) -> Result<Duration, String> {
    apimachinery::time::parse_go_duration(text)
}
