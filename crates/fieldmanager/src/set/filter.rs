//! Which fields a request cannot set, whatever it says: the status on the object itself, the rest on its status.
//! Upstream: `fieldpath.Filter`, `rest.ResetFieldsStrategy`.

use super::Set;
use crate::element::PathElement;

/// What becomes of a set before it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    #[default]
    Everything,
    /// Without these and all below them.
    Exclude(Set),
    /// Only what lies below one of these.
    Include(Vec<Pattern>),
}

/// A path; `None` is any step.
pub type Pattern = Vec<Option<PathElement>>;

impl Filter {
    /// Excludes paths of field names.
    pub fn exclude<'a>(paths: impl IntoIterator<Item = &'a [&'static str]>) -> Self {
        Self::Exclude(Set::of_fields(paths))
    }

    /// Includes paths of field names; `*` is any step.
    pub fn include<'a>(paths: impl IntoIterator<Item = &'a [&'static str]>) -> Self {
        let step = |name: &&'static str| (*name != "*").then(|| PathElement::field(*name));
        Self::Include(paths.into_iter().map(|path| path.iter().map(step).collect()).collect())
    }

    pub fn apply(&self, set: Set) -> Set {
        match self {
            Self::Everything => set,
            Self::Exclude(excluded) => set.recursive_difference(excluded),
            Self::Include(patterns) => {
                let patterns: Vec<&[Option<PathElement>]> = patterns.iter().map(Vec::as_slice).collect();
                matching(&set, &patterns)
            }
        }
    }
}

fn matching(set: &Set, patterns: &[&[Option<PathElement>]]) -> Set {
    if patterns.iter().any(|pattern| pattern.is_empty()) {
        return set.clone();
    }
    let fits = |step: &Option<PathElement>, element: &PathElement| step.as_ref().is_none_or(|step| step == element);
    let below = |element: &PathElement| -> Vec<&[Option<PathElement>]> {
        let split = patterns.iter().filter_map(|pattern| pattern.split_first());
        split.filter(|(step, _)| fits(step, element)).map(|(_, rest)| rest).collect()
    };
    let mut out = Set::new();
    for member in &set.members {
        if !below(member).is_empty() {
            out.members.push(member.clone());
        }
    }
    for (element, child) in &set.children {
        let rest = below(element);
        if !rest.is_empty() {
            out.insert_child(element.clone(), matching(child, &rest));
        }
    }
    out
}
