//! Resource quotas for the registry. Upstream: `pkg/registry/core/resourcequota`.

#[cfg(test)]
mod tests;
mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::core::v1::ResourceQuota;
use registry::{Column, Info, RequestCx, Strategy, Subresource};
use serde_json::json;

use crate::core::pod;

type C = Column<ResourceQuota>;

pub struct ResourceQuotas;

impl Strategy for ResourceQuotas {
    type Object = ResourceQuota;

    const INFO: Info = Info::namespaced("", "v1", "ResourceQuota", "resourcequotas").short(&["quota"]);
    const COLUMNS: &'static [Column<ResourceQuota>] = COLUMNS;
    const RETURN_DELETED_OBJECT: bool = true;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn set_defaults(&self, object: &mut ResourceQuota) {
        if let Some(hard) = object.spec.as_mut().and_then(|spec| spec.hard.as_mut()) {
            pod::defaults::resource_list(hard);
        }
        let status = object.status.get_or_insert_default();
        for list in [&mut status.hard, &mut status.used].into_iter().flatten() {
            pod::defaults::resource_list(list);
        }
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut ResourceQuota) {
        object.status = Some(Default::default());
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut ResourceQuota, old: &ResourceQuota) {
        new.status.clone_from(&old.status);
    }

    fn validate(&self, _cx: &RequestCx, object: &ResourceQuota) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &ResourceQuota, old: &ResourceQuota) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &ResourceQuota, _old: &ResourceQuota) -> ErrorList {
        validation::validate_status(new)
    }
}

/// Which of the two columns of amounts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Request,
    Limit,
}

/// `cpu: 1/2, pods: 3/10`: what is used of what is allowed.
fn usage(quota: &ResourceQuota, part: Part) -> String {
    let Some(status) = &quota.status else { return String::new() };
    let used = |name: &str| {
        let text = status.used.as_ref().and_then(|used| used.get(name));
        text.map_or("0", |text| &text.0)
    };
    let of_part = |name: &str| name.starts_with("limits.") == (part == Part::Limit);
    let parts = status.hard.iter().flatten().filter(|(name, _)| of_part(name));
    parts.map(|(name, hard)| format!("{name}: {}/{}", used(name), hard.0)).collect::<Vec<_>>().join(", ")
}

static COLUMNS: &[Column<ResourceQuota>] = &[
    Column::NAME,
    C::string("Request", |o, _| json!(usage(o, Part::Request))).describe("Request represents a minimum amount of cpu/memory that a container may consume."),
    C::string("Limit", |o, _| json!(usage(o, Part::Limit))).describe("Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."),
    Column::AGE,
];
