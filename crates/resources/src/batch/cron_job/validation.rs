//! Validation of cron jobs. Upstream: `ValidateCronJobCreate` in `pkg/apis/batch/validation`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, JobSpec};
use serde_json::json;

use super::schedule;
use crate::batch::job::validation::validate_made;
use crate::check::{self, Report};
use crate::core::pod::validation::PodOptions;
use crate::optional::{Flag, Text};

/// A job is named after its cron job and eleven more characters.
const MAX_NAME: usize = 52;
const CONCURRENCY_POLICIES: &[&str] = &["Allow", "Forbid", "Replace"];

pub(super) fn validate(cron: &CronJob) -> ErrorList {
    let mut errors = ErrorList::default();
    validate_spec(&cron.spec, None, &mut errors);
    let name = cron.metadata.name.text();
    if name.len() > MAX_NAME {
        let path = Path::new("metadata").child("name");
        errors.invalid(&path, name, format!("must be no more than {MAX_NAME} characters"));
    }
    errors
}

pub(super) fn validate_update(new: &CronJob, old: &CronJob) -> ErrorList {
    let mut errors = ErrorList::default();
    validate_spec(&new.spec, Some(&old.spec), &mut errors);
    errors
}

fn validate_spec(spec: &CronJobSpec, old: Option<&CronJobSpec>, errors: &mut ErrorList) {
    let path = Path::new("spec");
    validate_schedule(spec, old, &path.child("schedule"), errors);
    check::non_negative(spec.starting_deadline_seconds.unwrap_or(0), &path.child("startingDeadlineSeconds"), errors);
    if let Some(zone) = &spec.time_zone
        && old.is_none_or(|old| old.time_zone != spec.time_zone)
    {
        time_zone(zone, &path.child("timeZone"), errors);
    }
    let policy_path = path.child("concurrencyPolicy");
    match spec.concurrency_policy.text() {
        "" => errors.required(&policy_path, ""),
        policy if !CONCURRENCY_POLICIES.contains(&policy) => {
            errors.not_supported(&policy_path, policy, CONCURRENCY_POLICIES);
        }
        _ => {}
    }
    let empty = JobSpec::default();
    let job = spec.job_template.spec.as_ref().unwrap_or(&empty);
    let old_template = old.and_then(|old| old.job_template.spec.as_ref()).map(|job| &job.template);
    let options = PodOptions::default().ratchet(
        old_template.and_then(|template| template.spec.as_ref()),
        old_template.and_then(|template| template.metadata.as_ref()),
    );
    let job_path = path.child("jobTemplate").child("spec");
    validate_made(job, &options, &job_path, errors);
    if let Some(selector) = &job.selector {
        errors.invalid(&job_path.child("selector"), json!(selector), "`selector` will be auto-generated");
    }
    if job.manual_selector.is_set() {
        errors.not_supported(&job_path.child("manualSelector"), true, &["nil", "false"]);
    }
    for (field, limit) in [
        ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit),
        ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
    ] {
        check::non_negative(limit.unwrap_or(0), &path.child(field), errors);
    }
}

fn validate_schedule(spec: &CronJobSpec, old: Option<&CronJobSpec>, path: &Path, errors: &mut ErrorList) {
    let text = &spec.schedule;
    if text.is_empty() {
        errors.required(path, "");
        return;
    }
    if let Err(why) = schedule::check(text) {
        errors.invalid(path, text, why);
    }
    if !text.contains("TZ") {
        return;
    }
    // The prefix was possible before the field; what is stored so goes on.
    if !old.is_some_and(|old| old.schedule.contains("TZ")) {
        errors.invalid(path, text, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if spec.time_zone.is_some() {
        errors.invalid(path, text, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    }
}

/// Whether a name could be one. Whether there is such a zone is known where there is a database of them.
fn time_zone(zone: &str, path: &Path, errors: &mut ErrorList) {
    if zone.is_empty() {
        errors.invalid(path, zone, "timeZone must be nil or non-empty string");
        return;
    }
    let is_part = |part: &str| {
        (1..=14).contains(&part.len())
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || ".-_+".contains(c))
    };
    if !zone.split('/').all(is_part) {
        errors.invalid(path, zone, format!("unknown time zone {zone}"));
        return;
    }
    if zone.eq_ignore_ascii_case("Local") {
        let message = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(path, zone, message);
    }
}
