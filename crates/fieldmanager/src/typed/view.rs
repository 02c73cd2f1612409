//! What a type allows its values to be, and the members of two values side by side.
//!
//! Upstream: `schema.Atom`, `typed/helpers.go`, and `kube-openapi/pkg/schemaconv` for how OpenAPI becomes this.

use std::{borrow::Cow, cmp::Ordering};

use schema::{
    Node,
    json::Object,
    table::{Field, Form, ListType, Name, Presence, Schema, Shape, Type},
};

use super::{Invalid, TypeRef};
use crate::element::PathElement;

/// The forms a value may have; more than one only where nothing is known.
#[derive(Clone, Copy, Debug)]
pub struct Atom<'s> {
    pub scalar: Option<Scalar>,
    pub list: Option<ListView<'s>>,
    pub map: Option<MapView<'s>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Numeric,
    String,
    Boolean,
    Untyped,
}

#[derive(Clone, Copy, Debug)]
pub struct ListView<'s> {
    pub element: TypeRef<'s>,
    pub relation: Relation<'s>,
}

/// What the elements of a list are to each other.
#[derive(Clone, Copy, Debug)]
pub enum Relation<'s> {
    /// The list is one piece.
    Atomic,
    /// Elements are scalars, each once.
    Set,
    /// Elements are structs, each key once.
    Keyed(&'s [Name]),
}

#[derive(Clone, Copy, Debug)]
pub struct MapView<'s> {
    /// Where the fields are.
    pub fields: Option<Type<'s>>,
    /// The type of members that are no fields; none: there are no others.
    pub element: Option<TypeRef<'s>>,
    pub atomic: bool,
}

impl<'s> TypeRef<'s> {
    /// What the type is.
    pub fn resolve(self) -> Atom<'s> {
        match self {
            Self::Deduced => DEDUCED,
            Self::Text => scalar(Scalar::String),
            Self::Named(kind) => named(kind, None),
            Self::Shape { schema, shape, field } => match shape {
                Shape::Bool => scalar(Scalar::Boolean),
                Shape::Int32 | Shape::Int64 | Shape::Double => scalar(Scalar::Numeric),
                Shape::String | Shape::Bytes => scalar(Scalar::String),
                Shape::Any => DEDUCED,
                Shape::Ref(id) => match schema.by_id(*id) {
                    Some(kind) => named(kind, field),
                    None => DEDUCED,
                },
                Shape::List(inner) => {
                    let element = TypeRef::Shape { schema, shape: inner, field: None };
                    let relation = field.map_or(Relation::Atomic, relation);
                    Atom { scalar: None, list: Some(ListView { element, relation }), map: None }
                }
                Shape::Map(inner) => {
                    let element = TypeRef::Shape { schema, shape: inner, field: None };
                    let atomic = field.is_some_and(|field| field.atomic);
                    Atom {
                        scalar: None,
                        list: None,
                        map: Some(MapView { fields: None, element: Some(element), atomic }),
                    }
                }
            },
        }
    }
}

const DEDUCED: Atom<'static> = Atom {
    scalar: Some(Scalar::Untyped),
    list: Some(ListView { element: TypeRef::Deduced, relation: Relation::Atomic }),
    map: Some(MapView { fields: None, element: Some(TypeRef::Deduced), atomic: false }),
};

fn scalar<'s>(scalar: Scalar) -> Atom<'s> {
    Atom { scalar: Some(scalar), list: None, map: None }
}

fn named<'s>(kind: Type<'s>, field: Option<&'s Field>) -> Atom<'s> {
    let def = kind.def();
    match def.form {
        Form::Quantity | Form::IntOrString => scalar(Scalar::Untyped),
        Form::Time | Form::MicroTime | Form::Duration => scalar(Scalar::String),
        Form::Raw | Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => DEDUCED,
        Form::Strings => Atom {
            list: Some(ListView { element: TypeRef::Text, relation: Relation::Atomic }),
            scalar: None,
            map: None,
        },
        Form::Struct => {
            let granular = field.is_some_and(|field| field.granular);
            let atomic = field.is_some_and(|field| field.atomic) || (def.atomic && !granular);
            let element = def.preserve_unknown.then_some(TypeRef::Deduced);
            Atom { scalar: None, list: None, map: Some(MapView { fields: Some(kind), element, atomic }) }
        }
    }
}

/// Upstream: `schemaconv.getListElementRelationship`.
fn relation(field: &Field) -> Relation<'_> {
    match &field.list {
        Some(ListType::Atomic) => Relation::Atomic,
        Some(ListType::Set) => Relation::Set,
        Some(ListType::Map { keys }) => Relation::Keyed(keys),
        None if field.patch.merge => match &field.patch.merge_key {
            Some(key) => Relation::Keyed(std::slice::from_ref(key)),
            None => Relation::Set,
        },
        None => Relation::Atomic,
    }
}

