//! Pulling images from registries with the OCI distribution protocol.
//!
//! The rule of this project: a registry that can be reached decides; one that cannot be reached at all does not keep a
//! node from using an image it has. A registry that answers "denied" or "not found" was reached.
//! Errors read as containerd's, because they end up in events. Upstream: containerd `client/pull.go`.

mod blobs;
mod error;
mod reach;

use std::sync::Arc;
use std::time::Duration;

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use parking_lot::Mutex;

pub use error::{PullError, PullErrorKind};

use crate::archive::{MAX_DOCUMENT, MAX_LAYERS};
use crate::config::ARCHITECTURE;
use crate::store::{Commit, Image, Store};
use crate::{Digest, Error, Reference, Result};

/// Settings of a [`Puller`].
#[derive(Clone, Debug)]
pub struct PullerConfig {
    /// Further certificate authorities, each PEM.
    pub extra_roots: Vec<Vec<u8>>,
    /// Registries (as in references) that are spoken to without TLS. Loopback ones may be without asking.
    pub plain_http: Vec<String>,
    /// Credentials of the node for registries, for pulls that bring none.
    pub credentials: Vec<(String, Credentials)>,
    /// Layers fetched at the same time.
    pub concurrent_layers: usize,
    /// Largest blob accepted.
    pub max_blob: u64,
    pub connect_timeout: Duration,
    /// No byte for this long ends a transfer.
    pub stall_timeout: Duration,
    /// How long a registry may take to answer when the node has a copy to fall back on.
    pub patience_with_copy: Duration,
    /// A registry that could not be reached is not asked again for this long when the node has a copy.
    pub retry_unreachable_after: Duration,
}

/// Credentials for one registry. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    #[default]
    Anonymous,
    Basic {
        username: String,
        password: String,
    },
    Bearer(String),
}

/// The result of a pull.
#[derive(Clone, Debug)]
pub struct PullOutcome {
    pub image: Arc<Image>,
    /// The registry could not be reached and the node's copy answers.
    pub served_from_store: bool,
    /// Nothing had to be fetched.
    pub up_to_date: bool,
}

/// Pulls images into a store. Clones share connections.
#[derive(Clone)]
pub struct Puller {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    config: PullerConfig,
    clients: Mutex<Vec<CachedClient>>,
    reach: reach::Reach,
    blob_locks: blobs::Locks,
}

struct CachedClient {
    plain: bool,
    credentials: Credentials,
    client: oci_client::Client,
}

const MAX_CLIENTS: usize = 8;
const MANIFEST_TYPES: &[&str] = &[
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

// === impl PullerConfig ===

impl Default for PullerConfig {
    fn default() -> Self {
        Self {
            extra_roots: Vec::new(),
            plain_http: Vec::new(),
            credentials: Vec::new(),
            concurrent_layers: 3,
            max_blob: 16 << 30,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            patience_with_copy: Duration::from_secs(3),
            retry_unreachable_after: Duration::from_secs(30),
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic(…)",
            Self::Bearer(_) => "Bearer(…)",
        })
    }
}

// === impl Puller ===

