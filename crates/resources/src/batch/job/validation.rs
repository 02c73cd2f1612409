//! Validation of jobs, and of the jobs that cron jobs make. Upstream: `pkg/apis/batch/validation/validation.go`.

use std::collections::BTreeSet;

use apimachinery::field::{Error, ErrorList, Path};
use apimachinery::{Selector, names};
use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicy,
    SuccessPolicyRule,
};
use k8s_openapi::api::core::v1::{Affinity, PodTemplateSpec};
use serde_json::json;

use super::indexes;
use crate::check::{self, Report};
use crate::core::pod::validation::{self as pod, PodOptions};
use crate::optional::{Flag, Items, Text};

const MAX_PARALLELISM: i32 = 100_000;
const MAX_FAILED_INDEXES: i32 = 100_000;
/// Above this many completions, failures of single indexes are counted less generously.
const MANY_COMPLETIONS: i32 = 100_000;
const MAX_PARALLELISM_WITH_MANY: i32 = 10_000;
const MAX_FAILED_INDEXES_WITH_MANY: i32 = 10_000;
const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_CONDITION_PATTERNS: usize = 20;
const MAX_MANAGED_BY: usize = 63;
const MAX_INDEXES_TEXT: usize = 64 * 1024;

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];

pub(super) fn validate(job: &Job) -> ErrorList {
    let mut errors = ErrorList::default();
    let empty = JobSpec::default();
    let spec = job.spec.as_ref().unwrap_or(&empty);
    generated_selector(job, spec, &mut errors);
    validate_spec(spec, &PodOptions::default(), &Path::new("spec"), &mut errors);
    if is_indexed(spec)
        && let Some(completions @ 1..) = spec.completions
    {
        // Pods of the job are named after it and their index.
        let name = job.metadata.name.text();
        let longest = format!("{name}-{}", completions - 1);
        if !names::is_dns1123_label(&longest).is_empty() {
            let message = format!("will not able to create pod with invalid DNS label: {longest}");
            errors.invalid(&Path::new("metadata").child("name"), name, message);
        }
    }
    errors
}

pub(super) fn validate_update(new: &Job, old: &Job) -> ErrorList {
    let mut errors = ErrorList::default();
    let (empty, path) = (JobSpec::default(), Path::new("spec"));
    let spec = new.spec.as_ref().unwrap_or(&empty);
    let old_spec = old.spec.as_ref().unwrap_or(&empty);
    let options = PodOptions::default().ratchet(old_spec.template.spec.as_ref(), old_spec.template.metadata.as_ref());
    validate_spec(spec, &options, &path, &mut errors);
    completions_update(spec, old_spec, &path.child("completions"), &mut errors);
    check::unchanged(&spec.selector, &old_spec.selector, &path.child("selector"), &mut errors);
    // While a job is suspended and has not started, somebody may still say where its pods go.
    let started = old.status.as_ref().is_some_and(|status| status.start_time.is_some());
    let movable = old_spec.suspend.is_set() && !started;
    let old_template =
        if movable { with_directives(&old_spec.template, &spec.template) } else { old_spec.template.clone() };
    check::unchanged(&spec.template, &old_template, &path.child("template"), &mut errors);
    check::unchanged(&spec.completion_mode, &old_spec.completion_mode, &path.child("completionMode"), &mut errors);
    let failure = path.child("podFailurePolicy");
    check::unchanged(&spec.pod_failure_policy, &old_spec.pod_failure_policy, &failure, &mut errors);
    let backoff = path.child("backoffLimitPerIndex");
    check::unchanged(&spec.backoff_limit_per_index, &old_spec.backoff_limit_per_index, &backoff, &mut errors);
    check::unchanged(&spec.managed_by, &old_spec.managed_by, &path.child("managedBy"), &mut errors);
    check::unchanged(&spec.success_policy, &old_spec.success_policy, &path.child("successPolicy"), &mut errors);
    errors
}

fn completions_update(spec: &JobSpec, old: &JobSpec, path: &Path, errors: &mut ErrorList) {
    if !is_indexed(spec) {
        check::unchanged(&spec.completions, &old.completions, path, errors);
        return;
    }
    if let Some(completions) = spec.completions
        && spec.completions != old.completions
        && spec.completions != spec.parallelism
    {
        errors.invalid(path, completions, "can only be modified in tandem with spec.parallelism");
    }
}

