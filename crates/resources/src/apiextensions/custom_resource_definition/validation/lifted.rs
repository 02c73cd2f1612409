//! What all versions have in common. Upstream: the conversion of `v1` to its internal version.

use serde_json::Value;

use super::super::fields;

pub(super) struct Lifted<'a> {
    pub(super) schema: Option<&'a Value>,
    pub(super) subresources: Option<&'a Value>,
    pub(super) columns: Option<&'a [Value]>,
    pub(super) selectable: Option<&'a [Value]>,
}

impl<'a> Lifted<'a> {
    pub(super) fn of(versions: &'a [Value]) -> Self {
        let common = |part: &dyn Fn(&'a Value) -> Option<&'a Value>| {
            let first = part(versions.first()?)?;
            versions.iter().all(|version| part(version) == Some(first)).then_some(first)
        };
        let list = |name: &str| {
            let first = fields::list(versions.first()?, name);
            (!first.is_empty() && versions.iter().all(|version| fields::list(version, name) == first)).then_some(first)
        };
        Self {
            schema: common(&fields::schema),
            subresources: common(&|version| fields::there(version, "subresources")),
            columns: list("additionalPrinterColumns"),
            selectable: list("selectableFields"),
        }
    }
}
