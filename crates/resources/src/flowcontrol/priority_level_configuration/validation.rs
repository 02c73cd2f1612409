//! Validation of priority levels. Upstream: `ValidatePriorityLevelConfiguration` in `pkg/apis/flowcontrol/validation`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::flowcontrol::v1::{
    ExemptPriorityLevelConfiguration, LimitResponse, LimitedPriorityLevelConfiguration, PriorityLevelConfiguration,
    PriorityLevelConfigurationSpec, QueuingConfiguration,
};

use crate::check::Report;
use crate::flowcontrol::bootstrap;
use crate::optional::{Items, Text};

const MAX_QUEUES: i32 = 10_000_000;
/// As many bits as shuffle sharding takes from a hash.
const MAX_ENTROPY_BITS: f64 = 60.0;

pub(super) fn validate(level: &PriorityLevelConfiguration) -> ErrorList {
    let mut errors = ErrorList::default();
    let (name, path) = (level.metadata.name.text(), Path::new("spec"));
    let empty = PriorityLevelConfigurationSpec::default();
    let own = level.spec.as_ref().unwrap_or(&empty);
    spec(own, name, &path, &mut errors);
    if let Some(fixed) = bootstrap::mandatory_priority_level(name) {
        // How much the exempt level counts and lends is for the operator to say.
        let mut comparable = own.clone();
        if name == "exempt" {
            comparable.exempt.clone_from(&fixed.exempt);
        }
        if comparable != fixed {
            errors.invalid(&path, own, format!("spec of '{name}' must equal the fixed value"));
        }
    }
    errors.append(validate_status(level));
    errors
}

fn spec(spec: &PriorityLevelConfigurationSpec, name: &str, path: &Path, errors: &mut ErrorList) {
    if (name == "exempt") != (spec.type_ == "Exempt") {
        let message = "type must be 'Exempt' if and only if name is 'exempt'";
        errors.invalid(&path.child("type"), &spec.type_, message);
    }
    match spec.type_.as_str() {
        "Exempt" => {
            if spec.limited.is_some() {
                errors.forbidden(&path.child("limited"), "must be nil if the type is not Limited");
            }
            match &spec.exempt {
                None => errors.required(&path.child("exempt"), "must not be empty when type is Exempt"),
                Some(exempt) => self::exempt(exempt, &path.child("exempt"), errors),
            }
        }
        "Limited" => {
            if spec.exempt.is_some() {
                errors.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
            }
            match &spec.limited {
                None => errors.required(&path.child("limited"), "must not be empty when type is Limited"),
                Some(limited) => self::limited(limited, &path.child("limited"), errors),
            }
        }
        other => errors.not_supported(&path.child("type"), other, &["Exempt", "Limited"]),
    }
}

fn lendable(percent: Option<i32>, path: &Path, errors: &mut ErrorList) {
    if let Some(percent) = percent.filter(|percent| !(0..=100).contains(percent)) {
        errors.invalid(&path.child("lendablePercent"), percent, "must be between 0 and 100, inclusive");
    }
}

fn exempt(exempt: &ExemptPriorityLevelConfiguration, path: &Path, errors: &mut ErrorList) {
    if let Some(shares) = exempt.nominal_concurrency_shares.filter(|shares| *shares < 0) {
        errors.invalid(&path.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    lendable(exempt.lendable_percent, path, errors);
}

fn limited(limited: &LimitedPriorityLevelConfiguration, path: &Path, errors: &mut ErrorList) {
    if let Some(shares) = limited.nominal_concurrency_shares.filter(|shares| *shares < 0) {
        errors.invalid(&path.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    response(limited.limit_response.as_ref(), &path.child("limitResponse"), errors);
    lendable(limited.lendable_percent, path, errors);
    if let Some(percent) = limited.borrowing_limit_percent.filter(|percent| *percent < 0) {
        let message = "if specified, must be a non-negative integer";
        errors.invalid(&path.child("borrowingLimitPercent"), percent, message);
    }
}

fn response(response: Option<&LimitResponse>, path: &Path, errors: &mut ErrorList) {
    let (kind, queuing) = response.map_or(("", None), |response| (response.type_.as_str(), response.queuing.as_ref()));
    let own = path.child("queuing");
    match (kind, queuing) {
        ("Reject", Some(_)) => errors.forbidden(&own, "must be nil if limited.limitResponse.type is not Limited"),
        ("Reject", None) => {}
        ("Queue", None) => errors.required(&own, "must not be empty if limited.limitResponse.type is Limited"),
        ("Queue", Some(queuing)) => self::queuing(queuing, &own, errors),
        (other, _) => errors.not_supported(&path.child("type"), other, &["Queue", "Reject"]),
    }
}

fn queuing(queuing: &QueuingConfiguration, path: &Path, errors: &mut ErrorList) {
    let length = queuing.queue_length_limit.unwrap_or(0);
    if length <= 0 {
        errors.invalid(&path.child("queueLengthLimit"), length, "must be positive");
    }
    let (queues, hand) = (queuing.queues.unwrap_or(0), queuing.hand_size.unwrap_or(0));
    if queues <= 0 {
        errors.invalid(&path.child("queues"), queues, "must be positive");
    } else if queues > MAX_QUEUES {
        errors.invalid(&path.child("queues"), queues, format!("must not be greater than {MAX_QUEUES}"));
    }
    let path = path.child("handSize");
    if hand <= 0 {
        errors.invalid(&path, hand, "must be positive");
    } else if hand > queues {
        errors.invalid(&path, hand, format!("should not be greater than queues ({queues})"));
    } else if (f64::from(queues).log2() * f64::from(hand)).ceil() > MAX_ENTROPY_BITS {
        let message = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_ENTROPY_BITS}"
        );
        errors.invalid(&path, hand, message);
    }
}

pub(super) fn validate_status(level: &PriorityLevelConfiguration) -> ErrorList {
    let mut errors = ErrorList::default();
    let conditions = level.status.as_ref().map_or(&[][..], |status| status.conditions.items());
    super::super::conditions(conditions.iter().map(|condition| condition.type_.text()), &mut errors);
    errors
}
