//! PodSecurity: what pods of a namespace may ask of their node, by level and pinned version.
//! Upstream: `k8s.io/pod-security-admission`, `plugin/pkg/admission/security/podsecurity`.
//!
//! Pods are refused (`enforce`), noted in the audit log (`audit`) and warned about (`warn`); what makes pods is only
//! noted and warned about. The checks themselves are in [`checks`] and look at nothing but the pod.

mod checks;
mod containers;
mod level;
mod metrics;
mod namespace;
#[cfg(test)]
mod tests;

use api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::{CronJob, Job},
    core::v1::{Namespace, Pod, PodSpec, PodTemplate, PodTemplateSpec, ReplicationController},
};
use apimachinery::{ApiError, ErrorList};
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::gvr;

pub use level::{Level, LevelVersion, Policy, Version};

const ANNOTATIONS: &str = "pod-security.kubernetes.io/";
/// Subresources of pods that cannot change what a pod asks for.
const IGNORED: &[&str] = &["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// Which policy holds where namespaces say nothing, and who is left alone.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    pub defaults: Policy,
    pub usernames: Vec<String>,
    pub runtime_classes: Vec<String>,
    pub namespaces: Vec<String>,
}

#[derive(Default)]
pub(crate) struct PodSecurity {
    configuration: Configuration,
}

/// A violation: why, and where.
pub(crate) struct Violation {
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

/// What a pod violates at a level.
struct Verdict(Vec<Violation>);

impl Verdict {
    fn of(policy: LevelVersion, meta: &api::ObjectMeta, spec: &PodSpec) -> Self {
        Self(checks::evaluate(policy, meta, spec))
    }

    fn allows(&self) -> bool {
        self.0.is_empty()
    }

    fn reasons(&self) -> String {
        self.0.iter().map(|violation| violation.reason).collect::<Vec<_>>().join(", ")
    }

    fn details(&self) -> String {
        let one = |violation: &Violation| match violation.detail.as_str() {
            "" => violation.reason.to_owned(),
            detail => format!("{} ({detail})", violation.reason),
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

impl Admission for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        let known = match (info.group, info.plural) {
            ("", "pods") => !IGNORED.contains(&subresource),
            ("", "namespaces" | "replicationcontrollers" | "podtemplates")
            | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
            | ("batch", "jobs" | "cronjobs") => subresource.is_empty(),
            _ => false,
        };
        known && matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        ready(match (request.info.group, request.info.plural) {
            ("", "namespaces") => self.namespace(request),
            ("", "pods") => self.pod(request),
            _ => self.template(request),
        })
        .boxed()
    }
}

impl PodSecurity {
    pub(crate) fn new(configuration: Configuration) -> Self {
        Self { configuration }
    }

    /// True also notes who is left alone.
    fn is_exempt(&self, request: &AdmissionRequest<'_>) -> bool {
        let listed = |list: &[String], name: &str| !name.is_empty() && list.iter().any(|item| item == name);
        let reason = if listed(&self.configuration.namespaces, request.namespace) {
            "namespace"
        } else if listed(&self.configuration.usernames, &request.cx.user.name) {
            "user"
        } else {
            return false;
        };
        annotate(request, "exempt", reason);
        metrics::exempted(request);
        true
    }

    fn policy(&self, namespace: &Namespace) -> (Policy, ErrorList) {
        let empty = Default::default();
        level::policy(namespace.metadata.labels.as_ref().unwrap_or(&empty), self.configuration.defaults)
    }

    fn pod(&self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        if self.is_exempt(request) {
            return Ok(());
        }
        let Some(namespace) = stored_namespace(request) else {
            metrics::failed(request, true);
            return Err(ApiError::internal(format!("failed to lookup namespace {:?}", request.namespace)));
        };
        let (policy, errors) = self.policy(&namespace);
        if errors.is_empty() && policy.is_fully_privileged() {
            annotate(request, "enforce-policy", "privileged:latest");
            metrics::evaluated(request, true, policy.enforce, "enforce");
            return Ok(());
        }
        // An action's body is no pod; nothing of the pod changes by it.
        let Some(pod) = request.object::<Pod>() else { return Ok(()) };
        if let Some(old) = request.old_object::<Pod>()
            && !containers::changed(pod, old)
        {
            return Ok(());
        }
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        self.evaluate(request, policy, &errors, (&pod.metadata, spec), true)
    }

