//! The control plane: keys, store, API, and the controllers and scheduler that are its clients.

use std::{
    net::{IpAddr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use apiserver::{ApiServer, ServerOptions, bootstrap, identity::Identity, options::StorageSize};
use auth::{ClaimStatusCheck, EscalationCheck, NodeAuthorizer, Rbac};
use informer::{Caches, Elector, ElectorConfig};
use outbound::Outbound;
use pki::{Authority, CertificateSpec, FileIdentity, Kubeconfig, NamedIdentities, ServingIdentity};
use registry::{Registry, UserInfo};
use store::Store;
use supervisor::Supervisor;
use tokio::net::{TcpListener, TcpSocket};
use tracing::info;

use super::{Role, Settings, access, aggregation, kubelets::Dialer, operations, storage};

/// How often certificates are looked at; they are renewed long before they end.
const RENEWAL: Duration = Duration::from_secs(12 * 3600);

/// Connections that wait to be taken.
const BACKLOG: u32 = 1024;

/// Longest life of a certificate that somebody asks for. Upstream: `--cluster-signing-duration`.
const SIGNING_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// A running control plane.
pub(crate) struct ControlPlane {
    tokens: Arc<auth::ServiceAccountTokens>,
    pub(crate) server: ApiServer,
    pub(crate) authority: Arc<Authority>,
    /// Caches for everybody who may read everything; one copy of each object in the process.
    pub(crate) caches: Caches,
    /// Told once the node's own server can be asked inside the process.
    pub(crate) dialer: Arc<Dialer>,
    store: Store,
    identity: Identity,
    address: SocketAddr,
}

pub(super) async fn start(settings: &Settings, supervisor: &Supervisor) -> anyhow::Result<ControlPlane> {
    let layout = &settings.layout;
    let authority = Arc::new(Authority::open(&layout.pki(), "ca", "kubernetes-ca")?);
    let spec = serving_certificate(settings)?;
    let (certificate, key) = authority.ensure("apiserver", &spec)?;
    let identity = ServingIdentity::new(&certificate, &key)?;
    let tls = tls(settings, identities(settings, identity.clone())?)?;

    let storage::Storage { store, at_rest } = {
        let event_ttl = settings.arguments.operations.event_ttl;
        storage::open(&settings.arguments.storage, event_ttl, layout, settings.role, supervisor).await?
    };
    let resources = apiserver::kinds::all(&resources::Options { service_ranges: settings.service_ranges.clone() });
    let (rbac, nodes) = (Arc::new(Rbac::new()), Arc::new(NodeAuthorizer::new()));
    let authorizer = access::authorization(settings, &rbac, &nodes, supervisor)?;
    let escalation = Arc::new(EscalationCheck::new(rbac.clone(), authorizer.clone()));
    let claims = Arc::new(ClaimStatusCheck::new(authorizer.clone()));
    let configuration = super::admission::configuration(settings.arguments.admission_control_config_file.as_deref())?;
    let credentials = super::admission::webhook_credentials(&configuration)?;
    let outbound = Outbound::new(Arc::new(apiserver::Services::new(&store)), credentials);
    let asked: Arc<dyn registry::auth::Authorizer> = authorizer.clone();
    let (mutating, validating) = admission::webhook::plugins(&store, &outbound, &asked);
    let (policies, rules) = admission::policy::plugins(&store, &asked);
    let images = super::admission::image_policy(&configuration, &settings.arguments.enable_admission_plugins)?;
    let plugins = admission::plugins(&admission::Options {
        cluster_ranges: cluster_ranges(settings),
        enable: settings.arguments.enable_admission_plugins.clone(),
        disable: settings.arguments.disable_admission_plugins.clone(),
        configuration,
        toleration_seconds: admission::TolerationSeconds {
            not_ready: settings.arguments.default_not_ready_toleration_seconds,
            unreachable: settings.arguments.default_unreachable_toleration_seconds,
        },
        callers: images.into_iter().chain([policies, mutating, rules, validating]).collect(),
        ..admission::Options::new(authorizer.clone())
    })?;
    let builder = plugins
        .into_iter()
        .fold(Registry::builder(store.clone()).admission(escalation).admission(claims), |builder, plugin| {
            builder.admission(plugin)
        });
    let registry = builder.resources(resources).build();

    let authentication = access::authentication(settings, &authority, &registry, supervisor)?;
    let dialer = Arc::new(Dialer::new(&settings.arguments.kubelets, layout, &authority)?);
    let builder = ApiServer::builder(registry.clone(), authentication.authenticators.clone(), authorizer, supervisor);
    let documents = authentication.documents().into_iter();
    let mut builder = documents.fold(builder, |builder, (path, document)| builder.path(path, document));
    if at_rest.has_plugins() {
        builder = builder.health_check(Arc::new(storage::KmsProviders(at_rest)));
    }
    let server = builder
        .token_issuer(authentication.tokens.clone())
        .node_dialer(dialer.clone())
        .aggregation(aggregation::aggregation(settings, &outbound, supervisor)?)
        .options(server_options(settings, store.is_shared()))
        .build()?;

    bootstrap::namespaces(&registry).await?;
    // Together: each write alone would wait for a sync of its own.
    tokio::try_join!(
        bootstrap::component_statuses(&registry),
        apiserver::flow_control::ensure(&registry),
        apiserver::service_addresses::default_range(&registry, &settings.service_ranges),
        auth::bootstrap::ensure(&registry, auth::bootstrap::policy()),
    )?;
    // What was served before is served again before anybody is told that the server is ready.
    customresources::start(&registry, Arc::new(outbound), supervisor).await?;
    // Behind the policy, so that the authorizers know it before the first request.
    auth::follow(&store, &rbac, &nodes, supervisor);
    let endpoint = bootstrap::ApiEndpoint {
        service_address: first_address(settings)?,
        address: settings.arguments.advertise_address.unwrap_or(settings.node_ip),
        port: settings.arguments.secure_port,
    };
    if settings.role != (Role::ApiServer { keeps_endpoints: false }) {
        if let Err(error) = bootstrap::kubernetes_service(&registry, &endpoint).await {
            // An address that endpoints may not have, for one: everything else works.
            tracing::error!(%error, "the kubernetes Service could not be made to lead here");
        }
        bootstrap::keep_kubernetes_service(&registry, endpoint, supervisor);
    }
    bootstrap::keep_legacy_token_tracking(&registry, supervisor);
    apiserver::flow_control::keep(&registry, supervisor);
    apiserver::service_addresses::keep(&registry, supervisor).await;
    aggregation::start(&server, settings, &authority, supervisor).await?;

    let address = SocketAddr::new(settings.arguments.bind_address, settings.arguments.secure_port);
    let listener = listen(address, settings.arguments.operations.permit_port_sharing).with_context(|| {
        format!("listen on {address}; is another API server running? --secure-port chooses another port")
    })?;
    let address = listener.local_addr()?;
    server.serve(supervisor, listener, Arc::new(tls));
    server.set_ready();
    info!(%address, "API answers");
    if !store.is_shared() {
        // A shared store lets go of them by itself.
        apiserver::expire::events(&registry, settings.arguments.operations.event_ttl, supervisor);
    }
    let own = Identity::new(&settings.node_name, (address.port() != 6443).then_some(address.port()));
    apiserver::identity::keep(&registry, own.clone(), supervisor);
    renew(authority.clone(), spec, identity, supervisor);
    let caches = Caches::new(server.client(component("system:kube-controller-manager")), supervisor);
    Ok(ControlPlane { tokens: authentication.tokens, server, authority, caches, dialer, store, identity: own, address })
}

/// The certificates of the API: out of the flags' files where they name some, else the cluster's own.
fn identities(settings: &Settings, own: Arc<ServingIdentity>) -> anyhow::Result<Arc<NamedIdentities>> {
    let flags = &settings.arguments.operations;
    let files = match (&flags.tls_cert_file, &flags.tls_private_key_file) {
        (Some(certificate), Some(key)) => Some(FileIdentity::open(certificate, key, Vec::new())?),
        _ => None,
    };
    let named: Result<Vec<_>, _> = flags.tls_sni_cert_key.iter().map(|pair| FileIdentity::parse(pair)).collect();
    Ok(NamedIdentities::new(own, files, named.context("--tls-sni-cert-key")?))
}

fn server_options(settings: &Settings, is_shared: bool) -> ServerOptions {
    let mut options = settings.arguments.operations.options(operations::shown(&std::env::args().collect::<Vec<_>>()));
    options.external_address = SocketAddr::new(settings.node_ip, settings.arguments.secure_port).to_string();
    options.node_address_types = settings.arguments.kubelets.kubelet_preferred_address_types.clone();
    let directory = settings.layout.store();
    // Of an etcd, who looks after it knows.
    options.storage_size = (!is_shared).then(|| StorageSize(Arc::new(move || allocated(&directory))));
    options
}

/// Bytes that the files of a directory take.
fn allocated(directory: &Path) -> Option<u64> {
    let files = std::fs::read_dir(directory).ok()?.filter_map(Result::ok);
    Some(files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum())
}

/// How the API is spoken to.
fn tls(settings: &Settings, identities: Arc<NamedIdentities>) -> anyhow::Result<rustls::ServerConfig> {
    let flags = &settings.arguments.operations;
    let limits = pki::TlsLimits {
        only_tls13: flags.tls_min_version == "VersionTLS13",
        suites: flags.tls_cipher_suites.clone(),
        without_http2: flags.disable_http2_serving,
    };
    Ok(pki::server_config_for_any_client_within(identities, &limits)?)
}

fn listen(address: SocketAddr, shared: bool) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A user that is part of the cluster.
fn component(name: &str) -> UserInfo {
    UserInfo::new(name, [UserInfo::AUTHENTICATED_GROUP])
}

/// What endpoints may not be of outside of the cluster. Of an API server alone nobody has said what pods have.
fn cluster_ranges(settings: &Settings) -> Vec<ipnet::IpNet> {
    let pods = (settings.role == Role::Server).then_some(settings.arguments.cluster_cidr);
    pods.into_iter().chain(settings.service_ranges.iter().copied()).collect()
}

/// The address of the API's own Service: the first of the range.
fn first_address(settings: &Settings) -> anyhow::Result<IpAddr> {
    settings
        .service_ranges
        .first()
        .and_then(|range| range.hosts().next())
        .context("the range of Services has no address")
}

fn serving_certificate(settings: &Settings) -> anyhow::Result<CertificateSpec> {
    let mut addresses = vec![IpAddr::from([127, 0, 0, 1]), settings.node_ip, first_address(settings)?];
    let mut names: Vec<String> = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push(settings.node_name.clone());
    addresses.extend(settings.arguments.advertise_address);
    names.extend(settings.arguments.external_hostname.clone());
    for san in &settings.arguments.tls_sans {
        match san.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => names.push(san.clone()),
        }
    }
    addresses.dedup();
    names.dedup();
    Ok(CertificateSpec::server("kube-apiserver", names, addresses))
}

/// Replaces the server's certificate before it ends, while it serves.
fn renew(authority: Arc<Authority>, spec: CertificateSpec, identity: Arc<ServingIdentity>, supervisor: &Supervisor) {
    supervisor.spawn("certificate renewal", async move {
        loop {
            tokio::time::sleep(RENEWAL).await;
            let outcome = authority
                .ensure("apiserver", &spec)
                .and_then(|(certificate, key)| identity.replace(&certificate, &key));
            if let Err(error) = outcome {
                tracing::error!(
                    error = format!("{:#}", anyhow::Error::from(error)),
                    "the API server's certificate was not renewed"
                );
            }
        }
    });
}

impl ControlPlane {
    /// Starts what decides: controllers and scheduler. Where other servers work on the same store, one decides for all.
    pub(super) fn start_agents(&self, settings: &Settings, supervisor: &Supervisor) {
        let server = self.server.clone();
        let clients: controllers::ClientFactory = Arc::new(move |account| match account.starts_with("system:") {
            true => server.client(component(account)),
            false => server.client(auth::service_account::user("kube-system", account)),
        });
        let tokens = self.tokens.clone();
        let token_signer = controllers::TokenSigner::new(move |namespace, name, uid, secret| {
            let account = auth::service_account::LegacyAccount {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                uid: uid.to_owned(),
                secret: secret.to_owned(),
            };
            tokens.legacy_token(&account).map_err(|error| error.to_string())
        });
        let (caches, root_ca) = (self.caches.clone(), self.authority.certificate().to_owned());
        let signing = controllers::Signing { authority: self.authority.clone(), longest: SIGNING_DURATION };
        self.decide("kube-controller-manager", settings, supervisor, move |supervisor| {
            let options = controllers::Options {
                root_ca: root_ca.clone(),
                signing: Some(signing.clone()),
                token_signer: Some(token_signer.clone()),
                ..Default::default()
            };
            controllers::run(&clients, &caches, supervisor, options);
        });
        let (client, caches) = (self.server.client(component("system:kube-scheduler")), self.caches.clone());
        self.decide("kube-scheduler", settings, supervisor, move |supervisor| {
            let options = scheduler::Options::default();
            let scheduler = scheduler::run(client.clone(), caches.clone(), supervisor.clone(), options);
            supervisor.spawn("scheduler", scheduler);
        });
    }

    /// Runs a component here: at once where this is the only server, otherwise while it holds the component's lease.
    fn decide(
        &self,
        name: &'static str,
        settings: &Settings,
        supervisor: &Supervisor,
        start: impl Fn(&Supervisor) + Send + Sync + 'static,
    ) {
        if !self.store.is_shared() {
            start(supervisor);
            return;
        }
        let client = self.server.client(component(&format!("system:{name}")));
        let identity = format!("{}_{}", settings.node_name, self.identity.holder());
        let owner = supervisor.clone();
        supervisor.spawn_draining(name, async move {
            while !owner.is_shutting_down() {
                let config = ElectorConfig::new("kube-system", name, &identity);
                let mut leadership = tokio::select! {
                    leadership = Elector::new(client.clone(), config).acquire(&owner) => leadership,
                    () = owner.shutting_down() => return,
                };
                // What it runs ends with its term.
                let term = Supervisor::new();
                start(&term);
                tokio::select! {
                    () = leadership.lost() => {}
                    () = owner.shutting_down() => {}
                    () = term.failed() => owner.fail("a component that was leading has failed"),
                }
                term.shutdown().await;
            }
        });
    }

    /// The administrator's credentials: in the data directory, and where the user wants them.
    pub(super) fn write_kubeconfigs(&self, settings: &Settings) -> anyhow::Result<()> {
        let spec = CertificateSpec::client("kubernetes-admin", Some(UserInfo::MASTERS_GROUP));
        let (certificate, key) = self.authority.ensure("admin", &spec)?;
        let host = match settings.arguments.bind_address {
            address if address.is_unspecified() || address.is_loopback() => IpAddr::from([127, 0, 0, 1]),
            address => address,
        };
        let kubeconfig = Kubeconfig {
            name: "tiphys".to_owned(),
            server: format!("https://{}", SocketAddr::new(host, self.address.port())),
            authority: self.authority.certificate().to_owned(),
            certificate,
            key,
        };
        let text = kubeconfig.to_yaml();
        let wanted = settings.arguments.write_kubeconfig.as_deref();
        for path in std::iter::once(settings.layout.kubeconfig().as_path()).chain(wanted) {
            write_if_changed(path, &text)?;
        }
        Ok(())
    }

    /// Drains requests, stops all tasks and closes the store.
    pub(super) async fn stop(&self, supervisor: &Supervisor) {
        // The server itself says when it stops taking requests.
        self.server.begin_leaving();
        supervisor.shutdown().await;
        if let Err(error) = self.store.shutdown().await {
            tracing::error!(%error, "the store did not close in order; nothing acknowledged is lost");
        }
    }
}

fn write_if_changed(path: &Path, text: &str) -> anyhow::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    pki::write_secret(path, text.as_bytes()).with_context(|| format!("write the kubeconfig {}", path.display()))
}

