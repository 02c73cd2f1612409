//! Priority: a pod's priority is the number of its class; there is at most one default class.
//! Upstream: `plugin/pkg/admission/priority`.

use api::{core::v1::Pod, scheduling::v1::PriorityClass};
use apimachinery::{ApiError, scan};
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::gvr;

const GROUP: &str = "scheduling.k8s.io";
/// The classes every cluster has, also before their objects are written.
const SYSTEM: &[(&str, i32)] = &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

pub(crate) struct Priority;

impl Admission for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        let writes = matches!(operation, Operation::Create | Operation::Update) && subresource.is_empty();
        writes && (is_pods(info) || (info.group == GROUP && info.plural == "priorityclasses"))
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        ready(if is_pods(request.info) { resolve(request) } else { Ok(()) }).boxed()
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        ready(if is_pods(request.info) { Ok(()) } else { single_default(request) }).boxed()
    }
}

fn is_pods(info: &Info) -> bool {
    info.group.is_empty() && info.plural == "pods"
}

struct Resolved {
    name: String,
    value: i32,
    policy: Option<String>,
}

fn resolve(request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
    let (resource, name, reader) = (gvr(request.info), request.name.to_owned(), request.cx.reader.clone());
    let update = request.operation == Operation::Update;
    let old = request
        .old_object::<Pod>()
        .and_then(|pod| pod.spec.as_ref())
        .map(|spec| (spec.priority, spec.preemption_policy.clone()));
    let Some(spec) = request.object_mut::<Pod>().and_then(|pod| pod.spec.as_mut()) else { return Ok(()) };
    if update {
        // What was resolved once stays, also for clients that leave it out.
        if let Some((priority, policy)) = old {
            spec.priority = spec.priority.or(priority);
            spec.preemption_policy = spec.preemption_policy.take().or(policy);
        }
        return Ok(());
    }
    let class_name = spec.priority_class_name.clone().unwrap_or_default();
    let found = if class_name.is_empty() {
        let classes = reader.list_where::<PriorityClass>(GROUP, "priorityclasses", None, is_default);
        classes.into_iter().min_by_key(|class| class.value).map(|class| Resolved {
            name: class.metadata.name.unwrap_or_default(),
            value: class.value.unwrap_or(0),
            policy: class.preemption_policy,
        })
    } else if let Some(class) = reader.get::<PriorityClass>(GROUP, "priorityclasses", "", &class_name) {
        Some(Resolved { name: class_name.clone(), value: class.value.unwrap_or(0), policy: class.preemption_policy })
    } else if let Some((_, value)) = SYSTEM.iter().find(|(system, _)| *system == class_name) {
        Some(Resolved { name: class_name.clone(), value: *value, policy: None })
    } else {
        let why = format!("no PriorityClass with name {class_name} was found");
        return Err(ApiError::forbidden(&resource, &name, why));
    };
    let resolved = found.unwrap_or(Resolved { name: String::new(), value: 0, policy: None });
    if let Some(given) = spec.priority.filter(|given| *given != resolved.value) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
            resolved.value
        );
        return Err(ApiError::forbidden(&resource, &name, why));
    }
    let policy = resolved.policy.unwrap_or_else(|| "PreemptLowerPriority".to_owned());
    if let Some(given) = spec.preemption_policy.as_ref().filter(|given| **given != policy) {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(ApiError::forbidden(&resource, &name, why));
    }
    if !resolved.name.is_empty() {
        spec.priority_class_name = Some(resolved.name);
    }
    spec.priority = Some(resolved.value);
    spec.preemption_policy = Some(policy);
    Ok(())
}

/// Whether a stored class is for those who name none.
fn is_default(class: &[u8]) -> bool {
    scan::lookup(class, &["globalDefault"]) == Some(b"true")
}

fn single_default(request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
    let Some(class) = request.object::<PriorityClass>() else { return Ok(()) };
    if class.global_default != Some(true) {
        return Ok(());
    }
    let others = request.cx.reader.list_where::<PriorityClass>(GROUP, "priorityclasses", None, is_default);
    let other = others.into_iter().find(|other| other.metadata.name != class.metadata.name);
    match other {
        Some(other) => Err(ApiError::forbidden(
            &gvr(request.info),
            request.name,
            format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                other.metadata.name.unwrap_or_default()
            ),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::Priority;
    use crate::testing::{check, check_error};

    const HIGH: &str = r#"{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"high"},"value":7,"preemptionPolicy":"Never"}"#;

    fn pod(spec: &str) -> String {
        format!(r#"{{"metadata":{{"name":"p"}},"spec":{{"containers":[]{spec}}}}}"#)
    }

    #[test]
    fn the_class_decides() {
        let plain = check(&Priority, &[HIGH], &pod(""));
        assert_eq!(
            (&plain["spec"]["priority"], &plain["spec"]["preemptionPolicy"]),
            (&0.into(), &"PreemptLowerPriority".into())
        );
        let high = check(&Priority, &[HIGH], &pod(r#","priorityClassName":"high""#));
        assert_eq!((&high["spec"]["priority"], &high["spec"]["preemptionPolicy"]), (&7.into(), &"Never".into()));
        let system = check(&Priority, &[], &pod(r#","priorityClassName":"system-node-critical""#));
        assert_eq!(system["spec"]["priority"], 2_000_001_000);
    }

    #[test]
    fn numbers_are_not_the_users_to_choose() {
        assert_eq!(
            check_error(&Priority, &[], &pod(r#","priorityClassName":"x""#)),
            r#"pods "p" is forbidden: no PriorityClass with name x was found"#
        );
        assert!(check_error(&Priority, &[], &pod(r#","priority":5"#)).contains("(5) must not be provided in pod spec"));
    }
}
