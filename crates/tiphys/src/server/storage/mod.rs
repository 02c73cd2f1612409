//! Where the cluster is kept and how: the engine, and what is encrypted in it.

mod forms;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use encryption::{AtRest, Configuration};
use engine::{
    Layout, Template,
    etcd::{EtcdFactory, EtcdOptions},
    log::LogFactory,
};
use grpc::Endpoint;
use store::{Expect, Key, Store, StoreError, StoreOptions, Txn};
use supervisor::Supervisor;
use tracing::info;

use super::Role;
use crate::layout;

#[derive(Args, Clone, Debug)]
pub(crate) struct StorageArguments {
    /// Which resources are encrypted in the store, and how: a file of the kind EncryptionConfiguration. Without one,
    /// Secrets are encrypted with a key that the server makes for itself
    #[arg(long)]
    encryption_provider_config: Option<PathBuf>,
    /// Read that file again when it changes
    #[arg(long)]
    encryption_provider_config_automatic_reload: bool,
    /// Keep the cluster in this etcd, which several API servers may share, instead of in the data directory
    #[arg(long, value_delimiter = ',')]
    etcd_servers: Vec<String>,
    /// Who etcd's certificates are to be from
    #[arg(long)]
    etcd_cafile: Option<PathBuf>,
    /// Certificate to show to etcd
    #[arg(long, requires = "etcd_keyfile")]
    etcd_certfile: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
    /// What all keys in etcd begin with
    #[arg(long, default_value = Layout::DEFAULT_PREFIX)]
    etcd_prefix: String,
    /// How often etcd is compacted, in seconds; 0: by somebody else
    #[arg(long, default_value = "300", value_parser = seconds)]
    etcd_compaction_interval: Duration,
    /// Where the cluster is kept: embedded, or etcd3 with --etcd-servers, which is what they mean anyway
    #[arg(long)]
    storage_backend: Option<Backend>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Backend {
    Embedded,
    Etcd3,
}

/// Go's `5m0s` as well as plain seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let plain = text.strip_suffix('s').unwrap_or(text);
    let (minutes, seconds) = plain.split_once('m').unwrap_or(("0", plain));
    let number = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u64>() };
    match (number(minutes), number(seconds)) {
        (Ok(minutes), Ok(seconds)) => Ok(Duration::from_secs(minutes.saturating_mul(60).saturating_add(seconds))),
        _ => Err(format!("{text:?} is no duration such as 5m0s")),
    }
}

/// The store, and what encrypts in it.
pub(crate) struct Storage {
    pub(crate) store: Store,
    pub(crate) at_rest: Arc<AtRest>,
}

pub(crate) async fn open(
    arguments: &StorageArguments,
    event_ttl: Duration,
    layout: &layout::Layout,
    role: Role,
    supervisor: &Supervisor,
) -> anyhow::Result<Storage> {
    let given = arguments.encryption_provider_config.clone();
    // A server that may share nothing but etcd with others cannot make a key for itself.
    let own = (given.is_none() && role == Role::Server).then(|| layout.encryption());
    if given.is_none() && own.is_none() {
        tracing::warn!("Secrets are kept in etcd as they are: no --encryption-provider-config says otherwise");
    }
    let keys = Arc::new(Layout::new(&arguments.etcd_prefix, builtin_resources()));
    let path = layout.store();
    let etcd = arguments.etcd(&keys)?;
    let opened = tokio::task::spawn_blocking(move || {
        let configuration = match (&given, &own) {
            (Some(path), _) => Configuration::read(path)?,
            (None, Some(own)) => encryption::own_configuration(own)?,
            (None, None) => Configuration::parse(PLAIN)?,
        };
        let at_rest = Arc::new(AtRest::new(&configuration, keys, Some(Arc::new(forms::Upstream)))?);
        let options = StoreOptions {
            codec: at_rest.clone(),
            lifetimes: vec![
                ("events".into(), event_ttl),
                (apiserver::masters::RESOURCE.into(), apiserver::masters::LIFETIME),
            ],
            ..StoreOptions::default()
        };
        let store = match etcd {
            Some(etcd) => Store::open(EtcdFactory::new(etcd), options).context("open the store in etcd")?,
            None => Store::open(LogFactory::new(path), options).context("open the store")?,
        };
        anyhow::Ok((Storage { store, at_rest }, own))
    });
    let (storage, own) = opened.await.context("open the store")??;
    if let Some(own) = own.filter(|_| storage.store.is_shared()) {
        same_key(&storage.store, &own).await?;
    }
    watch(&storage.store, supervisor);
    rewrite(&storage.store, supervisor);
    if let Some(path) = arguments.encryption_provider_config.clone()
        && arguments.encryption_provider_config_automatic_reload
    {
        let (store, owner) = (storage.store.clone(), supervisor.clone());
        encryption::reload_with_file(storage.at_rest.clone(), path, supervisor, move || rewrite(&store, &owner));
    }
    Ok(storage)
}

impl StorageArguments {
    /// Whether it is said where the cluster is kept.
    pub(crate) fn says_where(&self) -> bool {
        !self.etcd_servers.is_empty() || self.storage_backend == Some(Backend::Embedded)
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.etcd_prefix
    }

