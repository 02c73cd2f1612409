//! A real API server in the test's own process: port 0, a store in memory or in a temporary directory, RBAC and TLS on.
//!
//! Nothing in here is a fake; what differs from production is only where things are kept.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context as _;
use apiserver::{
    ApiServer, NodeDialer, ServerOptions,
    aggregator::{self, Aggregation, RequestHeaders},
    bootstrap,
};
use auth::{
    AuthenticationOptions, Authenticators, BootstrapTokens, ClaimStatusCheck, EscalationCheck, NodeAuthorizer, Rbac,
    ServiceAccountTokens, TokenSettings, Union,
};
use engine::{log::LogFactory, memory::Memory};
use kube::config::{KubeConfigOptions, Kubeconfig as KubeKubeconfig};
use outbound::{Credentials, Identity, Outbound};
use pki::{Authority, CertificateSpec, ClientAuthorities, Kubeconfig, ServingIdentity};
use registry::{Registry, UserInfo, auth::TokenIssuer as _};
use store::{Store, StoreOptions};
use supervisor::Supervisor;
use tempfile::TempDir;
use tokio::net::TcpListener;

mod cgroups;

pub use cgroups::ControlGroups;

/// Common name of the certificate that extension servers believe.
const PROXY_NAME: &str = "front-proxy-client";

/// A running control plane without controllers. Dropping it stops it and removes its directory.
pub struct TestCluster {
    server: ApiServer,
    supervisor: Supervisor,
    address: SocketAddr,
    authority: Authority,
    admin: (String, String),
    directory: TempDir,
}

/// What a test may want otherwise.
#[derive(Default)]
pub struct Options {
    /// Keep objects in the directory, synced, instead of in memory.
    pub durable: bool,
    /// How the API server reaches kubelets; without one it does not.
    pub node_dialer: Option<Arc<dyn NodeDialer>>,
    /// What an operator would say with flags.
    pub server: ServerOptions,
}

impl TestCluster {
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> anyhow::Result<Self> {
        Self::start_in(TempDir::new()?, options).await
    }

    /// Stops everything and starts again on what was kept. Only a durable cluster keeps anything.
    pub async fn restart(self) -> anyhow::Result<Self> {
        self.supervisor.shutdown().await;
        self.server.registry().store().shutdown().await?;
        let Self { directory, .. } = self;
        Self::start_in(directory, Options { durable: true, ..Options::default() }).await
    }

    async fn start_in(directory: TempDir, options: Options) -> anyhow::Result<Self> {
        let supervisor = Supervisor::new();
        let store = if options.durable {
            let factory = LogFactory::new(directory.path().join("store"));
            tokio::task::spawn_blocking(move || Store::open(factory, StoreOptions::default())).await??
        } else {
            Store::open(Memory::new(), StoreOptions::default())?
        };
        let (rbac, nodes) = (Arc::new(Rbac::new()), Arc::new(NodeAuthorizer::new()));
        let authorizer = Arc::new(Union::new(vec![nodes.clone(), rbac.clone()]));
        let mut builder = Registry::builder(store.clone())
            .resources(apiserver::kinds::all(&resources::Options::default()))
            .admission(Arc::new(EscalationCheck::new(rbac.clone(), authorizer.clone())))
            .admission(Arc::new(ClaimStatusCheck::new(authorizer.clone())));
        let outbound = Outbound::new(Arc::new(apiserver::Services::new(&store)), outbound::Kubeconfig::default());
        let asked: Arc<dyn registry::auth::Authorizer> = authorizer.clone();
        let (mutating, validating) = admission::webhook::plugins(&store, &outbound, &asked);
        let (policies, rules) = admission::policy::plugins(&store, &asked);
        let plugins = admission::Options {
            cluster_ranges: resources::Options::default().service_ranges,
            callers: vec![policies, mutating, rules, validating],
            ..admission::Options::new(authorizer.clone())
        };
        for plugin in admission::plugins(&plugins)? {
            builder = builder.admission(plugin);
        }
        let registry = builder.build();

        let authority = Authority::open(directory.path(), "ca", "kubernetes-ca")?;
        let proxy_authority = Authority::open(directory.path(), "front-proxy-ca", "front-proxy-ca")?;
        let (signing_key, _) = pki::signing_key(directory.path())?;
        let issuer = "https://kubernetes.default.svc.cluster.local";
        let settings = TokenSettings { signing_key, issuers: vec![issuer.to_owned()], ..TokenSettings::default() };
        let tokens = Arc::new(ServiceAccountTokens::new(settings, registry.reader())?);
        let authenticators = Authenticators::new(AuthenticationOptions {
            client_authorities: Some(ClientAuthorities::new(authority.certificate())?),
            tokens: vec![tokens.clone(), Arc::new(BootstrapTokens::new(registry.reader()))],
            audiences: tokens.default_audiences(),
            ..AuthenticationOptions::default()
        });
        let mut server = ApiServer::builder(registry.clone(), Arc::new(authenticators), authorizer, &supervisor)
            .token_discovery(&tokens.discovery(&format!("{issuer}/openid/v1/jwks")), &tokens.key_set())
            .token_issuer(tokens)
            .aggregation(Aggregation { outbound: outbound.clone(), credentials: front_proxy(&proxy_authority)? });
        if let Some(dialer) = options.node_dialer {
            server = server.node_dialer(dialer);
        }
        let server = server.options(options.server).build()?;

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        bootstrap::namespaces(&registry).await?;
        bootstrap::component_statuses(&registry).await?;
        apiserver::flow_control::ensure(&registry).await?;
        apiserver::service_addresses::default_range(&registry, &resources::Options::default().service_ranges).await?;
        customresources::start(&registry, Arc::new(outbound), &supervisor).await?;
        auth::bootstrap::ensure(&registry, auth::bootstrap::policy()).await?;
        // Behind the policy, so that the authorizers know it before the first request.
        auth::follow(&store, &rbac, &nodes, &supervisor);
        let endpoint = bootstrap::ApiEndpoint {
            service_address: IpAddr::V4(Ipv4Addr::new(10, 43, 0, 1)),
            // Endpoints may not be on loopback; nobody in a test reaches the API by its Service.
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            port: address.port(),
        };
        bootstrap::kubernetes_service(&registry, &endpoint).await?;
        bootstrap::keep_kubernetes_service(&registry, endpoint, &supervisor);
        apiserver::flow_control::keep(&registry, &supervisor);
        apiserver::service_addresses::keep(&registry, &supervisor).await;
        let headers = RequestHeaders {
            client_authority: authority.certificate().to_owned(),
            authority: proxy_authority.certificate().to_owned(),
            allowed_names: vec![PROXY_NAME.to_owned()],
        };
        aggregator::keep_authentication(&registry, headers, &supervisor).await?;
        aggregator::start(&server, &supervisor).await?;
        apiserver::expire::events(&registry, apiserver::expire::EVENT_TTL, &supervisor);

        let serving = CertificateSpec::server("kube-apiserver", vec!["localhost".to_owned()], vec![address.ip()]);
        let (certificate, key) = authority.ensure("apiserver", &serving)?;
        let identity = ServingIdentity::new(&certificate, &key)?;
        let tls = pki::server_config_for_any_client(identity)?;
        server.serve(&supervisor, listener, Arc::new(tls));
        server.set_ready();
        let admin =
            authority.ensure("admin", &CertificateSpec::client("kubernetes-admin", Some(UserInfo::MASTERS_GROUP)))?;
        Ok(Self { server, supervisor, address, authority, admin, directory })
    }

