//! KMS v2: values are encrypted with keys derived from a seed, and the seed is encrypted by a plugin behind a Unix
//! socket. The plugin is asked for its status every minute; when it says that its key is another one, a new seed is
//! made. A seed that was not confirmed for three minutes encrypts nothing more.
//!
//! Upstream counterpart: `storage/value/encrypt/envelope/kmsv2`, `encryptionconfig.kmsv2PluginProbe`,
//! `k8s.io/kms/apis/v2/api.proto`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use engine::Mark;
use grpc::{Channel, Endpoint, GrpcError, Options};
use parking_lot::Mutex;
use prost::Message;
use ring::digest::{SHA256, digest};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;

use crate::SealError;
use crate::cipher::{Cipher, SEED, random};
use crate::config::{self, ConfigError};
use crate::provider::Marks;

const HEALTHY: Duration = Duration::from_secs(60);
const UNHEALTHY: Duration = Duration::from_secs(10);
/// How long a seed may be used after the plugin last confirmed its key.
const SEED_TTL: Duration = Duration::from_secs(180);
const CACHE_TTL: Duration = Duration::from_secs(24 * 3600);
/// Older ones go first; there are about as many as servers and keys.
const CACHED: usize = 10_000;
const KEY_ID_BYTES: usize = 1024;
const SOURCE_BYTES: usize = 1024;
const ANNOTATION_BYTES: usize = 32 << 10;
const MESSAGE_BYTES: usize = 1 << 20;

/// `EncryptedDEKSourceType`.
const AES_GCM_KEY: i32 = 0;
const HKDF_SEED: i32 = 1;

/// Runs what talks to plugins: the store's own thread waits for it, and it must not depend on others.
#[derive(Default)]
pub(crate) struct KmsRuntime(Mutex<Option<Runtime>>);

/// Ciphers by the digest of their wrapped seed, with the time of their last use.
type Ciphers = HashMap<[u8; 32], (Arc<Cipher>, Instant)>;

/// One plugin.
pub(crate) struct Kms {
    name: String,
    timeout: Duration,
    channel: Channel,
    runtime: Arc<KmsRuntime>,
    marks: Arc<Marks>,
    state: ArcSwapOption<State>,
    cache: Mutex<Ciphers>,
    trouble: Mutex<Option<String>>,
    polling: Mutex<Option<AbortHandle>>,
}

/// What encrypts at the moment.
struct State {
    seed: Arc<Cipher>,
    key_id: String,
    source: Vec<u8>,
    annotations: HashMap<String, Vec<u8>>,
    expires: Instant,
    mark: Mark,
}

/// Why a plugin did not help. Says nothing of what was to be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    #[error("did not answer")]
    Call(#[from] GrpcError),
    #[error("says that it is {0}")]
    Unhealthy(String),
    #[error("answers with {0}")]
    Answer(&'static str),
    #[error("has not confirmed its key in time, so that nothing is encrypted with it")]
    Expired,
    #[error("has a record with {0}")]
    Record(&'static str),
    #[error("cannot be asked: {0}")]
    Runtime(String),
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(map = "string, bytes", tag = "4")]
    annotations: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(map = "string, bytes", tag = "3")]
    annotations: HashMap<String, Vec<u8>>,
}

/// What is stored behind the prefix.
#[derive(Clone, PartialEq, Message)]
struct EncryptedObject {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    source: Vec<u8>,
    #[prost(map = "string, bytes", tag = "4")]
    annotations: HashMap<String, Vec<u8>>,
    #[prost(int32, tag = "5")]
    source_type: i32,
}

// === impl Kms ===

