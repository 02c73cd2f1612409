//! Deletes what is in a namespace and says what remains. Upstream: `namespaced_resources_deleter.go`
//! `deleteAllContent`.

use std::collections::BTreeMap;

use api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams},
    core::PartialObjectMeta,
};

use crate::{
    discovery::{Resources, Served},
    pod_control::message_of,
};

/// How long objects with finalizers are given before they are looked at again. Upstream: `finalizerEstimateSeconds`.
const FINALIZER_ESTIMATE: u64 = 15;

/// What deleting came to.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Group versions that discovery could not ask.
    pub(super) undiscovered: Vec<String>,
    /// Why objects of some resources could not be deleted.
    pub(super) errors: Vec<String>,
    /// `resource.group` and how many objects remain.
    pub(super) remaining: BTreeMap<String, usize>,
    /// Finalizers of these, and how many objects each holds.
    pub(super) finalizers: BTreeMap<String, usize>,
    /// How long the slowest of them may take.
    pub(super) seconds: u64,
}

impl Content {
    pub(super) fn first_error(&self) -> Option<String> {
        if let Some(error) = self.errors.first() {
            return Some(error.clone());
        }
        self.undiscovered.first().map(|group| format!("discovery failed for {group}"))
    }

    /// After how many seconds the rest may be gone; `None` if there is no rest.
    pub(super) fn estimate(&self) -> Option<u64> {
        (!self.remaining.is_empty()).then_some(self.seconds)
    }
}

/// Pods first: what they use must be there until they have ended. Upstream: `OrderedNamespaceDeletion`.
pub(super) async fn empty(client: &Client, namespace: &str, resources: &Resources) -> Content {
    let mut content = Content { undiscovered: resources.failed.clone(), ..Content::default() };
    let deletable = |served: &&Served| served.namespaced && served.supports("delete") && served.supports("list");
    let is_pods = |served: &Served| served.resource.group.is_empty() && served.resource.plural == "pods";
    for served in resources.served.iter().filter(deletable).filter(|served| is_pods(served)) {
        content.delete_all(client, namespace, served).await;
    }
    if !content.remaining.is_empty() {
        content.seconds = content.seconds.max(longest_grace(client, namespace).await);
        return content;
    }
    for served in resources.served.iter().filter(deletable).filter(|served| !is_pods(served)) {
        content.delete_all(client, namespace, served).await;
    }
    content
}

impl Content {
    async fn delete_all(&mut self, client: &Client, namespace: &str, served: &Served) {
        if let Err(error) = self.try_delete_all(client, namespace, served).await {
            match error {
                // The resource went away, with its definition for instance.
                kube::Error::Api(status) if status.is_not_found() || status.code == 405 => {}
                error => self.errors.push(message_of(&error)),
            }
        }
    }

    async fn try_delete_all(&mut self, client: &Client, namespace: &str, served: &Served) -> Result<(), kube::Error> {
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &served.resource);
        let objects = api.list_metadata(&ListParams::default()).await?.items;
        if objects.is_empty() {
            return Ok(());
        }
        // Background, so that an owner does not wait for dependents that are deleted here anyway.
        let params = DeleteParams::background();
        if served.supports("deletecollection") {
            api.delete_collection(&params, &ListParams::default()).await?;
        } else {
            for object in objects.iter().filter(|object| object.metadata.deletion_timestamp.is_none()) {
                match api.delete(object.metadata.name.as_deref().unwrap_or_default(), &params).await {
                    Err(kube::Error::Api(status)) if status.is_not_found() => {}
                    other => {
                        other?;
                    }
                }
            }
        }
        let objects = api.list_metadata(&ListParams::default()).await?.items;
        self.count(served, &objects);
        Ok(())
    }

    fn count(&mut self, served: &Served, objects: &[PartialObjectMeta<DynamicObject>]) {
        if objects.is_empty() {
            return;
        }
        let name = format!("{}.{}", served.resource.plural, served.resource.group);
        self.remaining.insert(name, objects.len());
        for finalizer in objects.iter().flat_map(|object| object.metadata.finalizers.iter().flatten()) {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
            self.seconds = self.seconds.max(FINALIZER_ESTIMATE);
        }
    }
}

async fn longest_grace(client: &Client, namespace: &str) -> u64 {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&ListParams::default()).await;
    let graces = pods
        .iter()
        .flat_map(|pods| &pods.items)
        .filter(|pod| !api::pod::is_terminal(pod))
        .filter_map(|pod| u64::try_from(pod.spec.as_ref()?.termination_grace_period_seconds?).ok());
    graces.max().unwrap_or(0)
}
