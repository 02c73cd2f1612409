//! Defaults of deployments. Upstream: `SetDefaults_Deployment` in `pkg/apis/apps/v1/defaults.go`.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::core::pod::defaults::pod_template;
use crate::optional::{Text, default_text};

pub fn set_defaults(deployment: &mut Deployment) {
    deployment.status.get_or_insert_default();
    let spec = deployment.spec.get_or_insert_default();
    pod_template(&mut spec.template);
    spec.replicas.get_or_insert(1);
    let strategy = spec.strategy.get_or_insert_default();
    default_text(&mut strategy.type_, "RollingUpdate");
    if strategy.type_.text() == "RollingUpdate" {
        let rolling = strategy.rolling_update.get_or_insert_default();
        rolling.max_unavailable.get_or_insert_with(|| IntOrString::String("25%".to_owned()));
        rolling.max_surge.get_or_insert_with(|| IntOrString::String("25%".to_owned()));
    }
    spec.revision_history_limit.get_or_insert(10);
    spec.progress_deadline_seconds.get_or_insert(600);
}
