//! The ConfigMap from which extension servers learn whom to believe. Upstream: `clusterauthenticationtrust`.

use std::sync::Arc;

use apimachinery::ApiError;
use bytes::Bytes;
use registry::{
    Registry, RequestCx, UpdateKind, UserInfo, Verb,
    options::WriteOptions,
    pipeline::{Change, Patch, PatchKind},
};
use serde_json::{Value, json};
use store::{Filter, WatchError};
use supervisor::Supervisor;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// The front proxy as extension servers see it. Header names are as they are sent.
#[derive(Clone, Debug)]
pub struct RequestHeaders {
    /// PEM of the authority of clients.
    pub client_authority: String,
    /// PEM of the authority of the front proxy's certificate.
    pub authority: String,
    /// Its common names.
    pub allowed_names: Vec<String>,
}

impl RequestHeaders {
    /// What the ConfigMap has to say, with the authorities that others have put there.
    fn data(&self, stored: &Value) -> Value {
        let list = |texts: &[&str]| Value::from(json!(texts).to_string());
        let bundle = |key: &str, own: &str| Value::from(union(stored[key].as_str().unwrap_or_default(), own));
        json!({
            "client-ca-file": bundle("client-ca-file", &self.client_authority),
            "requestheader-allowed-names": json!(self.allowed_names).to_string(),
            "requestheader-client-ca-file": bundle("requestheader-client-ca-file", &self.authority),
            "requestheader-extra-headers-prefix": list(&["X-Remote-Extra-"]),
            "requestheader-group-headers": list(&["X-Remote-Group"]),
            "requestheader-uid-headers": list(&["X-Remote-Uid"]),
            "requestheader-username-headers": list(&["X-Remote-User"]),
        })
    }
}

/// Certificates of both bundles, each once: other servers of the cluster may have authorities of their own.
fn union(stored: &str, own: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let mut blocks: Vec<&str> = Vec::new();
    for block in stored.split_inclusive(END).chain(own.split_inclusive(END)) {
        let block = block.trim();
        if block.ends_with(END) && !blocks.contains(&block) {
            blocks.push(block);
        }
    }
    blocks.iter().map(|block| format!("{block}\n")).collect()
}

/// Writes the ConfigMap, and puts it back when somebody changes it.
pub async fn keep_authentication(
    registry: &Registry,
    headers: RequestHeaders,
    supervisor: &Supervisor,
) -> Result<(), ApiError> {
    ensure(registry, &headers).await?;
    let registry = registry.clone();
    supervisor.spawn("extension server authentication", async move {
        let resource = registry.store().resource("configmaps");
        loop {
            let from = registry.store().revision();
            if let Err(error) = ensure(&registry, &headers).await {
                tracing::warn!(%error, "authentication of extension servers not written");
            }
            let Ok(mut watch) = resource.watch(from, Filter::in_namespace(NAMESPACE).named(NAME)) else { return };
            if let Err(WatchError::Closed) = watch.next().await {
                return;
            }
        }
    });
    Ok(())
}

async fn ensure(registry: &Registry, headers: &RequestHeaders) -> Result<(), ApiError> {
    let kind = registry.kind("", "v1", "configmaps").ok_or_else(|| ApiError::internal("no config maps"))?;
    let Some(stored) = registry.reader().raw("", "configmaps", NAMESPACE, NAME) else {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE},
            "data": headers.data(&Value::Null),
        });
        let cx = context(registry, Verb::Create);
        let body = Bytes::from(object.to_string());
        return match registry.create(&kind, &cx, &body, &WriteOptions::default()).await {
            Err(error) if error.is("AlreadyExists") => Ok(()),
            other => other.map(drop),
        };
    };
    let stored: Value = serde_json::from_slice(&stored).map_err(ApiError::internal)?;
    let data = headers.data(&stored["data"]);
    if stored["data"] == data {
        return Ok(());
    }
    let mut cx = context(registry, Verb::Patch);
    NAME.clone_into(&mut cx.name);
    let patch = Patch::new(PatchKind::Merge, json!({ "data": data }));
    let change = Change::Patch(&patch);
    match registry.modify(&kind, &cx, UpdateKind::Object, change, &WriteOptions::default()).await {
        Err(error) if error.is("NotFound") => Ok(()),
        other => other.map(drop),
    }
}

fn context(registry: &Registry, verb: Verb) -> RequestCx {
    let mut cx = registry.context(Arc::new(UserInfo::loopback()), verb);
    NAMESPACE.clone_into(&mut cx.namespace);
    cx
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_of_others_stay_and_none_is_there_twice() {
        let block = |text: &str| format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        let (a, b) = (block("a"), block("b"));
        assert_eq!(union("", &a), a);
        assert_eq!(union(&a, &b), format!("{a}{b}"));
        assert_eq!(union(&format!("{a}{b}"), &b), format!("{a}{b}"));
        assert_eq!(union("nonsense", &a), a);
    }
}
