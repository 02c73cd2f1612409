//! Fills Secrets of type `kubernetes.io/service-account-token`, and removes those whose account has gone.
//! Upstream: `pkg/controller/serviceaccount.TokensController`.

use api::{
    ByteString,
    core::v1::{Secret, ServiceAccount},
};
use apimachinery::ObjectKey;
use informer::{Cache, Controller, Next, Reconcile, ReconcileError, Selection};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, Preconditions},
};

use crate::{Context, Entry, Rule, TokenSigner, Watch};

pub(crate) const ENTRY: Entry = Entry {
    name: "serviceaccount-token-controller",
    // Upstream gives it the rights of the controller manager itself.
    service_account: "system:kube-controller-manager",
    watches: &[Watch::of("", "serviceaccounts"), Watch::of("", "secrets")],
    rules: &[Rule::of("", "secrets", &["get", "update", "delete"]), Rule::of("", "serviceaccounts", &["get"])],
    start,
};

pub(super) const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
pub(super) const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

struct Tokens {
    client: Client,
    secrets: Cache<Secret>,
    accounts: Cache<ServiceAccount>,
    signer: TokenSigner,
    root_ca: String,
}

#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    Delete,
    /// With everything but the token, where there is none.
    Fill(Box<Secret>),
}

fn start(context: Context) {
    let Some(signer) = context.options.token_signer.clone() else { return };
    let selection = Selection { fields: format!("type={TYPE}"), ..Selection::default() };
    let secrets = context.caches.selected::<Secret>(selection);
    let accounts = context.caches.of::<ServiceAccount>();
    let reconciler = Tokens {
        client: context.client,
        secrets: secrets.clone(),
        accounts: accounts.clone(),
        signer,
        root_ca: context.options.root_ca.clone(),
    };
    Controller::new(ENTRY.name, reconciler)
        .watch(&secrets)
        .watch_for(&accounts, move |change, keys| {
            let of_account = secrets.list().into_iter().filter(|secret| {
                secret.metadata.namespace.as_deref() == Some(&change.key.namespace)
                    && account_name(secret) == Some(&change.key.name)
            });
            keys.extend(of_account.map(|secret| informer::Object::key(&*secret)));
        })
        .start(&context.supervisor);
}

pub(super) fn account_name(secret: &Secret) -> Option<&str> {
    secret.metadata.annotations.as_ref()?.get(ACCOUNT_NAME).map(String::as_str)
}

fn plan(secret: &Secret, account: Option<&ServiceAccount>, root_ca: &str) -> Plan {
    if secret.metadata.deletion_timestamp.is_some() {
        return Plan::Nothing;
    }
    let Some(account) = account else { return Plan::Delete };
    let uid = account.metadata.uid.clone().unwrap_or_default();
    let annotated = secret.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ACCOUNT_UID));
    // It was another account of the same name.
    if annotated.is_some_and(|annotated| *annotated != uid) {
        return Plan::Delete;
    }
    let mut filled = secret.clone();
    filled.metadata.annotations.get_or_insert_default().insert(ACCOUNT_UID.to_owned(), uid);
    let namespace = secret.metadata.namespace.clone().unwrap_or_default();
    let data = filled.data.get_or_insert_default();
    if !root_ca.is_empty() {
        data.insert("ca.crt".to_owned(), ByteString(root_ca.as_bytes().to_vec()));
    }
    if data.get("namespace").is_none_or(|kept| kept.0.is_empty()) {
        data.insert("namespace".to_owned(), ByteString(namespace.into_bytes()));
    }
    let has_token = data.get("token").is_some_and(|token| !token.0.is_empty());
    if has_token && filled == *secret { Plan::Nothing } else { Plan::Fill(Box::new(filled)) }
}

impl Reconcile for Tokens {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(secret) = self.secrets.get(key) else { return Ok(Next::Await) };
        let Some(name) = account_name(&secret).map(str::to_owned) else { return Ok(Next::Await) };
        let api = Api::<Secret>::namespaced(self.client.clone(), &key.namespace);
        let mut account = self.accounts.get(&ObjectKey::new(&key.namespace, &name));
        if account.is_none() {
            // The cache may be behind, and deleting cannot be taken back.
            let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), &key.namespace);
            account = accounts.get_opt(&name).await?.map(Into::into);
        }
        match plan(&secret, account.as_deref(), &self.root_ca) {
            Plan::Nothing => {}
            Plan::Delete => {
                let preconditions = Preconditions {
                    uid: secret.metadata.uid.clone(),
                    resource_version: secret.metadata.resource_version.clone(),
                };
                match api.delete(&key.name, &DeleteParams::default().preconditions(preconditions)).await {
                    Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                    other => {
                        other?;
                    }
                }
            }
            Plan::Fill(mut filled) => {
                let uid = account.and_then(|account| account.metadata.uid.clone()).unwrap_or_default();
                let data = filled.data.get_or_insert_default();
                if data.get("token").is_none_or(|token| token.0.is_empty()) {
                    let token = self.signer.sign(&key.namespace, &name, &uid, &key.name);
                    let token = token.map_err(|why| ReconcileError::Other(why.into()))?;
                    data.insert("token".to_owned(), ByteString(token.into_bytes()));
                }
                match api.replace(&key.name, &PostParams::default(), &filled).await {
                    Err(kube::Error::Api(status)) if status.is_not_found() => {}
                    other => {
                        other?;
                    }
                }
            }
        }
        Ok(Next::Await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(annotations: serde_json::Value, data: serde_json::Value) -> Secret {
        serde_json::from_value(json!({"type": TYPE, "data": data,
            "metadata": {"name": "s", "namespace": "n", "annotations": annotations}}))
        .unwrap()
    }

    #[test]
    fn secrets_are_filled_kept_and_removed() {
        let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "a", "uid": "1"}})).unwrap();
        let empty = secret(json!({ACCOUNT_NAME: "a"}), json!({}));
        let Plan::Fill(filled) = plan(&empty, Some(&account), "PEM") else { panic!("not filled") };
        assert_eq!(filled.metadata.annotations.as_ref().unwrap()[ACCOUNT_UID], "1");
        let data = filled.data.as_ref().unwrap();
        assert_eq!((data["ca.crt"].0.as_slice(), data["namespace"].0.as_slice()), (&b"PEM"[..], &b"n"[..]));
        let mut whole = *filled;
        whole.data.as_mut().unwrap().insert("token".into(), ByteString(b"t".to_vec()));
        assert_eq!(plan(&whole, Some(&account), "PEM"), Plan::Nothing);
        assert!(matches!(plan(&whole, Some(&account), "OTHER"), Plan::Fill(_)), "the authority was replaced");
        assert_eq!(plan(&whole, None, "PEM"), Plan::Delete);
        let of_another = secret(json!({ACCOUNT_NAME: "a", ACCOUNT_UID: "2"}), json!({}));
        assert_eq!(plan(&of_another, Some(&account), "PEM"), Plan::Delete);
    }
}
