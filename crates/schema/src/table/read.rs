//! Reads the committed table. Its format, one type or field a line:
//!
//! ```text
//! type NAME [kind=GROUP/VERSION/KIND]… [meta] [as=FORM] [atomic]
//!  FIELD NUMBER SHAPE PRESENCE[r] [list=TYPE] [keys=A,B] [map=atomic|granular] [struct=atomic|granular] [patch=A,B] [merge=KEY] [enum=A,B] [default=JSON]
//! ```
//! NUMBER is `3`, or `2.1` for field 1 of the message 2 that is inlined. SHAPE is a scalar, a type's name, `[]SHAPE` or
//! `{}SHAPE`. In an enum `_` is a space and `""` is empty. PRESENCE is `!` always, `=` when not zero, `?` when set, `*` always or null; `r` means required.

use std::borrow::Cow;

use super::{Field, Form, Kind, ListType, Name, PatchStrategy, Presence, Schema, Shape, TypeDef, TypeId};

/// What is wrong with a table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("schema table, line {line}: {problem}")]
pub struct TableError {
    pub line: usize,
    pub problem: &'static str,
}

pub(super) fn read(text: &'static str) -> Result<Schema, TableError> {
    let mut schema = Schema::default();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("type ").and_then(|rest| rest.split(' ').next()) {
            schema.reserve(name);
        }
    }
    let mut current: Option<(TypeId, TypeDef)> = None;
    for (index, line) in text.lines().enumerate() {
        let at = |problem| TableError { line: index + 1, problem };
        if let Some(head) = line.strip_prefix("type ") {
            if let Some((id, def)) = current.take() {
                schema.fill(id, def);
            }
            let def = read_type(head).map_err(at)?;
            let id = schema.by_name.get(&def.name).copied().ok_or(at("unknown type"))?;
            current = Some((id, def));
        } else if let Some(rest) = line.strip_prefix(' ') {
            let field = read_field(rest, &schema).map_err(at)?;
            current.as_mut().ok_or(at("field without type"))?.1.fields.push(field);
        } else if !line.starts_with('#') && !line.is_empty() {
            return Err(at("neither type nor field"));
        }
    }
    if let Some((id, def)) = current {
        schema.fill(id, def);
    }
    Ok(schema)
}

fn read_type(head: &'static str) -> Result<TypeDef, &'static str> {
    let mut words = head.split(' ');
    let mut def = TypeDef::new(words.next().ok_or("no name")?);
    for word in words {
        if let Some(kind) = word.strip_prefix("kind=") {
            let mut parts = kind.splitn(3, '/').map(Cow::Borrowed);
            let mut part = || parts.next().ok_or("kind has three parts");
            def.kinds.push(Kind { group: part()?, version: part()?, kind: part()? });
        } else if let Some(form) = word.strip_prefix("as=") {
            def.form = match form {
                "quantity" => Form::Quantity,
                "int-or-string" => Form::IntOrString,
                "time" => Form::Time,
                "micro-time" => Form::MicroTime,
                "duration" => Form::Duration,
                "raw" => Form::Raw,
                "strings" => Form::Strings,
                "schema-or-array" => Form::SchemaOrArray,
                "schema-or-bool" => Form::SchemaOrBool,
                "schema-or-strings" => Form::SchemaOrStrings,
                _ => return Err("unknown form"),
            };
        } else {
            match word {
                "meta" => def.type_meta = true,
                "atomic" => def.atomic = true,
                _ => return Err("unknown word of a type"),
            }
        }
    }
    Ok(def)
}

fn read_field(rest: &'static str, schema: &Schema) -> Result<Field, &'static str> {
    // A default may contain spaces and is the last word.
    let (rest, default) = match rest.split_once(" default=") {
        Some((rest, default)) => (rest, Some(Cow::Borrowed(default))),
        None => (rest, None),
    };
    let mut words = rest.split(' ');
    let name = words.next().ok_or("no name")?;
    let numbers = words.next().ok_or("no number")?;
    let mut outer = numbers
        .split('.')
        .map(|number| number.parse::<u32>().map_err(|_| "bad number"))
        .collect::<Result<Vec<_>, _>>()?;
    let number = outer.pop().ok_or("no number")?;
    let shape = read_shape(words.next().ok_or("no shape")?, schema)?;
    let flags = words.next().ok_or("no presence")?;
    let presence = match flags.chars().next() {
        Some('!') => Presence::Always,
        Some('=') => Presence::NonZero,
        Some('?') => Presence::Set,
        Some('*') => Presence::Nullable,
        _ => return Err("unknown presence"),
    };
    let mut field =
        Field { outer, presence, required: flags.ends_with('r'), default, ..Field::new(name, number, shape) };
    for word in words {
        match word.split_once('=').ok_or("unknown word of a field")? {
            ("list", "atomic") => field.list = Some(ListType::Atomic),
            ("list", "set") => field.list = Some(ListType::Set),
            ("list", "map") => field.list = Some(ListType::Map { keys: Vec::new() }),
            ("keys", keys) => field.list = Some(ListType::Map { keys: keys.split(',').map(Name::Borrowed).collect() }),
            ("map" | "struct", "atomic") => field.atomic = true,
            ("map" | "struct", "granular") => field.granular = true,
            ("patch", strategies) => field.patch = read_patch(strategies, field.patch.merge_key.take())?,
            ("enum", values) => field.values = values.split(',').map(read_value).collect(),
            ("merge", key) => field.patch.merge_key = Some(Cow::Borrowed(key)),
            _ => return Err("unknown word of a field"),
        }
    }
    Ok(field)
}

fn read_value(word: &'static str) -> Name {
    match word {
        "\"\"" => Cow::Borrowed(""),
        word if word.contains('_') => Cow::Owned(word.replace('_', " ")),
        word => Cow::Borrowed(word),
    }
}

fn read_patch(strategies: &str, merge_key: Option<Name>) -> Result<PatchStrategy, &'static str> {
    let mut patch = PatchStrategy { merge_key, ..PatchStrategy::default() };
    for strategy in strategies.split(',') {
        match strategy {
            "merge" => patch.merge = true,
            "replace" => patch.replace = true,
            "retainKeys" => patch.retain_keys = true,
            _ => return Err("unknown patch strategy"),
        }
    }
    Ok(patch)
}

fn read_shape(word: &str, schema: &Schema) -> Result<Shape, &'static str> {
    if let Some(inner) = word.strip_prefix("[]") {
        return Ok(Shape::List(Box::new(read_shape(inner, schema)?)));
    }
    if let Some(inner) = word.strip_prefix("{}") {
        return Ok(Shape::Map(Box::new(read_shape(inner, schema)?)));
    }
    Ok(match word {
        "bool" => Shape::Bool,
        "int32" => Shape::Int32,
        "int64" => Shape::Int64,
        "double" => Shape::Double,
        "string" => Shape::String,
        "bytes" => Shape::Bytes,
        name => Shape::Ref(schema.by_name.get(name).copied().ok_or("unknown type of a field")?),
    })
}
