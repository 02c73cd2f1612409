//! Empties namespaces that are being deleted, whatever kinds of objects are in them. Upstream:
//! `pkg/controller/namespace`.

mod conditions;
mod content;

use std::time::Duration;

use api::core::v1::{Namespace, NamespaceStatus, Pod};
use apimachinery::ObjectKey;
use informer::{Cache, Controller, Next, Reconcile, ReconcileError};
use jiff::Timestamp;
use kube::{Api, Client, api::PostParams};
use tracing::debug;

use self::content::{Content, empty};
use crate::{Context, Entry, Rule, Watch, discovery::discover};

pub(crate) const ENTRY: Entry = Entry {
    name: "namespace-controller",
    service_account: "namespace-controller",
    watches: &[Watch::of("", "namespaces"), Watch::of("", "pods")],
    rules: &[
        Rule::of("", "namespaces", &["get", "list", "delete"]),
        Rule::of("", "namespaces/finalize", &["update"]),
        Rule::of("", "namespaces/status", &["update"]),
        Rule::of("*", "*", &["get", "list", "delete", "deletecollection"]),
    ],
    start,
};

/// The finalizer that only this controller removes. Upstream: `FinalizerKubernetes`.
const FINALIZER: &str = "kubernetes";

struct Namespaces {
    client: Client,
    namespaces: Cache<Namespace>,
}

fn start(context: Context) {
    let namespaces = context.caches.of::<Namespace>();
    let pods = context.caches.of::<Pod>();
    let reconciler = Namespaces { client: context.client, namespaces: namespaces.clone() };
    Controller::new(ENTRY.name, reconciler)
        .workers(10)
        .watch(&namespaces)
        .watch_for(&pods, {
            let namespaces = namespaces.clone();
            // Pods take their grace; the last one to go lets the rest be deleted at once.
            move |change, keys| {
                let key = ObjectKey::cluster(&change.key.namespace);
                if change.new.is_none() && namespaces.get(&key).is_some_and(|namespace| !is_active(&namespace)) {
                    keys.push(key);
                }
            }
        })
        .start(&context.supervisor);
}

/// Whether objects may be created in it.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_none()
        && namespace.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Terminating")
}

impl Reconcile for Namespaces {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(cached) = self.namespaces.get(key) else { return Ok(Next::Await) };
        if cached.metadata.deletion_timestamp.is_none() {
            return Ok(Next::Await);
        }
        let api = Api::<Namespace>::all(self.client.clone());
        // What is destroyed here is destroyed for good, so the server itself is asked.
        let Some(namespace) = api.get_opt(&key.name).await? else { return Ok(Next::Await) };
        if namespace.metadata.uid != cached.metadata.uid || namespace.metadata.deletion_timestamp.is_none() {
            return Ok(Next::Await);
        }
        let namespace = self.mark_terminating(&api, namespace).await?;
        let ours = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
        if !ours.is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == FINALIZER)) {
            return Ok(Next::Await);
        }
        let resources = discover(&self.client).await?;
        let content = empty(&self.client, &key.name, &resources).await;
        let namespace = self.write_conditions(&api, namespace, &content).await?;
        if let Some(error) = content.first_error() {
            return Err(ReconcileError::other(error));
        }
        if let Some(seconds) = content.estimate() {
            debug!(namespace = key.name, seconds, "content remains");
            return Ok(Next::After(Duration::from_secs(seconds / 2 + 1)));
        }
        self.finalize(&api, namespace).await?;
        Ok(Next::Await)
    }
}

impl Namespaces {
    async fn mark_terminating(&self, api: &Api<Namespace>, mut namespace: Namespace) -> Result<Namespace, kube::Error> {
        let status = namespace.status.get_or_insert_default();
        if status.phase.as_deref() == Some("Terminating") {
            return Ok(namespace);
        }
        status.phase = Some("Terminating".to_owned());
        let name = namespace.metadata.name.clone().unwrap_or_default();
        api.replace_status(&name, &PostParams::default(), &namespace).await
    }

    async fn write_conditions(
        &self,
        api: &Api<Namespace>,
        namespace: Namespace,
        content: &Content,
    ) -> Result<Namespace, kube::Error> {
        let before = namespace.status.clone().unwrap_or_default();
        let conditions = conditions::updated(before.conditions.clone().unwrap_or_default(), content, Timestamp::now());
        if before.conditions.as_ref() == Some(&conditions) {
            return Ok(namespace);
        }
        let name = namespace.metadata.name.clone().unwrap_or_default();
        let status = NamespaceStatus { conditions: Some(conditions), ..before };
        let updated = Namespace { status: Some(status), ..namespace };
        api.replace_status(&name, &PostParams::default(), &updated).await
    }

    async fn finalize(&self, api: &Api<Namespace>, mut namespace: Namespace) -> Result<(), ReconcileError> {
        if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let name = namespace.metadata.name.clone().unwrap_or_default();
        match api.replace_subresource("finalize", &name, &PostParams::default(), &namespace).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
