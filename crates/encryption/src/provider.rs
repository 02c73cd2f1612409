//! Providers in a row: the first one writes, whichever has the prefix of a record reads it.
//! Upstream: `storage/value.NewPrefixTransformers` and `encryptionconfig.prefixTransformersAndProbes`.

use std::collections::HashMap;
use std::sync::Arc;

use engine::Mark;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};

use crate::SealError;
use crate::cipher::Cipher;
use crate::config::{ConfigError, Configuration, Keys, ProviderConfiguration};
use crate::kms::{Kms, KmsRuntime};

/// What every encrypted record begins with.
pub(crate) const ENCRYPTED: &[u8] = b"k8s:enc:";

/// Numbers for ways of writing: the same key has the same number after a reload.
#[derive(Default)]
pub(crate) struct Marks(Mutex<HashMap<String, u32>>);

/// The providers of each resource.
#[derive(Default)]
pub(crate) struct Providers {
    exact: HashMap<String, Chain>,
    /// By group, for `*.group`; the core group is the empty one.
    groups: HashMap<String, Chain>,
    all: Option<Chain>,
    pub(crate) plugins: Vec<Arc<Kms>>,
}

#[derive(Clone, Default)]
pub(crate) struct Chain(Vec<Arc<Provider>>);

pub(crate) struct Provider {
    prefix: String,
    kind: Kind,
}

enum Kind {
    Identity,
    Keys(Vec<NamedKey>),
    Kms(Arc<Kms>),
}

struct NamedKey {
    name: String,
    cipher: Cipher,
    mark: Mark,
}

// === impl Marks ===

impl Marks {
    /// Zero is for what is not encrypted.
    pub(crate) fn of(&self, identity: &str) -> Mark {
        let mut marks = self.0.lock();
        let next = u32::try_from(marks.len()).unwrap_or(u32::MAX - 2) + 1;
        Mark(*marks.entry(identity.to_owned()).or_insert(next))
    }
}

// === impl Providers ===

impl Providers {
    pub(crate) fn new(
        configuration: &Configuration,
        marks: &Arc<Marks>,
        runtime: &Arc<KmsRuntime>,
    ) -> Result<Providers, ConfigError> {
        let mut providers = Providers::default();
        for entry in &configuration.resources {
            let mut chain = Vec::new();
            for provider in &entry.providers {
                let provider = Provider::new(provider, marks, runtime)?;
                if let Kind::Kms(plugin) = &provider.kind {
                    providers.plugins.push(Arc::clone(plugin));
                }
                chain.push(Arc::new(provider));
            }
            for name in &entry.resources {
                providers.add(name, &chain);
            }
        }
        Ok(providers)
    }

    /// What an earlier wildcard covers, a later entry does not change.
    fn add(&mut self, name: &str, chain: &[Arc<Provider>]) {
        let (resource, group) = name.split_once('.').unwrap_or((name, ""));
        if self.all.is_some() || self.groups.contains_key(group) {
            return;
        }
        let slot = match (resource, group) {
            ("*", "*") => self.all.get_or_insert_default(),
            ("*", group) => self.groups.entry(group.to_owned()).or_default(),
            _ => self.exact.entry(name.to_owned()).or_default(),
        };
        slot.0.extend(chain.iter().cloned());
    }

    /// By the store's name of a resource; `None` when nothing was said of it.
    pub(crate) fn chain(&self, resource: &str) -> Option<&Chain> {
        let group = resource.split_once('.').map_or("", |(_, group)| group);
        self.exact.get(resource).or_else(|| self.groups.get(group)).or(self.all.as_ref())
    }
}

// === impl Chain ===

impl Chain {
    /// `None` in place of bytes: it is kept as it is.
    pub(crate) fn seal(&self, plain: &[u8], place: &str) -> Result<(Option<Vec<u8>>, Mark), SealError> {
        let Some(provider) = self.0.first() else { return Err(SealError::NoProvider) };
        let mut out = Vec::with_capacity(plain.len() + 128);
        out.extend_from_slice(provider.prefix.as_bytes());
        let mark = match &provider.kind {
            Kind::Identity => return Ok((None, Mark::default())),
            Kind::Keys(keys) => {
                let Some(key) = keys.first() else { return Err(SealError::NoProvider) };
                out.extend_from_slice(key.name.as_bytes());
                out.push(b':');
                key.cipher.seal(plain, place.as_bytes(), &mut out)?;
                key.mark
            }
            Kind::Kms(plugin) => plugin.seal(plain, place, &mut out)?,
        };
        Ok((Some(out), mark))
    }

