//! Defaults of daemon sets. Upstream: `SetDefaults_DaemonSet` in `pkg/apis/apps/v1/defaults.go`.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::core::pod::defaults::pod_template;
use crate::optional::{Text, default_text};

pub(super) fn set_defaults(set: &mut DaemonSet) {
    set.status.get_or_insert_default();
    let spec = set.spec.get_or_insert_default();
    pod_template(&mut spec.template);
    let strategy = spec.update_strategy.get_or_insert_default();
    default_text(&mut strategy.type_, "RollingUpdate");
    if strategy.type_.text() == "RollingUpdate" {
        let rolling = strategy.rolling_update.get_or_insert_default();
        rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
        rolling.max_surge.get_or_insert(IntOrString::Int(0));
    }
    spec.revision_history_limit.get_or_insert(10);
}
