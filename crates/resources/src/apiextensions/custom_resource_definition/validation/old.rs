//! What an update is forgiven because the stored definition has it already.

use std::collections::BTreeSet;

use registry::DynamicObject;
use serde_json::Value;

use super::super::{conditions, fields};
use super::{conversion, defaults, parts, schema, structural, visit};

#[derive(Default)]
pub(super) struct Forgiven {
    pub(super) missing_schema: bool,
    pub(super) non_structural: bool,
    pub(super) invalid_types: bool,
    pub(super) unpruned_defaults: bool,
    pub(super) non_atomic_sets: bool,
    pub(super) list_map_keys: bool,
    pub(super) review_versions: bool,
    pub(super) ca_bundle: bool,
    pub(super) rules: BTreeSet<String>,
    pub(super) message_expressions: BTreeSet<String>,
    unchanged_schemas: BTreeSet<String>,
    selectable: BTreeSet<String>,
}

impl Forgiven {
    /// Of a new definition. Its CA bundle is not looked at before somebody could be served.
    pub(super) fn nothing() -> Self {
        Self { ca_bundle: true, ..Self::default() }
    }

    pub(super) fn of(new: &DynamicObject, old: &DynamicObject) -> Self {
        let schemas = || fields::versions(old).iter().filter_map(fields::schema);
        let any = |test: &dyn Fn(&Value) -> bool| schemas().any(|schema| visit(schema, &mut |node| test(node)));
        let mut rules = BTreeSet::new();
        let mut message_expressions = BTreeSet::new();
        for schema in schemas() {
            visit(schema, &mut |node| {
                for rule in fields::list(node, "x-kubernetes-validations") {
                    rules.insert(fields::text(rule, "rule").to_owned());
                    let message = fields::text(rule, "messageExpression");
                    if !message.is_empty() {
                        message_expressions.insert(message.to_owned());
                    }
                }
                false
            });
        }
        let before = |name: &str| fields::versions(old).iter().find(|version| fields::text(version, "name") == name);
        let kept = |test: &dyn Fn(&Value, &Value) -> bool| -> BTreeSet<String> {
            fields::versions(new)
                .iter()
                .filter(|version| before(fields::text(version, "name")).is_some_and(|old| test(version, old)))
                .map(|version| fields::text(version, "name").to_owned())
                .collect()
        };
        let old_conversion = &fields::spec(old)["conversion"];
        Self {
            missing_schema: fields::versions(old).iter().any(|version| fields::schema(version).is_none()),
            non_structural: schemas().any(structural::is_non_structural),
            invalid_types: any(&schema::has_invalid_type),
            unpruned_defaults: schemas().any(defaults::has_unpruned),
            non_atomic_sets: any(&schema::is_non_atomic_set),
            list_map_keys: any(&|node| !schema::list_map_keys(node, &apimachinery::field::Path::root()).is_empty()),
            review_versions: !conversion::reviews_are_known(old_conversion),
            ca_bundle: !conditions::is_true(old, conditions::ESTABLISHED) || conversion::has_bad_bundle(old_conversion),
            rules,
            message_expressions,
            unchanged_schemas: kept(&|new, old| fields::schema(new) == fields::schema(old)),
            selectable: kept(&|new, old| {
                fields::list(old, "selectableFields").len() > parts::MAX_SELECTABLE
                    && fields::list(new, "selectableFields") == fields::list(old, "selectableFields")
            }),
        }
    }

    /// Whether the version may keep more selectable fields than there may be; `""` asks for all versions.
    pub(super) fn too_many_selectable(&self, version: &str) -> bool {
        if version.is_empty() { !self.selectable.is_empty() } else { self.selectable.contains(version) }
    }

    /// Whether the version's schema is what it was: then its rules' costs are not held against it.
    pub(super) fn costs(&self, version: &str) -> bool {
        self.unchanged_schemas.contains(version)
    }
}
