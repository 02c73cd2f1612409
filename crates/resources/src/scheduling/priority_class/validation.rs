//! Validation of priority classes. Upstream: `pkg/apis/scheduling/validation`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::scheduling::v1::PriorityClass;

use crate::check::{self, Report};
use crate::optional::{Flag, Text};

const SYSTEM_PREFIX: &str = "system-";
const SYSTEM: [(&str, i32); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
const HIGHEST_OF_USERS: i32 = 1_000_000_000;

pub(super) fn validate(class: &PriorityClass) -> ErrorList {
    let mut errors = ErrorList::default();
    let (name, value) = (class.metadata.name.text(), class.value.unwrap_or(0));
    if name.starts_with(SYSTEM_PREFIX) {
        if let Err(why) = is_known(name, value, class.global_default.is_set()) {
            let message = format!(
                "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
            );
            errors.forbidden(&Path::new("metadata").child("name"), message);
        }
    } else if value > HIGHEST_OF_USERS {
        let message = format!("maximum allowed value of a user defined priority is {HIGHEST_OF_USERS}");
        errors.forbidden(&Path::new("value"), message);
    }
    if let Some(policy) = &class.preemption_policy {
        let path = Path::new("preemptionPolicy");
        match policy.as_str() {
            "PreemptLowerPriority" | "Never" => {}
            "" => errors.required(&path, ""),
            other => errors.not_supported(&path, other, &["PreemptLowerPriority", "Never"]),
        }
    }
    errors
}

fn is_known(name: &str, value: i32, default: bool) -> Result<(), String> {
    let Some((_, known)) = SYSTEM.iter().find(|(known, _)| *known == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if value != *known {
        return Err(format!("value of {name} PriorityClass must be {known}"));
    }
    if default {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}

pub(super) fn validate_update(new: &PriorityClass, old: &PriorityClass) -> ErrorList {
    let mut errors = ErrorList::default();
    if new.value.unwrap_or(0) != old.value.unwrap_or(0) {
        errors.forbidden(&Path::new("value"), "may not be changed in an update.");
    }
    let path = Path::new("preemptionPolicy");
    check::unchanged(&new.preemption_policy, &old.preemption_policy, &path, &mut errors);
    errors
}
