//! Defaults of autoscalers. Upstream: `pkg/apis/autoscaling/v2/defaults.go`.

use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler, MetricSpec, MetricTarget, ResourceMetricSource,
};

use crate::optional::Items;

/// Share of the requested cpu that is aimed at when nothing is said.
const CPU_UTILIZATION: i32 = 80;

pub(super) fn set_defaults(scaler: &mut HorizontalPodAutoscaler) {
    let spec = &mut scaler.spec;
    spec.min_replicas.get_or_insert(1);
    if spec.metrics.items().is_empty() {
        spec.metrics = Some(vec![MetricSpec {
            type_: "Resource".to_owned(),
            resource: Some(ResourceMetricSource {
                name: "cpu".to_owned(),
                target: MetricTarget {
                    type_: "Utilization".to_owned(),
                    average_utilization: Some(CPU_UTILIZATION),
                    ..MetricTarget::default()
                },
            }),
            ..MetricSpec::default()
        }]);
    }
    if let Some(behavior) = &mut spec.behavior {
        let up = [policy("Pods", 4), policy("Percent", 100)];
        rules(behavior.scale_up.get_or_insert_default(), Some(0), &up);
        rules(behavior.scale_down.get_or_insert_default(), None, &[policy("Percent", 100)]);
    }
}

fn policy(kind: &str, value: i32) -> HPAScalingPolicy {
    HPAScalingPolicy { type_: kind.to_owned(), value, period_seconds: 15 }
}

fn rules(rules: &mut HPAScalingRules, window: Option<i32>, policies: &[HPAScalingPolicy]) {
    rules.select_policy.get_or_insert_with(|| "Max".to_owned());
    rules.stabilization_window_seconds = rules.stabilization_window_seconds.or(window);
    rules.policies.get_or_insert_with(|| policies.to_vec());
}
