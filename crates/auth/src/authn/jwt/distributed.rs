//! Groups that a token does not carry but says where to get: distributed claims of OpenID Connect (Core 5.6.2).
//!
//! The token that was verified names an endpoint, the endpoint answers with a token of its own, and that one is verified
//! against its own issuer before anything in it counts. Upstream: `claimResolver`, which knows them for groups alone.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use outbound::Trust;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value};
use supervisor::Supervisor;

use super::{
    check_bounds,
    keys::{RemoteKeys, fetch},
    signed_by,
};
use crate::jose::{Algorithm, Unverified};

const NAMES: &str = "_claim_names";
const SOURCES: &str = "_claim_sources";
/// Issuers of endpoints that are known at the same time.
const MAX_ISSUERS: usize = 16;
/// How long one that is met for the first time may take to be found.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gets one claim from where tokens say it is.
pub(super) struct Resolver {
    claim: String,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    /// PEM of the authority of endpoints and their issuers.
    authority: String,
    issuers: Mutex<HashMap<String, Arc<RemoteKeys>>>,
    supervisor: Supervisor,
}

/// Where a claim is to be had. One that is in the token itself, as `JWT`, is not taken by upstream either.
#[derive(Deserialize)]
struct Endpoint {
    #[serde(default, rename = "endpoint")]
    url: String,
    #[serde(default)]
    access_token: String,
}

impl Resolver {
    pub(super) fn new(
        claim: &str,
        audiences: &[String],
        algorithms: &[Algorithm],
        authority: &str,
        supervisor: &Supervisor,
    ) -> Self {
        Self {
            claim: claim.to_owned(),
            audiences: audiences.to_vec(),
            algorithms: algorithms.to_vec(),
            authority: authority.to_owned(),
            issuers: Mutex::default(),
            supervisor: supervisor.clone(),
        }
    }

    /// Puts the claim among the others, if it is not there and they say where it is.
    pub(super) async fn expand(&self, claims: &mut Map<String, Value>) -> Result<(), String> {
        let Some(endpoint) = self.endpoint(claims)? else { return Ok(()) };
        let (claim, url) = (&self.claim, &endpoint.url);
        let body = fetch(&Trust::bundle(self.authority.as_bytes()), url, &endpoint.access_token)
            .await
            .map_err(|why| format!("oidc: while getting distributed claim {claim:?}: {why}"))?;
        let text = std::str::from_utf8(&body).unwrap_or_default().trim();
        let untrusted = || format!("oidc: the endpoint {url} of claim {claim:?} did not answer with a token");
        let token = Unverified::parse(text).ok_or_else(untrusted)?;
        let mut found: Map<String, Value> = serde_json::from_slice(&token.claims).map_err(|_| untrusted())?;
        let issuer = found.get("iss").and_then(Value::as_str).unwrap_or_default().to_owned();
        let keys = self.issuer(&issuer).await?;
        let failed = |why: String| format!("oidc: verify distributed claim token: {why}");
        check_bounds(&self.audiences, &found, Timestamp::now()).map_err(failed)?;
        signed_by(&keys, &token, &self.algorithms).await.map_err(failed)?;
        let value = found.remove(claim).ok_or_else(|| {
            format!("oidc: jwt returned by distributed claim endpoint {url:?} did not contain claim: {claim}")
        })?;
        claims.insert(claim.clone(), value);
        Ok(())
    }

    fn endpoint(&self, claims: &Map<String, Value>) -> Result<Option<Endpoint>, String> {
        if claims.contains_key(&self.claim) {
            return Ok(None);
        }
        let Some(names) = claims.get(NAMES) else { return Ok(None) };
        let names: HashMap<String, String> = serde_json::from_value(names.clone())
            .map_err(|error| format!("oidc: error parsing distributed claim names: {error}"))?;
        let sources = claims.get(SOURCES).ok_or("oidc: no claim sources")?;
        let mut sources: HashMap<String, Endpoint> = serde_json::from_value(sources.clone())
            .map_err(|error| format!("oidc: could not parse claim sources: {error}"))?;
        let Some(name) = names.get(&self.claim) else { return Ok(None) };
        let endpoint = sources.remove(name).ok_or_else(|| {
            format!("oidc: id token _claim_names contained a source {name} missing in _claims_sources")
        })?;
        Ok(Some(endpoint).filter(|endpoint| !endpoint.url.is_empty()))
    }

    /// The keys of an issuer, looked for when it is first met.
    async fn issuer(&self, issuer: &str) -> Result<Arc<RemoteKeys>, String> {
        if !issuer.starts_with("https://") {
            return Err(format!("oidc: verifying untrusted issuer {issuer:?} failed: it is not a https URL"));
        }
        let keys = {
            let mut issuers = self.issuers.lock();
            if !issuers.contains_key(issuer) && issuers.len() >= MAX_ISSUERS {
                issuers.clear();
            }
            let start = || Arc::new(RemoteKeys::start(issuer, None, &self.authority, &self.supervisor));
            Arc::clone(issuers.entry(issuer.to_owned()).or_insert_with(start))
        };
        let found = tokio::time::timeout(PATIENCE, keys.ready()).await;
        found.map_err(|_| format!("oidc: verifier not initialized for issuer: {issuer:?}"))?;
        Ok(keys)
    }
}