impl Kms {
    /// Waits for the first answer of the plugin. Without one it goes on, unhealthy, and tries again later.
    pub(crate) fn start(
        configuration: &config::Kms,
        marks: Arc<Marks>,
        runtime: Arc<KmsRuntime>,
    ) -> Result<Arc<Kms>, ConfigError> {
        let wrong = || ConfigError::Kms(format!("{:?} is no address of a socket", configuration.endpoint));
        let endpoint = Endpoint::parse(&configuration.endpoint).ok_or_else(wrong)?;
        let timeout = configuration.timeout().unwrap_or(Duration::from_secs(3));
        let options = Options { tls: None, deadline: timeout, message_bytes: MESSAGE_BYTES };
        let kms = Arc::new(Kms {
            name: configuration.name.clone(),
            timeout,
            channel: Channel::new(vec![endpoint], options),
            runtime,
            marks,
            state: ArcSwapOption::empty(),
            cache: Mutex::default(),
            trouble: Mutex::new(Some("it was not asked yet".to_owned())),
            polling: Mutex::default(),
        });
        let first = Arc::clone(&kms);
        let (told, answered) = mpsc::channel();
        let task = kms.runtime.spawn(async move {
            let weak = Arc::downgrade(&first);
            let mut healthy = first.poll().await;
            // Who waits may have given up.
            told.send(()).ok();
            drop(first);
            loop {
                tokio::time::sleep(if healthy { HEALTHY } else { UNHEALTHY }).await;
                let Some(kms) = weak.upgrade() else { return };
                healthy = kms.poll().await;
            }
        });
        *kms.polling.lock() = Some(task.map_err(|error| ConfigError::Kms(error.to_string()))?);
        // Status and the first encryption.
        answered.recv_timeout(timeout * 2 + Duration::from_secs(1)).ok();
        Ok(kms)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Of what is encrypted now.
    pub(crate) fn mark(&self) -> Mark {
        self.state.load().as_ref().map_or(Mark::default(), |state| state.mark)
    }

    pub(crate) fn seal(&self, plain: &[u8], place: &str, out: &mut Vec<u8>) -> Result<Mark, SealError> {
        let failed = |source| SealError::Kms { name: self.name.clone(), source };
        let state = self.state.load_full().filter(|state| Instant::now() <= state.expires);
        let state = state.ok_or_else(|| failed(KmsError::Expired))?;
        let mut object = EncryptedObject {
            data: Vec::new(),
            key_id: state.key_id.clone(),
            source: state.source.clone(),
            annotations: state.annotations.clone(),
            source_type: HKDF_SEED,
        };
        state.seed.seal(plain, place.as_bytes(), &mut object.data)?;
        out.extend_from_slice(&object.encode_to_vec());
        Ok(state.mark)
    }

    pub(crate) fn open(&self, sealed: &[u8], place: &str) -> Result<(Vec<u8>, Mark), SealError> {
        let failed = |source| SealError::Kms { name: self.name.clone(), source };
        let mut object = EncryptedObject::decode(sealed).map_err(|error| failed(KmsError::Call(error.into())))?;
        validate(&object.key_id, &object.source, &object.annotations).map_err(|what| failed(KmsError::Record(what)))?;
        let mark = self.mark_of(&object.key_id, object.source_type);
        let data = std::mem::take(&mut object.data);
        let cipher = self.cipher(object).map_err(failed)?;
        Ok((cipher.open(&data, place.as_bytes(), &self.name)?, mark))
    }

    fn mark_of(&self, key_id: &str, source_type: i32) -> Mark {
        self.marks.of(&format!("kms:{}:{source_type}:{key_id}", self.name))
    }

    /// What a record's source decrypts to; the plugin is asked once for each source.
    fn cipher(&self, object: EncryptedObject) -> Result<Arc<Cipher>, KmsError> {
        if let Some(state) = &*self.state.load()
            && state.source == object.source
            && state.key_id == object.key_id
            && object.source_type == HKDF_SEED
        {
            return Ok(Arc::clone(&state.seed));
        }
        let mut annotations: Vec<_> = object.annotations.iter().collect();
        annotations.sort_unstable();
        let identity = format!("{} {:?} {:?} {annotations:?}", object.source_type, object.key_id, object.source);
        let identity: [u8; 32] = digest(&SHA256, identity.as_bytes()).as_ref().try_into().unwrap_or_default();
        let now = Instant::now();
        if let Some((cipher, used)) = self.cache.lock().get_mut(&identity) {
            *used = now;
            return Ok(Arc::clone(cipher));
        }
        let source_type = object.source_type;
        let channel = self.channel.clone();
        let answer = self.runtime.wait(self.timeout + Duration::from_secs(1), async move {
            let question = DecryptRequest {
                ciphertext: object.source,
                uid: uuid::Uuid::new_v4().to_string(),
                key_id: object.key_id,
                annotations: object.annotations,
            };
            channel.unary::<DecryptResponse>("/v2.KeyManagementService/Decrypt", &question).await
        })??;
        let cipher = match source_type {
            HKDF_SEED => Cipher::seed(&answer.plaintext),
            AES_GCM_KEY => Cipher::gcm(&answer.plaintext),
            _ => return Err(KmsError::Record("an unknown encryptedDEKSourceType")),
        };
        let cipher = Arc::new(cipher.ok_or(KmsError::Answer("a key of another length"))?);
        let mut cache = self.cache.lock();
        if cache.len() >= CACHED {
            cache.retain(|_, (_, used)| now.duration_since(*used) < CACHE_TTL);
        }
        if cache.len() >= CACHED {
            cache.clear();
        }
        cache.insert(identity, (Arc::clone(&cipher), now));
        Ok(cipher)
    }

    /// Asks for the status, and makes a new seed when the key is another one. Gives back whether all is well.
    async fn poll(&self) -> bool {
        let outcome = self.check().await;
        let trouble = outcome.as_ref().err().map(|error| match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        });
        let before = std::mem::replace(&mut *self.trouble.lock(), trouble.clone());
        match (&trouble, before) {
            (Some(why), before) if before.as_ref() != Some(why) => {
                tracing::warn!(plugin = self.name, why, "the KMS plugin is not well");
            }
            (None, Some(_)) => tracing::info!(plugin = self.name, "the KMS plugin is well"),
            _ => {}
        }
        outcome.is_ok()
    }