/// `old` with what `new` says about placement.
fn with_directives(old: &PodTemplateSpec, new: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = old.clone();
    let meta = template.metadata.get_or_insert_default();
    meta.labels = new.metadata.as_ref().and_then(|meta| meta.labels.clone());
    meta.annotations = new.metadata.as_ref().and_then(|meta| meta.annotations.clone());
    let (Some(spec), Some(wanted)) = (&mut template.spec, &new.spec) else { return template };
    spec.node_selector.clone_from(&wanted.node_selector);
    spec.tolerations.clone_from(&wanted.tolerations);
    spec.scheduling_gates.clone_from(&wanted.scheduling_gates);
    let node_affinity = wanted.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone());
    spec.affinity.get_or_insert_default().node_affinity = node_affinity;
    if wanted.affinity.is_none() && spec.affinity == Some(Affinity::default()) {
        spec.affinity = None;
    }
    template
}

/// The labels and the selector that the server makes must be there, unless the user brings both.
fn generated_selector(job: &Job, spec: &JobSpec, errors: &mut ErrorList) {
    let Some(selector) = spec.selector.as_ref().filter(|_| !spec.manual_selector.is_set()) else { return };
    let (name, uid) = (job.metadata.name.text(), job.metadata.uid.text());
    if uid.is_empty() {
        errors.required(&Path::new("metadata").child("uid"), "");
    }
    let expected = [
        ("controller-uid", uid),
        ("job-name", name),
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
    ];
    let labels = spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    let path = Path::new("spec").child("template").child("metadata").child("labels");
    for (label, value) in expected {
        match labels.get(label) {
            None => errors.required(&path.key(label), format!("must be '{value}'")),
            Some(other) if other != value => {
                errors.invalid(&path.key(label), json!(labels), format!("must be '{value}'"));
            }
            Some(_) => {}
        }
    }
    let expected = expected.map(|(label, value)| (label.to_owned(), value.to_owned())).into();
    if Selector::from_label_selector(Some(selector)).is_ok_and(|selects| !selects.matches(&expected)) {
        errors.invalid(&Path::new("spec").child("selector"), json!(selector), "`selector` not auto-generated");
    }
}

fn validate_spec(spec: &JobSpec, options: &PodOptions, path: &Path, errors: &mut ErrorList) {
    validate_made(spec, options, path, errors);
    match &spec.selector {
        None => errors.required(&path.child("selector"), ""),
        Some(selector) => check::label_selector(selector, &path.child("selector"), errors),
    }
    let labels = spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    // No selector selects nothing.
    let matches = Selector::from_label_selector(spec.selector.as_ref()).map(|selector| selector.matches(&labels));
    if matches.is_ok_and(|matches| !matches) {
        let path = path.child("template").child("metadata").child("labels");
        errors.invalid(&path, json!(labels), "`selector` does not match template `labels`");
    }
}

/// A spec without regard to its selector, which jobs of cron jobs get when they are made (`validateJobSpec`).
pub(in crate::batch) fn validate_made(spec: &JobSpec, options: &PodOptions, path: &Path, errors: &mut ErrorList) {
    for (field, value) in [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
    ] {
        check::non_negative(value.unwrap_or(0), &path.child(field), errors);
    }
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = &spec.managed_by {
        let path = path.child("managedBy");
        check::domain_prefixed_path(manager, &path, errors);
        if manager.len() > MAX_MANAGED_BY {
            errors.too_long(&path, MAX_MANAGED_BY);
        }
    }
    if let Some(mode) = &spec.completion_mode
        && !matches!(mode.as_str(), "NonIndexed" | "Indexed")
    {
        errors.not_supported(&path.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
    }
    if is_indexed(spec) {
        indexed(spec, path, errors);
    } else if matches!(spec.completion_mode.text(), "" | "NonIndexed") {
        let message = "requires indexed completion mode";
        if let Some(limit) = spec.backoff_limit_per_index {
            errors.invalid(&path.child("backoffLimitPerIndex"), limit, message);
        }
        if let Some(failed) = spec.max_failed_indexes {
            errors.invalid(&path.child("maxFailedIndexes"), failed, message);
        }
    }
    if let Some(policy) = &spec.pod_failure_policy {
        failure_policy(spec, policy, &path.child("podFailurePolicy"), errors);
    }
    if let Some(policy) = &spec.success_policy {
        let path = path.child("successPolicy");
        if is_indexed(spec) {
            success_policy(spec, policy, &path, errors);
        } else {
            errors.invalid(&path, json!(policy), "requires indexed completion mode");
        }
    }
    replacement_policy(spec, &path.child("podReplacementPolicy"), errors);
    pod::template(&spec.template, &path.child("template"), options, errors);
    restart_policy(spec, &path.child("template").child("spec").child("restartPolicy"), errors);
}

fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.text() == "Indexed"
}