impl<'s> Atom<'s> {
    /// Only the form that the value has, where it has one of those allowed.
    pub fn deduced(self, value: Option<&Node<'_>>) -> Self {
        let none = Self { scalar: None, list: None, map: None };
        match value {
            Some(Node::Bool(_) | Node::Number(_) | Node::String(_)) if self.scalar.is_some() => {
                Self { scalar: self.scalar, ..none }
            }
            Some(Node::Array(_)) if self.list.is_some() => Self { list: self.list, ..none },
            Some(Node::Object(_)) if self.map.is_some() => Self { map: self.map, ..none },
            _ => self,
        }
    }

    /// Whether both, of the same type, came down to the same forms.
    pub fn is_like(self, other: Self) -> bool {
        self.scalar.is_some() == other.scalar.is_some()
            && self.list.is_some() == other.list.is_some()
            && self.map.is_some() == other.map.is_some()
    }
}

impl<'s> MapView<'s> {
    /// The type of a declared field.
    pub fn field(self, name: &str) -> Option<TypeRef<'s>> {
        let kind = self.fields?;
        match kind.field(name) {
            Some(field) => Some(of_member(kind, field)),
            None if kind.def().type_meta && matches!(name, "apiVersion" | "kind") => Some(TypeRef::Text),
            None => None,
        }
    }
}

/// The metadata of custom kinds is that of all kinds, whatever their schema says of it.
fn of_member<'s>(kind: Type<'s>, field: &'s Field) -> TypeRef<'s> {
    if kind.def().type_meta
        && field.name == "metadata"
        && matches!(field.shape, Shape::Any)
        && let Some(metadata) = schema::builtin().named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
    {
        return TypeRef::Named(metadata);
    }
    TypeRef::Shape { schema: kind.schema(), shape: &field.shape, field: Some(field) }
}

// === what Go prints for fields that nobody set ===

static NULL: Node<'static> = Node::Null;
static FALSE: Node<'static> = Node::Bool(false);
static ZERO: Node<'static> = Node::Number(Cow::Borrowed("0"));
static EMPTY: Node<'static> = Node::String(Cow::Borrowed(""));
static ZERO_QUANTITY: Node<'static> = Node::String(Cow::Borrowed("0"));
static ZERO_DURATION: Node<'static> = Node::String(Cow::Borrowed("0s"));
pub(crate) static NO_MEMBERS: Node<'static> = Node::Object(Object(Vec::new()));

fn zero(schema: &Schema, shape: &Shape) -> &'static Node<'static> {
    match shape {
        Shape::Bool => &FALSE,
        Shape::Int32 | Shape::Int64 | Shape::Double => &ZERO,
        Shape::String => &EMPTY,
        Shape::Bytes | Shape::Any | Shape::List(_) | Shape::Map(_) => &NULL,
        Shape::Ref(id) => match schema.by_id(*id).map(|kind| kind.def().form) {
            Some(Form::Quantity) => &ZERO_QUANTITY,
            Some(Form::IntOrString) => &ZERO,
            Some(Form::Duration) => &ZERO_DURATION,
            Some(Form::SchemaOrBool) => &FALSE,
            Some(Form::Struct) => &NO_MEMBERS,
            _ => &NULL,
        },
    }
}

/// Go's `omitempty`.
fn is_zero(node: &Node<'_>) -> bool {
    match node {
        Node::Null | Node::Bool(false) => true,
        Node::Bool(true) => false,
        Node::Number(text) => text == "0" || text.parse::<f64>().is_ok_and(|value| value == 0.0),
        Node::String(text) => text.is_empty(),
        Node::Array(items) => items.is_empty(),
        Node::Object(object) => object.is_empty(),
    }
}

/// What a struct's field has, as Go would print it.
fn printed<'n, 'a>(schema: &Schema, field: &Field, value: Option<&'n Node<'a>>) -> Option<&'n Node<'a>> {
    match (field.presence, value) {
        (Presence::NonZero, Some(value)) => (!is_zero(value) || is_struct(schema, &field.shape)).then_some(value),
        (Presence::Set, Some(Node::Null)) => None,
        (Presence::NonZero | Presence::Set, None) => None,
        (Presence::Always, Some(Node::Null) | None) => Some(shorter(zero(schema, &field.shape))),
        (Presence::Nullable, None) => Some(shorter(&NULL)),
        (_, Some(value)) => Some(value),
    }
}

