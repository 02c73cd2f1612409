//! PodTolerationRestriction: a namespace says what its pods tolerate, and what they may.
//! Upstream: `plugin/pkg/admission/podtolerationrestriction`.

use api::core::v1::{Namespace, Pod, PodSpec, Toleration};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::{gvr, is_pods};

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";
const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";

/// What holds where a namespace says nothing.
#[derive(Default)]
pub(crate) struct PodTolerationRestriction {
    pub(crate) defaults: Vec<Toleration>,
    pub(crate) allowed: Vec<Toleration>,
}

impl Admission for PodTolerationRestriction {
    fn name(&self) -> &'static str {
        "PodTolerationRestriction"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        is_pods(info) && subresource.is_empty() && matches!(operation, Operation::Create | Operation::Update)
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let create = request.operation == Operation::Create;
        let outcome = of_namespace(request, DEFAULTS).map(|own| {
            let defaults = own.unwrap_or_else(|| self.defaults.clone());
            let Some(pod) = request.object_mut::<Pod>() else { return };
            let waits = !api::pod::is_best_effort(pod);
            let Some(spec) = pod.spec.as_mut() else { return };
            // Who runs already keeps what it has.
            if create {
                let given = spec.tolerations.take().unwrap_or_default();
                spec.tolerations = Some(merged(&defaults, &given));
            }
            if waits {
                add_memory_pressure(spec);
            }
        });
        ready(outcome).boxed()
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let outcome = of_namespace(request, ALLOWED).and_then(|own| {
            let allowed = own.unwrap_or_else(|| self.allowed.clone());
            let spec = request.object::<Pod>().and_then(|pod| pod.spec.as_ref());
            let given = spec.and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
            let fine = |toleration: &Toleration| allowed.iter().any(|wide| covers(wide, toleration));
            if allowed.is_empty() || given.iter().all(fine) {
                return Ok(());
            }
            let why = "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist";
            Err(ApiError::forbidden(&gvr(request.info), request.name, why))
        });
        ready(outcome).boxed()
    }
}

fn of_namespace(request: &AdmissionRequest<'_>, annotation: &str) -> Result<Option<Vec<Toleration>>, ApiError> {
    let namespace: Option<Namespace> = request.cx.reader.get("", "namespaces", "", request.namespace);
    let annotations = namespace.and_then(|namespace| namespace.metadata.annotations).unwrap_or_default();
    match annotations.get(annotation) {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(Some(Vec::new())),
        Some(text) => apimachinery::json::from_bytes(text.as_bytes()).map(Some).map_err(ApiError::internal),
    }
}

fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

fn is_exists(toleration: &Toleration) -> bool {
    text(&toleration.operator) == "Exists"
}

/// Whether `wide` tolerates all that `narrow` does. Upstream: `tolerations.isSuperset`.
fn covers(wide: &Toleration, narrow: &Toleration) -> bool {
    if wide == narrow {
        return true;
    }
    let all_keys = text(&wide.key).is_empty() && is_exists(wide);
    if text(&wide.key) != text(&narrow.key) && !all_keys {
        return false;
    }
    if text(&wide.effect) != text(&narrow.effect) && !text(&wide.effect).is_empty() {
        return false;
    }
    if text(&wide.effect) == "NoExecute"
        && let Some(seconds) = wide.toleration_seconds
        && narrow.toleration_seconds.is_none_or(|narrow| seconds < narrow)
    {
        return false;
    }
    is_exists(wide) || (!is_exists(narrow) && text(&wide.value) == text(&narrow.value))
}

/// Both lists, without what another entry covers already.
fn merged(first: &[Toleration], second: &[Toleration]) -> Vec<Toleration> {
    let all: Vec<&Toleration> = first.iter().chain(second).collect();
    let mut kept = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let covered = all[index + 1..].iter().any(|other| covers(other, toleration))
            || kept.iter().any(|other: &Toleration| covers(other, toleration));
        if !covered {
            kept.push((*toleration).clone());
        }
    }
    kept
}

fn add_memory_pressure(spec: &mut PodSpec) {
    let toleration = Toleration {
        key: Some(MEMORY_PRESSURE.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoSchedule".to_owned()),
        ..Toleration::default()
    };
    let tolerations = spec.tolerations.get_or_insert_default();
    if !tolerations.iter().any(|other| covers(other, &toleration)) {
        tolerations.push(toleration);
    }
}

#[cfg(test)]
mod tests {
    use super::PodTolerationRestriction;
    use crate::testing::{check, check_error};

    const NAMESPACE: &str = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"ns","annotations":{
        "scheduler.alpha.kubernetes.io/defaultTolerations":"[{\"key\":\"a\",\"operator\":\"Exists\"}]",
        "scheduler.alpha.kubernetes.io/tolerationsWhitelist":"[{\"key\":\"a\",\"operator\":\"Exists\"}]"}}}"#;

    #[test]
    fn the_namespace_bounds_tolerations() {
        let plugin = PodTolerationRestriction::default();
        let pod = |tolerations: &str| {
            format!(
                r#"{{"metadata":{{"name":"p","namespace":"ns"}},"spec":{{"containers":[],"tolerations":{tolerations}}}}}"#
            )
        };
        let admitted = check(&plugin, &[NAMESPACE], &pod(r#"[{"key":"a","operator":"Equal","value":"b"}]"#));
        assert_eq!(admitted["spec"]["tolerations"].as_array().map(Vec::len), Some(1), "the default covers it");
        assert!(
            check_error(&plugin, &[NAMESPACE], &pod(r#"[{"key":"b","operator":"Exists"}]"#))
                .ends_with("namespace whitelist")
        );
    }
}