impl Puller {
    pub fn new(store: Store, config: PullerConfig) -> Self {
        // Another provider may be the process's default already, which is as good.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        Self {
            shared: Arc::new(Shared {
                store,
                config,
                clients: Mutex::default(),
                reach: reach::Reach::default(),
                blob_locks: blobs::Locks::default(),
            }),
        }
    }

    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Fetches what `reference` names now, or answers with the node's copy where the registry cannot be reached.
    pub async fn pull(&self, reference: &Reference, credentials: &Credentials) -> Result<PullOutcome> {
        let config = &self.shared.config;
        let own = config.credentials.iter().find(|(registry, _)| registry == reference.registry());
        let credentials = match (credentials, own) {
            (Credentials::Anonymous, Some((_, own))) => own,
            (given, _) => given,
        };
        let copy = self.shared.store.get(&reference.to_string());
        let from_store = |image: Arc<Image>| PullOutcome { image, served_from_store: true, up_to_date: true };
        if let Some(image) = &copy
            && self.shared.reach.failed_lately(reference.registry(), config.retry_unreachable_after)
        {
            return Ok(from_store(Arc::clone(image)));
        }
        // Waiting out a network that swallows packets must not delay a pod whose image is there.
        let patience = if copy.is_some() { config.patience_with_copy } else { config.connect_timeout * 3 };
        let resolved = match tokio::time::timeout(patience, self.resolve(reference, credentials)).await {
            Ok(resolved) => resolved,
            Err(_) => Err(PullError::timeout(reference, patience)),
        };
        let resolved = match (resolved, copy) {
            (Ok(resolved), _) => resolved,
            (Err(error), copy) => {
                if error.kind == PullErrorKind::Unreachable {
                    self.shared.reach.failed(reference.registry());
                    if let Some(image) = copy {
                        tracing::info!(image = %reference, "registry cannot be reached, the node's copy is used");
                        return Ok(from_store(image));
                    }
                }
                return Err(error.into());
            }
        };
        self.shared.reach.succeeded(reference.registry());
        let repo_digest = reference.with_digest(&resolved.digest);
        if let Some(image) = self.shared.store.list().into_iter().find(|i| i.repo_digests.contains(&repo_digest)) {
            let image = self.name(&image, reference, repo_digest)?;
            return Ok(PullOutcome { image, served_from_store: false, up_to_date: true });
        }
        let image = self.fetch(reference, credentials, &resolved, repo_digest).await?;
        Ok(PullOutcome { image, served_from_store: false, up_to_date: false })
    }

    async fn resolve(&self, reference: &Reference, credentials: &Credentials) -> Result<Resolved, PullError> {
        let oci = oci_reference(reference);
        let auth = registry_auth(credentials);
        let attempts: &[bool] = match self.transport(reference) {
            reach::Transport::Tls => &[false],
            reach::Transport::Plain => &[true],
            reach::Transport::TlsThenPlain => &[false, true],
        };
        let mut last = None;
        for plain in attempts {
            let client = self.client(reference, credentials, *plain);
            match client.fetch_manifest_digest(&oci, &auth).await {
                Ok(digest) => {
                    let digest = digest.parse().map_err(|e: Error| PullError::resolve(reference, e.to_string()))?;
                    return Ok(Resolved { digest, client });
                }
                Err(error) => {
                    self.forget_client(credentials, *plain);
                    let retry = error::speaks_no_tls(&error);
                    last = Some(PullError::from_registry(reference, *plain, &error));
                    if !retry {
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| PullError::resolve(reference, "no transport".to_owned())))
    }

    async fn fetch(
        &self,
        reference: &Reference,
        credentials: &Credentials,
        resolved: &Resolved,
        repo_digest: String,
    ) -> Result<Arc<Image>> {
        let store = &self.shared.store;
        let ingest = store.ingest();
        let auth = registry_auth(credentials);
        let failed = |error: OciDistributionError| PullError::content(reference, &error);
        let mut oci = oci_reference(reference).clone_with_digest(resolved.digest.to_string());
        let (mut manifest, _) = resolved.client.pull_manifest_raw(&oci, &auth, MANIFEST_TYPES).await.map_err(failed)?;
        check_document(&manifest, &resolved.digest)?;
        if let Some(digest) = platform_manifest(&manifest)? {
            oci = oci.clone_with_digest(digest.to_string());
            (manifest, _) = resolved.client.pull_manifest_raw(&oci, &auth, MANIFEST_TYPES).await.map_err(failed)?;
            check_document(&manifest, &digest)?;
        }
        let parsed: blobs::Manifest = serde_json::from_slice(&manifest).map_err(|e| Error::document("manifest", e))?;
        if parsed.layers.len() > MAX_LAYERS || parsed.config.size > MAX_DOCUMENT {
            return Err(Error::document("manifest", "too large"));
        }
        let transfer =
            blobs::Transfer { puller: &self.shared, ingest: &ingest, client: &resolved.client, oci: &oci, reference };
        transfer.fetch(&parsed.config).await?;
        let config = store.read_blob(&parsed.config.digest)?;
        let diff_ids = crate::config::ConfigFile::parse(&config)?.rootfs.diff_ids;
        transfer.fetch_layers(&parsed.layers, &diff_ids).await?;
        let commit = Commit {
            manifest: manifest.to_vec(),
            config,
            names: reference.tag().map(|_| reference.clone()).into_iter().collect(),
            repo_digests: vec![repo_digest],
            pinned: false,
        };
        blocking(store.clone(), move |store| store.ingest().commit(commit)).await
    }

    /// A pull of content that is there under another name.
    fn name(&self, image: &Image, reference: &Reference, repo_digest: String) -> Result<Arc<Image>> {
        let names: Vec<Reference> = reference.tag().map(|_| reference.clone()).into_iter().collect();
        if names.iter().all(|name| image.names.contains(&name.to_string())) {
            return Ok(Arc::new(image.clone()));
        }
        self.shared.store.ingest().add_names(image, &names, &[repo_digest])
    }

    fn transport(&self, reference: &Reference) -> reach::Transport {
        reach::transport(reference.registry(), &self.shared.config.plain_http)
    }

    fn client(&self, reference: &Reference, credentials: &Credentials, plain: bool) -> oci_client::Client {
        let mut clients = self.shared.clients.lock();
        if let Some(cached) = clients.iter().find(|c| c.plain == plain && c.credentials == *credentials) {
            return cached.client.clone();
        }
        let config = &self.shared.config;
        let extra_root_certificates = config
            .extra_roots
            .iter()
            .map(|pem| Certificate { encoding: CertificateEncoding::Pem, data: pem.clone() })
            .collect();
        let client = oci_client::Client::new(ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            extra_root_certificates,
            connect_timeout: Some(config.connect_timeout),
            read_timeout: Some(config.stall_timeout),
            user_agent: "tiphys",
            ..ClientConfig::default()
        });
        tracing::debug!(registry = reference.registry(), plain, "new registry client");
        if clients.len() >= MAX_CLIENTS {
            clients.remove(0);
        }
        clients.push(CachedClient { plain, credentials: credentials.clone(), client: client.clone() });
        client
    }

    /// A client remembers the tokens it got; after a failure it starts afresh.
    fn forget_client(&self, credentials: &Credentials, plain: bool) {
        self.shared.clients.lock().retain(|c| c.plain != plain || c.credentials != *credentials);
    }
}

