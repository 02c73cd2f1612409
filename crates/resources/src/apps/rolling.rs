//! Counts and percentages of rolling updates, as several kinds validate them.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use crate::check::{self, Report};

const NOT_A_PERCENTAGE: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%', or '93%', regex used for validation is '[0-9]+%')";

/// A count that is not negative, or a percentage (`ValidatePositiveIntOrPercent`).
pub(crate) fn int_or_percent(value: &IntOrString, path: &Path, errors: &mut ErrorList) {
    match value {
        IntOrString::Int(count) => check::non_negative(*count, path, errors),
        IntOrString::String(_) if percent(value).is_none() => {
            errors.invalid(path, json!(value), NOT_A_PERCENTAGE);
        }
        IntOrString::String(_) => {}
    }
}

/// Not above 100 % (`IsNotMoreThan100Percent`).
pub(crate) fn not_more_than_everything(value: &IntOrString, path: &Path, errors: &mut ErrorList) {
    if percent(value).is_some_and(|percent| percent > 100) {
        errors.invalid(path, json!(value), "must not be greater than 100%");
    }
}

pub(crate) fn is_zero(value: &IntOrString) -> bool {
    match value {
        IntOrString::Int(count) => *count == 0,
        // What is malformed counts as zero upstream, too.
        IntOrString::String(_) => percent(value).unwrap_or(0) == 0,
    }
}

fn percent(value: &IntOrString) -> Option<u64> {
    let IntOrString::String(text) = value else { return None };
    let digits = text.strip_suffix('%')?;
    let numeric = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    numeric.then(|| digits.parse().unwrap_or(u64::MAX))
}
