//! What to do for a Job; pure. Upstream: `job_controller.go` `syncJob`, `manageJob`,
//! `trackJobStatusAndRemoveFinalizers`, `enactJobFinished`.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use api::{
    Time,
    batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods},
    core::v1::Pod,
    pod,
};
use informer::{EventKind, Next, uid_of};
use jiff::{SignedDuration, Timestamp};

use super::{
    JobEvent,
    failure::{self, Meaning},
    indexes,
};

/// The finalizer that keeps a pod until it is counted. Upstream: `JobTrackingFinalizer`.
pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// At most so many pods are created at once. Upstream: `MaxPodCreateDeletePerSync`.
const BURST: usize = 500;

pub(super) struct View<'a> {
    pub(super) job: &'a Job,
    /// The pods it controls.
    pub(super) pods: &'a [Arc<Pod>],
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) delete: Vec<Arc<Pod>>,
    /// Pods to create, each with its index if the Job has such.
    pub(super) create: Vec<Option<i32>>,
    /// To write, if it changes.
    pub(super) status: Option<JobStatus>,
    /// Pods to take the finalizer from, once the status is written.
    pub(super) release: Vec<Arc<Pod>>,
    pub(super) events: Vec<JobEvent>,
    pub(super) next: Next,
}

/// When the Job ended, well or badly.
pub(crate) fn finished_at(job: &Job) -> Option<Timestamp> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let end = conditions.iter().find(|condition| is_end(condition))?;
    end.last_transition_time.as_ref().map(|time| time.0)
}

pub(super) fn plan(view: &View<'_>, now: Timestamp) -> Plan {
    let mut work = Sync::new(view, now);
    if finished_at(view.job).is_some() {
        // Whatever pods are left are let go.
        work.plan.release = view.pods.iter().filter(|pod| is_tracked(pod)).cloned().collect();
        return work.plan;
    }
    if view.job.metadata.deletion_timestamp.is_some() {
        work.count();
        return work.finish();
    }
    work.start_clock();
    work.count();
    work.judge();
    if work.verdict.is_some() {
        work.end();
    } else {
        work.scale();
    }
    work.finish()
}

struct Sync<'a> {
    job: &'a Job,
    spec: JobSpec,
    pods: &'a [Arc<Pod>],
    now: Timestamp,
    status: JobStatus,
    active: Vec<Arc<Pod>>,
    succeeded: i32,
    failed: i32,
    completed: BTreeSet<i32>,
    failed_indexes: BTreeSet<i32>,
    verdict: Option<Verdict>,
    wait: Option<Duration>,
    plan: Plan,
}

#[derive(Clone, Debug)]
struct Verdict {
    complete: bool,
    reason: &'static str,
    message: String,
}

/// Whether the pod's end is still to be counted.
pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == TRACKING)
}

fn is_end(condition: &JobCondition) -> bool {
    condition.status == "True" && matches!(condition.type_.as_str(), "Complete" | "Failed")
}

/// Deleted before it ended: it will not succeed any more, once no kubelet runs it.
fn has_failed(candidate: &Pod) -> bool {
    match pod::phase(candidate) {
        "Failed" => true,
        "Succeeded" => false,
        _ => pod::is_terminating(candidate) && pod::node_name(candidate).is_none(),
    }
}

impl<'a> Sync<'a> {
    fn new(view: &View<'a>, now: Timestamp) -> Self {
        let job = view.job;
        Self {
            job,
            spec: job.spec.clone().unwrap_or_default(),
            pods: view.pods,
            now,
            status: job.status.clone().unwrap_or_default(),
            active: view.pods.iter().filter(|pod| pod::is_active(pod)).cloned().collect(),
            succeeded: 0,
            failed: 0,
            completed: BTreeSet::new(),
            failed_indexes: BTreeSet::new(),
            verdict: None,
            wait: None,
            plan: Plan {
                delete: Vec::new(),
                create: Vec::new(),
                status: None,
                release: Vec::new(),
                events: Vec::new(),
                next: Next::Await,
            },
        }
    }

    fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    fn start_clock(&mut self) {
        if self.status.start_time.is_none() && !self.is_suspended() {
            self.status.start_time = Some(Time(self.now));
        }
    }

