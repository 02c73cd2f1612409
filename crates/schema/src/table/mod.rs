//! The types and fields of kinds, as data.
//!
//! The same structure serves built-in kinds, read once from the committed table, and kinds that come with custom
//! resources, built at run time. It must not decide anything: walkers live beside this module.

mod descriptions;
mod read;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

pub use descriptions::{Descriptions, descriptions};
pub use read::TableError;

/// A name: borrowed from the built-in table, or owned.
pub type Name = Cow<'static, str>;

/// The built-in kinds of v1.36.
pub fn builtin() -> &'static Schema {
    static BUILTIN: LazyLock<Schema> = LazyLock::new(|| {
        // It is compiled in, and `tests::the_committed_table_is_read` reads it: there is no error to handle.
        read::read(include_str!("../../generated/table.txt")).unwrap_or_default()
    });
    &BUILTIN
}

/// A set of types that refer to each other.
#[derive(Debug, Default)]
pub struct Schema {
    types: Vec<TypeDef>,
    by_name: HashMap<Name, TypeId>,
    by_kind: HashMap<Name, Vec<(Name, Name, TypeId)>>,
}

/// Place of a type in its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(u32);

/// A group, version and kind that a type is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    pub group: Name,
    pub version: Name,
    pub kind: Name,
}

impl Kind {
    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// What is known of one type.
#[derive(Debug, Clone)]
pub struct TypeDef {
    /// OpenAPI definition name, e.g. `io.k8s.api.core.v1.PodSpec`.
    pub name: Name,
    pub form: Form,
    pub kinds: Vec<Kind>,
    /// Has `kind` and `apiVersion`, which no protobuf field carries.
    pub type_meta: bool,
    /// Replaced as a whole by server-side apply.
    pub atomic: bool,
    /// Unknown members are kept: custom resources may ask for it.
    pub preserve_unknown: bool,
    /// In the order of upstream's Go structs, inlined fields in the place of the struct they come from.
    pub fields: Vec<Field>,
    wire: Vec<WireEntry>,
}

/// The JSON and protobuf form of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Fields.
    Struct,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Duration,
    /// Any JSON value, carried as bytes: `RawExtension`, `FieldsV1`, `JSON`.
    Raw,
    /// A list of strings, in protobuf inside a message of its own.
    Strings,
    /// A schema or a list of schemas.
    SchemaOrArray,
    /// A schema or a boolean.
    SchemaOrBool,
    /// A schema or a list of strings.
    SchemaOrStrings,
}

/// One field.
#[derive(Debug, Clone)]
pub struct Field {
    /// JSON name.
    pub name: Name,
    /// Protobuf number; 0 when there is none.
    pub number: u32,
    /// Numbers of the messages that the field is inlined from, the outermost first.
    pub outer: Vec<u32>,
    pub shape: Shape,
    pub presence: Presence,
    /// Required in OpenAPI.
    pub required: bool,
    pub list: Option<ListType>,
    /// Map or struct that server-side apply replaces as a whole.
    pub atomic: bool,
    /// Struct that server-side apply merges here although its type is atomic.
    pub granular: bool,
    pub patch: PatchStrategy,
    /// Values that it, or an element of the list, is limited to; empty when it is not.
    pub values: Vec<Name>,
    /// JSON text of the default that the type declares.
    pub default: Option<Name>,
}

/// The type of a field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    Bool,
    Int32,
    Int64,
    Double,
    String,
    Bytes,
    /// Anything: custom resources.
    Any,
    Ref(TypeId),
    List(Box<Shape>),
    Map(Box<Shape>),
}

/// When a field is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Always; an empty list as null.
    Always,
    /// When it is not the zero value.
    NonZero,
    /// When it was set, be it to the zero value.
    Set,
    /// Always, as null when it was not set.
    Nullable,
}

/// How server-side apply treats a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListType {
    Atomic,
    Set,
    Map { keys: Vec<Name> },
}

/// How strategic merge patch treats a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
    pub merge_key: Option<Name>,
}

