//! The conditions of a namespace that is being deleted; pure. Upstream: `status_condition_utils.go`.

use std::collections::BTreeMap;

use api::{Time, core::v1::NamespaceCondition};
use jiff::Timestamp;

use super::content::Content;

/// The conditions with what is now known; those that were never true and are not are written as `False`, so that a
/// reader sees that they were looked at.
pub(super) fn updated(
    mut conditions: Vec<NamespaceCondition>,
    content: &Content,
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let list = |counts: &BTreeMap<String, usize>, text: fn(&str, usize) -> String| {
        counts.iter().map(|(name, count)| text(name, *count)).collect::<Vec<_>>().join(", ")
    };
    let undiscovered = (!content.undiscovered.is_empty()).then(|| {
        let groups = content.undiscovered.join(", ");
        format!("Discovery failed for some groups, {} failing: {groups}", content.undiscovered.len())
    });
    let failed = (!content.errors.is_empty()).then(|| {
        let errors = content.errors.join(", ");
        format!("Failed to delete all resource types, {} remaining: {errors}", content.errors.len())
    });
    let remaining = (!content.remaining.is_empty()).then(|| {
        let counts = list(&content.remaining, |name, count| format!("{name} has {count} resource instances"));
        format!("Some resources are remaining: {counts}")
    });
    let finalizers = (!content.finalizers.is_empty()).then(|| {
        let counts = list(&content.finalizers, |name, count| format!("{name} in {count} resource instances"));
        format!("Some content in the namespace has finalizers remaining: {counts}")
    });
    let all = [
        (
            "NamespaceDeletionDiscoveryFailure",
            undiscovered.map(|message| ("DiscoveryFailed", message)),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            failed.map(|message| ("ContentDeletionFailed", message)),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            remaining.map(|message| ("SomeResourcesRemain", message)),
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            finalizers.map(|message| ("SomeFinalizersRemain", message)),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    for (kind, bad, good) in all {
        let (status, reason, message) = match bad {
            Some((reason, message)) => ("True", reason, message),
            None => ("False", good.0, good.1.to_owned()),
        };
        set(&mut conditions, kind, status, reason, message, now);
    }
    conditions
}

fn set(
    conditions: &mut Vec<NamespaceCondition>,
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let new = NamespaceCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
    };
    match conditions.iter_mut().find(|condition| condition.type_ == kind) {
        Some(known) => {
            let time = if known.status == new.status {
                known.last_transition_time.clone()
            } else {
                new.last_transition_time.clone()
            };
            *known = NamespaceCondition { last_transition_time: time, ..new };
        }
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn what_remains_is_said_in_upstreams_words() {
        let content = Content {
            remaining: [("pods.".to_owned(), 2), ("widgets.example.com".to_owned(), 1)].into(),
            finalizers: [("example.com/keep".to_owned(), 1)].into(),
            ..Content::default()
        };
        let conditions = updated(Vec::new(), &content, Timestamp::UNIX_EPOCH);
        let text: Vec<_> = conditions
            .iter()
            .map(|condition| {
                format!(
                    "{}={} {}: {}",
                    condition.type_,
                    condition.status,
                    condition.reason.as_deref().unwrap_or_default(),
                    condition.message.as_deref().unwrap_or_default()
                )
            })
            .collect();
        expect![[r#"
            NamespaceDeletionDiscoveryFailure=False ResourcesDiscovered: All resources successfully discovered
            NamespaceDeletionGroupVersionParsingFailure=False ParsedGroupVersions: All legacy kube types successfully parsed
            NamespaceDeletionContentFailure=False ContentDeleted: All content successfully deleted, may be waiting on finalization
            NamespaceContentRemaining=True SomeResourcesRemain: Some resources are remaining: pods. has 2 resource instances, widgets.example.com has 1 resource instances
            NamespaceFinalizersRemaining=True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.com/keep in 1 resource instances"#]].assert_eq(&text.join("\n"));
        let emptied = updated(conditions, &Content::default(), Timestamp::from_second(9).unwrap());
        let remaining = emptied.iter().find(|condition| condition.type_ == "NamespaceContentRemaining").unwrap();
        assert_eq!(
            (remaining.status.as_str(), remaining.last_transition_time.as_ref().unwrap().0.as_second()),
            ("False", 9)
        );
    }
}
