//! Which objects a list or watch is about, decided from their bytes: the stored ones, or what a kind made at run time
//! makes of them where that is something else. Upstream: `storage.SelectionPredicate`.

use std::borrow::Cow;

use apimachinery::{ApiError, Selector, fields::FieldSelector, labels::Operator, scan};

use super::Kind;
use crate::SelectableField;

/// Selectors whose fields the kind knows.
#[derive(Clone, Debug)]
pub struct Selection {
    labels: Selector,
    fields: FieldSelector,
    known: Vec<SelectableField>,
}

const METADATA: [SelectableField; 2] = [
    SelectableField::new("metadata.name", &[&["metadata", "name"]]),
    SelectableField::new("metadata.namespace", &[&["metadata", "namespace"]]),
];

impl Selection {
    /// Refuses fields that the kind cannot be selected by.
    pub fn new(kind: &Kind, labels: Selector, fields: FieldSelector) -> Result<Self, ApiError> {
        let mut known = Vec::new();
        for term in fields.terms() {
            let field = METADATA.iter().chain(kind.resource.selectable()).find(|field| field.name == term.field);
            match field {
                Some(field) => known.push(*field),
                None if kind.resource.selectable().is_empty() && kind.resource.custom().is_none() => {
                    return Err(ApiError::bad_request(format!(
                        "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                        apimachinery::field::go_quote(&term.field)
                    )));
                }
                None => return Err(ApiError::bad_request(format!("field label not supported: {}", term.field))),
            }
        }
        Ok(Self { labels, fields, known })
    }

    pub fn everything() -> Self {
        Self { labels: Selector::everything(), fields: FieldSelector::default(), known: Vec::new() }
    }

    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether it asks for more than name and namespace, which are the same in every version of an object.
    pub(super) fn looks_inside(&self) -> bool {
        !self.labels.is_everything() || self.fields.terms().iter().any(|term| !is_identity(&term.field))
    }

    /// What it asks of name and namespace.
    pub(super) fn of_identity(&self) -> Self {
        let known = self.known.iter().filter(|field| is_identity(field.name)).copied().collect();
        Self { labels: Selector::everything(), fields: self.fields.only(is_identity), known }
    }

    /// The only name that can match, if there is one.
    pub fn exact_name(&self) -> Option<&str> {
        self.fields.requires_exact_match("metadata.name")
    }

    /// The only value of the kind's indexed field that can match, if there is one.
    pub fn exact_indexed(&self) -> Option<&str> {
        let field = self.known.iter().find(|field| field.indexed)?;
        self.fields.requires_exact_match(field.name)
    }

    /// Whether an object is selected, from its canonical JSON.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        self.matches_labels(bytes) && self.matches_fields(bytes)
    }

    fn matches_labels(&self, bytes: &[u8]) -> bool {
        if self.labels.is_everything() {
            return true;
        }
        let labels = scan::lookup(bytes, &["metadata", "labels"]).unwrap_or_default();
        self.labels.matches_with(|wanted| {
            let (_, raw) = scan::entries(labels).find(|(key, _)| *key == wanted.as_bytes())?;
            match scan::unquoted(raw) {
                Some(Cow::Borrowed(text)) => Some(text),
                // Valid label values need no escapes.
                _ => None,
            }
        })
    }

    fn matches_fields(&self, bytes: &[u8]) -> bool {
        self.fields.is_everything()
            || self.fields.matches(|name| {
                let field = self.known.iter().find(|field| field.name == name)?;
                Some(value(field, bytes))
            })
    }
}

fn is_identity(field: &str) -> bool {
    METADATA.iter().any(|known| known.name == field)
}

pub(super) fn value<'a>(field: &SelectableField, bytes: &'a [u8]) -> Cow<'a, str> {
    let found = field.paths.iter().filter_map(|path| scan::text(bytes, path)).find(|text| !text.is_empty());
    found.unwrap_or(Cow::Borrowed(field.absent))
}

/// Whether a selector can be answered at all: an unsatisfiable one selects nothing without a scan.
pub(super) fn selects_nothing(selection: &Selection) -> bool {
    selection.labels.is_nothing()
        || selection
            .labels
            .requirements()
            .iter()
            .any(|requirement| requirement.operator == Operator::In && requirement.values.is_empty())
}
