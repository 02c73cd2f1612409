//! What a job's status may say and become. Rules hold only for what an update changes, so that one bad field does not
//! stop the others. Upstream: `validateJobStatus`, `getStatusValidationOptions`.

use std::collections::BTreeSet;

use apimachinery::field::{Error, ErrorList, Path};
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use serde_json::json;

use super::indexes;
use crate::check::{self, Report};
use crate::optional::{Flag, Items, Text};

/// A job and its status at once, with nothing absent.
struct View<'a> {
    spec: &'a JobSpec,
    status: &'a JobStatus,
}

impl View<'_> {
    fn is(&self, condition: &str) -> bool {
        let conditions = self.status.conditions.items();
        conditions.iter().any(|known| known.type_ == condition && known.status == "True")
    }

    fn is_finished(&self) -> bool {
        self.is("Complete") || self.is("Failed")
    }

    fn active(&self) -> i32 {
        self.status.active.unwrap_or(0)
    }
}

pub(super) fn validate_update(new: &Job, old: &Job) -> ErrorList {
    let mut errors = ErrorList::default();
    let (no_spec, no_status) = (JobSpec::default(), JobStatus::default());
    let view =
        |job: &Job| (job.spec.clone().unwrap_or(no_spec.clone()), job.status.clone().unwrap_or(no_status.clone()));
    let ((spec, status), (old_spec, old_status)) = (view(new), view(old));
    let new = View { spec: &spec, status: &status };
    let old = View { spec: &old_spec, status: &old_status };
    let path = Path::new("status");
    counts(&status, &path, &mut errors);
    conditions(&new, &old, &path.child("conditions"), &mut errors);
    times(&new, &old, &path, &mut errors);
    finished(&new, &old, &path, &mut errors);
    index_texts(&new, &old, &path, &mut errors);
    if status.ready.unwrap_or(0) > new.active()
        && (status.ready, status.active) != (old_status.ready, old_status.active)
    {
        errors.invalid(&path.child("ready"), status.ready, "cannot set more ready pods than active");
    }
    decreases(&new, &old, &path, &mut errors);
    errors
}

fn counts(status: &JobStatus, path: &Path, errors: &mut ErrorList) {
    for (field, count) in [
        ("active", status.active),
        ("succeeded", status.succeeded),
        ("failed", status.failed),
        ("ready", status.ready),
        ("terminating", status.terminating),
    ] {
        check::non_negative(count.unwrap_or(0), &path.child(field), errors);
    }
    let Some(uncounted) = &status.uncounted_terminated_pods else { return };
    let path = path.child("uncountedTerminatedPods");
    let mut seen = BTreeSet::new();
    for (field, uids) in [("succeeded", uncounted.succeeded.items()), ("failed", uncounted.failed.items())] {
        for (index, uid) in uids.iter().enumerate() {
            let path = path.child(field).index(index);
            if uid.is_empty() {
                errors.invalid(&path, uid, "must not be empty");
            } else if !seen.insert(uid) {
                errors.duplicate(&path, uid);
            }
        }
    }
}

