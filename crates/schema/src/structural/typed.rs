//! The tree as a [`Schema`]: what every walker over built-in kinds takes too, server-side apply first.

use super::{Additional, JsonType, Structural};
use crate::table::{Field, Form, Kind, ListType, Name, Schema, Shape, TypeDef, TypeId, builtin};

/// The `apiVersion`'s parts and kind that the root of a tree stands for.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
}

impl Named<'_> {
    /// `com.example.stable.v1.CronTab` of `stable.example.com/v1 CronTab`.
    pub fn definition(&self) -> String {
        let mut parts: Vec<&str> = self.group.split('.').collect();
        parts.reverse();
        parts.push(self.version);
        parts.push(self.kind);
        parts.join(".")
    }
}

/// A schema of one kind. `tree` none: nothing is known but that it is a resource, and everything is kept.
pub fn schema(tree: Option<&Structural>, named: Named<'_>) -> Schema {
    let mut schema = Schema::default();
    let name = named.definition();
    let root = schema.reserve(name.clone());
    let mut builder = Builder { schema: &mut schema, count: 0, meta: None, int_or_string: None };
    let mut def = TypeDef::new(name);
    def.preserve_unknown = tree.is_none_or(|tree| tree.preserve_unknown);
    builder.resource(&mut def, tree);
    def.kinds = vec![Kind {
        group: named.group.to_owned().into(),
        version: named.version.to_owned().into(),
        kind: named.kind.to_owned().into(),
    }];
    schema.fill(root, def);
    schema
}

struct Builder<'a> {
    schema: &'a mut Schema,
    count: usize,
    meta: Option<TypeId>,
    int_or_string: Option<TypeId>,
}

impl Builder<'_> {
    fn name(&mut self) -> String {
        self.count += 1;
        format!("{}", self.count)
    }

    /// Members of a resource: its metadata is typed, whatever the tree says.
    fn resource(&mut self, def: &mut TypeDef, tree: Option<&Structural>) {
        def.type_meta = true;
        let meta = match self.meta {
            Some(meta) => Some(meta),
            None => {
                let meta = builtin().named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
                meta.map(|meta| import(self.schema, meta.id()))
            }
        };
        self.meta = meta;
        if let Some(meta) = meta {
            def.fields.push(Field::new("metadata", 0, Shape::Ref(meta)));
        }
        for (name, property) in tree.map(|tree| &tree.properties).into_iter().flatten() {
            if !super::is_meta(name) {
                let field = self.field(name, property, tree);
                def.fields.push(field);
            }
        }
    }

    fn field(&mut self, name: &str, property: &Structural, owner: Option<&Structural>) -> Field {
        let mut field = Field::new(name.to_owned(), 0, self.shape(property));
        field.list.clone_from(&property.list);
        if field.list.is_none() && property.json_type == Some(JsonType::Array) {
            field.list = Some(ListType::Atomic);
        }
        field.atomic = property.atomic;
        field.required = owner
            .and_then(|owner| owner.checks.as_ref())
            .is_some_and(|checks| checks.required.iter().any(|required| required == name));
        field.default = property.default.as_ref().map(|default| Name::Owned(default.to_string()));
        field
    }

    fn shape(&mut self, node: &Structural) -> Shape {
        if node.int_or_string {
            let id = match self.int_or_string {
                Some(id) => id,
                None => {
                    let id = self.schema.reserve("IntOrString");
                    let mut def = TypeDef::new("IntOrString");
                    def.form = Form::IntOrString;
                    self.schema.fill(id, def);
                    self.int_or_string = Some(id);
                    id
                }
            };
            return Shape::Ref(id);
        }
        match node.json_type {
            Some(JsonType::String) => Shape::String,
            Some(JsonType::Integer) => Shape::Int64,
            Some(JsonType::Number) => Shape::Double,
            Some(JsonType::Boolean) => Shape::Bool,
            Some(JsonType::Array) => match node.items.as_deref() {
                Some(items) => Shape::List(Box::new(self.shape(items))),
                None => Shape::List(Box::new(Shape::Any)),
            },
            Some(JsonType::Object) if node.embedded => {
                let name = self.name();
                let id = self.schema.reserve(name.clone());
                let mut def = TypeDef::new(name);
                def.preserve_unknown = node.preserve_unknown;
                def.atomic = node.atomic;
                self.resource(&mut def, Some(node));
                self.schema.fill(id, def);
                Shape::Ref(id)
            }
            Some(JsonType::Object) => match &node.additional {
                Some(Additional::Schema(additional)) if node.properties.is_empty() => {
                    Shape::Map(Box::new(self.shape(additional)))
                }
                Some(Additional::Any(true)) if node.properties.is_empty() => Shape::Map(Box::new(Shape::Any)),
                _ => {
                    let name = self.name();
                    let id = self.schema.reserve(name.clone());
                    let mut def = TypeDef::new(name);
                    def.preserve_unknown = node.preserve_unknown;
                    def.atomic = node.atomic;
                    for (name, property) in &node.properties {
                        let field = self.field(name, property, Some(node));
                        def.fields.push(field);
                    }
                    self.schema.fill(id, def);
                    Shape::Ref(id)
                }
            },
            None => Shape::Any,
        }
    }
}

/// A built-in type, and all that it refers to, in another schema.
fn import(into: &mut Schema, id: TypeId) -> TypeId {
    let Some(source) = builtin().by_id(id) else { return into.reserve("") };
    if let Some(known) = into.named(source.name()) {
        return known.id();
    }
    let own = into.reserve(source.name().to_owned());
    let mut def = source.def().clone();
    for field in &mut def.fields {
        field.shape = import_shape(into, &field.shape);
    }
    into.fill(own, def);
    own
}

fn import_shape(into: &mut Schema, shape: &Shape) -> Shape {
    match shape {
        Shape::Ref(id) => Shape::Ref(import(into, *id)),
        Shape::List(inner) => Shape::List(Box::new(import_shape(into, inner))),
        Shape::Map(inner) => Shape::Map(Box::new(import_shape(into, inner))),
        other => other.clone(),
    }
}
