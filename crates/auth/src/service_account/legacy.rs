//! Tokens that live in Secrets of type `kubernetes.io/service-account-token` and never end: they hold as long as their
//! Secret does, with exactly them in it. Upstream: `pkg/serviceaccount/legacy.go`.

use std::sync::Arc;

use api::core::v1::{Secret, ServiceAccount};
use apimachinery::ApiError;
use jiff::Timestamp;
use registry::{Reader, Registry, UpdateKind, UserInfo, Verb};
use supervisor::Supervisor;
use tokio::sync::mpsc;

use super::claims::{Claims, Legacy};
use crate::cache::Digest;

/// Who made tokens in Secrets.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// The day on which the token of a Secret was last used.
pub const LAST_USED_LABEL: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE_LABEL: &str = "kubernetes.io/legacy-token-invalid-since";
/// Uses that wait to be written down; beyond, one is written with a later use.
const MAX_PENDING: usize = 256;

/// For whom a token is made, and the Secret it is to be kept in.
#[derive(Clone, Debug)]
pub struct LegacyAccount {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub secret: String,
}

impl LegacyAccount {
    pub(super) fn claims(&self) -> Claims {
        Claims {
            aud: <_>::default(),
            exp: None,
            iat: None,
            iss: LEGACY_ISSUER.to_owned(),
            jti: String::new(),
            kubernetes: None,
            nbf: None,
            sub: super::user_name(&self.namespace, &self.name),
            legacy: Legacy {
                namespace: self.namespace.clone(),
                secret: self.secret.clone(),
                account: self.name.clone(),
                account_uid: self.uid.clone(),
            },
        }
    }
}

/// What a good token of a Secret stands for.
pub(super) struct Holder {
    pub(super) namespace: String,
    pub(super) account: String,
    pub(super) uid: String,
    /// To be told of the use: the Secret, and the label's value where it has to change.
    pub(super) stale_use: Option<(String, String)>,
}

/// Checks against what is stored. `token` as it was presented.
pub(super) fn check(claims: &Claims, token: &str, objects: &Reader, now: Timestamp) -> Result<Holder, String> {
    let Legacy { namespace, secret: secret_name, account, account_uid } = &claims.legacy;
    for (value, what) in [
        (&claims.sub, "sub"),
        (namespace, "namespace"),
        (secret_name, "secretName"),
        (account, "serviceAccountName"),
        (account_uid, "serviceAccountUID"),
    ] {
        if value.is_empty() {
            return Err(format!("{what} claim is missing"));
        }
    }
    if super::split_user_name(&claims.sub) != Some((namespace, account)) {
        return Err("sub claim is invalid".to_owned());
    }
    let secret = objects
        .get::<Secret>("", "secrets", namespace, secret_name)
        .filter(|secret| secret.metadata.deletion_timestamp.is_none())
        .ok_or("token has been invalidated")?;
    let kept = secret.data.as_ref().and_then(|data| data.get("token"));
    let same = kept.is_some_and(|kept| Digest::same(&kept.0, token.as_bytes()));
    if !same {
        return Err("token does not match server's copy".to_owned());
    }
    let found: ServiceAccount = objects
        .get("", "serviceaccounts", namespace, account)
        .ok_or_else(|| format!("serviceaccounts {account:?} not found"))?;
    if found.metadata.deletion_timestamp.is_some() {
        return Err(format!("ServiceAccount {namespace}/{account} has been deleted"));
    }
    let uid = found.metadata.uid.unwrap_or_default();
    if uid != *account_uid {
        return Err(format!("ServiceAccount UID ({uid}) does not match claim ({account_uid})"));
    }
    let label = |name: &str| secret.metadata.labels.as_ref().and_then(|labels| labels.get(name));
    if label(INVALID_SINCE_LABEL).is_some_and(|since| !since.is_empty()) {
        return Err(format!(
            "the token in secret {namespace}/{secret_name} for service account {namespace}/{account} has been marked \
             invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the \
             '{INVALID_SINCE_LABEL}' label from the secret to temporarily allow use of this token"
        ));
    }
    let today = now.strftime("%Y-%m-%d").to_string();
    let stale_use = (label(LAST_USED_LABEL) != Some(&today)).then(|| (secret_name.clone(), today));
    Ok(Holder { namespace: namespace.clone(), account: account.clone(), uid, stale_use })
}

/// Writes down on which day the tokens of Secrets were used, so that what nobody uses can be found and removed.
pub struct LegacyUses {
    sender: mpsc::Sender<(String, String, String)>,
}

impl LegacyUses {
    /// Starts writing.
    pub fn start(registry: &Registry, supervisor: &Supervisor) -> Self {
        let (sender, mut uses) = mpsc::channel::<(String, String, String)>(MAX_PENDING);
        let registry = registry.clone();
        supervisor.spawn("legacy token uses", async move {
            while let Some((namespace, secret, day)) = uses.recv().await {
                if let Err(error) = write(&registry, &namespace, &secret, &day).await {
                    tracing::debug!(namespace, secret, %error, "use of a token not written");
                }
            }
        });
        Self { sender }
    }

    pub(super) fn tell(&self, namespace: &str, secret: String, day: String) {
        // Full: this one is left out, and told of by the next use.
        self.sender.try_send((namespace.to_owned(), secret, day)).ok();
    }
}

async fn write(registry: &Registry, namespace: &str, secret: &str, day: &str) -> Result<(), ApiError> {
    let kind = registry.kind("", "v1", "secrets").ok_or_else(ApiError::path_not_found)?;
    let mut cx = registry.context(Arc::new(UserInfo::loopback()), Verb::Patch);
    namespace.clone_into(&mut cx.namespace);
    secret.clone_into(&mut cx.name);
    let set = |object: &mut dyn registry::AnyObject| {
        let labels = object.metadata_mut().labels.get_or_insert_default();
        labels.insert(LAST_USED_LABEL.to_owned(), day.to_owned());
        Ok(())
    };
    registry.mutate(&kind, &cx, UpdateKind::Object, &set).await.map(|_| ())
}
