//! Facts about v1.36 that no package of the registry carries, kept by hand in `supplement.txt`.
//!
//! The format, one fact a line, `#` starts a comment:
//! ```text
//! kind    TYPE GROUP VERSION               a kind that is in no OpenAPI document
//! type    TYPE SPELLED                     how a type is really spelled that only the protobuf messages have
//! spelled TYPE FIELD                       the same for a field's JSON name
//! field   TYPE NAME NUMBER [after=NAME] [type=string] [MARKER…]   a field newer than the protobuf messages
//! pointer TYPE NAME…                       fields for which "absent" differs from the zero value: Go has a pointer there
//! value   TYPE NAME…                       optional messages that are always there, even when nothing is set in them
//! always  TYPE NAME…                       fields that are printed even when they are empty; a pointer as null
//! omit    TYPE NAME…                       required fields, and messages, that are not printed when they are empty
//! enum    A,B,C TYPE.NAME…                 values that fields are limited to; `_` is a space, `""` is empty
//! drop    TYPE NAME…                       fields of the protobuf messages that v1.36 does not have
//! ```

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

#[derive(Default)]
pub(super) struct Supplement {
    pub(super) kinds: Vec<(String, String, String)>,
    pub(super) types: BTreeMap<String, String>,
    pub(super) spelled: BTreeMap<String, Vec<String>>,
    pub(super) fields: BTreeMap<(String, String), NewField>,
    pub(super) pointers: BTreeSet<(String, String)>,
    pub(super) values: BTreeSet<(String, String)>,
    pub(super) always: BTreeSet<(String, String)>,
    pub(super) omit: BTreeSet<(String, String)>,
    pub(super) drop: BTreeSet<(String, String)>,
    pub(super) enums: BTreeMap<(String, String), String>,
}

pub(super) struct NewField {
    pub(super) number: u32,
    pub(super) after: Option<String>,
    /// For types that have no OpenAPI definition to say it.
    pub(super) is_string: bool,
    pub(super) markers: Vec<String>,
}

impl Supplement {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut supplement = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            supplement.line(&words).with_context(|| format!("supplement.txt line {}", index + 1))?;
        }
        Ok(supplement)
    }

    fn line(&mut self, words: &[&str]) -> Result<()> {
        match *words {
            [] => {}
            ["kind", name, group, version] => {
                let group = if group == "core" { "" } else { group };
                self.kinds.push((expand(name), group.to_owned(), version.to_owned()));
            }
            ["type", name, spelled] => {
                self.types.insert(expand(name), spelled.to_owned());
            }
            ["spelled", name, field] => self.spelled.entry(expand(name)).or_default().push(field.to_owned()),
            ["field", name, field, number, ref rest @ ..] => {
                let mut new = NewField { number: number.parse()?, after: None, is_string: false, markers: Vec::new() };
                for word in rest {
                    match word.strip_prefix("after=") {
                        Some(after) => new.after = Some(after.to_owned()),
                        None if *word == "type=string" => new.is_string = true,
                        None => new.markers.push((*word).to_owned()),
                    }
                }
                self.fields.insert((expand(name), field.to_owned()), new);
            }
            ["enum", values, ref fields @ ..] => {
                for field in fields {
                    let (name, field) = field.rsplit_once('.').context("TYPE.NAME")?;
                    self.enums.insert((expand(name), field.to_owned()), values.to_owned());
                }
            }
            [verb, name, ref fields @ ..] if !fields.is_empty() => {
                let set = match verb {
                    "pointer" => &mut self.pointers,
                    "value" => &mut self.values,
                    "always" => &mut self.always,
                    "omit" => &mut self.omit,
                    "drop" => &mut self.drop,
                    other => bail!("unknown fact {other}"),
                };
                set.extend(fields.iter().map(|field| (expand(name), (*field).to_owned())));
            }
            _ => bail!("a fact with too few words"),
        }
        Ok(())
    }
}

/// `core.v1.Pod` and `meta.v1.ObjectMeta` are short for the full definition names.
pub(super) fn expand(name: &str) -> String {
    if name.starts_with("io.k8s.") {
        name.to_owned()
    } else if let Some(rest) = name.strip_prefix("meta.") {
        format!("io.k8s.apimachinery.pkg.apis.meta.{rest}")
    } else if let Some(rest) = name.strip_prefix("apiextensions.") {
        format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{rest}")
    } else if let Some(rest) = name.strip_prefix("apiregistration.") {
        format!("io.k8s.kube-aggregator.pkg.apis.apiregistration.{rest}")
    } else {
        format!("io.k8s.api.{name}")
    }
}
