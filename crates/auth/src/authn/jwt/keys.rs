//! An issuer's keys: found by its discovery document, fetched when a token names a key that is not known, bounded in
//! how often. Upstream: `github.com/coreos/go-oidc` (`NewProvider`, `RemoteKeySet`).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use outbound::{Client, Protocols, Settings, Trust};
use serde_json::Value;
use supervisor::{Supervisor, TaskGuard};
use tokio::sync::{Mutex, watch};

use crate::jose::{Algorithm, PublicKey, Unverified};

/// Of a document of keys or of discovery.
const MAX_BYTES: usize = 1 << 20;
const MAX_KEYS: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(30);
/// Between attempts to find an issuer that does not answer.
const RETRY: Duration = Duration::from_secs(10);
/// Keys are fetched at most this often: tokens with made-up keys must not make the server call on and on.
const LEAST_AGE: Duration = Duration::from_secs(1);

/// The keys of one issuer. Dropping it ends the search for them.
pub(super) struct RemoteKeys {
    inner: Arc<Inner>,
    ready: watch::Receiver<bool>,
    _search: TaskGuard,
}

struct Inner {
    issuer: String,
    discovery_url: String,
    trust: Trust,
    /// `jwks_uri`, once it was found.
    place: ArcSwapOption<String>,
    keys: ArcSwapOption<Vec<PublicKey>>,
    fetched: Mutex<Option<Instant>>,
}

impl RemoteKeys {
    /// Begins to look for the issuer. `discovery_url`: where its document is, if not below itself.
    pub(super) fn start(issuer: &str, discovery_url: Option<&str>, authority: &str, supervisor: &Supervisor) -> Self {
        let discovery_url = match discovery_url.filter(|url| !url.is_empty()) {
            Some(url) => url.to_owned(),
            None => format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')),
        };
        let inner = Arc::new(Inner {
            issuer: issuer.to_owned(),
            discovery_url,
            trust: Trust::bundle(authority.as_bytes()),
            place: ArcSwapOption::empty(),
            keys: ArcSwapOption::empty(),
            fetched: Mutex::new(None),
        });
        let (sender, ready) = watch::channel(false);
        let search = inner.clone();
        let guard = supervisor.spawn_guarded("issuer discovery", async move {
            loop {
                match search.discover().await {
                    Ok(place) => {
                        search.place.store(Some(Arc::new(place)));
                        sender.send_replace(true);
                        return;
                    }
                    Err(why) => {
                        tracing::error!(issuer = search.issuer, why, "oidc authenticator: initializing plugin");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        });
        Self { inner, ready, _search: guard }
    }

    /// Returns once the issuer was found.
    pub(super) async fn ready(&self) {
        let mut ready = self.ready.clone();
        // The sender goes only with the search, which then has found it or was ended.
        ready.wait_for(|ready| *ready).await.ok();
    }

    /// Whether one of the issuer's keys has signed the token.
    pub(super) async fn has_signed(&self, token: &Unverified<'_>, allowed: &[Algorithm]) -> Result<bool, String> {
        let Some(place) = self.inner.place.load_full() else {
            return Err("oidc: authenticator not initialized".to_owned());
        };
        if self.inner.knows(token, allowed) {
            return Ok(true);
        }
        let mut fetched = self.inner.fetched.lock().await;
        // Somebody else may have fetched them meanwhile.
        if self.inner.knows(token, allowed) {
            return Ok(true);
        }
        if fetched.is_some_and(|at| at.elapsed() < LEAST_AGE) {
            return Ok(false);
        }
        *fetched = Some(Instant::now());
        let set = self.inner.get(&place).await.map_err(|why| format!("fetching keys {why}"))?;
        let keys = set["keys"].as_array().ok_or("oidc: the key set has no keys")?;
        self.inner.keys.store(Some(Arc::new(keys.iter().take(MAX_KEYS).filter_map(PublicKey::from_jwk).collect())));
        drop(fetched);
        Ok(self.inner.knows(token, allowed))
    }
}

impl Inner {
    fn knows(&self, token: &Unverified<'_>, allowed: &[Algorithm]) -> bool {
        let keys = self.keys.load();
        let named = keys.iter().flat_map(|keys| keys.iter());
        named
            .filter(|key| token.key_id.is_empty() || key.id == token.key_id)
            .any(|key| token.is_signed_by(key, allowed))
    }

    async fn discover(&self) -> Result<String, String> {
        let document = self.get(&self.discovery_url).await?;
        let issuer = document["issuer"].as_str().unwrap_or_default();
        if issuer != self.issuer {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {issuer:?}",
                self.issuer
            ));
        }
        let place = document["jwks_uri"].as_str().unwrap_or_default();
        if !place.starts_with("https://") {
            return Err(format!("oidc: the provider's jwks_uri {place:?} is not a https URL"));
        }
        Ok(place.to_owned())
    }

    async fn get(&self, url: &str) -> Result<Value, String> {
        let body = fetch(&self.trust, url, "").await?;
        serde_json::from_slice(&body).map_err(|error| format!("{url}: {error}"))
    }
}

/// Gets a document of an issuer; `token` is sent as a bearer token where there is one.
pub(super) async fn fetch(trust: &Trust, url: &str, token: &str) -> Result<bytes::Bytes, String> {
    let settings = Settings { trust: trust.clone(), protocols: Protocols::Http1AndHttp2, ..Settings::default() };
    let client = Client::for_url(url, settings).map_err(|error| error.to_string())?;
    let uri: http::Uri = url.parse().map_err(|_| format!("{url}: not a URL"))?;
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut request = Request::get(path)
        .header(header::ACCEPT, "application/json, application/jwt")
        .body(outbound::empty())
        .map_err(|error| error.to_string())?;
    if !token.is_empty() {
        let mut value = http::HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let exchange = async {
        let response = client.send(request).await.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("{url}: {}", response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        Ok(body.map_err(|error| format!("{url}: {error}"))?.to_bytes())
    };
    tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| format!("{url}: no answer in time"))?
}