/// A static tree is a tree of any lifetime.
fn shorter<'n, 'a>(node: &'static Node<'static>) -> &'n Node<'a> {
    node
}

/// Go never leaves out a struct for being empty.
fn is_struct(schema: &Schema, shape: &Shape) -> bool {
    match shape {
        Shape::Ref(id) => schema.by_id(*id).is_some_and(|kind| kind.def().form == Form::Struct),
        _ => false,
    }
}

// === members and elements ===

/// How the members of two values are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Members {
    pub(crate) left_literal: bool,
    pub(crate) right_literal: bool,
}

type Pair<'n, 'a, 'b> = (Option<&'n Node<'a>>, Option<&'n Node<'b>>);

impl Members {
    /// Calls for every member that one of the values has, once, with its type.
    pub(crate) fn zip<'n, 'a, 'b, 's>(
        self,
        map: MapView<'s>,
        left: Option<&'n Object<'a>>,
        right: Option<&'n Object<'b>>,
        mut visit: impl FnMut(Member<'n, 's>, Pair<'n, 'a, 'b>) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        let Some(kind) = map.fields else {
            return zip_lists(entries(left), entries(right), |name, pair| {
                visit(Member { name: MemberName::Key(name), kind: map.element, declared: false }, pair)
            });
        };
        let def = kind.def();
        let mut slots: Vec<Pair<'n, 'a, 'b>> = vec![(None, None); def.fields.len()];
        let (mut other_left, mut other_right) = (Vec::new(), Vec::new());
        sort_out(left, def, |index, value| slots.get_mut(index).map(|slot| slot.0 = Some(value)), &mut other_left);
        sort_out(right, def, |index, value| slots.get_mut(index).map(|slot| slot.1 = Some(value)), &mut other_right);
        for (field, (own_left, own_right)) in def.fields.iter().zip(slots) {
            let schema = kind.schema();
            let pair = (
                left.and_then(|_| if self.left_literal { own_left } else { printed(schema, field, own_left) }),
                right.and_then(|_| if self.right_literal { own_right } else { printed(schema, field, own_right) }),
            );
            if pair.0.is_some() || pair.1.is_some() {
                let member =
                    Member { name: MemberName::Field(&field.name), kind: Some(of_member(kind, field)), declared: true };
                visit(member, pair)?;
            }
        }
        if other_left.is_empty() && other_right.is_empty() {
            return Ok(());
        }
        zip_lists(other_left, other_right, |name, pair| {
            let text = def.type_meta && matches!(name, "apiVersion" | "kind");
            let kind = if text { Some(TypeRef::Text) } else { map.element };
            visit(Member { name: MemberName::Key(name), kind, declared: text }, pair)
        })
    }

    /// Whether a value has no member at all.
    pub(crate) fn is_empty(map: MapView<'_>, object: Option<&Object<'_>>, literal: bool) -> bool {
        let Some(object) = object else { return true };
        let Some(kind) = map.fields.filter(|_| !literal) else { return object.is_empty() };
        let def = kind.def();
        if def.fields.iter().any(|field| matches!(field.presence, Presence::Always | Presence::Nullable)) {
            return false;
        }
        object.0.iter().all(|(name, value)| {
            let field = def.fields.iter().find(|field| field.name == *name);
            field.is_some_and(|field| printed(kind.schema(), field, Some(value)).is_none())
        })
    }
}

/// A member that is visited.
#[derive(Clone, Copy)]
pub(crate) struct Member<'n, 's> {
    name: MemberName<'n, 's>,
    /// None: no such member is known.
    pub(crate) kind: Option<TypeRef<'s>>,
    /// It is a field of a struct.
    pub(crate) declared: bool,
}

