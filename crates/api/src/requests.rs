//! What a pod asks for in all. Upstream: `k8s.io/component-helpers/resource.PodRequests` and `PodLimits`.

use std::collections::BTreeMap;

use apimachinery::Quantity;

use crate::core::v1::{Container, Pod, PodSpec};

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// Which of a container's amounts are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `resources.requests`
    Requests,
    /// `resources.limits`
    Limits,
}

/// The requests of a pod, with its overhead.
pub fn pod_requests(pod: &Pod) -> Amounts {
    pod.spec.as_ref().map(|spec| of_spec(spec, Side::Requests)).unwrap_or_default()
}

/// The amounts of a whole spec: containers and sidecars together, or the largest init container with the sidecars
/// that run beside it; what the pod itself states wins; overhead comes on top.
pub fn of_spec(spec: &PodSpec, side: Side) -> Amounts {
    let mut total = Amounts::new();
    for container in &spec.containers {
        add(&mut total, &of_container(container, side));
    }
    let mut sidecars = Amounts::new();
    let mut largest_init = Amounts::new();
    for container in spec.init_containers.iter().flatten() {
        let own = of_container(container, side);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &own);
            add(&mut total, &own);
            raise(&mut largest_init, &sidecars);
        } else {
            let mut beside = own;
            add(&mut beside, &sidecars);
            raise(&mut largest_init, &beside);
        }
    }
    raise(&mut total, &largest_init);
    let pod_level = spec.resources.as_ref().and_then(|resources| match side {
        Side::Requests => resources.requests.as_ref(),
        Side::Limits => resources.limits.as_ref(),
    });
    for (name, quantity) in pod_level.into_iter().flatten() {
        total.insert(name.clone(), parse(&quantity.0));
    }
    for (name, quantity) in spec.overhead.iter().flatten() {
        if side == Side::Requests || total.contains_key(name) {
            let sum = total.get(name).copied().unwrap_or_default().plus(&parse(&quantity.0));
            total.insert(name.clone(), sum);
        }
    }
    total
}

/// The amounts of one container.
pub fn of_container(container: &Container, side: Side) -> Amounts {
    let resources = container.resources.as_ref().and_then(|resources| match side {
        Side::Requests => resources.requests.as_ref(),
        Side::Limits => resources.limits.as_ref(),
    });
    resources.into_iter().flatten().map(|(name, quantity)| (name.clone(), parse(&quantity.0))).collect()
}

fn parse(text: &str) -> Quantity {
    text.parse().unwrap_or_default()
}

fn add(total: &mut Amounts, more: &Amounts) {
    for (name, quantity) in more {
        let entry = total.entry(name.clone()).or_default();
        *entry = entry.plus(quantity);
    }
}

fn raise(total: &mut Amounts, floor: &Amounts) {
    for (name, quantity) in floor {
        let entry = total.entry(name.clone()).or_default();
        *entry = (*entry).max(*quantity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(spec: &str) -> String {
        let spec: PodSpec = serde_json::from_str(spec).unwrap();
        of_spec(&spec, Side::Requests).get("cpu").map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn init_containers_sidecars_and_overhead() {
        let container = |cpu: &str| format!(r#"{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}"#);
        let sidecar = r#"{"name":"s","restartPolicy":"Always","resources":{"requests":{"cpu":"10m"}}}"#;
        let (a, b, init) = (container("100m"), container("200m"), container("1"));
        assert_eq!(cpu(&format!(r#"{{"containers":[{a},{b}]}}"#)), "300m");
        assert_eq!(cpu(&format!(r#"{{"containers":[{a}],"initContainers":[{init}]}}"#)), "1");
        assert_eq!(cpu(&format!(r#"{{"containers":[{a}],"initContainers":[{sidecar},{init}]}}"#)), "1010m");
        assert_eq!(cpu(&format!(r#"{{"containers":[{a}],"overhead":{{"cpu":"5m"}}}}"#)), "105m");
    }
}
