//! Expressions in objects, checked when the object is written: those of device selectors and of admission.
//!
//! What an expression means is the business of whoever runs it. Upstream: the compilers that validation calls.

use apimachinery::field::{ErrorList, Path};

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

/// Of a device class or request.
pub(crate) fn device_selector(expression: &str, path: &Path, errors: &mut ErrorList) {
    if expression.trim().is_empty() {
        errors.invalid(path, expression, "expression is not specified");
    }
}
