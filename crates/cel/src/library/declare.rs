//! Reads a line of the table: `name | overload id | (parameters) result`, or `receiver.(parameters) result`.

use std::collections::HashMap;

use super::{Function, Overload};
use crate::types::Type;

pub(super) fn declare(functions: &mut HashMap<&'static str, Function>, since: u32, line: &'static str) {
    let mut parts = line.split(" | ");
    let (Some(name), Some(id), Some(signature)) = (parts.next(), parts.next(), parts.next()) else { return };
    let mut reader = Reader { rest: signature, generics: 0 };
    let mut params = Vec::new();
    let member = !reader.rest.starts_with('(');
    if member {
        params.push(reader.ty());
        reader.skip(".");
    }
    reader.skip("(");
    while !reader.rest.starts_with(')') && !reader.rest.is_empty() {
        params.push(reader.ty());
        reader.skip(", ");
    }
    reader.skip(") ");
    let result = reader.ty();
    let overload = Overload { id, member, params, result, generics: reader.generics, since };
    functions.entry(name).or_insert_with(|| Function { name, overloads: Vec::new() }).overloads.push(overload);
}

struct Reader {
    rest: &'static str,
    generics: u32,
}

impl Reader {
    fn skip(&mut self, text: &str) {
        self.rest = self.rest.strip_prefix(text).unwrap_or(self.rest);
    }

    fn ty(&mut self) -> Type {
        let length = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        match word {
            "A" => self.generic(0),
            "B" => self.generic(1),
            "list" => self.inside(|reader| Type::list(reader.ty())),
            "opt" => self.inside(|reader| Type::optional(reader.ty())),
            "type" => self.inside(|reader| Type::type_of(reader.ty())),
            "map" => self.inside(|reader| {
                let key = reader.ty();
                reader.skip(", ");
                Type::map(key, reader.ty())
            }),
            "IP" => Type::opaque("net.IP"),
            "CIDR" => Type::opaque("net.CIDR"),
            "URL" | "Quantity" | "Semver" => Type::named(&format!("kubernetes.{word}")),
            "Format" => Type::named("kubernetes.NamedFormat"),
            "Authorizer" | "PathCheck" | "GroupCheck" | "ResourceCheck" | "Decision" => {
                Type::named(&format!("kubernetes.authorization.{word}"))
            }
            _ => super::type_named(word).unwrap_or(Type::Error),
        }
    }

    fn generic(&mut self, id: u32) -> Type {
        self.generics = self.generics.max(id + 1);
        Type::Param(id)
    }

    fn inside(&mut self, read: impl FnOnce(&mut Self) -> Type) -> Type {
        self.skip("<");
        let ty = read(self);
        self.skip(">");
        ty
    }
}
