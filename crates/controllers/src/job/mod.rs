//! Runs pods until as many have succeeded as a Job asks for. Upstream: `pkg/controller/job`.
//!
//! A pod keeps a finalizer until its end is written into the Job's status, so that no end is counted twice or lost,
//! whoever deletes the pod meanwhile.

mod failure;
mod indexes;
mod plan;
mod pod;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api::{
    batch::v1::Job,
    core::v1::Pod,
    owner::{controller_of, controller_reference},
};
use apimachinery::{ObjectKey, Selector};
use futures::future::join_all;
use informer::{
    Cache, Change, Controller, EventKind, Expectations, Index, Next, Reconcile, ReconcileError, Recorder, reference,
    uid_of,
};
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

pub(crate) use self::plan::finished_at;
use self::plan::{TRACKING, View, plan};
use crate::{
    Context, Entry, Rule, Watch,
    claim::{claim, orphans},
    pod_control::PodControl,
};

pub(crate) const ENTRY: Entry = Entry {
    name: "job-controller",
    service_account: "job-controller",
    watches: &[Watch::of("batch", "jobs"), Watch::of("", "pods")],
    rules: &[
        Rule::of("batch", "jobs", &["get"]),
        Rule::of("batch", "jobs/status", &["update"]),
        Rule::of("", "pods", &["create", "delete", "patch"]),
        Rule::EVENTS,
    ],
    start,
};

struct Jobs {
    client: Client,
    recorder: Recorder,
    jobs: Cache<Job>,
    pods_by_owner: Index<Pod>,
    pods_by_job: Index<Pod>,
    orphan_pods: Index<Pod>,
    written: Expectations<Pod>,
    status_written: Expectations<Job>,
}

fn start(context: Context) {
    let jobs = context.caches.of::<Job>();
    let pods = context.caches.of::<Pod>();
    let reconciler = Jobs {
        client: context.client,
        recorder: context.recorder,
        jobs: jobs.clone(),
        pods_by_owner: pods.by_owner(),
        pods_by_job: pods.index("job", |pod| {
            let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == Job::KIND);
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            owner.map(|owner| format!("{namespace}/{}", owner.name)).into_iter().collect()
        }),
        orphan_pods: orphans(&pods),
        written: Expectations::new(&pods),
        status_written: Expectations::new(&jobs),
    };
    Controller::new(ENTRY.name, reconciler)
        .watch(&jobs)
        .watch_for(&pods, move |change, keys| owners_of_pod(&jobs, change, keys))
        .start(&context.supervisor);
}

fn owners_of_pod(jobs: &Cache<Job>, change: &Change<Pod>, keys: &mut Vec<ObjectKey>) {
    let owners = change.old.iter().chain(&change.new).filter_map(|pod| controller_of(&pod.metadata));
    let ours = owners.filter(|owner| owner.kind == Job::KIND);
    keys.extend(ours.map(|owner| ObjectKey::new(&change.key.namespace, &owner.name)));
    let Some(pod) = change.new.as_ref().filter(|pod| controller_of(&pod.metadata).is_none()) else { return };
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    for job in jobs.list_namespace(&change.key.namespace) {
        if selector_of(&job).is_some_and(|selector| selector.matches(&labels)) {
            keys.push(ObjectKey::new(&change.key.namespace, job.metadata.name.as_deref().unwrap_or_default()));
        }
    }
}

fn selector_of(job: &Job) -> Option<Selector> {
    let selector = Selector::from_label_selector(job.spec.as_ref()?.selector.as_ref()).ok()?;
    Some(selector).filter(|selector| !selector.is_everything())
}

impl Reconcile for Jobs {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        self.written.settled(key).await;
        self.status_written.settled(key).await;
        let job = self.jobs.get(key);
        self.release_left_behind(key, job.as_deref().map(uid_of)).await?;
        let Some(job) = job else { return Ok(Next::Await) };
        let Some(selector) = selector_of(&job) else { return Ok(Next::Await) };
        let managed_by = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
        if managed_by.is_some_and(|manager| manager != "kubernetes.io/job-controller") {
            return Ok(Next::Await);
        }
        let owned = self.pods_by_owner.get(uid_of(&*job));
        let candidates = owned.into_iter().chain(self.orphan_pods.get(&key.namespace));
        let claims = claim(&job.metadata, &selector, candidates);
        if claims.settle(&self.client, &*job).await? {
            return Ok(Next::Await);
        }
        let now = Timestamp::now();
        let plan = plan(&View { job: &job, pods: &claims.owned }, now);
        let about = reference(&*job);
        let control = PodControl {
            client: &self.client,
            recorder: &self.recorder,
            written: &self.written,
            owner_key: key,
            owner: &about,
        };
        control.delete_many(&plan.delete).await?;
        let owner = controller_reference(&*job);
        let create = plan.create.iter().map(|slot| pod::from_template(&job, owner.clone(), *slot)).collect::<Vec<_>>();
        // As with ReplicaSets, a failing first pod saves the requests for the others.
        for batch in slow_start(&create) {
            join_all(batch.iter().map(|pod| control.create(pod))).await.into_iter().collect::<Result<Vec<()>, _>>()?;
        }
        if let Some(status) = plan.status {
            let api = Api::<Job>::namespaced(self.client.clone(), &key.namespace);
            let updated = Job { status: Some(status), ..(*job).clone() };
            let updated = api.replace_status(&key.name, &PostParams::default(), &updated).await?;
            self.status_written.wrote(key, &updated);
        }
        for (kind, reason, message) in plan.events {
            self.recorder.object(&*job, kind, reason, message);
        }
        // Only what is written in the status may be let go.
        self.release(key, &plan.release).await?;
        Ok(plan.next)
    }
}

impl Jobs {
    /// Pods of a Job that is gone, whose ends nobody counts any more.
    async fn release_left_behind(&self, key: &ObjectKey, job: Option<&str>) -> Result<(), kube::Error> {
        let mut pods = self.pods_by_job.get(&key.to_string());
        pods.retain(|pod| plan::is_tracked(pod) && controller_of(&pod.metadata).map(|owner| owner.uid.as_str()) != job);
        self.release(key, &pods).await
    }

    async fn release(&self, key: &ObjectKey, pods: &[Arc<Pod>]) -> Result<(), kube::Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let outcomes = join_all(pods.iter().map(|pod| {
            let api = &api;
            async move {
                let meta = &pod.metadata;
                let patch = json!({"metadata": {"uid": meta.uid, "$deleteFromPrimitiveList/finalizers": [TRACKING]}});
                let name = meta.name.as_deref().unwrap_or_default();
                match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                    Ok(updated) => {
                        self.written.wrote(key, &updated);
                        Ok(())
                    }
                    Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
                    Err(error) => Err(error),
                }
            }
        }))
        .await;
        outcomes.into_iter().collect()
    }
}

/// Batches of 1, 2, 4, ….
fn slow_start(pods: &[Pod]) -> Vec<&[Pod]> {
    let (mut batches, mut rest, mut size) = (Vec::new(), pods, 1);
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(size.min(rest.len()));
        batches.push(batch);
        (rest, size) = (later, size * 2);
    }
    batches
}

/// The kinds of events of jobs.
type JobEvent = (EventKind, &'static str, String);