/// A message's field as it comes on the wire.
#[derive(Debug, Clone)]
pub(crate) struct WireEntry {
    pub(crate) number: u32,
    pub(crate) target: WireTarget,
}

#[derive(Debug, Clone)]
pub(crate) enum WireTarget {
    /// Index into the type's fields.
    Field(usize),
    /// Fields of the type inside a message of their own.
    Inline(Vec<WireEntry>),
}

/// A type together with the schema that resolves what it refers to.
#[derive(Clone, Copy)]
pub struct Type<'s> {
    pub(crate) schema: &'s Schema,
    pub(crate) id: TypeId,
    pub(crate) def: &'s TypeDef,
}

/// What is found at a path: [`Type::at`].
#[derive(Clone, Copy, Debug)]
pub struct Place<'s> {
    pub shape: &'s Shape,
    /// The field whose value or element this is.
    pub field: Option<&'s Field>,
}

// === impl Schema ===

impl Schema {
    /// The type of a kind. Options of requests belong to every group and version.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<Type<'_>> {
        let candidates = self.by_kind.get(kind)?;
        let exact = candidates.iter().find(|(g, v, _)| g == group && v == version);
        let common = || {
            let everywhere = matches!(
                kind,
                "DeleteOptions"
                    | "ListOptions"
                    | "GetOptions"
                    | "CreateOptions"
                    | "UpdateOptions"
                    | "PatchOptions"
                    | "WatchEvent"
            );
            candidates.iter().find(|(g, v, _)| everywhere && g.is_empty() && v == "v1")
        };
        self.by_id(exact.or_else(common)?.2)
    }

    /// The type of a kind, by `apiVersion`.
    pub fn kind_of(&self, api_version: &str, kind: &str) -> Option<Type<'_>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.kind(group, version, kind)
    }

    /// A type by its definition name.
    pub fn named(&self, name: &str) -> Option<Type<'_>> {
        self.by_id(*self.by_name.get(name)?)
    }

    /// Every type, in the order of names for the built-in ones.
    pub fn types(&self) -> impl Iterator<Item = Type<'_>> {
        self.types.iter().zip(0..).map(|(def, id)| Type { schema: self, id: TypeId(id), def })
    }

    /// The type at a place.
    pub fn by_id(&self, id: TypeId) -> Option<Type<'_>> {
        let def = self.types.get(usize::try_from(id.0).ok()?)?;
        Some(Type { schema: self, id, def })
    }

    /// Reserves a type, so that others, or the type itself, can refer to it before it is filled by [`Schema::fill`].
    pub fn reserve(&mut self, name: impl Into<Name>) -> TypeId {
        let name = name.into();
        let id = TypeId(u32::try_from(self.types.len()).unwrap_or(u32::MAX));
        self.by_name.insert(name.clone(), id);
        self.types.push(TypeDef::new(name));
        id
    }

    /// Says what a reserved type is.
    pub fn fill(&mut self, id: TypeId, mut def: TypeDef) {
        def.wire = wire_plan(&def.fields, 0, &(0..def.fields.len()).collect::<Vec<_>>());
        for kind in &def.kinds {
            self.by_kind.entry(kind.kind.clone()).or_default().push((kind.group.clone(), kind.version.clone(), id));
        }
        if let Some(slot) = usize::try_from(id.0).ok().and_then(|index| self.types.get_mut(index)) {
            *slot = def;
        }
    }
}

// === impl TypeDef ===

impl TypeDef {
    /// A struct without fields.
    pub fn new(name: impl Into<Name>) -> Self {
        Self {
            name: name.into(),
            form: Form::Struct,
            kinds: Vec::new(),
            type_meta: false,
            atomic: false,
            preserve_unknown: false,
            fields: Vec::new(),
            wire: Vec::new(),
        }
    }

    /// Index of the field of this JSON name; the search starts at `hint`, because members mostly come in order.
    pub fn position(&self, name: &str, hint: usize) -> Option<usize> {
        let count = self.fields.len();
        let hint = hint.min(count);
        let (before, after) = self.fields.split_at(hint);
        let found = after.iter().position(|field| field.name == name).map(|index| index + hint);
        found.or_else(|| before.iter().position(|field| field.name == name))
    }
}