    fn template(&self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        if self.is_exempt(request) {
            return Ok(());
        }
        let Some(namespace) = stored_namespace(request) else {
            annotate(request, "error", &format!("failed to lookup namespace {:?}", request.namespace));
            metrics::failed(request, true);
            return Ok(());
        };
        let (policy, errors) = self.policy(&namespace);
        if errors.is_empty() && policy.warn.level == Level::Privileged && policy.audit.level == Level::Privileged {
            return Ok(());
        }
        let Some(template) = template_of(request) else { return Ok(()) };
        let (meta, spec) = (template.metadata.clone().unwrap_or_default(), template.spec.clone().unwrap_or_default());
        self.evaluate(request, policy, &errors, (&meta, &spec), false)
    }

    fn evaluate(
        &self,
        request: &AdmissionRequest<'_>,
        policy: Policy,
        errors: &ErrorList,
        (meta, spec): (&api::ObjectMeta, &PodSpec),
        enforces: bool,
    ) -> Result<(), ApiError> {
        let class = spec.runtime_class_name.as_deref().unwrap_or_default();
        if !class.is_empty() && self.configuration.runtime_classes.iter().any(|exempt| exempt == class) {
            annotate(request, "exempt", "runtimeClass");
            metrics::exempted(request);
            return Ok(());
        }
        if !errors.is_empty() {
            annotate(request, "error", &format!("Failed to parse policy: {}", errors.aggregate()));
            metrics::failed(request, false);
        }
        let mut outcome = Ok(());
        if enforces {
            annotate(request, "enforce-policy", &policy.enforce.to_string());
            let verdict = Verdict::of(policy.enforce, meta, spec);
            metrics::evaluated(request, verdict.allows(), policy.enforce, "enforce");
            if !verdict.allows() {
                let why = format!("violates PodSecurity {:?}: {}", policy.enforce.to_string(), verdict.details());
                outcome = Err(ApiError::forbidden(&gvr(request.info), request.name, why));
            }
        }
        let would = |policy: LevelVersion, mode: &str| {
            let verdict = Verdict::of(policy, meta, spec);
            // What is allowed is counted once, by what is enforced.
            if !verdict.allows() {
                metrics::evaluated(request, false, policy, mode);
            }
            (!verdict.allows())
                .then(|| format!("would violate PodSecurity {:?}: {}", policy.to_string(), verdict.details()))
        };
        if let Some(text) = would(policy.audit, "audit") {
            annotate(request, "audit-violations", &text);
        }
        // A request that is refused says why already.
        if outcome.is_ok()
            && let Some(text) = would(policy.warn, "warn")
        {
            request.cx.warn(text);
        }
        outcome
    }
}

fn annotate(request: &AdmissionRequest<'_>, key: &str, value: &str) {
    request.cx.annotate(&format!("{ANNOTATIONS}{key}"), value);
}

fn stored_namespace(request: &AdmissionRequest<'_>) -> Option<Namespace> {
    request.cx.reader.get("", "namespaces", "", request.namespace)
}

/// The pods that the object will make.
fn template_of<'a>(request: &'a AdmissionRequest<'_>) -> Option<&'a PodTemplateSpec> {
    match request.info.plural {
        "podtemplates" => request.object::<PodTemplate>()?.template.as_ref(),
        "replicationcontrollers" => request.object::<ReplicationController>()?.spec.as_ref()?.template.as_ref(),
        "replicasets" => request.object::<ReplicaSet>()?.spec.as_ref()?.template.as_ref(),
        "deployments" => request.object::<Deployment>()?.spec.as_ref().map(|spec| &spec.template),
        "daemonsets" => request.object::<DaemonSet>()?.spec.as_ref().map(|spec| &spec.template),
        "statefulsets" => request.object::<StatefulSet>()?.spec.as_ref().map(|spec| &spec.template),
        "jobs" => request.object::<Job>()?.spec.as_ref().map(|spec| &spec.template),
        "cronjobs" => {
            let spec = &request.object::<CronJob>()?.spec;
            spec.job_template.spec.as_ref().map(|spec| &spec.template)
        }
        _ => None,
    }
}
