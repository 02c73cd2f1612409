//! Kinds of the `autoscaling` group.

mod horizontal_pod_autoscaler;

pub use horizontal_pod_autoscaler::HorizontalPodAutoscalers;
