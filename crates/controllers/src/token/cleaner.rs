//! Deletes bootstrap tokens when they end. Upstream: `pkg/controller/bootstrap.TokenCleaner`.

use std::time::Duration;

use api::core::v1::Secret;
use apimachinery::ObjectKey;
use informer::{Cache, Controller, Next, Reconcile, ReconcileError, Selection};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
};

use super::{BOOTSTRAP_TYPE, NAMESPACE, expiration};
use crate::{Context, Entry, Rule, Watch};

pub(crate) const ENTRY: Entry = Entry {
    name: "token-cleaner-controller",
    service_account: "token-cleaner",
    watches: &[Watch::of("", "secrets")],
    rules: &[Rule::of("", "secrets", &["delete"]), Rule::EVENTS],
    start,
};

struct Cleaner {
    client: Client,
    secrets: Cache<Secret>,
}

fn start(context: Context) {
    let selection = Selection { fields: format!("type={BOOTSTRAP_TYPE}"), ..Selection::default() };
    let secrets = context.caches.selected::<Secret>(selection);
    let reconciler = Cleaner { client: context.client, secrets: secrets.clone() };
    Controller::new(ENTRY.name, reconciler).workers(1).watch(&secrets).start(&context.supervisor);
}

impl Reconcile for Cleaner {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(secret) = self.secrets.get(key).filter(|_| key.namespace == NAMESPACE) else { return Ok(Next::Await) };
        let Some(end) = expiration(&secret) else { return Ok(Next::Await) };
        let left = Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default();
        if !left.is_zero() {
            return Ok(Next::After(left));
        }
        let preconditions = Preconditions {
            uid: secret.metadata.uid.clone(),
            resource_version: secret.metadata.resource_version.clone(),
        };
        let api = Api::<Secret>::namespaced(self.client.clone(), NAMESPACE);
        match api.delete(&key.name, &DeleteParams::default().preconditions(preconditions)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            other => {
                other?;
            }
        }
        Ok(Next::Await)
    }
}
