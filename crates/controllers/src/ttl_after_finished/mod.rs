//! Deletes jobs some time after they have finished. Upstream: `pkg/controller/ttlafterfinished`.

use std::time::Duration;

use api::batch::v1::Job;
use apimachinery::ObjectKey;
use informer::{Cache, Controller, Next, Reconcile, ReconcileError};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
};

use crate::{Context, Entry, Rule, Watch, job::finished_at};

pub(crate) const ENTRY: Entry = Entry {
    name: "ttl-after-finished-controller",
    service_account: "ttl-after-finished-controller",
    watches: &[Watch::of("batch", "jobs")],
    rules: &[Rule::of("batch", "jobs", &["get", "delete"]), Rule::EVENTS],
    start,
};

struct TtlAfterFinished {
    client: Client,
    jobs: Cache<Job>,
}

fn start(context: Context) {
    let jobs = context.caches.of::<Job>();
    let reconciler = TtlAfterFinished { client: context.client, jobs: jobs.clone() };
    Controller::new(ENTRY.name, reconciler).workers(2).watch(&jobs).start(&context.supervisor);
}

/// How long the job is still kept; `None`: for good, or as yet.
fn time_left(job: &Job, now: Timestamp) -> Option<Duration> {
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let end = finished_at(job)?.checked_add(SignedDuration::from_secs(i64::from(seconds))).ok()?;
    Some(Duration::try_from(end.duration_since(now)).unwrap_or_default())
}

impl Reconcile for TtlAfterFinished {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(job) = self.jobs.get(key) else { return Ok(Next::Await) };
        match time_left(&job, Timestamp::now()) {
            None => return Ok(Next::Await),
            Some(left) if !left.is_zero() => return Ok(Next::After(left)),
            Some(_) => {}
        }
        let api = Api::<Job>::namespaced(self.client.clone(), &key.namespace);
        // The cache may be behind a change of the time to live, and deleting cannot be taken back.
        let Some(fresh) = api.get_opt(&key.name).await? else { return Ok(Next::Await) };
        match time_left(&fresh, Timestamp::now()) {
            Some(left) if left.is_zero() => {}
            Some(left) => return Ok(Next::After(left)),
            None => return Ok(Next::Await),
        }
        let preconditions = Preconditions { uid: fresh.metadata.uid.clone(), resource_version: None };
        match api.delete(&key.name, &DeleteParams::foreground().preconditions(preconditions)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            other => {
                other?;
            }
        }
        Ok(Next::Await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn time_runs_from_the_end_of_the_job() {
        let job = |ttl: Option<i32>, finished: bool| -> Job {
            let conditions = if finished {
                json!([{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}])
            } else {
                json!([])
            };
            serde_json::from_value(json!({"metadata": {}, "spec": {"template": {}, "ttlSecondsAfterFinished": ttl},
                "status": {"conditions": conditions}}))
            .unwrap()
        };
        let now: Timestamp = "2026-01-01T00:00:40Z".parse().unwrap();
        assert_eq!(time_left(&job(Some(60), true), now), Some(Duration::from_secs(20)));
        assert_eq!(time_left(&job(Some(10), true), now), Some(Duration::ZERO));
        assert_eq!(time_left(&job(Some(10), false), now), None);
        assert_eq!(time_left(&job(None, true), now), None);
    }
}
