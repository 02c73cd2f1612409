//! PodTopologyLabels: a pod carries the zone and region of its node, so that it can read them by the downward API.
//! Upstream: `plugin/pkg/admission/podtopologylabels`.

use api::core::v1::{Binding, Node, Pod};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::is_pods;

const LABELS: &[&str] = &["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub(crate) struct PodTopologyLabels;

impl Admission for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        is_pods(info) && operation == Operation::Create && matches!(subresource, "" | "binding")
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let node = match request.subresource {
            "binding" => request.object::<Binding>().and_then(|binding| binding.target.name.clone()),
            _ => request.object::<Pod>().and_then(|pod| pod.spec.as_ref()?.node_name.clone()),
        };
        let node = node.filter(|name| !name.is_empty());
        // Whether the node exists is for others to say.
        let node = node.and_then(|name| request.cx.reader.get::<Node>("", "nodes", "", &name));
        let labels = node.and_then(|node| node.metadata.labels).unwrap_or_default();
        let labels = labels.into_iter().filter(|(key, _)| LABELS.contains(&key.as_str()));
        if let Some(object) = request.object.as_deref_mut() {
            for (key, value) in labels {
                object.metadata_mut().labels.get_or_insert_default().insert(key, value);
            }
        }
        ready(Ok(())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::PodTopologyLabels;
    use crate::testing::check;

    #[test]
    fn a_pod_knows_its_zone() {
        let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n","labels":{"topology.kubernetes.io/zone":"z","other":"x"}}}"#;
        let pod =
            check(&PodTopologyLabels, &[node], r#"{"metadata":{"name":"p"},"spec":{"containers":[],"nodeName":"n"}}"#);
        assert_eq!(pod["metadata"]["labels"], serde_json::json!({"topology.kubernetes.io/zone": "z"}));
    }
}
