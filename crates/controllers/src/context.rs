//! What a controller is given when it starts.

use std::{sync::Arc, time::Duration};

use informer::{Caches, Recorder};
use kube::Client;
use supervisor::Supervisor;

/// Makes the client with the rights of a service account in `kube-system`.
pub type ClientFactory = Arc<dyn Fn(&str) -> Client + Send + Sync>;

/// What a controller is given when it starts.
#[derive(Clone)]
pub struct Context {
    /// The shared caches of the process.
    pub caches: Caches,
    /// The client for writes, with the rights of the controller's own service account.
    pub client: Client,
    /// Records events in the controller's name.
    pub recorder: Recorder,
    /// Owner of its tasks.
    pub supervisor: Supervisor,
    /// Settings.
    pub options: Arc<Options>,
}

/// Settings of all controllers, with upstream's defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which controllers run: names, `*` for all, `-name` for all but that. Upstream: `--controllers`.
    pub names: Vec<String>,
    /// PEM of the authorities that signed the API server's certificate, published to every namespace;
    /// empty: nothing is published. Upstream: `--root-ca-file`.
    pub root_ca: String,
    /// A node whose lease is older than this is no longer known to be well. Upstream: `--node-monitor-grace-period`.
    pub node_monitor_grace_period: Duration,
    /// The same for a node that has never reported. Upstream: `--node-startup-grace-period`.
    pub node_startup_grace_period: Duration,
    /// So many ended pods are kept; zero or less: all. Upstream: `--terminated-pod-gc-threshold`.
    pub terminated_pod_threshold: i64,
    /// With what certificate signing requests are signed; `None`: they are not. Upstream: `--cluster-signing-*`.
    pub signing: Option<Signing>,
    /// What makes the tokens of Secrets; `None`: they are not made. Upstream: `--service-account-private-key-file`.
    pub token_signer: Option<TokenSigner>,
    /// A token that was made unasked and not used for so long is marked as invalid, and deleted after as long again.
    /// Upstream: `--legacy-service-account-token-clean-up-period`.
    pub legacy_token_clean_up_period: Duration,
}

/// An authority that signs, and for how long at most.
#[derive(Clone)]
pub struct Signing {
    pub authority: Arc<pki::Authority>,
    /// Upstream: `--cluster-signing-duration`, a year.
    pub longest: Duration,
}

/// Makes tokens for service accounts that are kept in Secrets.
#[derive(Clone)]
pub struct TokenSigner(Arc<SignToken>);

/// Namespace, name and UID of the account, and the Secret's name.
type SignToken = dyn Fn(&str, &str, &str, &str) -> Result<String, String> + Send + Sync;

impl TokenSigner {
    pub fn new(sign: impl Fn(&str, &str, &str, &str) -> Result<String, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(sign))
    }

    pub(crate) fn sign(&self, namespace: &str, name: &str, uid: &str, secret: &str) -> Result<String, String> {
        (self.0)(namespace, name, uid, secret)
    }
}

impl std::fmt::Debug for Signing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signing").field("longest", &self.longest).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSigner")
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            names: vec!["*".to_owned()],
            root_ca: String::new(),
            node_monitor_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            terminated_pod_threshold: 12_500,
            signing: None,
            token_signer: None,
            legacy_token_clean_up_period: Duration::from_hours(365 * 24),
        }
    }
}
