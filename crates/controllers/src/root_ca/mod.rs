//! Publishes the authorities behind the API server's certificate to every namespace, where pods mount them.
//! Upstream: `pkg/controller/certificates/rootcacertpublisher`.

use std::{collections::BTreeMap, sync::Arc};

use api::{
    ObjectMeta,
    core::v1::{ConfigMap, Namespace},
};
use apimachinery::ObjectKey;
use informer::{Cache, Controller, Next, Reconcile, ReconcileError, Selection};
use kube::{Api, Client, api::PostParams};

use crate::{Context, Entry, Options, Rule, Watch, namespace::is_active, pod_control::is_namespace_terminating};

pub(crate) const ENTRY: Entry = Entry {
    name: "root-ca-certificate-publisher-controller",
    service_account: "root-ca-cert-publisher",
    watches: &[Watch::of("", "namespaces"), Watch::of("", "configmaps")],
    rules: &[Rule::of("", "configmaps", &["create", "update"]), Rule::EVENTS],
    start,
};

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using \
    internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

struct Publisher {
    client: Client,
    namespaces: Cache<Namespace>,
    config_maps: Cache<ConfigMap>,
    options: Arc<Options>,
}

fn start(context: Context) {
    if context.options.root_ca.is_empty() {
        return;
    }
    let namespaces = context.caches.of::<Namespace>();
    let selection = Selection { fields: format!("metadata.name={NAME}"), ..Selection::default() };
    let config_maps = context.caches.selected::<ConfigMap>(selection);
    let reconciler = Publisher {
        client: context.client,
        namespaces: namespaces.clone(),
        config_maps: config_maps.clone(),
        options: context.options,
    };
    Controller::new(ENTRY.name, reconciler)
        .watch(&namespaces)
        .watch_for(&config_maps, |change, keys| keys.push(ObjectKey::cluster(&change.key.namespace)))
        .start(&context.supervisor);
}

impl Reconcile for Publisher {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        if !self.namespaces.get(key).is_some_and(|namespace| is_active(&namespace)) {
            return Ok(Next::Await);
        }
        let existing = self.config_maps.get(&ObjectKey::new(&key.name, NAME));
        let Some(wanted) = plan(&key.name, existing.as_deref(), &self.options.root_ca) else { return Ok(Next::Await) };
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &key.name);
        let outcome = match existing {
            Some(_) => api.replace(NAME, &PostParams::default(), &wanted).await,
            None => api.create(&PostParams::default(), &wanted).await,
        };
        match outcome {
            Ok(_) => Ok(Next::Await),
            Err(error) if is_namespace_terminating(&error) => Ok(Next::Await),
            Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_not_found() => Ok(Next::Await),
            Err(error) => Err(error.into()),
        }
    }
}

/// The config map to write; `None` if it is right.
fn plan(namespace: &str, existing: Option<&ConfigMap>, root_ca: &str) -> Option<ConfigMap> {
    let data: BTreeMap<_, _> = [("ca.crt".to_owned(), root_ca.to_owned())].into();
    let mut wanted = existing.cloned().unwrap_or_else(|| ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    });
    wanted.data = Some(data);
    let annotations = wanted.metadata.annotations.get_or_insert_default();
    annotations.insert(DESCRIPTION.to_owned(), DESCRIPTION_TEXT.to_owned());
    (existing != Some(&wanted)).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_put_right() {
        let published = plan("n", None, "PEM").unwrap();
        assert_eq!(plan("n", Some(&published), "PEM"), None);
        let mut meddled = published.clone();
        meddled.data.get_or_insert_default().insert("more".into(), "x".into());
        meddled.metadata.annotations = None;
        assert_eq!(plan("n", Some(&meddled), "PEM"), Some(published));
    }
}
