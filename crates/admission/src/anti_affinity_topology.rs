//! LimitPodHardAntiAffinityTopology: a pod may keep others off its node, not off a whole zone.
//! Upstream: `plugin/pkg/admission/antiaffinity`.

use api::core::v1::Pod;
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::{gvr, is_pods};

const HOSTNAME: &str = "kubernetes.io/hostname";

pub(crate) struct LimitPodHardAntiAffinityTopology;

impl Admission for LimitPodHardAntiAffinityTopology {
    fn name(&self) -> &'static str {
        "LimitPodHardAntiAffinityTopology"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        is_pods(info) && subresource.is_empty() && matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let affinity = request.object::<Pod>().and_then(|pod| pod.spec.as_ref()?.affinity.as_ref());
        let terms = affinity.and_then(|own| {
            own.pod_anti_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()
        });
        let wide = terms.into_iter().flatten().find(|term| term.topology_key != HOSTNAME);
        ready(match wide {
            None => Ok(()),
            Some(term) => {
                let why = format!(
                    "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {} but only key {HOSTNAME} is allowed",
                    term.topology_key
                );
                Err(ApiError::forbidden(&gvr(request.info), request.name, why))
            }
        })
        .boxed()
    }
}
