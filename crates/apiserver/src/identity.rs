//! Who this API server is, for everybody to see: a Lease `apiserver-<hash>` in `kube-system`, and the removal of those
//! of servers that have gone.
//!
//! Upstream counterpart: `pkg/controlplane/apiserver/server.go` (`kube-apiserver-lease-controller`) and
//! `controlplane/controller/apiserverleasegc`.

use std::{sync::Arc, time::Duration};

use apimachinery::{ApiError, scan};
use bytes::Bytes;
use jiff::Timestamp;
use registry::{Registry, RequestCx, UpdateKind, UserInfo, Verb, options::WriteOptions, pipeline::Change};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use store::Key;
use supervisor::Supervisor;

const NAMESPACE: &str = "kube-system";
const LABEL: &str = "apiserver.kubernetes.io/identity";
/// A server that did not renew for so long has gone. Upstream: `IdentityLeaseDurationSeconds`.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Upstream's pace, where several servers look at each other.
const RENEWAL: Duration = Duration::from_secs(10);
/// Alone there is nobody to tell: often enough not to look gone, and else no writes.
const RENEWAL_ALONE: Duration = Duration::from_secs(1200);

/// What this server is called.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `apiserver-` and 26 letters and digits that the host's name gives.
    pub id: String,
    hostname: String,
    /// New with every start.
    holder: String,
}

// === impl Identity ===

impl Identity {
    /// Of the server on a host; `port` tells servers on one host apart, and upstream's has none.
    #[must_use]
    pub fn new(hostname: &str, port: Option<u16>) -> Identity {
        let name = port.map_or_else(|| hostname.to_owned(), |port| format!("{hostname}:{port}"));
        let hash = digest(&SHA256, name.as_bytes());
        let id = format!("apiserver-{}", base32(&hash.as_ref()[..16]));
        let holder = format!("{id}_{}", uuid::Uuid::new_v4());
        Identity { id, hostname: hostname.to_owned(), holder }
    }

    /// Tells this run of the server from any other.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }
}

/// Keeps the lease while the server runs, and removes those that have run out.
pub fn keep(registry: &Registry, identity: Identity, supervisor: &Supervisor) {
    let registry = registry.clone();
    supervisor.spawn("api server identity", async move {
        let pace = if registry.store().is_shared() { RENEWAL } else { RENEWAL_ALONE };
        let mut rounds: u32 = 0;
        loop {
            if let Err(error) = renew(&registry, &identity).await {
                tracing::warn!(%error, "the lease of this API server was not renewed");
            }
            // As often as leases can run out.
            if rounds.is_multiple_of(u32::try_from(LIFETIME.as_secs() / pace.as_secs()).unwrap_or(1)) {
                collect(&registry).await;
            }
            rounds = rounds.wrapping_add(1);
            tokio::time::sleep(pace).await;
        }
    });
}

async fn renew(registry: &Registry, identity: &Identity) -> Result<(), ApiError> {
    let kind = leases(registry)?;
    let now = micro_time(Timestamp::now());
    let lease = |acquired: &str, metadata: Value| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
            "spec": {
                "holderIdentity": identity.holder, "leaseDurationSeconds": LIFETIME.as_secs(),
                "acquireTime": acquired, "renewTime": now,
            },
        })
    };
    let mut cx = context(registry, Verb::Update, &identity.id);
    let Ok(entry) = registry.get(&kind, NAMESPACE, &identity.id) else {
        let labels = json!({ LABEL: "kube-apiserver", "kubernetes.io/hostname": identity.hostname });
        let metadata = json!({ "name": identity.id, "namespace": NAMESPACE, "labels": labels });
        cx.verb = Verb::Create;
        let body = Bytes::from(lease(&now, metadata).to_string());
        return registry.create(&kind, &cx, &body, &WriteOptions::default()).await.map(|_| ());
    };
    let mut object: Value = serde_json::from_slice(entry.bytes()).map_err(ApiError::internal)?;
    let held = object["spec"]["holderIdentity"] == json!(identity.holder);
    let acquired = object["spec"]["acquireTime"].as_str().filter(|_| held).unwrap_or(&now).to_owned();
    object["spec"] = lease(&acquired, Value::Null)["spec"].take();
    let body = Bytes::from(object.to_string());
    let change = Change::Replace(&body);
    registry.modify(&kind, &cx, UpdateKind::Object, change, &WriteOptions::default()).await.map(|_| ())
}

/// Removes leases of API servers that have not been renewed in time.
async fn collect(registry: &Registry) {
    let Ok(kind) = leases(registry) else { return };
    let table = registry.store().resource("leases.coordination.k8s.io");
    let now = Timestamp::now();
    for entry in table.snapshot().range(NAMESPACE, None) {
        let text = |path: &[&str]| scan::text(entry.bytes(), path).map(|text| text.into_owned());
        if text(&["metadata", "labels", LABEL]).as_deref() != Some("kube-apiserver") {
            continue;
        }
        let renewed = text(&["spec", "renewTime"]).and_then(|time| time.parse::<Timestamp>().ok());
        let lasts = text(&["spec", "leaseDurationSeconds"]).and_then(|seconds| seconds.parse::<u64>().ok());
        let ends = renewed.zip(lasts).and_then(|(at, lasts)| at.checked_add(Duration::from_secs(lasts)).ok());
        if ends.is_some_and(|ends| ends < now) {
            let store = registry.store();
            let Ok(key) = Key::new(NAMESPACE, entry.key().name()) else { continue };
            // Unless it was renewed this moment.
            let expect = store::Expect::Revision(entry.mod_revision());
            match store.commit(store::Txn::new().delete(&table, key, expect)).await {
                Ok(_) => tracing::info!(lease = entry.key().name(), kind = kind.gvk.kind, "an API server has gone"),
                Err(error) => tracing::debug!(%error, "a lease was not removed"),
            }
        }
    }
}

fn leases(registry: &Registry) -> Result<Arc<registry::Kind>, ApiError> {
    let kind = registry.preferred_kind("coordination.k8s.io", "leases");
    kind.ok_or_else(|| ApiError::internal("leases are not registered"))
}

fn context(registry: &Registry, verb: Verb, name: &str) -> RequestCx {
    let mut cx = registry.context(Arc::new(UserInfo::loopback()), verb);
    NAMESPACE.clone_into(&mut cx.namespace);
    name.clone_into(&mut cx.name);
    cx
}

fn micro_time(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// Without padding, in small letters.
fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let (mut text, mut bits, mut have) = (String::new(), 0_u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        have += 8;
        while have >= 5 {
            have -= 5;
            text.push(char::from(LETTERS[(bits >> have & 31) as usize]));
        }
    }
    if have > 0 {
        text.push(char::from(LETTERS[(bits << (5 - have) & 31) as usize]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_those_of_upstream() {
        // RFC 4648, test vectors.
        for (text, encoded) in [("", ""), ("f", "my"), ("fo", "mzxq"), ("foobar", "mzxw6ytboi")] {
            assert_eq!(base32(text.as_bytes()), encoded);
        }
        let identity = Identity::new("host", None);
        assert_eq!(identity.id.len(), "apiserver-".len() + 26);
        assert_eq!(identity.id, Identity::new("host", None).id);
        assert_ne!(identity.id, Identity::new("host", Some(6443)).id);
    }
}