    /// Of an encrypted record.
    pub(crate) fn open(&self, kept: &[u8], place: &str) -> Result<(Vec<u8>, Mark), SealError> {
        let mut failed = None;
        for provider in &self.0 {
            let opened = match kept.strip_prefix(provider.prefix.as_bytes()) {
                Some(rest) => provider.open(rest, place),
                None => continue,
            };
            match opened {
                Ok(opened) => return Ok(opened),
                // What another provider says of its own record is worth more than that identity is not for it.
                Err(SealError::Identity) if failed.is_some() => {}
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or(SealError::NoProvider))
    }

    /// Whether a record that is not encrypted may be read.
    pub(crate) fn takes_plain(&self) -> bool {
        self.0.iter().any(|provider| matches!(provider.kind, Kind::Identity))
    }

    pub(crate) fn mark(&self) -> Mark {
        match self.0.first().map(|provider| &provider.kind) {
            Some(Kind::Keys(keys)) => keys.first().map_or(Mark::default(), |key| key.mark),
            Some(Kind::Kms(plugin)) => plugin.mark(),
            Some(Kind::Identity) | None => Mark::default(),
        }
    }
}

// === impl Provider ===

impl Provider {
    fn new(
        configuration: &ProviderConfiguration,
        marks: &Arc<Marks>,
        runtime: &Arc<KmsRuntime>,
    ) -> Result<Provider, ConfigError> {
        let keys = |name: &str, keys: &Keys, make: fn(&[u8]) -> Option<Cipher>| {
            let keys: Option<Vec<NamedKey>> = keys
                .keys
                .iter()
                .map(|key| {
                    let secret = key.secret()?;
                    let digest = digest(&SHA256, &secret);
                    let identity = format!("{name}:{}:{:x?}", key.name, digest.as_ref());
                    Some(NamedKey { name: key.name.clone(), cipher: make(&secret)?, mark: marks.of(&identity) })
                })
                .collect();
            let keys = keys.ok_or_else(|| ConfigError::Invalid(format!("a key of {name} cannot be used")))?;
            Ok(Provider { prefix: format!("k8s:enc:{name}:v1:"), kind: Kind::Keys(keys) })
        };
        match configuration {
            ProviderConfiguration { aesgcm: Some(given), .. } => keys("aesgcm", given, Cipher::gcm),
            ProviderConfiguration { aescbc: Some(given), .. } => keys("aescbc", given, Cipher::cbc),
            ProviderConfiguration { secretbox: Some(given), .. } => keys("secretbox", given, Cipher::secretbox),
            ProviderConfiguration { kms: Some(given), .. } => {
                let plugin = Kms::start(given, Arc::clone(marks), Arc::clone(runtime))?;
                Ok(Provider { prefix: format!("k8s:enc:kms:v2:{}:", given.name), kind: Kind::Kms(plugin) })
            }
            _ => Ok(Provider { prefix: String::new(), kind: Kind::Identity }),
        }
    }

    /// `rest` is what follows the prefix.
    fn open(&self, rest: &[u8], place: &str) -> Result<(Vec<u8>, Mark), SealError> {
        match &self.kind {
            Kind::Identity => Err(SealError::Identity),
            Kind::Kms(plugin) => plugin.open(rest, place),
            Kind::Keys(keys) => {
                let mut failed = SealError::NoProvider;
                for key in keys {
                    let named = rest.strip_prefix(key.name.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
                    let Some(sealed) = named else { continue };
                    match key.cipher.open(sealed, place.as_bytes(), &key.name) {
                        Ok(plain) => return Ok((plain, key.mark)),
                        Err(error) => failed = error,
                    }
                }
                Err(failed)
            }
        }
    }
}
