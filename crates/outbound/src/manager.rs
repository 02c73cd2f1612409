//! Clients by configuration, made once and shared. Upstream: `webhookutil.ClientManager`.

use std::{collections::HashMap, sync::Arc};

use http::Uri;
use parking_lot::Mutex;

use crate::{
    AddressRule, CallError, Client, ClientConfig, Cluster, Credentials, Kubeconfig, Protocols, ResolveService,
    ServiceReference, Target, Trust,
    client::{Base, Parts},
};

/// Clients that are kept. Upstream: `defaultCacheSize`.
const MAX_CLIENTS: usize = 200;

/// Everything that is called, by what was configured. A clone is a reference count.
#[derive(Clone)]
pub struct Outbound {
    inner: Arc<Inner>,
}

struct Inner {
    resolver: Arc<dyn ResolveService>,
    credentials: Kubeconfig,
    clients: Mutex<Kept>,
}

/// Clients and when each was last asked for.
#[derive(Default)]
struct Kept {
    clients: HashMap<ClientConfig, (Client, u64)>,
    clock: u64,
}

/// How one server is called, for those who do not follow a `WebhookClientConfig`.
#[derive(Clone, Debug)]
pub struct Settings {
    pub trust: Trust,
    /// Whose certificate is wanted, when it is not the host's of the URL.
    pub server_name: Option<String>,
    pub protocols: Protocols,
    pub rule: AddressRule,
    pub credentials: Credentials,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trust: Trust::System,
            server_name: None,
            protocols: Protocols::default(),
            rule: AddressRule::Any,
            credentials: Credentials::default(),
        }
    }
}

impl Outbound {
    /// `credentials`: what is shown to which webhook; an empty one shows nothing to anybody.
    pub fn new(resolver: Arc<dyn ResolveService>, credentials: Kubeconfig) -> Self {
        Self { inner: Arc::new(Inner { resolver, credentials, clients: Mutex::default() }) }
    }

    pub fn resolver(&self) -> &Arc<dyn ResolveService> {
        &self.inner.resolver
    }

    /// The client for a webhook's configuration. The same configuration shares its connections.
    pub fn client(&self, config: &ClientConfig) -> Result<Client, CallError> {
        let mut kept = self.inner.clients.lock();
        kept.clock += 1;
        let clock = kept.clock;
        if let Some((client, used)) = kept.clients.get_mut(config) {
            *used = clock;
            return Ok(client.clone());
        }
        let client = self.make(config)?;
        if kept.clients.len() >= MAX_CLIENTS {
            let oldest = kept.clients.iter().min_by_key(|(_, (_, used))| *used).map(|(config, _)| config.clone());
            if let Some(oldest) = oldest {
                kept.clients.remove(&oldest);
            }
        }
        kept.clients.insert(config.clone(), (client.clone(), clock));
        Ok(client)
    }

    fn make(&self, config: &ClientConfig) -> Result<Client, CallError> {
        let trust = Trust::bundle(&config.ca_bundle);
        match &config.target {
            Target::Missing => {
                Err(CallError::Config("webhook configuration must have either service or URL".to_owned()))
            }
            Target::Service(reference) => {
                let credentials = self.inner.credentials.credentials_for(&reference.server_name(), reference.port);
                self.service(reference.clone(), Settings { trust, credentials, ..Settings::default() })
            }
            Target::Url(url) => {
                let uri = parse(url)?;
                let host = uri.host().unwrap_or_default();
                let credentials = self.inner.credentials.credentials_for(host, uri.port_u16().unwrap_or(443));
                let local = host.eq_ignore_ascii_case("localhost")
                    || host
                        .trim_matches(['[', ']'])
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|address| address.is_loopback());
                let protocols = if local { Protocols::Http1AndHttp2 } else { Protocols::Http1 };
                url_client(&uri, Settings { trust, credentials, protocols, ..Settings::default() })
            }
        }
    }

    /// A client for a Service, not kept here.
    pub fn service(&self, reference: ServiceReference, settings: Settings) -> Result<Client, CallError> {
        let server_name = settings.server_name.or_else(|| Some(reference.server_name()));
        Client::new(Parts {
            base: Base::Service { reference, resolver: Arc::clone(&self.inner.resolver) },
            trust: settings.trust,
            server_name,
            protocols: settings.protocols,
            rule: settings.rule,
            credentials: settings.credentials,
        })
    }
}

impl Client {
    /// A client for a URL, not kept anywhere else.
    pub fn for_url(url: &str, settings: Settings) -> Result<Self, CallError> {
        url_client(&parse(url)?, settings)
    }

    /// A client for whatever the URIs of its requests say, within the rule of its settings.
    pub fn anywhere(settings: Settings) -> Result<Self, CallError> {
        Self::new(Parts {
            base: Base::Anywhere,
            trust: settings.trust,
            server_name: settings.server_name,
            protocols: settings.protocols,
            rule: settings.rule,
            credentials: settings.credentials,
        })
    }

    /// A client for the server of a kubeconfig.
    pub fn for_cluster(cluster: &Cluster, credentials: Credentials) -> Result<Self, CallError> {
        let trust = if cluster.insecure_skip_tls_verify { Trust::Anybody } else { Trust::bundle(&cluster.authority) };
        let server_name = cluster.tls_server_name.clone();
        let settings =
            Settings { trust, server_name, credentials, protocols: Protocols::Http1AndHttp2, ..Settings::default() };
        Self::for_url(&cluster.server, settings)
    }
}

fn parse(url: &str) -> Result<Uri, CallError> {
    let uri: Uri = url.parse().map_err(|error| CallError::Config(format!("Unparsable URL: {error}")))?;
    let known = matches!(uri.scheme_str(), Some("https" | "http"));
    if !known || uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return Err(CallError::Config(format!("Unparsable URL: {url:?} has no scheme and host that can be called")));
    }
    Ok(uri)
}

fn url_client(uri: &Uri, settings: Settings) -> Result<Client, CallError> {
    let (Some(scheme), Some(authority)) = (uri.scheme().cloned(), uri.authority().cloned()) else {
        return Err(CallError::Config("Unparsable URL".to_owned()));
    };
    let path = uri.path_and_query().map(|path| path.path().to_owned()).unwrap_or_default();
    Client::new(Parts {
        base: Base::Url { scheme, authority, path },
        trust: settings.trust,
        server_name: settings.server_name,
        protocols: settings.protocols,
        rule: settings.rule,
        credentials: settings.credentials,
    })
}
