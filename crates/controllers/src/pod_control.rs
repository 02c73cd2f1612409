//! Creating pods from a template and deleting them, with upstream's events. Upstream: `pkg/controller`
//! `RealPodControl`, `GetPodFromTemplate`, `slowStartBatch`.

use std::sync::Arc;

use api::{
    ObjectMeta, OwnerReference,
    core::v1::{ObjectReference, Pod, PodTemplateSpec},
};
use apimachinery::{ObjectKey, names};
use futures::future::join_all;
use informer::{EventKind, Expectations, Recorder, uid_of};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, Preconditions},
};

/// Pods a controller changes for one owner.
pub(crate) struct PodControl<'a> {
    pub(crate) client: &'a Client,
    pub(crate) recorder: &'a Recorder,
    pub(crate) written: &'a Expectations<Pod>,
    pub(crate) owner_key: &'a ObjectKey,
    pub(crate) owner: &'a ObjectReference,
}

/// A pod as its controller's template says, without a name of its own.
pub(crate) fn pod_from_template(
    template: &PodTemplateSpec,
    owner_name: &str,
    namespace: &str,
    reference: OwnerReference,
) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            generate_name: Some(name_prefix(owner_name)),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![reference]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// The names of pods begin with their controller's and a dash, unless that is no name of a pod.
fn name_prefix(owner_name: &str) -> String {
    let prefix = format!("{owner_name}-");
    if names::subdomain_name(&prefix, true).is_empty() { prefix } else { owner_name.to_owned() }
}

/// The namespace is being deleted, so nothing can be created in it, and trying again is no use.
pub(crate) fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == "NamespaceTerminating")
}

// === impl PodControl ===

impl PodControl<'_> {
    /// Creates that many copies in batches of 1, 2, 4, …; after a batch with a failure no other is begun, so that a
    /// quota or a bad template costs one failed request and not hundreds.
    pub(crate) async fn create_many(&self, pod: &Pod, count: usize) -> Result<(), kube::Error> {
        let mut remaining = count;
        let mut batch = 1.min(remaining);
        while batch > 0 {
            let outcomes = join_all((0..batch).map(|_| self.create(pod))).await;
            outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
            remaining -= batch;
            batch = remaining.min(batch * 2);
        }
        Ok(())
    }

    /// Creates one pod.
    pub(crate) async fn create(&self, pod: &Pod) -> Result<(), kube::Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &self.owner_key.namespace);
        match api.create(&PostParams::default(), pod).await {
            Ok(created) => {
                self.written.wrote(self.owner_key, &created);
                let name = created.metadata.name.unwrap_or_default();
                self.recorder.event(self.owner, EventKind::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
                Ok(())
            }
            Err(error) if is_namespace_terminating(&error) => Ok(()),
            Err(error) => {
                let message = format!("Error creating: {}", message_of(&error));
                self.recorder.event(self.owner, EventKind::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }

    /// Deletes pods, all at once.
    pub(crate) async fn delete_many(&self, pods: &[Arc<Pod>]) -> Result<(), kube::Error> {
        let outcomes = join_all(pods.iter().map(|pod| self.delete(pod))).await;
        outcomes.into_iter().collect()
    }

    /// Deletes this very pod and says so; another of its name is left alone.
    pub(crate) async fn delete(&self, pod: &Pod) -> Result<(), kube::Error> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match self.delete_quietly(pod).await {
            Ok(true) => {
                let message = format!("Deleted pod: {name}");
                self.recorder.event(self.owner, EventKind::Normal, "SuccessfulDelete", message);
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => {
                let message = format!("Error deleting: {}", message_of(&error));
                self.recorder.event(self.owner, EventKind::Warning, "FailedDelete", message);
                Err(error)
            }
        }
    }

    /// Like [`PodControl::delete`], without an event. Whether it was there to be deleted.
    pub(crate) async fn delete_quietly(&self, pod: &Pod) -> Result<bool, kube::Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &self.owner_key.namespace);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let params = DeleteParams::default()
            .preconditions(Preconditions { uid: Some(uid_of(pod).to_owned()), resource_version: None });
        let outcome = api.delete(name, &params).await;
        match outcome {
            Ok(_) => {
                self.written.deleted(self.owner_key, pod);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                self.written.deleted(self.owner_key, pod);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// The server's own words, as upstream's errors print.
pub(crate) fn message_of(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