    /// `None` where the cluster is kept in the data directory.
    pub(crate) fn etcd(&self, layout: &Arc<Layout>) -> anyhow::Result<Option<EtcdOptions>> {
        match (self.storage_backend, self.etcd_servers.is_empty()) {
            (None | Some(Backend::Embedded), true) => return Ok(None),
            (Some(Backend::Embedded), false) => {
                anyhow::bail!("--etcd-servers are of no use to --storage-backend=embedded")
            }
            (Some(Backend::Etcd3), true) => anyhow::bail!("--storage-backend=etcd3 needs --etcd-servers"),
            (None | Some(Backend::Etcd3), false) => {}
        }
        let endpoint =
            |text: &String| Endpoint::parse(text).with_context(|| format!("--etcd-servers: {text:?} is no URL"));
        let endpoints: Vec<Endpoint> = self.etcd_servers.iter().map(endpoint).collect::<anyhow::Result<_>>()?;
        let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
        let tls = match (&self.etcd_cafile, endpoints.iter().any(Endpoint::is_tls)) {
            (_, false) => None,
            (None, true) => anyhow::bail!("--etcd-servers with https need --etcd-cafile"),
            (Some(authority), true) => {
                let certificate = self.etcd_certfile.as_ref().map(read).transpose()?;
                let key = self.etcd_keyfile.as_ref().map(read).transpose()?;
                let identity = certificate.as_deref().zip(key.as_deref());
                Some(Arc::new(pki::client_config(&read(authority)?, identity)?))
            }
        };
        let compaction = Some(self.etcd_compaction_interval).filter(|interval| !interval.is_zero());
        Ok(Some(EtcdOptions { endpoints, tls, layout: Arc::clone(layout), compaction }))
    }
}

/// Nothing is encrypted, as upstream has it where no configuration is given.
const PLAIN: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
                     - {resources: [secrets], providers: [{identity: {}}]}\n";

/// Under which the servers of a cluster say what key they have made for themselves: its digest.
const KEYS: &str = "tiphyskeys";

/// Servers that have each made a key of their own could not read what the others write: the first one says which key
/// is the cluster's, and others refuse to begin that do not have it. One that has it and writes with a newer one, which
/// an administrator has put before it, says so from then on.
async fn same_key(store: &Store, own: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(own).with_context(|| format!("read {}", own.display()))?;
    let digests = digests(&text);
    let first = digests.first().with_context(|| format!("{} names no key", own.display()))?;
    let key = Key::new("", "own").context("the name of the key's digest")?;
    let keys = store.resource(KEYS);
    let record = serde_json::json!({
        "apiVersion": "v1", "kind": "Digest", "metadata": {"name": "own"}, "sha256": first,
    });
    let value = Template::from_json(&record.to_string().into()).context("the digest of the key")?;
    let known = keys.snapshot().get(&key);
    let expect = match &known {
        None => Expect::Absent,
        Some(entry) => {
            let known: serde_json::Value = serde_json::from_slice(entry.bytes())?;
            anyhow::ensure!(
                digests.iter().any(|digest| known["sha256"] == *digest),
                "another server of this cluster encrypts Secrets with another key than {}. Copy its file here, or give \
                 all servers the same --encryption-provider-config",
                own.display()
            );
            if known["sha256"] == *first {
                return Ok(());
            }
            Expect::Revision(entry.mod_revision())
        }
    };
    match store.commit(Txn::new().put(&keys, key, expect, value)).await {
        Ok(_) => Ok(()),
        // Another server began at the same moment: what it has said is looked at.
        Err(StoreError::Conflict { .. }) => Box::pin(same_key(store, own)).await,
        Err(error) => Err(error).context("write the digest of the key"),
    }
}

/// Of each key in a configuration, the one that is written with first.
fn digests(configuration: &str) -> Vec<String> {
    let secrets = configuration.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("secret:"));
    let digest = |secret: &str| {
        let digest = ring::digest::digest(&ring::digest::SHA256, secret.trim().as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    secrets.map(digest).collect()
}

/// Whether the KMS plugins are well. Upstream: `/healthz/kms-providers`.
pub(crate) struct KmsProviders(pub(crate) Arc<AtRest>);

impl apiserver::HealthCheck for KmsProviders {
    fn name(&self) -> &str {
        "kms-providers"
    }

    fn check(&self) -> Result<(), String> {
        match self.0.unhealthy_plugins().first() {
            None => Ok(()),
            Some((name, why)) => Err(format!("{name}: {why}")),
        }
    }
}

/// The names under which the store keeps the kinds that are no custom ones.
pub(crate) fn builtin_resources() -> Vec<String> {
    let kinds = apiserver::kinds::all(&resources::Options::default());
    let stored = kinds.iter().map(|kind| match kind.hub() {
        Some(converted) => converted.hub.info().group_resource(),
        None => kind.info().group_resource(),
    });
    stored.collect()
}

/// A server whose store has gone would look alive and refuse every write: it ends instead, and is started again.
fn watch(store: &Store, supervisor: &Supervisor) {
    let (store, owner) = (store.clone(), supervisor.clone());
    supervisor.spawn("store watch", async move {
        store.closed().await;
        if !owner.is_shutting_down() {
            owner.fail("the store has closed");
        }
    });
}

/// What is kept with an older key, or in the clear, is written again. Where others write too they may not have the new
/// key yet: there it is for the administrator to say when, by an update that changes nothing, as upstream.
fn rewrite(store: &Store, supervisor: &Supervisor) {
    if store.is_shared() {
        return;
    }
    let store = store.clone();
    supervisor.spawn("encryption of what is stored", async move {
        match store.rewrite_stale().await {
            Ok(0) => {}
            Ok(objects) => info!(objects, "written again with the present key"),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "not everything could be written again with the present key"
            ),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_put_before_another_is_the_first() {
        let old = digests("keys:\n- name: key1\n  secret: b2xk\n");
        let both = digests("keys:\n- {x: y}\n- name: key2\n  secret: bmV3\n- secret: b2xk\n  name: key1\n");
        assert_eq!((old.len(), both.len()), (1, 2));
        assert_eq!(both[1], old[0]);
        assert_ne!(both[0], old[0]);
    }
}
