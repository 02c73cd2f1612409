//! Jobs for the registry. Upstream: `pkg/registry/batch/job`.

mod indexes;
mod status;
#[cfg(test)]
mod tests;
pub(super) mod validation;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use registry::{
    Column, GcPolicy, Info, ObjectExt, PrintCx, RequestCx, SelectableField, Strategy, Subresource, human_duration,
    since,
};
use serde_json::json;

use crate::core::pod::defaults::pod_template;
use crate::core::pod::warnings;
use crate::meta::print;
use crate::optional::{Flag, Items, Text, default_text};

type C = Column<Job>;

pub struct Jobs;

impl Strategy for Jobs {
    type Object = Job;

    const INFO: Info = Info::namespaced("batch", "v1", "Job", "jobs").categories(&["all"]);
    const COLUMNS: &'static [Column<Job>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];
    const SELECTABLE: &'static [SelectableField] =
        &[SelectableField::new("status.successful", &[&["status", "succeeded"]]).absent("0")];
    const GC_POLICY: GcPolicy = GcPolicy::OrphanDependents;

    fn set_defaults(&self, object: &mut Job) {
        default_spec(object.spec.get_or_insert_default());
        object.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut Job) {
        object.status = Some(Default::default());
        object.start_generation();
        generate_selector(object);
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut Job, old: &Job) {
        new.status.clone_from(&old.status);
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &Job) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &Job, old: &Job) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn warnings(&self, _cx: &RequestCx, new: &Job, old: Option<&Job>) -> Vec<String> {
        if old.is_some_and(|old| old.metadata.generation == new.metadata.generation) {
            return Vec::new();
        }
        let mut all = Vec::new();
        if old.is_none() {
            all.extend(warnings::controller_name(&new.metadata));
        }
        all.extend(job_warnings(new.spec.as_ref(), &Path::new("spec")));
        all
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut Job, old: &Job) {
        new.spec.clone_from(&old.spec);
        new.metadata.generation = old.metadata.generation;
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &Job, old: &Job) -> ErrorList {
        status::validate_update(new, old)
    }
}

/// Upstream: `WarningsForJobSpec`.
pub(super) fn job_warnings(spec: Option<&JobSpec>, path: &Path) -> Vec<String> {
    let Some(spec) = spec else { return Vec::new() };
    let mut all = Vec::new();
    let (completions, parallelism) = (spec.completions.unwrap_or(0), spec.parallelism.unwrap_or(0));
    if spec.completion_mode.text() == "Indexed" && completions > 100_000 && parallelism > 10_000 {
        all.push(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
    all.extend(warnings::template(Some(&spec.template), &path.child("template")));
    all
}

/// Defaults of a job's spec, and of the jobs a cron job makes (`SetDefaults_Job`).
pub(super) fn default_spec(spec: &mut JobSpec) {
    // Without either, one pod has to succeed once.
    if spec.completions.is_none() && spec.parallelism.is_none() {
        spec.completions = Some(1);
    }
    spec.parallelism.get_or_insert(1);
    // With a limit for each index there is none for all of them together.
    let backoff = if spec.backoff_limit_per_index.is_some() { i32::MAX } else { 6 };
    spec.backoff_limit.get_or_insert(backoff);
    spec.completion_mode.get_or_insert_with(|| "NonIndexed".to_owned());
    spec.suspend.get_or_insert(false);
    spec.manual_selector.get_or_insert(false);
    let replacement = if spec.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
    spec.pod_replacement_policy.get_or_insert_with(|| replacement.to_owned());
    for rule in spec.pod_failure_policy.iter_mut().flat_map(|policy| &mut policy.rules) {
        for pattern in rule.on_pod_conditions.items_mut() {
            default_text(&mut pattern.status, "True");
        }
    }
    pod_template(&mut spec.template);
}

/// A selector of the job's own, and the labels that it selects, from its UID (`generateSelector`).
fn generate_selector(job: &mut Job) {
    let Some(spec) = &mut job.spec else { return };
    if spec.manual_selector.is_set() {
        return;
    }
    let (name, uid) = (job.metadata.name.text().to_owned(), job.metadata.uid.text().to_owned());
    let labels = spec.template.metadata.get_or_insert_default().labels.get_or_insert_default();
    for prefix in ["batch.kubernetes.io/", ""] {
        labels.entry(format!("{prefix}job-name")).or_insert_with(|| name.clone());
        labels.entry(format!("{prefix}controller-uid")).or_insert_with(|| uid.clone());
    }
    let selector = spec.selector.get_or_insert_default();
    let wanted = selector.match_labels.get_or_insert_default();
    wanted.entry("batch.kubernetes.io/controller-uid".to_owned()).or_insert(uid);
}

fn phase(job: &Job) -> &'static str {
    let conditions = job.status.as_ref().map_or(&[][..], |status| status.conditions.items());
    let is = |kind: &str| {
        conditions.iter().find(|condition| condition.type_ == kind).is_some_and(|condition| condition.status == "True")
    };
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if job.metadata.deletion_timestamp.is_some() {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Job) -> String {
    let succeeded = job.status.as_ref().and_then(|status| status.succeeded).unwrap_or(0);
    let spec = job.spec.as_ref();
    let parallelism = spec.and_then(|spec| spec.parallelism).unwrap_or(0);
    match spec.and_then(|spec| spec.completions) {
        Some(completions) => format!("{succeeded}/{completions}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
}

fn duration(job: &Job, cx: &PrintCx) -> String {
    let Some(status) = &job.status else { return String::new() };
    match (&status.start_time, &status.completion_time) {
        (None, _) => String::new(),
        (Some(start), None) => since(Some(start), cx),
        (Some(start), Some(end)) => human_duration(end.0.as_second() - start.0.as_second()),
    }
}

static COLUMNS: &[Column<Job>] = &[
    Column::NAME,
    C::string("Status", |o, _| json!(phase(o))).describe("Status of the job."),
    C::string("Completions", |o, _| json!(completions(o))).describe("The number of pods which reached phase Succeeded. The value increases monotonically for a given spec. However, it may decrease in reaction to scale down of elastic indexed jobs."),
    C::string("Duration", |o, cx| json!(duration(o, cx))).describe("Time required to complete the job."),
    Column::AGE,
    C::string("Containers", |o, _| print::container_names(o.spec.as_ref().map(|spec| &spec.template))).wide().describe("Names of each container in the template."),
    C::string("Images", |o, _| print::container_images(o.spec.as_ref().map(|spec| &spec.template))).wide().describe("Images referenced by each container in the template."),
    C::string("Selector", |o, _| json!(print::selector(o.spec.as_ref().and_then(|spec| spec.selector.as_ref())))).wide().describe("A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"),
];
