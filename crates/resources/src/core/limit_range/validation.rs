//! Validation of limit ranges. Upstream: `ValidateLimitRange` in `pkg/apis/core/validation`.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::Quantity;
use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::check::Report;
use crate::meta::quantity;

type Amounts = Option<BTreeMap<String, Text>>;

const TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];

pub(super) fn validate(range: &LimitRange) -> ErrorList {
    let mut errors = ErrorList::default();
    let limits = range.spec.as_ref().map_or(&[][..], |spec| &spec.limits);
    let mut seen = BTreeSet::new();
    for (index, item) in limits.iter().enumerate() {
        let path = Path::new("spec").child("limits").index(index);
        kind(&item.type_, &path.child("type"), &mut errors);
        if !seen.insert(item.type_.as_str()) {
            errors.duplicate(&path.child("type"), &item.type_);
        }
        validate_item(item, &path, &mut errors);
    }
    errors
}

fn kind(kind: &str, path: &Path, errors: &mut ErrorList) {
    let wrong = names::is_qualified_name(kind);
    let malformed = !wrong.is_empty();
    crate::check::all_invalid(wrong, kind, path, errors);
    if !malformed && !kind.contains('/') && !TYPES.contains(&kind) {
        errors.invalid(path, kind, "must be a standard limit type or fully qualified");
    }
}

fn validate_item(item: &LimitRangeItem, path: &Path, errors: &mut ErrorList) {
    let lists = [
        ("max", &item.max),
        ("min", &item.min),
        ("default", &item.default),
        ("defaultRequest", &item.default_request),
        ("maxLimitRequestRatio", &item.max_limit_request_ratio),
    ];
    let mut keys = BTreeSet::new();
    for (field, list) in lists {
        let is_default = matches!(field, "default" | "defaultRequest");
        if is_default && item.type_ == "Pod" {
            if list.as_ref().is_some_and(|list| !list.is_empty()) {
                errors.forbidden(&path.child(field), "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for name in list.iter().flatten().map(|(name, _)| name) {
            crate::check::qualified_name(name, &path.child(field).key(name), errors);
            keys.insert(name.as_str());
        }
    }
    let has_storage = |list: &Amounts| list.as_ref().is_some_and(|list| list.contains_key("storage"));
    if item.type_ == "PersistentVolumeClaim" && !has_storage(&item.min) && !has_storage(&item.max) {
        let message = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&path.child("limits"), message);
    }
    for key in keys {
        compare(item, key, path, errors);
    }
}

fn compare(item: &LimitRangeItem, key: &str, path: &Path, errors: &mut ErrorList) {
    let of = |list: &Amounts| list.as_ref().and_then(|list| list.get(key)).and_then(quantity::parse);
    let (min, max) = (of(&item.min), of(&item.max));
    let (default, request) = (of(&item.default), of(&item.default_request));
    let ratio = of(&item.max_limit_request_ratio);
    let mut above =
        |low: Option<Quantity>, high: Option<Quantity>, field: &str, shown: Option<Quantity>, names: [&str; 2]| {
            if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
                && low > high
            {
                let message = format!("{} {low} is greater than {} {high}", names[0], names[1]);
                errors.invalid(&path.child(field).key(key), shown.to_string(), message);
            }
        };
    above(min, max, "min", min, ["min value", "max value"]);
    above(min, request, "defaultRequest", request, ["min value", "default request value"]);
    above(request, max, "defaultRequest", request, ["default request value", "max value"]);
    above(request, default, "defaultRequest", request, ["default request value", "default limit value"]);
    above(min, default, "default", min, ["min value", "default value"]);
    above(default, max, "default", max, ["default value", "max value"]);
    if let Some(ratio) = ratio
        && ratio.milli_value() < 1000
    {
        let path = path.child("maxLimitRequestRatio").key(key);
        errors.invalid(&path, ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
}
