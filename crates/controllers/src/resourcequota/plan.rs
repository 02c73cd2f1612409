//! What a quota's status should say. Pure.

use std::{collections::BTreeMap, sync::Arc};

use api::{
    core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaStatus, Service},
    quota::{self, Scoped},
    requests::Amounts,
    resource::v1::ResourceClaim,
};
use apimachinery::{Quantity, quantity::Format};
use jiff::Timestamp;

pub(super) struct View<'a> {
    pub(super) quota: &'a ResourceQuota,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) claims: Vec<Arc<PersistentVolumeClaim>>,
    pub(super) services: Vec<Arc<Service>>,
    pub(super) device_claims: Vec<Arc<ResourceClaim>>,
    /// How many objects there are, by the names that count only that.
    pub(super) numbers: BTreeMap<String, usize>,
}

/// Whether only the number of objects matters, of a kind that is not looked into anyway.
pub(super) fn is_only_counted(name: &str) -> bool {
    let looked_into = matches!(
        quota::counted(name),
        Some(("", "pods" | "persistentvolumeclaims" | "services") | ("resource.k8s.io", "resourceclaims"))
    );
    quota::counted(name).is_some() && !looked_into
}

/// None: the status says so already.
pub(super) fn plan(view: &View<'_>, now: Timestamp) -> Option<ResourceQuotaStatus> {
    let hard = quota::amounts(view.quota.spec.as_ref().and_then(|spec| spec.hard.as_ref()));
    let mut used: Amounts = hard.keys().map(|name| (name.clone(), Quantity::ZERO)).collect();
    let mut add = |usage: Amounts, scoped: Scoped<'_>| {
        if quota::in_scope(view.quota, scoped) {
            for (name, amount) in usage {
                if let Some(sum) = used.get_mut(&name) {
                    // The first amount brings its form with it.
                    *sum = if sum.is_zero() { amount } else { sum.plus(&amount) };
                }
            }
        }
    };
    for pod in &view.pods {
        add(quota::pod_usage(pod, now), Scoped::Pod(pod));
    }
    for claim in &view.claims {
        add(quota::claim_usage(claim), Scoped::Claim(claim));
    }
    for service in &view.services {
        add(quota::service_usage(service), Scoped::Other);
    }
    for claim in &view.device_claims {
        add(quota::device_claim_usage(claim), Scoped::Other);
    }
    for (name, number) in &view.numbers {
        let number = i64::try_from(*number).unwrap_or(i64::MAX);
        used.insert(name.clone(), Quantity::from_units(number, Format::DecimalSi));
    }
    let status = view.quota.status.as_ref();
    let said = |texts: Option<&BTreeMap<String, api::Quantity>>| quota::amounts(texts);
    let same = said(status.and_then(|status| status.hard.as_ref())) == hard
        && said(status.and_then(|status| status.used.as_ref())) == used;
    (!same).then(|| ResourceQuotaStatus { hard: Some(quota::texts(&hard)), used: Some(quota::texts(&used)) })
}

pub(super) fn used(quota: &ResourceQuota) -> Amounts {
    quota::amounts(quota.status.as_ref().and_then(|status| status.used.as_ref()))
}

/// Whether something of the quota is used less than its status says.
pub(super) fn lowers(quota: &ResourceQuota, to: &Amounts) -> bool {
    used(quota).iter().any(|(name, amount)| to.get(name).unwrap_or(&Quantity::ZERO) < amount)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_there_is_counted_once() {
        let pod = |cpu: &str, phase: &str| -> Arc<Pod> {
            object::<Pod>(json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}, "status": {"phase": phase}})).into()
        };
        let quota: ResourceQuota = object(
            json!({"spec": {"hard": {"cpu": "2", "pods": "5", "services": "1", "count/deployments.apps": "3"}}}),
        );
        let view = |quota| View {
            quota,
            pods: vec![pod("300m", "Running"), pod("200m", "Pending"), pod("1", "Succeeded")],
            claims: Vec::new(),
            services: Vec::new(),
            device_claims: Vec::new(),
            numbers: BTreeMap::from([("count/deployments.apps".to_owned(), 2)]),
        };
        let status = plan(&view(&quota), Timestamp::UNIX_EPOCH).expect("a status");
        assert_eq!(
            serde_json::to_value(&status).unwrap()["used"],
            json!({"count/deployments.apps": "2", "cpu": "500m", "pods": "2", "services": "0"})
        );
        let counted = ResourceQuota { status: Some(status), ..quota.clone() };
        assert!(plan(&view(&counted), Timestamp::UNIX_EPOCH).is_none(), "nothing has changed");
        assert!(
            !lowers(&counted, &used(&counted)) && !lowers(&quota, &used(&counted)) && lowers(&counted, &used(&quota))
        );
        assert!(is_only_counted("configmaps") && is_only_counted("count/x.example.com") && !is_only_counted("pods"));
    }
}