struct Resolved {
    digest: Digest,
    client: oci_client::Client,
}

fn registry_auth(credentials: &Credentials) -> RegistryAuth {
    match credentials {
        Credentials::Anonymous => RegistryAuth::Anonymous,
        Credentials::Basic { username, password } => RegistryAuth::Basic(username.clone(), password.clone()),
        Credentials::Bearer(token) => RegistryAuth::Bearer(token.clone()),
    }
}

fn oci_reference(reference: &Reference) -> oci_client::Reference {
    let (registry, repository) = (reference.api_host().to_owned(), reference.repository().to_owned());
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => oci_client::Reference::with_digest(registry, repository, digest.to_string()),
        (None, tag) => oci_client::Reference::with_tag(registry, repository, tag.unwrap_or("latest").to_owned()),
    }
}

fn check_document(bytes: &[u8], expected: &Digest) -> Result<()> {
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(Error::document("manifest", "too large"));
    }
    let actual = Digest::of(bytes);
    if actual == *expected {
        Ok(())
    } else {
        Err(Error::DigestMismatch { expected: expected.to_string(), actual: actual.to_string() })
    }
}

/// The digest to go on with where `bytes` is an index.
fn platform_manifest(bytes: &[u8]) -> Result<Option<Digest>> {
    #[derive(serde::Deserialize)]
    struct MaybeIndex {
        manifests: Option<Vec<crate::archive::IndexEntry>>,
    }
    let document: MaybeIndex = serde_json::from_slice(bytes).map_err(|e| Error::document("manifest", e))?;
    let Some(entries) = document.manifests else { return Ok(None) };
    let fitting = entries.iter().find(|entry| entry.platform.as_ref().is_some_and(crate::archive::fits));
    match fitting {
        Some(entry) => Ok(Some(entry.descriptor.digest.clone())),
        None => Err(Error::document("index", format_args!("no match for platform in manifest: linux/{ARCHITECTURE}"))),
    }
}

async fn blocking<T: Send + 'static>(
    store: Store,
    work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(move || work(&store)).await {
        Ok(result) => result,
        Err(error) => Err(Error::document("image work", error)),
    }
}