fn conditions(new: &View<'_>, old: &View<'_>, path: &Path, errors: &mut ErrorList) {
    let changed = |condition: &str| new.is(condition) != old.is(condition);
    let mut refuse = |message: &str| errors.push(Error::invalid_unsaid(path, message));
    let contradict = |a: &str, b: &str| new.is(a) && new.is(b);
    if (changed("Complete") || changed("Failed")) && contradict("Complete", "Failed") {
        refuse("cannot set Complete=True and Failed=true conditions");
    }
    if (changed("Complete") || changed("FailureTarget")) && contradict("Complete", "FailureTarget") {
        refuse("cannot set Complete=True and FailureTarget=true conditions");
    }
    if changed("Failed") && new.is("Failed") && !new.is("FailureTarget") {
        refuse("cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if changed("Complete") && new.is("Complete") && !new.is("SuccessCriteriaMet") {
        refuse("cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
    if contradict("SuccessCriteriaMet", "Failed") {
        refuse("cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if contradict("SuccessCriteriaMet", "FailureTarget") {
        refuse("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    if new.spec.success_policy.is_some() && new.is("Complete") && !new.is("SuccessCriteriaMet") {
        refuse("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True");
    }
    for terminal in ["Failed", "Complete", "FailureTarget"] {
        if old.is(terminal) && !new.is(terminal) {
            refuse(&format!("cannot disable the terminal {terminal}=True condition"));
        }
    }
    if old.is("SuccessCriteriaMet") && !new.is("SuccessCriteriaMet") {
        refuse("cannot disable the SuccessCriteriaMet=True condition");
    }
    if old.is("Complete") && !old.is("SuccessCriteriaMet") && new.is("SuccessCriteriaMet") {
        refuse("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions");
    }
}

fn times(new: &View<'_>, old: &View<'_>, path: &Path, errors: &mut ErrorList) {
    let completion_path = path.child("completionTime");
    let (start, end) = (&new.status.start_time, &new.status.completion_time);
    let start_changed = *start != old.status.start_time;
    let end_changed = *end != old.status.completion_time;
    if end_changed || new.is("Complete") != old.is("Complete") {
        if end.is_some() && !new.is("Complete") {
            let message = "cannot set completionTime when there is no Complete=True condition";
            errors.invalid(&completion_path, json!(end), message);
        }
        if end.is_none() && new.is("Complete") {
            errors.required(&completion_path, "completionTime is required for Complete jobs");
        }
    }
    if (start_changed || end_changed)
        && let (Some(start), Some(end)) = (start, end)
        && end.0 < start.0
    {
        errors.invalid(&completion_path, json!(end), "completionTime cannot be set before startTime");
    }
    if end_changed && end.is_some() && old.status.completion_time.is_some() {
        errors.invalid(&completion_path, json!(end), "completionTime cannot be mutated");
    }
    if start_changed && old.status.start_time.is_some() && !new.spec.suspend.is_set() {
        errors.required(&path.child("startTime"), "startTime cannot be removed for unsuspended job");
    }
}

fn finished(new: &View<'_>, old: &View<'_>, path: &Path, errors: &mut ErrorList) {
    if !new.is_finished() {
        return;
    }
    let newly = !old.is_finished();
    let (status, before) = (new.status, old.status);
    if (newly || status.active != before.active) && new.active() > 0 {
        errors.invalid(&path.child("active"), new.active(), "active>0 is invalid for finished job");
    }
    if (newly || status.start_time != before.start_time) && status.start_time.is_none() {
        errors.required(&path.child("startTime"), "startTime is required for finished job");
    }
    if (newly || status.uncounted_terminated_pods != before.uncounted_terminated_pods)
        && let Some(uncounted) = &status.uncounted_terminated_pods
        && !(uncounted.failed.items().is_empty() && uncounted.succeeded.items().is_empty())
    {
        let message = "uncountedTerminatedPods needs to be empty for finished job";
        errors.invalid(&path.child("uncountedTerminatedPods"), json!(uncounted), message);
    }
    if (newly || status.terminating != before.terminating) && status.terminating.unwrap_or(0) > 0 {
        errors.invalid(&path.child("terminating"), status.terminating, "terminating>0 is invalid for finished job");
    }
}

fn index_texts(new: &View<'_>, old: &View<'_>, path: &Path, errors: &mut ErrorList) {
    let (completed_path, failed_path) = (path.child("completedIndexes"), path.child("failedIndexes"));
    let (completed, failed) = (new.status.completed_indexes.text(), &new.status.failed_indexes);
    let completed_changed = completed != old.status.completed_indexes.text();
    let failed_changed = *failed != old.status.failed_indexes;
    if completed_changed
        && let Some(completions) = new.spec.completions
        && let Err(why) = indexes::count(completed, completions)
    {
        errors.invalid(&completed_path, completed, format!("error parsing completedIndexes: {why}"));
    }
    if failed_changed
        && new.spec.backoff_limit_per_index.is_some()
        && let (Some(completions), Some(failed)) = (new.spec.completions, failed)
        && let Err(why) = indexes::count(failed, completions)
    {
        errors.invalid(&failed_path, failed, format!("error parsing failedIndexes: {why}"));
    }
    if completed_changed && !completed.is_empty() && new.spec.completion_mode.text() != "Indexed" {
        let message = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(&completed_path, completed, message);
    }
    if failed_changed
        && new.spec.backoff_limit_per_index.is_none()
        && let Some(failed) = failed
    {
        let message = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(&failed_path, failed, message);
    }
    if (completed_changed || failed_changed)
        && let (Some(completions), Some(failed)) = (new.spec.completions, failed)
        && let Some(index) = indexes::overlap(completed, failed, completions)
    {
        let message = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.invalid(&failed_path, failed, message);
    }
}

fn decreases(new: &View<'_>, old: &View<'_>, path: &Path, errors: &mut ErrorList) {
    let (failed, succeeded) = (new.status.failed.unwrap_or(0), new.status.succeeded.unwrap_or(0));
    if failed < old.status.failed.unwrap_or(0) {
        errors.invalid(&path.child("failed"), failed, "cannot decrease the failed counter");
    }
    // A job that was made smaller forgets the indexes that are no more.
    let elastic = new.spec.completion_mode.text() == "Indexed" && new.spec.completions == new.spec.parallelism;
    if !elastic && succeeded < old.status.succeeded.unwrap_or(0) {
        errors.invalid(&path.child("succeeded"), succeeded, "cannot decrease the succeeded counter");
    }
}
