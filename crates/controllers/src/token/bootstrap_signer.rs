//! Signs `cluster-info` in `kube-public` with every bootstrap token that is meant for it, so that a node that knows only
//! a token can tell the cluster's authority from another. Upstream: `pkg/controller/bootstrap.Signer`.

use std::collections::BTreeMap;

use api::core::v1::{ConfigMap, Secret};
use apimachinery::ObjectKey;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use informer::{Cache, Controller, Next, Reconcile, ReconcileError, Selection};
use jiff::Timestamp;
use kube::{Api, Client, api::PostParams};
use serde_json::json;

use super::{BOOTSTRAP_TYPE, NAMESPACE, expiration, field};
use crate::{Context, Entry, Rule, Watch};

pub(crate) const ENTRY: Entry = Entry {
    name: "bootstrap-signer-controller",
    service_account: "bootstrap-signer",
    watches: &[Watch::of("", "secrets"), Watch::of("", "configmaps")],
    rules: &[Rule::named("", "configmaps", NAME, &["update"]), Rule::EVENTS],
    start,
};

const PUBLIC: &str = "kube-public";
const NAME: &str = "cluster-info";
const SIGNATURE: &str = "jws-kubeconfig-";

struct Signer {
    client: Client,
    secrets: Cache<Secret>,
    config_maps: Cache<ConfigMap>,
}

fn start(context: Context) {
    let tokens = Selection { fields: format!("type={BOOTSTRAP_TYPE}"), ..Selection::default() };
    let secrets = context.caches.selected::<Secret>(tokens);
    let info = Selection { fields: format!("metadata.name={NAME}"), ..Selection::default() };
    let config_maps = context.caches.selected::<ConfigMap>(info);
    let reconciler = Signer { client: context.client, secrets: secrets.clone(), config_maps: config_maps.clone() };
    Controller::new(ENTRY.name, reconciler)
        .workers(1)
        .watch(&config_maps)
        .watch_for(&secrets, |_, keys| keys.push(ObjectKey::new(PUBLIC, NAME)))
        .start(&context.supervisor);
}

impl Reconcile for Signer {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(info) = self.config_maps.get(key).filter(|_| key.namespace == PUBLIC) else { return Ok(Next::Await) };
        let now = Timestamp::now();
        let tokens = self.secrets.list();
        let keys: Vec<(&str, &str)> = tokens.iter().filter_map(|secret| signing_key(secret, now)).collect();
        if let Some(signed) = plan(&info, &keys) {
            let api = Api::<ConfigMap>::namespaced(self.client.clone(), PUBLIC);
            api.replace(NAME, &PostParams::default(), &signed).await?;
        }
        Ok(Next::Await)
    }
}

/// Id and secret of a token that is meant for signing and holds.
fn signing_key(secret: &Secret, now: Timestamp) -> Option<(&str, &str)> {
    let meant = secret.metadata.namespace.as_deref() == Some(NAMESPACE)
        && field(secret, "usage-bootstrap-signing") == Some("true")
        && expiration(secret).is_none_or(|end| end > now);
    let (id, key) = (field(secret, "token-id")?, field(secret, "token-secret")?);
    let named = secret.metadata.name.as_deref()?.strip_prefix("bootstrap-token-") == Some(id);
    (meant && named && !key.is_empty()).then_some((id, key))
}

/// The config map with the signatures it has to have; `None` if it has them.
fn plan(info: &ConfigMap, keys: &[(&str, &str)]) -> Option<ConfigMap> {
    let data = info.data.clone().unwrap_or_default();
    let mut wanted: BTreeMap<String, String> =
        data.iter().filter(|(name, _)| !name.starts_with(SIGNATURE)).map(|(n, v)| (n.clone(), v.clone())).collect();
    if let Some(content) = data.get("kubeconfig") {
        for (id, key) in keys {
            wanted.insert(format!("{SIGNATURE}{id}"), signature(content, id, key));
        }
    }
    (wanted != data).then(|| ConfigMap { data: Some(wanted), ..info.clone() })
}

/// A token whose content is left out. Upstream: `k8s.io/cluster-bootstrap/token/jws`.
fn signature(content: &str, id: &str, key: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": id}).to_string());
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signature was made with another implementation of HMAC.
    #[test]
    fn a_signature_leaves_its_content_out() {
        let content = "Hello from the other side. I must have called a thousand times.";
        let expected = "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..Wvm4lABG2MTCQNvjZK5AJ7th6Qm1ywTmBDAVJNF7IHM";
        assert_eq!(signature(content, "joshua", "my voice is my passport"), expected);
    }

    #[test]
    fn signatures_come_and_go_with_their_tokens() {
        let info: ConfigMap =
            serde_json::from_value(json!({"data": {"kubeconfig": "x", "jws-kubeconfig-old": "y", "other": "z"}}))
                .unwrap();
        let signed = plan(&info, &[("abcdef", "0123456789abcdef")]).unwrap();
        let names: Vec<_> = signed.data.clone().unwrap().into_keys().collect();
        assert_eq!(names, ["jws-kubeconfig-abcdef", "kubeconfig", "other"]);
        assert!(plan(&signed, &[("abcdef", "0123456789abcdef")]).is_none());
    }
}