#[derive(Clone, Copy)]
enum MemberName<'n, 's> {
    Field(&'s Name),
    Key(&'n str),
}

impl<'n, 's> Member<'n, 's> {
    /// The step to it. Names of built-in fields are not copied.
    pub(crate) fn element(&self) -> PathElement {
        PathElement::Field(match self.name {
            MemberName::Field(Cow::Borrowed(name)) => Cow::Borrowed(*name),
            MemberName::Field(Cow::Owned(name)) => Cow::Owned(name.clone()),
            MemberName::Key(name) => Cow::Owned(name.to_owned()),
        })
    }

    pub(crate) fn name(&self) -> &str {
        match self.name {
            MemberName::Field(name) => name,
            MemberName::Key(name) => name,
        }
    }

    /// Its type, or that nothing is known.
    pub(crate) fn kind_or_any(&self) -> TypeRef<'s> {
        self.kind.unwrap_or(TypeRef::Deduced)
    }
}

type Entry<'n, 'a> = (&'n str, &'n Node<'a>);

fn sort_out<'n, 'a>(
    object: Option<&'n Object<'a>>,
    def: &schema::table::TypeDef,
    mut put: impl FnMut(usize, &'n Node<'a>) -> Option<()>,
    others: &mut Vec<Entry<'n, 'a>>,
) {
    let mut hint = 0;
    for (name, value) in object.iter().flat_map(|object| &object.0) {
        match def.position(name, hint) {
            Some(index) => {
                hint = index + 1;
                put(index, value);
            }
            None => others.push((name, value)),
        }
    }
}

fn entries<'n, 'a>(object: Option<&'n Object<'a>>) -> Vec<Entry<'n, 'a>> {
    object.iter().flat_map(|object| &object.0).map(|(name, value)| (name.as_ref(), value)).collect()
}

fn zip_lists<'n, 'a, 'b>(
    mut left: Vec<Entry<'n, 'a>>,
    mut right: Vec<Entry<'n, 'b>>,
    mut visit: impl FnMut(&'n str, Pair<'n, 'a, 'b>) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    // Maps are mostly sorted already; of equal keys the last counts.
    sort(&mut left);
    sort(&mut right);
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some((left, _)), Some((right, _))) => left.cmp(right),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return Ok(()),
        };
        let own_left = if order.is_le() { left.next() } else { None };
        let own_right = if order.is_ge() { right.next() } else { None };
        let Some(name) = own_left.map(|(name, _)| name).or(own_right.map(|(name, _)| name)) else { return Ok(()) };
        visit(name, (own_left.map(|(_, value)| value), own_right.map(|(_, value)| value)))?;
    }
}

fn sort(entries: &mut Vec<Entry<'_, '_>>) {
    if entries.is_sorted_by(|(left, _), (right, _)| left < right) {
        return;
    }
    entries.reverse();
    entries.sort_by_key(|(name, _)| *name);
    entries.dedup_by_key(|(name, _)| *name);
}

/// The steps to a list's elements.
pub(crate) fn list_items<'n, 'a>(
    list: ListView<'_>,
    items: &'n [Node<'a>],
    literal: bool,
) -> Result<Vec<(PathElement, &'n Node<'a>)>, Invalid> {
    let element = |(index, item): (usize, &'n Node<'a>)| {
        let element =
            item_element(list, item, literal).map_err(|message| Invalid::new(format!("element {index}: {message}")))?;
        Ok((element, item))
    };
    items.iter().enumerate().map(element).collect()
}

/// The step to one element of an associative list. Upstream: `listItemToPathElement`.
pub(crate) fn item_element(list: ListView<'_>, item: &Node<'_>, literal: bool) -> Result<PathElement, String> {
    match list.relation {
        Relation::Atomic => Err("invalid indexing of non-associative list".to_owned()),
        Relation::Set => match item {
            Node::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
            Node::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
            Node::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
            scalar => Ok(PathElement::Value(scalar.clone().into_value())),
        },
        Relation::Keyed(names) => {
            let object = match item {
                Node::Object(object) => object,
                Node::Null => return Err("associative list with keys may not have a null element".to_owned()),
                _ => return Err("associative list with keys may not have non-map elements".to_owned()),
            };
            let map = list.element.resolve().map;
            let kind = map.and_then(|map| map.fields);
            let mut keys = Vec::with_capacity(names.len());
            for name in names {
                let field = kind.and_then(|kind| kind.field(name));
                let given = object.get(name);
                let value = match (kind, field) {
                    (Some(kind), Some(field)) if !literal => printed(kind.schema(), field, given),
                    _ => given,
                };
                let default = || field?.default.as_deref().and_then(|default| serde_json::from_str(default).ok());
                if let Some(value) = value.map(|value| value.clone().into_value()).or_else(default) {
                    keys.push((borrowed(name), value));
                }
            }
            if keys.is_empty() && !names.is_empty() {
                let quoted: Vec<String> = names.iter().map(|name| apimachinery::field::go_quote(name)).collect();
                return Err(format!(
                    "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                    quoted.join(" ")
                ));
            }
            keys.sort_by(|(left, _): &(Name, _), (right, _)| left.cmp(right));
            Ok(PathElement::Key(keys))
        }
    }
}

/// Names of built-in fields are not copied.
fn borrowed(name: &Name) -> Name {
    match name {
        Cow::Borrowed(name) => Cow::Borrowed(*name),
        Cow::Owned(name) => Cow::Owned(name.clone()),
    }
}