fn indexed(spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let parallelism = spec.parallelism.unwrap_or(0);
    if spec.completions.is_none() {
        errors.required(&path.child("completions"), "when completion mode is Indexed");
    }
    if parallelism > MAX_PARALLELISM {
        let message = format!("must be less than or equal to {MAX_PARALLELISM} when completion mode is Indexed");
        errors.invalid(&path.child("parallelism"), parallelism, message);
    }
    let failed_path = path.child("maxFailedIndexes");
    if let (Some(completions), Some(failed)) = (spec.completions, spec.max_failed_indexes)
        && failed > completions
    {
        errors.invalid(&failed_path, failed, "must be less than or equal to completions");
    }
    if let Some(failed) = spec.max_failed_indexes
        && failed > MAX_FAILED_INDEXES
    {
        errors.invalid(&failed_path, failed, format!("must be less than or equal to {MAX_FAILED_INDEXES}"));
    }
    if spec.completions.is_none_or(|completions| completions <= MANY_COMPLETIONS)
        || spec.backoff_limit_per_index.is_none()
    {
        return;
    }
    let with_many = |limit: i32| {
        format!(
            "must be less than or equal to {limit} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
        )
    };
    if spec.max_failed_indexes.is_none() {
        errors.required(&failed_path, format!("must be specified when completions is above {MANY_COMPLETIONS}"));
    }
    if parallelism > MAX_PARALLELISM_WITH_MANY {
        errors.invalid(&path.child("parallelism"), parallelism, with_many(MAX_PARALLELISM_WITH_MANY));
    }
    if let Some(failed) = spec.max_failed_indexes
        && failed > MAX_FAILED_INDEXES_WITH_MANY
    {
        errors.invalid(&failed_path, failed, with_many(MAX_FAILED_INDEXES_WITH_MANY));
    }
}

fn replacement_policy(spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let Some(policy) = &spec.pod_replacement_policy else { return };
    let supported: &[&str] =
        if spec.pod_failure_policy.is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    if !supported.contains(&policy.as_str()) {
        errors.not_supported(path, policy, supported);
    }
}

