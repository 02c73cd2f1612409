//! Validation of events: lenient in the core group, strict in `events.k8s.io`.
//!
//! Upstream: `pkg/apis/core/validation/events.go`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::Event;

use crate::check::{self, Report};
use crate::optional::Text;

const MAX_FIELD: usize = 128;
const MAX_NOTE: usize = 1024;

/// Which group a request came through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    Legacy,
    Strict,
}

pub(crate) fn validate(event: &Event, rules: Rules) -> ErrorList {
    let mut errors = legacy(event);
    if rules == Rules::Legacy {
        return errors;
    }
    series(event, &mut errors);
    if event.event_time.is_none() {
        errors.required(&Path::new("eventTime"), "");
    }
    let kind = event.type_.text();
    if !matches!(kind, "Normal" | "Warning") {
        errors.invalid(&Path::new("type"), "", format!("has invalid value: {kind}"));
    }
    let source = event.source.as_ref();
    for (field, set) in [
        ("firstTimestamp", event.first_timestamp.is_some()),
        ("lastTimestamp", event.last_timestamp.is_some()),
        ("count", event.count.unwrap_or(0) != 0),
        ("source", source.is_some_and(|source| !source.component.text().is_empty() || !source.host.text().is_empty())),
    ] {
        if set {
            errors.invalid(&Path::new(field), "", "needs to be unset");
        }
    }
    errors
}

pub(crate) fn validate_update(new: &Event, old: &Event, rules: Rules) -> ErrorList {
    let mut errors = legacy(new);
    if rules == Rules::Legacy {
        return errors;
    }
    if new.series != old.series {
        series(new, &mut errors);
    }
    macro_rules! fixed {
        ($($field:ident $name:literal),+ $(,)?) => {$(
            check::unchanged(&new.$field, &old.$field, &Path::new($name), &mut errors);
        )+};
    }
    fixed!(
        involved_object "involvedObject",
        reason "reason",
        message "message",
        source "source",
        first_timestamp "firstTimestamp",
        last_timestamp "lastTimestamp",
        count "count",
        type_ "type",
        event_time "eventTime",
        action "action",
        related "related",
        reporting_component "reportingController",
        reporting_instance "reportingInstance",
    );
    errors
}

fn series(event: &Event, errors: &mut ErrorList) {
    let Some(series) = &event.series else { return };
    if series.count.unwrap_or(0) < 2 {
        errors.invalid(&Path::new("series.count"), "", "should be at least 2");
    }
    if series.last_observed_time.is_none() {
        errors.required(&Path::new("series.lastObservedTime"), "");
    }
}

fn legacy(event: &Event) -> ErrorList {
    let mut errors = ErrorList::default();
    let namespace = event.metadata.namespace.text();
    let involved = event.involved_object.namespace.text();
    // Events about cluster-scoped objects live in `default`, and new ones may in `kube-system`.
    let matches = match (involved, event.event_time.is_some()) {
        ("", false) => matches!(namespace, "" | "default"),
        ("", true) => matches!(namespace, "default" | "kube-system"),
        (involved, false) => involved == namespace,
        (_, true) => true,
    };
    if !matches {
        let path = Path::new("involvedObject").child("namespace");
        errors.invalid(&path, involved, "does not match event.namespace");
    }
    if event.event_time.is_some() {
        let controller = event.reporting_component.text();
        let path = Path::new("reportingController");
        if controller.is_empty() {
            errors.required(&path, "");
        }
        check::qualified_name(controller, &path, &mut errors);
        for (field, value) in [
            ("reportingInstance", event.reporting_instance.text()),
            ("action", event.action.text()),
            ("reason", event.reason.text()),
        ] {
            let path = Path::new(field);
            if value.is_empty() {
                errors.required(&path, "");
            }
            if value.len() > MAX_FIELD {
                errors.invalid(&path, "", format!("can have at most {MAX_FIELD} characters"));
            }
        }
        if event.message.text().len() > MAX_NOTE {
            errors.invalid(&Path::new("message"), "", format!("can have at most {MAX_NOTE} characters"));
        }
    }
    check::dns_subdomain(namespace, &Path::new("namespace"), &mut errors);
    errors
}
