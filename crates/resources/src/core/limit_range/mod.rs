//! Limit ranges for the registry. Upstream: `pkg/registry/core/limitrange`.

#[cfg(test)]
mod tests;
mod validation;

use std::collections::BTreeMap;

use apimachinery::field::ErrorList;
use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use registry::{Info, RequestCx, Strategy};

use crate::core::pod;

type Amounts = BTreeMap<String, Quantity>;

pub struct LimitRanges;

impl Strategy for LimitRanges {
    type Object = LimitRange;

    const INFO: Info = Info::namespaced("", "v1", "LimitRange", "limitranges").short(&["limits"]);
    const ALLOW_CREATE_ON_UPDATE: bool = true;

    fn set_defaults(&self, object: &mut LimitRange) {
        for item in object.spec.iter_mut().flat_map(|spec| &mut spec.limits) {
            default_item(item);
        }
    }

    fn validate(&self, _cx: &RequestCx, object: &LimitRange) -> ErrorList {
        validation::validate(object)
    }
}

/// A container's limits default to the largest allowed, its requests to its limits or the smallest allowed.
fn default_item(item: &mut LimitRangeItem) {
    for list in
        [&mut item.default, &mut item.default_request, &mut item.max, &mut item.min, &mut item.max_limit_request_ratio]
    {
        list.iter_mut().for_each(pod::defaults::resource_list);
    }
    if item.type_ != "Container" {
        return;
    }
    let complete = |list: &mut Option<Amounts>, from: &Option<Amounts>| {
        let list = list.get_or_insert_default();
        for (name, amount) in from.iter().flatten() {
            list.entry(name.clone()).or_insert_with(|| amount.clone());
        }
    };
    complete(&mut item.default, &item.max);
    complete(&mut item.default_request, &item.default);
    complete(&mut item.default_request, &item.min);
}
