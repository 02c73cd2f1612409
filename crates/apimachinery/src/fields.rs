//! Field selectors: `metadata.name=web,status.phase!=Running`. Upstream: `k8s.io/apimachinery/pkg/fields`.

use std::fmt;

use crate::labels::SelectorError;

/// A field selector: all terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

/// One term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Name of the field.
    pub field: String,
    /// The value it is compared with.
    pub value: String,
    /// Holds where the field differs.
    pub negated: bool,
}

impl FieldSelector {
    /// From the text of a `fieldSelector` query. Values may escape `\`, `,` and `=` with a backslash.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for term in split_unescaped(text) {
            if term.is_empty() {
                continue;
            }
            let invalid = || SelectorError(format!("invalid selector: '{text}'; can't understand '{term}'"));
            let (field, negated, value) = split_term(term).ok_or_else(invalid)?;
            let value = unescape(value).map_err(SelectorError)?;
            terms.push(Term { field: field.to_owned(), value, negated });
        }
        Ok(Self { terms })
    }

    /// The terms.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Only the terms about fields that `keep` says yes to.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self { terms: self.terms.iter().filter(|term| keep(&term.field)).cloned().collect() }
    }

    /// The value that a field must have, where the selector says so.
    pub fn requires_exact_match(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.field == field && !term.negated).map(|term| term.value.as_str())
    }

    /// Whether an object is selected; an absent field counts as empty.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<std::borrow::Cow<'a, str>>) -> bool {
        self.terms.iter().all(|term| (get(&term.field).as_deref().unwrap_or("") == term.value) != term.negated)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{}{}{value}", term.field, if term.negated { "!=" } else { "=" })?;
        }
        Ok(())
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in term.char_indices() {
        let rest = &term[at..];
        for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((&term[..at], negated, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                _ => return Err(format!("invalid field selector: invalid escape sequence in value: {value}")),
            },
            ',' | '=' => return Err(format!("invalid field selector: unescaped character in value: {c}")),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_selectors() {
        let selector = FieldSelector::parse(r"metadata.name=a\,b,status.phase!=Running,x==1").unwrap();
        assert_eq!(selector.requires_exact_match("metadata.name"), Some("a,b"));
        assert_eq!(selector.requires_exact_match("status.phase"), None);
        assert!(selector.matches(|field| match field {
            "metadata.name" => Some("a,b".into()),
            "x" => Some("1".into()),
            _ => None,
        }));
        assert_eq!(selector.to_string(), r"metadata.name=a\,b,status.phase!=Running,x=1");
        assert!(FieldSelector::parse("nonsense").is_err());
        assert!(FieldSelector::parse(r"a=\x").is_err());
        assert!(FieldSelector::parse("").unwrap().is_everything());
    }
}