fn restart_policy(spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    match spec.template.spec.as_ref().map_or("", |pod| pod.restart_policy.text()) {
        // What the default makes of no policy is not what a job can have.
        "Always" | "" => errors.required(path, r#"valid values: "OnFailure", "Never""#),
        "Never" => {}
        policy @ "OnFailure" => {
            if spec.pod_failure_policy.is_some() {
                errors.invalid(path, policy, r#"only "Never" is supported when podFailurePolicy is specified"#);
            }
        }
        policy => errors.not_supported(path, policy, &["OnFailure", "Never"]),
    }
}

// === failure policy ===

fn failure_policy(spec: &JobSpec, policy: &PodFailurePolicy, path: &Path, errors: &mut ErrorList) {
    let path = path.child("rules");
    if policy.rules.len() > MAX_RULES {
        errors.too_many(&path, policy.rules.len(), MAX_RULES);
    }
    let containers: BTreeSet<&str> = spec
        .template
        .spec
        .iter()
        .flat_map(|pod| pod.containers.iter().chain(pod.init_containers.items()))
        .map(|container| container.name.as_str())
        .collect();
    for (index, rule) in policy.rules.iter().enumerate() {
        failure_rule(spec, rule, &containers, &path.index(index), errors);
    }
}

fn valid_values(values: &[&str]) -> String {
    format!("valid values: [{}]", values.iter().map(|value| format!("\"{value}\"")).collect::<Vec<_>>().join(" "))
}

fn failure_rule(
    spec: &JobSpec,
    rule: &PodFailurePolicyRule,
    containers: &BTreeSet<&str>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let action_path = path.child("action");
    match rule.action.as_str() {
        "" => errors.required(&action_path, valid_values(ACTIONS)),
        action @ "FailIndex" if spec.backoff_limit_per_index.is_none() => {
            errors.invalid(&action_path, action, "requires the backoffLimitPerIndex to be set");
        }
        action if !ACTIONS.contains(&action) => errors.not_supported(&action_path, action, ACTIONS),
        _ => {}
    }
    if let Some(requirement) = &rule.on_exit_codes {
        exit_codes(requirement, containers, &path.child("onExitCodes"), errors);
    }
    let patterns = rule.on_pod_conditions.items();
    let patterns_path = path.child("onPodConditions");
    if patterns.len() > MAX_CONDITION_PATTERNS {
        errors.too_many(&patterns_path, patterns.len(), MAX_CONDITION_PATTERNS);
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = patterns_path.index(index);
        check::qualified_name(&pattern.type_, &path.child("type"), errors);
        let status = pattern.status.text();
        if status.is_empty() {
            errors.required(&path.child("status"), valid_values(STATUSES));
        } else if !STATUSES.contains(&status) {
            errors.not_supported(&path.child("status"), status, STATUSES);
        }
    }
    let both = match (rule.on_exit_codes.is_some(), !patterns.is_empty()) {
        (true, true) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, false) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    errors.push(Error::invalid_unsaid(path, both));
}

fn exit_codes(
    requirement: &PodFailurePolicyOnExitCodesRequirement,
    containers: &BTreeSet<&str>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let operator_path = path.child("operator");
    match requirement.operator.as_str() {
        "" => errors.required(&operator_path, valid_values(&["In", "NotIn"])),
        "In" | "NotIn" => {}
        operator => errors.not_supported(&operator_path, operator, &["In", "NotIn"]),
    }
    if let Some(name) = &requirement.container_name
        && !containers.contains(name.as_str())
    {
        let message = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&path.child("containerName"), name, message);
    }
    let (values, path) = (&requirement.values, path.child("values"));
    if values.is_empty() {
        errors.invalid(&path, json!(values), "at least one value is required");
    } else if values.len() > MAX_EXIT_CODES {
        errors.too_many(&path, values.len(), MAX_EXIT_CODES);
    }
    let mut seen = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        if requirement.operator == "In" && *value == 0 {
            errors.invalid(&path.index(index), *value, "must not be 0 for the In operator");
        }
        if !seen.insert(value) {
            errors.duplicate(&path.index(index), value);
        }
    }
    if !values.is_sorted() {
        errors.invalid(&path, json!(values), "must be ordered");
    }
}

// === success policy ===

fn success_policy(spec: &JobSpec, policy: &SuccessPolicy, path: &Path, errors: &mut ErrorList) {
    let path = path.child("rules");
    if policy.rules.is_empty() {
        errors.required(&path, "at least one rules must be specified when the successPolicy is specified");
    }
    if policy.rules.len() > MAX_RULES {
        errors.too_many(&path, policy.rules.len(), MAX_RULES);
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        success_rule(spec.completions.unwrap_or(0), rule, &path.index(index), errors);
    }
}

fn success_rule(completions: i32, rule: &SuccessPolicyRule, path: &Path, errors: &mut ErrorList) {
    if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
        errors.required(path, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut named = 0;
    if let Some(text) = &rule.succeeded_indexes {
        let path = path.child("succeededIndexes");
        if text.len() > MAX_INDEXES_TEXT {
            errors.too_long(&path, MAX_INDEXES_TEXT);
        }
        match indexes::count(text, completions) {
            Ok(count) => named = count,
            Err(why) => errors.invalid(&path, text, format!("error parsing succeededIndexes: {why}")),
        }
    }
    if let Some(count) = rule.succeeded_count {
        let path = path.child("succeededCount");
        check::non_negative(count, &path, errors);
        if count > completions {
            let message = format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.invalid(&path, count, message);
        }
        if rule.succeeded_indexes.is_some() && count > named {
            let message = format!(
                "must be less than or equal to {named} (the number of indexes in the specified succeededIndexes field)"
            );
            errors.invalid(&path, count, message);
        }
    }
}