    async fn check(&self) -> Result<(), KmsError> {
        let status: StatusResponse = self.channel.unary("/v2.KeyManagementService/Status", &StatusRequest {}).await?;
        if status.healthz != "ok" {
            return Err(KmsError::Unhealthy(status.healthz.chars().take(200).collect()));
        }
        if !matches!(&*status.version, "v2" | "v2beta1") {
            return Err(KmsError::Answer("another version than v2"));
        }
        if status.key_id.is_empty() || status.key_id.len() > KEY_ID_BYTES {
            return Err(KmsError::Answer("no key id, or one that is too long"));
        }
        let expires = Instant::now() + SEED_TTL;
        if let Some(state) = &*self.state.load()
            && state.key_id == status.key_id
        {
            self.state.store(Some(Arc::new(State {
                seed: Arc::clone(&state.seed),
                key_id: state.key_id.clone(),
                source: state.source.clone(),
                annotations: state.annotations.clone(),
                expires,
                mark: state.mark,
            })));
            return Ok(());
        }
        let seed: [u8; SEED] = random().map_err(|_| KmsError::Runtime("the system has no randomness".to_owned()))?;
        let question = EncryptRequest { plaintext: seed.to_vec(), uid: uuid::Uuid::new_v4().to_string() };
        let answer: EncryptResponse = self.channel.unary("/v2.KeyManagementService/Encrypt", &question).await?;
        validate(&answer.key_id, &answer.ciphertext, &answer.annotations).map_err(KmsError::Answer)?;
        let seed = Arc::new(Cipher::seed(&seed).ok_or(KmsError::Answer("a seed that is too short"))?);
        let mark = self.mark_of(&answer.key_id, HKDF_SEED);
        let rotated = answer.key_id != status.key_id;
        self.state.store(Some(Arc::new(State {
            seed,
            key_id: answer.key_id,
            source: answer.ciphertext,
            annotations: answer.annotations,
            expires,
            mark,
        })));
        // It says one thing and does another: the next look tells whether it was just rotating.
        if rotated { Err(KmsError::Answer("a key that its status does not name")) } else { Ok(()) }
    }
}

impl Drop for Kms {
    fn drop(&mut self) {
        if let Some(task) = self.polling.lock().take() {
            task.abort();
        }
    }
}

fn validate(key_id: &str, source: &[u8], annotations: &HashMap<String, Vec<u8>>) -> Result<(), &'static str> {
    let annotation_bytes: usize = annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
    if key_id.is_empty() || key_id.len() > KEY_ID_BYTES {
        return Err("no key id, or one that is too long");
    }
    if source.is_empty() || source.len() > SOURCE_BYTES {
        return Err("no encrypted seed, or one that is too long");
    }
    if annotation_bytes > ANNOTATION_BYTES {
        return Err("annotations that are too long");
    }
    // As upstream, a name with a dot at least.
    let qualified = |name: &str| name.contains('.') && apimachinery::names::is_dns1123_subdomain(name).is_empty();
    if !annotations.keys().all(|name| qualified(name)) {
        return Err("an annotation whose name is not fully qualified");
    }
    Ok(())
}

// === impl KmsRuntime ===

impl KmsRuntime {
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Result<AbortHandle, KmsError> {
        let mut runtime = self.0.lock();
        if runtime.is_none() {
            let made = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("kms")
                .enable_all()
                .build()
                .map_err(|error| KmsError::Runtime(error.to_string()))?;
            *runtime = Some(made);
        }
        match &*runtime {
            Some(runtime) => Ok(runtime.spawn(future).abort_handle()),
            None => Err(KmsError::Runtime("it was not started".to_owned())),
        }
    }

    /// Blocks until a future is done.
    fn wait<T: Send + 'static>(
        &self,
        deadline: Duration,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, KmsError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.spawn(async move {
            // Who waits may have given up.
            sender.send(future.await).ok();
        })?;
        receiver.recv_timeout(deadline).map_err(|_| KmsError::Call(GrpcError::Deadline))
    }
}

impl Drop for KmsRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.lock().take() {
            // Also from where blocking is not allowed.
            runtime.shutdown_background();
        }
    }
}
