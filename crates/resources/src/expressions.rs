//! Expressions in objects, compiled when the object is written, so that mistakes are found by who makes them.
//!
//! What an expression means is the business of whoever runs it. Upstream: the compilers that validation calls.

use std::sync::LazyLock;

use apimachinery::field::{ErrorList, Path};
use cel::{Env, Mode, Type};

use crate::check::Report;

/// Words that no variable may be called.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Whether a variable may have this name.
pub(crate) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !RESERVED.contains(&name)
}

/// Of a device class or request. Upstream: `k8s.io/dynamic-resource-allocation/cel`.
pub(crate) fn device_selector(expression: &str, path: &Path, errors: &mut ErrorList) {
    static DEVICE: LazyLock<Env> = LazyLock::new(|| {
        let by_domain = |value: Type| Type::map(Type::String, Type::map(Type::String, value));
        let device = Type::object(
            "kubernetes.DRADevice",
            [
                ("driver", Type::String),
                ("attributes", by_domain(Type::Dyn)),
                ("capacity", by_domain(Type::named("kubernetes.Quantity"))),
                ("allowMultipleAllocations", Type::Bool),
            ],
        );
        Env::new(Mode::NewExpressions).with("device", device)
    });
    if let Err(why) = cel::admission::compile(&DEVICE, expression, &[Type::Bool, Type::Dyn]) {
        errors.invalid(path, expression, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_selectors_know_devices() {
        let check = |expression: &str| {
            let mut errors = ErrorList::default();
            device_selector(expression, &Path::new("e"), &mut errors);
            errors.is_empty()
        };
        assert!(check(r#"device.driver == "gpu.example.com" && device.attributes["gpu.example.com"].model == "a""#));
        assert!(check(r#"device.capacity["d"].memory.compareTo(quantity("1Gi")) >= 0"#));
        assert!(!check("device.nothing == 1"));
        assert!(!check("device.driver"), "no bool");
        assert!(!check(""));
    }
}
