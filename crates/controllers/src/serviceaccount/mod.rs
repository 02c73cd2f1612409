//! Every namespace has a service account `default`. Upstream: `pkg/controller/serviceaccount`
//! `ServiceAccountsController`.

use api::{
    ObjectMeta,
    core::v1::{Namespace, ServiceAccount},
};
use apimachinery::ObjectKey;
use informer::{Cache, Controller, Next, Reconcile, ReconcileError};
use kube::{Api, Client, api::PostParams};

use crate::{Context, Entry, Rule, Watch, namespace::is_active, pod_control::is_namespace_terminating};

pub(crate) const ENTRY: Entry = Entry {
    name: "serviceaccount-controller",
    service_account: "service-account-controller",
    watches: &[Watch::of("", "namespaces"), Watch::of("", "serviceaccounts")],
    rules: &[Rule::of("", "serviceaccounts", &["create"]), Rule::EVENTS],
    start,
};

const NAME: &str = "default";

struct ServiceAccounts {
    client: Client,
    namespaces: Cache<Namespace>,
    service_accounts: Cache<ServiceAccount>,
}

fn start(context: Context) {
    let namespaces = context.caches.of::<Namespace>();
    let service_accounts = context.caches.of::<ServiceAccount>();
    let reconciler = ServiceAccounts {
        client: context.client,
        namespaces: namespaces.clone(),
        service_accounts: service_accounts.clone(),
    };
    Controller::new(ENTRY.name, reconciler)
        .watch(&namespaces)
        .watch_for(&service_accounts, |change, keys| {
            if change.new.is_none() && change.key.name == NAME {
                keys.push(ObjectKey::cluster(&change.key.namespace));
            }
        })
        .start(&context.supervisor);
}

impl Reconcile for ServiceAccounts {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let wanted = self.namespaces.get(key).is_some_and(|namespace| is_active(&namespace));
        if !wanted || self.service_accounts.get(&ObjectKey::new(&key.name, NAME)).is_some() {
            return Ok(Next::Await);
        }
        let metadata =
            ObjectMeta { name: Some(NAME.to_owned()), namespace: Some(key.name.clone()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        match Api::namespaced(self.client.clone(), &key.name).create(&PostParams::default(), &account).await {
            Ok(_) => Ok(Next::Await),
            Err(error) if is_namespace_terminating(&error) => Ok(Next::Await),
            Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_not_found() => Ok(Next::Await),
            Err(error) => Err(error.into()),
        }
    }
}
