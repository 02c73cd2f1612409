//! ExtendedResourceToleration: who asks for a special device tolerates the taint of the nodes that have it.
//! Upstream: `plugin/pkg/admission/extendedresourcetoleration`.

use std::collections::BTreeSet;

use api::core::v1::{Container, Pod, Toleration};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::is_pods;

pub(crate) struct ExtendedResourceToleration;

impl Admission for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        is_pods(info) && subresource.is_empty() && matches!(operation, Operation::Create | Operation::Update)
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        if let Some(spec) = request.object_mut::<Pod>().and_then(|pod| pod.spec.as_mut()) {
            let requests = |container: &Container| -> Vec<String> {
                let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
                requests.into_iter().flatten().map(|(name, _)| name.clone()).collect()
            };
            let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
            let resources: BTreeSet<String> = containers.flat_map(requests).filter(|name| is_extended(name)).collect();
            for resource in resources {
                let tolerations = spec.tolerations.get_or_insert_default();
                let toleration =
                    Toleration { key: Some(resource), operator: Some("Exists".to_owned()), ..Toleration::default() };
                if !tolerations.contains(&toleration) {
                    tolerations.push(toleration);
                }
            }
        }
        ready(Ok(())).boxed()
    }
}

/// With a domain that is not Kubernetes' own. Upstream: `helper.IsExtendedResourceName`.
fn is_extended(name: &str) -> bool {
    let native =
        name.split_once('/').is_none_or(|(domain, _)| domain == "kubernetes.io" || domain.ends_with(".kubernetes.io"));
    !native && !name.starts_with("requests.")
}

#[cfg(test)]
mod tests {
    use super::ExtendedResourceToleration;
    use crate::testing::check;

    #[test]
    fn devices_are_tolerated() {
        let pod = r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","resources":{"requests":{"example.com/gpu":"1","cpu":"1"}}}]}}"#;
        let admitted = check(&ExtendedResourceToleration, &[], pod);
        assert_eq!(
            admitted["spec"]["tolerations"],
            serde_json::json!([{"key": "example.com/gpu", "operator": "Exists"}])
        );
    }
}
