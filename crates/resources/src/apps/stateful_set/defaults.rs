//! Defaults of stateful sets. Upstream: `SetDefaults_StatefulSet` in `pkg/apis/apps/v1/defaults.go`.

use k8s_openapi::api::apps::v1::StatefulSet;

use crate::core::persistent_volume_claim;
use crate::core::pod::defaults::pod_template;
use crate::optional::{Items, Text, default_text};

pub(super) fn set_defaults(set: &mut StatefulSet) {
    set.status.get_or_insert_default().available_replicas.get_or_insert(0);
    let spec = set.spec.get_or_insert_default();
    pod_template(&mut spec.template);
    default_text(&mut spec.pod_management_policy, "OrderedReady");
    let strategy = spec.update_strategy.get_or_insert_default();
    if strategy.type_.text().is_empty() {
        strategy.type_ = Some("RollingUpdate".to_owned());
        strategy.rolling_update.get_or_insert_default();
    }
    if strategy.type_.text() == "RollingUpdate"
        && let Some(rolling) = &mut strategy.rolling_update
    {
        rolling.partition.get_or_insert(0);
    }
    let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
    default_text(&mut retention.when_deleted, "Retain");
    default_text(&mut retention.when_scaled, "Retain");
    spec.replicas.get_or_insert(1);
    spec.revision_history_limit.get_or_insert(10);
    for claim in spec.volume_claim_templates.items_mut() {
        persistent_volume_claim::default_spec(claim.spec.get_or_insert_default());
        default_text(&mut claim.status.get_or_insert_default().phase, "Pending");
    }
}
