//! LimitRanger: defaults and bounds that a namespace sets for the resources of pods, containers and claims.
//! Upstream: `plugin/pkg/admission/limitranger`.

use std::collections::BTreeMap;

use api::{
    Quantity,
    core::v1::{Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod, PodSpec},
    requests::{Side, of_spec},
};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::gvr;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

type Amounts = BTreeMap<String, Quantity>;

pub(crate) struct LimitRanger;

impl Admission for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        info.group.is_empty()
            && subresource.is_empty()
            && match info.plural {
                "pods" => operation == Operation::Create,
                "persistentvolumeclaims" => matches!(operation, Operation::Create | Operation::Update),
                _ => false,
            }
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        for range in ranges(request) {
            if let Some(pod) = request.object_mut::<Pod>() {
                fill_in(pod, &range);
            }
        }
        ready(Ok(())).boxed()
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let mut errors = Vec::new();
        for item in ranges(request).iter().filter_map(|range| range.spec.as_ref()).flat_map(|spec| &spec.limits) {
            if let Some(spec) = request.object::<Pod>().and_then(|pod| pod.spec.as_ref()) {
                check_pod(spec, item, &mut errors);
            } else if let Some(claim) = request.object::<PersistentVolumeClaim>()
                && item.type_ == "PersistentVolumeClaim"
            {
                let requests =
                    claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.clone()).unwrap_or_default();
                check_bounds(item, &requests, &requests, "PersistentVolumeClaim", &mut errors);
            }
        }
        let outcome = match errors.as_slice() {
            [] => Ok(()),
            [one] => Err(one.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        };
        ready(outcome.map_err(|why| ApiError::forbidden(&gvr(request.info), request.name, why))).boxed()
    }
}

fn ranges(request: &AdmissionRequest<'_>) -> Vec<LimitRange> {
    request.cx.reader.list("", "limitranges", Some(request.namespace))
}

/// Gives containers the defaults they do not state themselves, and notes it in an annotation.
fn fill_in(pod: &mut Pod, range: &LimitRange) {
    let (mut default_limits, mut default_requests) = (Amounts::new(), Amounts::new());
    for item in range.spec.iter().flat_map(|spec| &spec.limits).filter(|item| item.type_ == "Container") {
        default_limits.extend(item.default.clone().unwrap_or_default());
        default_requests.extend(item.default_request.clone().unwrap_or_default());
    }
    let Some(spec) = pod.spec.as_mut() else { return };
    let mut notes = Vec::new();
    let mut fill = |containers: &mut [Container], what: &str| {
        for container in containers {
            let name = container.name.clone();
            let resources = container.resources.get_or_insert_default();
            for (field, amounts, defaults) in [
                ("request", &mut resources.requests, &default_requests),
                ("limit", &mut resources.limits, &default_limits),
            ] {
                let missing: Vec<_> = defaults
                    .iter()
                    .filter(|(key, _)| !amounts.as_ref().is_some_and(|a| a.contains_key(*key)))
                    .collect();
                if !missing.is_empty() {
                    let keys: Vec<_> = missing.iter().map(|(key, _)| key.as_str()).collect();
                    notes.push(format!("{} {field} for {what} {name}", keys.join(", ")));
                    amounts.get_or_insert_default().extend(missing.into_iter().map(|(k, v)| (k.clone(), v.clone())));
                }
            }
        }
    };
    fill(&mut spec.containers, "container");
    fill(spec.init_containers.as_deref_mut().unwrap_or_default(), "init container");
    if !notes.is_empty() {
        pod.metadata
            .annotations
            .get_or_insert_default()
            .insert(ANNOTATION.to_owned(), format!("LimitRanger plugin set: {}", notes.join("; ")));
    }
}

fn check_pod(spec: &PodSpec, item: &LimitRangeItem, errors: &mut Vec<String>) {
    let amounts = |container: &Container| {
        let resources = container.resources.clone().unwrap_or_default();
        (resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default())
    };
    match item.type_.as_str() {
        "Container" => {
            for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
                let (requests, limits) = amounts(container);
                check_bounds(item, &requests, &limits, "Container", errors);
            }
        }
        "Pod" => {
            // What running the pod costs beside its containers is not its author's.
            let spec = PodSpec { overhead: None, ..spec.clone() };
            let total = |side| api::quota::texts(&of_spec(&spec, side));
            check_bounds(item, &total(Side::Requests), &total(Side::Limits), "Pod", errors);
        }
        _ => {}
    }
}

fn parse(quantity: &Quantity) -> apimachinery::Quantity {
    quantity.0.parse().unwrap_or_default()
}

fn check_bounds(item: &LimitRangeItem, requests: &Amounts, limits: &Amounts, what: &str, errors: &mut Vec<String>) {
    for (key, min) in item.min.iter().flatten() {
        match requests.get(key) {
            None => errors.push(format!("minimum {key} usage per {what} is {}.  No request is specified", min.0)),
            Some(given) if parse(given) < parse(min) => {
                errors.push(format!("minimum {key} usage per {what} is {}, but request is {}", min.0, given.0));
            }
            Some(_) => {}
        }
        if let Some(given) = limits.get(key).filter(|given| parse(given) < parse(min)) {
            errors.push(format!("minimum {key} usage per {what} is {}, but limit is {}", min.0, given.0));
        }
    }
    for (key, max) in item.max.iter().flatten() {
        match limits.get(key) {
            None => errors.push(format!("maximum {key} usage per {what} is {}.  No limit is specified", max.0)),
            Some(given) if parse(given) > parse(max) => {
                errors.push(format!("maximum {key} usage per {what} is {}, but limit is {}", max.0, given.0));
            }
            Some(_) => {}
        }
        if let Some(given) = requests.get(key).filter(|given| parse(given) > parse(max)) {
            errors.push(format!("maximum {key} usage per {what} is {}, but request is {}", max.0, given.0));
        }
    }
    for (key, ratio) in item.max_limit_request_ratio.iter().flatten() {
        let number = |amounts: &Amounts| amounts.get(key).map(|quantity| parse(quantity).as_f64());
        match (number(requests), number(limits)) {
            (Some(request), Some(limit)) if request > 0.0 && limit > 0.0 => {
                let given = limit / request;
                if given > parse(ratio).as_f64() {
                    errors.push(format!(
                        "{key} max limit to request ratio per {what} is {}, but provided ratio is {given:.6}",
                        ratio.0
                    ));
                }
            }
            _ => errors.push(format!(
                "{key} max limit to request ratio per {what} is {}, but no request is specified or request is 0",
                ratio.0
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LimitRanger;
    use crate::testing::{check, check_error};

    const RANGE: &str = r#"{"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"r","namespace":"ns"},"spec":{"limits":[
        {"type":"Container","default":{"cpu":"500m"},"defaultRequest":{"cpu":"100m"},"max":{"cpu":"1"},"min":{"cpu":"50m"}}]}}"#;

    fn pod(resources: &str) -> String {
        format!(
            r#"{{"metadata":{{"name":"p","namespace":"ns"}},"spec":{{"containers":[{{"name":"c","resources":{resources}}}]}}}}"#
        )
    }

    #[test]
    fn defaults_are_filled_in() {
        let pod = check(&LimitRanger, &[RANGE], &pod("{}"));
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["cpu"], "500m");
        assert_eq!(
            pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
            "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
        );
    }

    #[test]
    fn bounds_hold() {
        assert_eq!(
            check_error(&LimitRanger, &[RANGE], &pod(r#"{"limits":{"cpu":"2"}}"#)),
            r#"pods "p" is forbidden: maximum cpu usage per Container is 1, but limit is 2"#
        );
    }
}
