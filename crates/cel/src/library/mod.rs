//! Which functions there are, with which types, since which version: the declarations that the checker resolves calls
//! against. What the functions do stands in [`crate::functions`], what they cost in [`crate::cost`].
//!
//! Upstream counterparts: `cel-go/common/stdlib`, `cel-go/ext`, `k8s.io/apiserver/pkg/cel/library`, and for the versions
//! `k8s.io/apiserver/pkg/cel/environment/base.go`.

mod declare;
mod table;

use std::{collections::HashMap, sync::LazyLock};

use crate::types::Type;

/// One way to call a function.
#[derive(Debug)]
pub(crate) struct Overload {
    pub(crate) id: &'static str,
    pub(crate) member: bool,
    /// The receiver first, if it is a member.
    pub(crate) params: Vec<Type>,
    pub(crate) result: Type,
    /// How many type parameters `params` and `result` mention.
    pub(crate) generics: u32,
    /// First minor version of Kubernetes that has it.
    pub(crate) since: u32,
}

#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) overloads: Vec<Overload>,
}

/// All functions by name.
pub(crate) fn functions() -> &'static HashMap<&'static str, Function> {
    static FUNCTIONS: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
        let mut functions = HashMap::new();
        for (since, text) in table::LIBRARIES {
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                declare::declare(&mut functions, *since, line);
            }
        }
        functions
    });
    &FUNCTIONS
}

pub(crate) fn function(name: &str, version: u32) -> Option<&'static Function> {
    let function = functions().get(name)?;
    function.overloads.iter().any(|overload| overload.since <= version).then_some(function)
}

/// Types that expressions can mention by name.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "duration" | "google.protobuf.Duration" => Type::Duration,
        "dyn" => Type::Dyn,
        "int" => Type::Int,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "null_type" => Type::Null,
        "string" => Type::String,
        "timestamp" | "google.protobuf.Timestamp" => Type::Timestamp,
        "type" => Type::Type(None),
        "uint" => Type::Uint,
        "optional_type" => Type::optional(Type::Dyn),
        "net.IP" | "net.CIDR" => Type::opaque(name),
        "kubernetes.URL"
        | "kubernetes.Quantity"
        | "kubernetes.Semver"
        | "kubernetes.NamedFormat"
        | "kubernetes.authorization.Authorizer"
        | "kubernetes.authorization.PathCheck"
        | "kubernetes.authorization.GroupCheck"
        | "kubernetes.authorization.ResourceCheck"
        | "kubernetes.authorization.Decision" => Type::named(name),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_declaration_is_read() {
        let lines: usize =
            super::table::LIBRARIES.iter().map(|(_, text)| text.lines().filter(|l| !l.trim().is_empty()).count()).sum();
        let declared: usize = super::functions().values().map(|function| function.overloads.len()).sum();
        assert_eq!(declared, lines);
    }
}