    pub fn server(&self) -> &ApiServer {
        &self.server
    }

    /// Owner of the cluster's tasks; what a test starts can be owned by it too.
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// In process, as a member of `system:masters`.
    pub fn client(&self) -> kube::Client {
        self.server.client(UserInfo::new("kubernetes-admin", [UserInfo::MASTERS_GROUP]))
    }

    /// In process, as anybody.
    pub fn client_as(&self, user: &str, groups: &[&str]) -> kube::Client {
        self.server.client(UserInfo::new(user, groups.iter().copied()))
    }

    /// The authority behind all certificates, PEM.
    pub fn authority(&self) -> &str {
        self.authority.certificate()
    }

    /// A fresh certificate and key of a user, PEM.
    pub fn issue(&self, user: &str, groups: &[&str]) -> anyhow::Result<(String, String)> {
        let mut spec = CertificateSpec::client(user, None);
        spec.organizations = groups.iter().map(|group| (*group).to_owned()).collect();
        Ok(self.authority.issue(user, &spec)?)
    }

    /// The administrator's kubeconfig, as YAML.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_with(&self.admin)
    }

    /// The kubeconfig of a user with a fresh certificate.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> anyhow::Result<String> {
        let identity = self.authority.issue(user, &CertificateSpec::client(user, group))?;
        Ok(self.kubeconfig_with(&identity))
    }

    fn kubeconfig_with(&self, (certificate, key): &(String, String)) -> String {
        Kubeconfig {
            name: "test".to_owned(),
            server: format!("https://{}", self.address),
            authority: self.authority.certificate().to_owned(),
            certificate: certificate.clone(),
            key: key.clone(),
        }
        .to_yaml()
    }

    /// Writes the administrator's kubeconfig, for programs.
    pub fn write_kubeconfig(&self) -> anyhow::Result<PathBuf> {
        let path = self.directory.path().join("kubeconfig");
        std::fs::write(&path, self.kubeconfig())?;
        Ok(path)
    }

    /// Over HTTPS, with the administrator's certificate.
    pub async fn https_client(&self) -> anyhow::Result<kube::Client> {
        let kubeconfig = KubeKubeconfig::from_yaml(&self.kubeconfig()).context("kubeconfig")?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// Stops everything in order; tests that look at what is left call it, others may drop.
    pub async fn stop(self) {
        self.supervisor.shutdown().await;
        if let Err(error) = self.server.registry().store().shutdown().await {
            tracing::warn!(%error, "store did not close cleanly");
        }
    }
}

/// What extension servers see the API server's requests come with.
fn front_proxy(authority: &Authority) -> anyhow::Result<Credentials> {
    let (certificate, key) = authority.ensure(PROXY_NAME, &CertificateSpec::client(PROXY_NAME, None))?;
    Ok(Credentials::certificate(Arc::new(Identity::Pem { certificate, key })))
}
