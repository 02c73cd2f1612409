//! Writes the table as text. The reader is `schema::table::read`; the format is explained there.

use super::merge::{Presence, TableType};
use super::proto_crate::Shape;

pub(super) fn table(table: &[TableType]) -> String {
    let mut out = String::new();
    for kind in table {
        out.push_str("type ");
        out.push_str(&kind.name);
        for (group, version, name) in &kind.kinds {
            out.push_str(&format!(" kind={group}/{version}/{name}"));
        }
        if kind.type_meta {
            out.push_str(" meta");
        }
        if let Some(special) = kind.special {
            out.push_str(" as=");
            out.push_str(special);
        }
        if kind.atomic {
            out.push_str(" atomic");
        }
        out.push('\n');
        for field in &kind.fields {
            out.push(' ');
            out.push_str(&field.name);
            out.push(' ');
            for outer in &field.outer {
                out.push_str(&format!("{outer}."));
            }
            out.push_str(&format!("{} ", field.number));
            shape(&field.shape, &mut out);
            out.push(' ');
            out.push(match field.presence {
                Presence::Always => '!',
                Presence::NonZero => '=',
                Presence::Set => '?',
                Presence::Nullable => '*',
            });
            if field.required {
                out.push('r');
            }
            for (marker, word) in [
                ("listType", "list"),
                ("listMapKey", "keys"),
                ("mapType", "map"),
                ("structType", "struct"),
                ("patchStrategy", "patch"),
                ("patchMergeKey", "merge"),
                ("enum", "enum"),
                ("default", "default"),
            ] {
                // Newer types also say by which keys a list is validated to be unique; it stays what it is.
                let map = field.markers.get("listType").is_some_and(|values| values.iter().any(|value| value == "map"));
                if marker == "listMapKey" && !map {
                    continue;
                }
                if let Some(values) = field.markers.get(marker) {
                    out.push_str(&format!(" {word}={}", values.join(",")));
                }
            }
            out.push('\n');
        }
    }
    out
}

fn shape(shape: &Shape, out: &mut String) {
    match shape {
        Shape::Bool => out.push_str("bool"),
        Shape::Int32 => out.push_str("int32"),
        Shape::Int64 => out.push_str("int64"),
        Shape::Double => out.push_str("double"),
        Shape::String => out.push_str("string"),
        Shape::Bytes => out.push_str("bytes"),
        Shape::Message(package, name) => {
            out.push_str(package);
            out.push('.');
            out.push_str(name);
        }
        Shape::List(inner) => {
            out.push_str("[]");
            self::shape(inner, out);
        }
        Shape::Map(inner) => {
            out.push_str("{}");
            self::shape(inner, out);
        }
    }
}

pub(super) fn descriptions(table: &[TableType]) -> String {
    let mut out = String::new();
    for kind in table {
        out.push_str(&format!("{}\t{}\n", kind.name, escape(&kind.description)));
        for field in &kind.fields {
            if !field.description.is_empty() {
                out.push_str(&format!("\t{}\t{}\n", field.name, escape(&field.description)));
            }
        }
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}
