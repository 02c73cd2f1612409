//! Types for tests, made at run time as those of custom kinds are.

use schema::{
    Field, Limits, Node, Schema, Shape,
    table::{ListType, TypeDef, TypeId},
};

use crate::typed::TypeRef;

/// A type with one field of each sort, in a schema that lives as long as the process.
pub(crate) fn grab_bag() -> TypeRef<'static> {
    let mut schema = Schema::default();
    let (root, element, inner) = (schema.reserve("bag"), schema.reserve("element"), schema.reserve("inner"));
    let list = |of: Shape, list: ListType, name: &'static str| Field {
        list: Some(list),
        ..Field::new(name, 0, Shape::List(Box::new(of)))
    };
    let keys = |names: &[&'static str]| ListType::Map { keys: names.iter().map(|name| (*name).into()).collect() };
    let map = |name: &'static str, of: Shape| Field::new(name, 0, Shape::Map(Box::new(of)));
    fill(&mut schema, inner, vec![Field::new("name", 0, Shape::String), Field::new("value", 0, Shape::Int64)]);
    fill(
        &mut schema,
        element,
        vec![
            Field::new("key", 0, Shape::String),
            Field::new("id", 0, Shape::Double),
            Field { default: Some("\"TCP\"".into()), ..Field::new("protocol", 0, Shape::String) },
            map("value", Shape::String),
            Field::new("bv", 0, Shape::Bool),
            Field::new("nv", 0, Shape::Double),
            list(Shape::String, ListType::Set, "set"),
        ],
    );
    fill(
        &mut schema,
        root,
        vec![
            Field::new("numeric", 0, Shape::Double),
            Field::new("string", 0, Shape::String),
            Field::new("bool", 0, Shape::Bool),
            Field::new("any", 0, Shape::Any),
            Field::new("inner", 0, Shape::Ref(inner)),
            Field { atomic: true, ..Field::new("atomicInner", 0, Shape::Ref(inner)) },
            map("map", Shape::String),
            Field { atomic: true, ..map("atomicMap", Shape::String) },
            map("mapOfMaps", Shape::Map(Box::new(Shape::String))),
            list(Shape::String, ListType::Set, "setStr"),
            list(Shape::Bool, ListType::Set, "setBool"),
            list(Shape::Double, ListType::Set, "setNumeric"),
            list(Shape::Ref(element), keys(&["key", "id"]), "list"),
            list(Shape::Ref(element), keys(&["key", "protocol"]), "ports"),
            list(Shape::String, ListType::Atomic, "atomicList"),
        ],
    );
    let schema: &'static Schema = Box::leak(Box::new(schema));
    TypeRef::Named(schema.by_id(root).unwrap())
}

fn fill(schema: &mut Schema, id: TypeId, fields: Vec<Field>) {
    let name = schema.by_id(id).unwrap().name().to_owned();
    let mut def = TypeDef::new(name);
    def.fields = fields;
    schema.fill(id, def);
}

pub(crate) fn json(text: &str) -> Node<'static> {
    schema::json::parse(text.as_bytes(), &Limits::default()).unwrap().into_owned()
}

pub(crate) fn text(node: &Node<'_>) -> String {
    String::from_utf8(node.to_json()).unwrap()
}