    /// Counts those whose finalizer is gone, and notes those that have ended since.
    fn count(&mut self) {
        let tracked: HashSet<&str> = self.pods.iter().filter(|pod| is_tracked(pod)).map(|pod| uid_of(&**pod)).collect();
        let completions = self.spec.completions.unwrap_or(i32::MAX);
        let indexed = self.is_indexed();
        self.completed = indexes::parse(self.status.completed_indexes.as_deref().unwrap_or_default(), completions);
        self.failed_indexes = indexes::parse(self.status.failed_indexes.as_deref().unwrap_or_default(), completions);

        let uncounted = self.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let still = |uids: Option<Vec<String>>| -> (Vec<String>, i32) {
            let uids = uids.unwrap_or_default();
            let before = uids.len();
            let kept: Vec<_> = uids.into_iter().filter(|uid| tracked.contains(uid.as_str())).collect();
            let counted = i32::try_from(before - kept.len()).unwrap_or(i32::MAX);
            (kept, counted)
        };
        let (mut succeeded, newly_succeeded) = still(uncounted.succeeded);
        let (mut failed, newly_failed) = still(uncounted.failed);
        let mut counted_failed = self.status.failed.unwrap_or(0).saturating_add(newly_failed);
        let mut counted_succeeded = self.status.succeeded.unwrap_or(0).saturating_add(newly_succeeded);

        for pod in self.pods.iter().filter(|pod| is_tracked(pod)) {
            let uid = uid_of(&**pod).to_owned();
            if pod::phase(pod) == "Succeeded" {
                if indexed {
                    // An index counts once; which pod brought it does not matter.
                    if let Some(index) = indexes::of(pod).filter(|index| *index < completions) {
                        self.completed.insert(index);
                    }
                } else if !succeeded.contains(&uid) {
                    succeeded.push(uid);
                }
                self.plan.release.push(pod.clone());
            } else if has_failed(pod) {
                if !failed.contains(&uid) {
                    match failure::meaning(self.job, pod) {
                        Meaning::Ignored => {}
                        Meaning::FailsJob(why) => {
                            let reason = "PodFailurePolicy";
                            self.verdict = Some(Verdict { complete: false, reason, message: why });
                            failed.push(uid);
                        }
                        Meaning::FailsIndex => {
                            self.failed_indexes.extend(indexes::of(pod));
                            failed.push(uid);
                        }
                        Meaning::Counts => failed.push(uid),
                    }
                }
                self.plan.release.push(pod.clone());
            }
        }
        if indexed {
            counted_succeeded = i32::try_from(self.completed.len()).unwrap_or(i32::MAX);
            let text = indexes::format(&self.completed);
            self.status.completed_indexes = (!text.is_empty()).then_some(text);
            self.failed_indexes.retain(|index| !self.completed.contains(index));
            let limited = self.spec.backoff_limit_per_index.is_some();
            self.status.failed_indexes = limited.then(|| indexes::format(&self.failed_indexes));
        }
        self.succeeded = counted_succeeded.saturating_add(i32::try_from(succeeded.len()).unwrap_or(i32::MAX));
        self.failed = counted_failed.saturating_add(i32::try_from(failed.len()).unwrap_or(i32::MAX));
        counted_failed = counted_failed.max(0);
        self.status.failed = (counted_failed > 0).then_some(counted_failed);
        self.status.succeeded = (counted_succeeded > 0).then_some(counted_succeeded);
        self.status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
            succeeded: (!succeeded.is_empty()).then_some(succeeded),
            failed: (!failed.is_empty()).then_some(failed),
        });
    }

    /// Whether the Job has come to its end.
    fn judge(&mut self) {
        let interim = |kind: &str| {
            self.status
                .conditions
                .iter()
                .flatten()
                .find(|condition| condition.type_ == kind && condition.status == "True")
        };
        if let Some(target) = interim("FailureTarget") {
            let message = target.message.clone().unwrap_or_default();
            let reason = known_reason(target.reason.as_deref().unwrap_or_default());
            self.verdict = Some(Verdict { complete: false, reason, message });
            return;
        }
        if self.verdict.is_some() {
            return;
        }
        if self.failed > self.spec.backoff_limit.unwrap_or(6) && self.spec.backoff_limit_per_index.is_none() {
            let message = "Job has reached the specified backoff limit".to_owned();
            self.verdict = Some(Verdict { complete: false, reason: "BackoffLimitExceeded", message });
        } else if let Some(left) = self.deadline_left() {
            if left.is_zero() {
                let message = "Job was active longer than specified deadline".to_owned();
                self.verdict = Some(Verdict { complete: false, reason: "DeadlineExceeded", message });
            } else {
                self.wait = Some(left);
            }
        }
        if self.verdict.is_some() {
            return;
        }
        let complete = match self.spec.completions {
            Some(completions) => self.succeeded >= completions,
            // A work queue: it is empty when one has succeeded and none is active.
            None => self.succeeded > 0 && self.active.is_empty(),
        };
        let satisfied = self.success_policy_met();
        if complete {
            let message = "Reached expected number of succeeded pods".to_owned();
            self.verdict = Some(Verdict { complete: true, reason: "CompletionsReached", message });
        } else if let Some(message) = satisfied {
            self.verdict = Some(Verdict { complete: true, reason: "SuccessPolicy", message });
        }
    }

    /// Which rule of the success policy holds. Upstream: `matchSuccessPolicy`.
    fn success_policy_met(&self) -> Option<String> {
        let rules = self.spec.success_policy.as_ref().map(|policy| policy.rules.as_slice()).unwrap_or_default();
        let completions = self.spec.completions.unwrap_or(0);
        rules.iter().enumerate().find_map(|(number, rule)| {
            let wanted = rule.succeeded_indexes.as_deref().map(|text| indexes::parse(text, completions));
            let matched =
                wanted.as_ref().map_or(self.completed.len(), |wanted| wanted.intersection(&self.completed).count());
            let needed = match (rule.succeeded_count, &wanted) {
                (Some(count), _) => usize::try_from(count).unwrap_or(usize::MAX),
                (None, Some(wanted)) => wanted.len(),
                (None, None) => usize::MAX,
            };
            (matched >= needed).then(|| format!("Matched rules at index {number}"))
        })
    }

    fn deadline_left(&self) -> Option<Duration> {
        if self.is_suspended() {
            return None;
        }
        let seconds = self.spec.active_deadline_seconds?;
        let end = self.status.start_time.as_ref()?.0.checked_add(SignedDuration::from_secs(seconds)).ok()?;
        Some(Duration::try_from(end.duration_since(self.now)).unwrap_or_default())
    }

    /// Stops what still runs; says how it ended when nothing runs any more.
    fn end(&mut self) {
        let Some(verdict) = self.verdict.clone() else { return };
        self.plan.delete = std::mem::take(&mut self.active);
        let interim = if verdict.complete { "SuccessCriteriaMet" } else { "FailureTarget" };
        self.set_condition(interim, "True", verdict.reason, &verdict.message);
        let running = self.pods.iter().any(|pod| !pod::is_terminal(pod) && !has_failed(pod));
        let uncounted = self.status.uncounted_terminated_pods.as_ref();
        let counting = uncounted.is_some_and(|uncounted| uncounted.succeeded.is_some() || uncounted.failed.is_some());
        if running || counting || !self.plan.release.is_empty() {
            return;
        }
        if verdict.complete {
            self.status.completion_time = Some(Time(self.now));
            self.set_condition("Complete", "True", verdict.reason, &verdict.message);
            self.plan.events.push((EventKind::Normal, "Completed", "Job completed".to_owned()));
        } else {
            self.set_condition("Failed", "True", verdict.reason, &verdict.message);
            self.plan.events.push((EventKind::Warning, verdict.reason, verdict.message));
        }
    }

    fn scale(&mut self) {
        if self.is_suspended() {
            self.plan.delete = std::mem::take(&mut self.active);
            if self.set_condition("Suspended", "True", "JobSuspended", "Job suspended") {
                self.plan.events.push((EventKind::Normal, "Suspended", "Job suspended".to_owned()));
                self.status.start_time = None;
            }
            return;
        }
        let was_suspended =
            self.status.conditions.iter().flatten().any(|known| known.type_ == "Suspended" && known.status == "True");
        if was_suspended && self.set_condition("Suspended", "False", "JobResumed", "Job resumed") {
            self.plan.events.push((EventKind::Normal, "Resumed", "Job resumed".to_owned()));
            self.status.start_time = Some(Time(self.now));
        }
        let parallelism = self.spec.parallelism.unwrap_or(1).max(0);
        let active = i32::try_from(self.active.len()).unwrap_or(i32::MAX);
        let wanted = match self.spec.completions {
            Some(completions) => parallelism.min(completions.saturating_sub(self.succeeded)).max(0),
            None if self.succeeded > 0 => active.min(parallelism),
            None => parallelism,
        };
        let wanted = usize::try_from(wanted).unwrap_or(0);
        if self.active.len() > wanted {
            // The youngest go: they have done least.
            self.active.sort_by(|a, b| {
                pod::is_ready(a)
                    .cmp(&pod::is_ready(b))
                    .then_with(|| b.metadata.creation_timestamp.cmp(&a.metadata.creation_timestamp))
                    .then_with(|| a.metadata.name.cmp(&b.metadata.name))
            });
            let excess = self.active.len() - wanted;
            self.plan.delete = self.active.drain(..excess).collect();
            return;
        }
        let replaced_when_gone =
            self.spec.pod_replacement_policy.as_deref() == Some("Failed") || self.spec.pod_failure_policy.is_some();
        let terminating = self.pods.iter().filter(|pod| pod::is_terminating(pod) && !pod::is_terminal(pod)).count();
        let occupied = self.active.len() + if replaced_when_gone { terminating } else { 0 };
        let missing = wanted.saturating_sub(occupied).min(BURST);
        if missing == 0 {
            return;
        }
        let delay = self.backoff();
        if !delay.is_zero() {
            self.wait = Some(self.wait.map_or(delay, |wait| wait.min(delay)));
            return;
        }
        self.plan.create = if self.is_indexed() { self.free_indexes(missing) } else { vec![None; missing] };
    }

    /// After failures, new pods wait. Failures before the last success no longer count.
    fn backoff(&self) -> Duration {
        let succeeded = |pod: &&Arc<Pod>| pod::phase(pod) == "Succeeded";
        let last_success = self.pods.iter().filter(succeeded).filter_map(|pod| failure::ended_at(pod)).max();
        let failures = self.pods.iter().filter(|pod| has_failed(pod)).filter_map(|pod| failure::ended_at(pod));
        let since: Vec<_> = failures.filter(|end| Some(*end) > last_success).collect();
        failure::delay(u32::try_from(since.len()).unwrap_or(u32::MAX), since.iter().max().copied(), self.now)
    }

    fn free_indexes(&self, count: usize) -> Vec<Option<i32>> {
        let taken: BTreeSet<i32> = self.active.iter().filter_map(|pod| indexes::of(pod)).collect();
        let free = |index: &i32| {
            !taken.contains(index) && !self.completed.contains(index) && !self.failed_indexes.contains(index)
        };
        (0..self.spec.completions.unwrap_or(0)).filter(free).take(count).map(Some).collect()
    }

    fn set_condition(&mut self, kind: &str, status: &str, reason: &str, message: &str) -> bool {
        let conditions = self.status.conditions.get_or_insert_default();
        let new = JobCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_probe_time: Some(Time(self.now)),
            last_transition_time: Some(Time(self.now)),
        };
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(known) if known.status == status => false,
            Some(known) => {
                *known = new;
                true
            }
            None => {
                conditions.push(new);
                true
            }
        }
    }

    fn finish(mut self) -> Plan {
        let active = self.active.len() + self.plan.create.len();
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        self.status.active = (active > 0).then(|| count(active));
        self.status.ready = Some(count(self.active.iter().filter(|pod| pod::is_ready(pod)).count()));
        let terminating = self.pods.iter().filter(|pod| pod::is_terminating(pod) && !pod::is_terminal(pod)).count();
        self.status.terminating = Some(count(terminating + self.plan.delete.len()));
        if self.job.status.as_ref() != Some(&self.status) {
            self.plan.status = Some(self.status);
        }
        if let Some(wait) = self.wait {
            self.plan.next = Next::After(wait);
        }
        self.plan
    }
}

/// Reasons are constants of ours; what an earlier version wrote is kept by meaning.
fn known_reason(reason: &str) -> &'static str {
    match reason {
        "BackoffLimitExceeded" => "BackoffLimitExceeded",
        "DeadlineExceeded" => "DeadlineExceeded",
        "FailedIndexes" => "FailedIndexes",
        _ => "PodFailurePolicy",
    }
}
