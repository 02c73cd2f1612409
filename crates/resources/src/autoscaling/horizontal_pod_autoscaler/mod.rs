//! Horizontal pod autoscalers for the registry. Upstream: `pkg/registry/autoscaling/horizontalpodautoscaler`.

mod defaults;
mod metrics;
mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use registry::{Column, Info, RequestCx, Strategy, Subresource};
use serde_json::json;

type C = Column<HorizontalPodAutoscaler>;

pub struct HorizontalPodAutoscalers;

impl Strategy for HorizontalPodAutoscalers {
    type Object = HorizontalPodAutoscaler;

    const INFO: Info = Info::namespaced("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .short(&["hpa"])
        .categories(&["all"]);
    const COLUMNS: &'static [Column<HorizontalPodAutoscaler>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn set_defaults(&self, object: &mut HorizontalPodAutoscaler) {
        defaults::set_defaults(object);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut HorizontalPodAutoscaler) {
        object.status = None;
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut HorizontalPodAutoscaler, old: &HorizontalPodAutoscaler) {
        new.status.clone_from(&old.status);
    }

    fn validate(&self, _cx: &RequestCx, object: &HorizontalPodAutoscaler) -> ErrorList {
        validation::validate(object, 1)
    }

    /// One that scales to zero already may go on doing so.
    fn validate_update(
        &self,
        _cx: &RequestCx,
        new: &HorizontalPodAutoscaler,
        old: &HorizontalPodAutoscaler,
    ) -> ErrorList {
        validation::validate(new, if old.spec.min_replicas == Some(0) { 0 } else { 1 })
    }

    fn validate_status_update(
        &self,
        _cx: &RequestCx,
        new: &HorizontalPodAutoscaler,
        _old: &HorizontalPodAutoscaler,
    ) -> ErrorList {
        validation::validate_status(new)
    }
}

static COLUMNS: &[Column<HorizontalPodAutoscaler>] = &[
    Column::NAME,
    C::string("Reference", |o, _| json!(format!("{}/{}", o.spec.scale_target_ref.kind, o.spec.scale_target_ref.name))).describe("scaleTargetRef points to the target resource to scale, and is used to the pods for which metrics should be collected, as well as to actually change the replica count."),
    C::string("Targets", |o, _| json!(metrics::targets(o))).describe("metrics contains the specifications for which to use to calculate the desired replica count (the maximum replica count across all metrics will be used).  The desired replica count is calculated multiplying the ratio between the target value and the current value by the current number of pods.  Ergo, metrics used must decrease as the pod count is increased, and vice-versa.  See the individual metric source types for more information about how each type of metric must respond. If not set, the default metric will be set to 80% average CPU utilization."),
    C::string("MinPods", |o, _| json!(o.spec.min_replicas.map_or_else(|| "<unset>".to_owned(), |min| min.to_string()))).describe("minReplicas is the lower limit for the number of replicas to which the autoscaler can scale down.  It defaults to 1 pod.  minReplicas is allowed to be 0 if the alpha feature gate HPAScaleToZero is enabled and at least one Object or External metric is configured.  Scaling is active as long as at least one metric value is available."),
    C::string("MaxPods", |o, _| json!(o.spec.max_replicas)).describe("maxReplicas is the upper limit for the number of replicas to which the autoscaler can scale up. It cannot be less that minReplicas."),
    C::string("Replicas", |o, _| json!(o.status.as_ref().and_then(|status| status.current_replicas).unwrap_or(0))).describe("currentReplicas is current number of replicas of pods managed by this autoscaler, as last seen by the autoscaler."),
    Column::AGE,
];