#[cfg(test)]
mod tests {
    use api::rbac::v1::PolicyRule;

    /// What controllers have to do, the roles that every cluster starts with let them do.
    #[test]
    fn controllers_have_the_rights_that_they_need() {
        let policy = auth::bootstrap::policy();
        let cluster = policy.cluster_roles.iter().map(|role| (&role.metadata, &role.rules));
        let namespaced = policy.roles.iter().map(|role| (&role.metadata, &role.rules));
        let roles: Vec<_> = cluster.chain(namespaced).collect();
        for entry in controllers::CONTROLLERS {
            let account = entry.service_account;
            let name = match account.strip_prefix("system:") {
                Some(_) => account.to_owned(),
                None => format!("system:controller:{account}"),
            };
            let own = roles.iter().filter(|(metadata, _)| metadata.name.as_deref() == Some(name.as_str()));
            let own: Vec<&PolicyRule> = own.flat_map(|(_, rules)| rules.iter().flatten()).collect();
            assert!(!own.is_empty(), "{name} has no role");
            let wanted = entry.rules.iter().map(|rule| PolicyRule {
                verbs: rule.verbs.iter().map(ToString::to_string).collect(),
                api_groups: Some(vec![rule.group.to_owned()]),
                resources: Some(vec![rule.resource.to_owned()]),
                resource_names: Some(rule.name).filter(|name| !name.is_empty()).map(|name| vec![name.to_owned()]),
                ..PolicyRule::default()
            });
            let missing = auth::authz::not_covered(&own, &wanted.collect::<Vec<_>>());
            assert_eq!(missing, [], "{} as {account}", entry.name);
        }
    }
}
