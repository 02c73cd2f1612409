//! A namespace's labels: they must be readable, and who makes them stricter hears of pods that break the new rules.
//! Upstream: `ValidateNamespace`, `EvaluatePodsInNamespace`.

use std::collections::{BTreeMap, HashSet};

use api::core::v1::{Namespace, Pod, PodSpec};
use apimachinery::ApiError;
use registry::admission::{AdmissionRequest, Operation};

use super::{
    Level, LevelVersion, PodSecurity, Verdict,
    level::{self, Policy},
};

/// Of a namespace with more pods, not all are looked at.
const MAX_PODS: usize = 3000;

impl PodSecurity {
    pub(super) fn namespace(&self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        let Some(namespace) = request.object::<Namespace>() else { return Ok(()) };
        let (policy, errors) = self.policy(namespace);
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        let invalid = || Err(ApiError::invalid("", "Namespace", request.name, &errors));
        let exempt = self.configuration.namespaces.iter().any(|exempt| exempt == name);
        let warn_exempt = || {
            if let Some(warning) = self.exempt_warning(name, policy, namespace) {
                request.cx.warn(warning);
            }
        };
        if request.operation == Operation::Create {
            if !errors.is_empty() {
                return invalid();
            }
            if exempt {
                warn_exempt();
            }
            return Ok(());
        }
        let Some(old) = request.old_object::<Namespace>() else { return Ok(()) };
        let (old_policy, old_errors) = self.policy(old);
        if !errors.is_empty() && errors != old_errors {
            return invalid();
        }
        let (new, old) = (policy.enforce, old_policy.enforce);
        let relaxed = new.version == old.version && new.level <= old.level;
        if new == old || new.level == Level::Privileged || relaxed {
            return Ok(());
        }
        if exempt {
            warn_exempt();
            return Ok(());
        }
        for warning in self.warnings_of_pods(request, name, new) {
            request.cx.warn(warning);
        }
        Ok(())
    }

    fn warnings_of_pods(&self, request: &AdmissionRequest<'_>, namespace: &str, policy: LevelVersion) -> Vec<String> {
        let pods = self.by_importance(request.cx.reader.list::<Pod>("", "pods", Some(namespace)));
        let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
        let empty = PodSpec::default();
        for pod in pods.iter().take(MAX_PODS) {
            let verdict = Verdict::of(policy, &pod.metadata, pod.spec.as_ref().unwrap_or(&empty));
            if verdict.allows() {
                continue;
            }
            let name = pod.metadata.name.clone().unwrap_or_default();
            let (first, count) = found.entry(verdict.reasons()).or_insert_with(|| (name.clone(), 0));
            *count += 1;
            if name < *first {
                *first = name;
            }
        }
        let mut warnings = Vec::new();
        if pods.len() > MAX_PODS {
            warnings.push(format!(
                "new PodSecurity enforce level only checked against the first {MAX_PODS} of {} existing pods",
                pods.len()
            ));
        }
        if !found.is_empty() {
            let level = policy.to_string();
            warnings.push(format!(
                "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level {level:?}"
            ));
        }
        let mut of_pods: Vec<String> = found
            .into_iter()
            .map(|(reasons, (first, count))| match count {
                1 => format!("{first}: {reasons}"),
                2 => format!("{first} (and 1 other pod): {reasons}"),
                count => format!("{first} (and {} other pods): {reasons}", count - 1),
            })
            .collect();
        of_pods.sort();
        warnings.extend(of_pods);
        warnings
    }

    /// One pod of each controller first: the others are like it.
    fn by_importance(&self, pods: Vec<Pod>) -> Vec<Pod> {
        let mut seen = HashSet::new();
        let exempt = |pod: &Pod| {
            let class = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref()).unwrap_or_default();
            !class.is_empty() && self.configuration.runtime_classes.iter().any(|exempt| exempt == class)
        };
        let (mut first, rest): (Vec<_>, Vec<_>) = pods.into_iter().filter(|pod| !exempt(pod)).partition(|pod| {
            let mut owners = pod.metadata.owner_references.iter().flatten();
            owners.find(|owner| owner.controller == Some(true)).is_none_or(|owner| seen.insert(owner.uid.clone()))
        });
        first.extend(rest);
        first
    }

    fn exempt_warning(&self, name: &str, policy: Policy, namespace: &Namespace) -> Option<String> {
        if policy.is_fully_privileged() || policy.is_equivalent(&self.configuration.defaults) {
            return None;
        }
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        let modes = [("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn)];
        let stated =
            modes.into_iter().filter(|(mode, own)| own.level != Level::Privileged && level::has_label(&labels, mode));
        let stated: Vec<String> = stated.map(|(mode, own)| format!("{mode}={own}")).collect();
        Some(format!(
            "namespace {name:?} is exempt from Pod Security, and the policy ({}) will be ignored",
            stated.join(", ")
        ))
    }
}
