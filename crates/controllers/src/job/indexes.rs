//! Sets of completion indexes as text: `1,3-5,7`; pure. Upstream: `indexed_job_utils.go`.

use std::collections::BTreeSet;

use api::core::v1::Pod;

/// The annotation and label of an indexed pod. Upstream: `JobCompletionIndexAnnotation`.
pub(super) const ANNOTATION: &str = "batch.kubernetes.io/job-completion-index";

pub(super) fn of(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(ANNOTATION)?.parse().ok().filter(|index| *index >= 0)
}

/// The indexes below the number of completions; what cannot be read is left out.
pub(super) fn parse(text: &str, completions: i32) -> BTreeSet<i32> {
    let mut indexes = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            indexes.extend(first.max(0)..=last.min(completions - 1));
        }
    }
    indexes
}

pub(super) fn format(indexes: &BTreeSet<i32>) -> String {
    let mut parts: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => parts.push((*index, *index)),
        }
    }
    let text = |(first, last): (i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    parts.into_iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_set_are_the_same() {
        for text in ["", "1", "0,1", "1,3-5,7", "0-9"] {
            assert_eq!(format(&parse(text, 100)), text);
        }
        assert_eq!(parse("3-9,x,2", 5), [2, 3, 4].into());
    }
}