// === impl Field ===

impl Field {
    /// A field that is printed when it was set.
    pub fn new(name: impl Into<Name>, number: u32, shape: Shape) -> Self {
        Self {
            name: name.into(),
            number,
            outer: Vec::new(),
            shape,
            presence: Presence::Set,
            required: false,
            list: None,
            atomic: false,
            granular: false,
            patch: PatchStrategy::default(),
            values: Vec::new(),
            default: None,
        }
    }

    /// Keys that make an element of a list unique.
    pub fn list_map_keys(&self) -> &[Name] {
        match &self.list {
            Some(ListType::Map { keys }) => keys,
            _ => &[],
        }
    }
}

// === impl Type ===

impl<'s> Type<'s> {
    pub fn name(&self) -> &'s str {
        &self.def.name
    }

    /// `PodSpec` of `io.k8s.api.core.v1.PodSpec`.
    pub fn short_name(&self) -> &'s str {
        self.def.name.rsplit('.').next().unwrap_or(&self.def.name)
    }

    pub fn def(&self) -> &'s TypeDef {
        self.def
    }

    pub fn id(&self) -> TypeId {
        self.id
    }

    pub fn schema(&self) -> &'s Schema {
        self.schema
    }

    pub fn fields(&self) -> &'s [Field] {
        &self.def.fields
    }

    pub fn field(&self, name: &str) -> Option<&'s Field> {
        self.def.fields.iter().find(|field| field.name == name)
    }

    /// The struct, or other named type, that a shape refers to, through lists and maps.
    pub fn element(&self, shape: &Shape) -> Option<Type<'s>> {
        match shape {
            Shape::Ref(id) => self.schema.by_id(*id),
            Shape::List(inner) | Shape::Map(inner) => self.element(inner),
            _ => None,
        }
    }

    /// What stands at a path of field names, map keys and list indexes (or `*`): `["spec", "containers", "0", "name"]`.
    pub fn at(&self, path: &[&str]) -> Option<Place<'s>> {
        let mut owner = Some(*self);
        let mut place: Option<Place<'s>> = None;
        for segment in path {
            place = Some(match place.map(|place| (place.shape, place.field)) {
                Some((Shape::List(inner) | Shape::Map(inner), field)) => Place { shape: inner, field },
                _ => {
                    let field = owner?.field(segment)?;
                    Place { shape: &field.shape, field: Some(field) }
                }
            });
            owner = match place.map(|place| place.shape) {
                Some(Shape::Ref(id)) => self.schema.by_id(*id),
                _ => None,
            };
        }
        place
    }

    pub(crate) fn wire(&self) -> &'s [WireEntry] {
        &self.def.wire
    }
}

impl std::fmt::Debug for Type<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.def.name)
    }
}

impl PartialEq for Type<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.def, other.def)
    }
}

/// Fields in the order of the wire, which is the order of numbers; inlined ones below their message.
fn wire_plan(fields: &[Field], depth: usize, members: &[usize]) -> Vec<WireEntry> {
    let mut entries: Vec<WireEntry> = Vec::new();
    let mut groups: Vec<(u32, Vec<usize>)> = Vec::new();
    for &index in members {
        let Some(field) = fields.get(index) else { continue };
        match field.outer.get(depth) {
            Some(&outer) => match groups.iter_mut().find(|(number, _)| *number == outer) {
                Some((_, group)) => group.push(index),
                None => groups.push((outer, vec![index])),
            },
            None if field.number != 0 => {
                entries.push(WireEntry { number: field.number, target: WireTarget::Field(index) })
            }
            None => {}
        }
    }
    for (number, group) in groups {
        entries.push(WireEntry { number, target: WireTarget::Inline(wire_plan(fields, depth + 1, &group)) });
    }
    entries.sort_by_key(|entry| entry.number);
    entries
}

#[cfg(test)]
mod tests;
