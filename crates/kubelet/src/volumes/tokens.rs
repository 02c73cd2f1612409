//! Service account tokens of projected volumes: asked of the API, bound to the pod, renewed before they expire.
//! Upstream: pkg/kubelet/token/token_manager.go.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::api::PostParams;
use kube::{Api, Client};

/// Renewed at the latest after this time.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);

/// The tokens of one pod, by volume and audience.
#[derive(Clone, Default)]
pub(crate) struct Tokens {
    held: BTreeMap<(String, String), Held>,
}

#[derive(Clone)]
struct Held {
    token: String,
    expires: Timestamp,
    renew: Timestamp,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("held", &self.held.len()).finish()
    }
}

impl Tokens {
    /// When the first of them has to be renewed.
    pub(crate) fn next_refresh(&self) -> Option<Timestamp> {
        self.held.values().map(|held| held.renew).min()
    }

    /// The token held, or a new one when it is time; an old one that is still good outlives a failed renewal.
    pub(crate) async fn get(
        &mut self,
        client: &Client,
        pod: &Pod,
        volume: &str,
        source: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        let audience = source.audience.clone().unwrap_or_default();
        let key = (format!("{volume}/{}", source.path), audience.clone());
        let now = Timestamp::now();
        if let Some(held) = self.held.get(&key).filter(|held| held.renew > now) {
            return Ok(held.token.clone());
        }
        match request(client, pod, audience, source.expiration_seconds.unwrap_or(3600)).await {
            Ok((token, expires)) => {
                let life = expires.duration_since(now);
                let renew = now.checked_add((life * 4 / 5).min(MAX_AGE)).unwrap_or(expires);
                self.held.insert(key, Held { token: token.clone(), expires, renew });
                Ok(token)
            }
            Err(error) => match self.held.get_mut(&key).filter(|held| held.expires > now) {
                Some(held) => {
                    tracing::warn!(%error, "token not renewed, the old one stays until it expires");
                    held.renew =
                        now.checked_add(SignedDuration::from_secs(10)).unwrap_or(held.expires).min(held.expires);
                    Ok(held.token.clone())
                }
                // The client's own text of an answer repeats it in debugging form.
                None => match error {
                    kube::Error::Api(answer) => Err(format!("failed to fetch token: {}", answer.message)),
                    error => Err(format!("failed to fetch token: {error}")),
                },
            },
        }
    }
}

async fn request(
    client: &Client,
    pod: &Pod,
    audience: String,
    seconds: i64,
) -> Result<(String, Timestamp), kube::Error> {
    let meta = &pod.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let account =
        pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).filter(|name| !name.is_empty());
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: if audience.is_empty() { None } else { Some(vec![audience]) },
            expiration_seconds: Some(seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: meta.name.clone(),
                uid: meta.uid.clone(),
            }),
        }),
        ..TokenRequest::default()
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let answer = accounts.create_token_request(account.unwrap_or("default"), &PostParams::default(), &request).await?;
    let status = answer.status.unwrap_or_default();
    let now = Timestamp::now();
    let expires = status.expiration_timestamp.map_or(now, |time| time.0);
    Ok((status.token.unwrap_or_default(), expires))
}
