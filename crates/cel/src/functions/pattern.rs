//! Regular expressions. `regex` has RE2's syntax and guarantees; what Go accepts beside is rewritten.

use regex::{Regex, RegexBuilder};

use super::{Args, Out};
use crate::{error::EvalError, value::Value};

/// Bytes that a compiled pattern may take.
const SIZE_LIMIT: usize = 1 << 20;
const NEST_LIMIT: u32 = 200;

pub(crate) fn compile(pattern: &str) -> Result<Regex, EvalError> {
    RegexBuilder::new(&translate(pattern))
        .size_limit(SIZE_LIMIT)
        .dfa_size_limit(SIZE_LIMIT)
        .nest_limit(NEST_LIMIT)
        .build()
        .map_err(|error| {
            let reason = match error {
                regex::Error::CompiledTooBig(_) => "expression too large",
                _ => "invalid syntax",
            };
            EvalError::text(format!("error parsing regexp: {reason}: `{pattern}`"))
        })
}

/// RE2's `\d`, `\w`, `\s`, `\b` are ASCII, the crate's are Unicode; `\Q…\E` and `\C` it has not.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    let mut class = 0_u32;
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str("[0-9A-Za-z_]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') => out.push_str("[\\t\\n\\f\\r ]"),
                Some('S') => out.push_str("[^\\t\\n\\f\\r ]"),
                Some('b') if class == 0 => out.push_str("(?-u:\\b)"),
                Some('B') if class == 0 => out.push_str("(?-u:\\B)"),
                Some('Q') => {
                    let mut quoted = String::new();
                    while let Some(char) = chars.next() {
                        if char == '\\' && chars.peek() == Some(&'E') {
                            chars.next();
                            break;
                        }
                        quoted.push(char);
                    }
                    out.push_str(&regex::escape(&quoted));
                }
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => out.push('\\'),
            },
            '[' if class > 0 && chars.peek() != Some(&':') => out.push_str("\\["),
            '[' => {
                class += 1;
                out.push('[');
                if class == 1 {
                    if chars.peek() == Some(&'^') {
                        chars.next();
                        out.push('^');
                    }
                    // A bracket in the first place stands for itself.
                    if chars.peek() == Some(&']') {
                        chars.next();
                        out.push_str("\\]");
                    }
                }
            }
            ']' if class > 0 => {
                class -= 1;
                out.push(']');
            }
            // Set operations are the crate's own.
            '&' | '~' | '-' if class > 0 && chars.peek() == Some(&char) => {
                out.push('\\');
                out.push(char);
            }
            other => out.push(other),
        }
    }
    out
}

fn with<T>(args: &Args<'_, '_>, pattern: &str, use_it: impl FnOnce(&Regex) -> T) -> Result<T, EvalError> {
    match args.pattern {
        Some(regex) => Ok(use_it(regex)),
        None => compile(pattern).map(|regex| use_it(&regex)),
    }
}

pub(super) fn matches<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let (text, pattern) = (args.string(0)?, args.string(1)?);
    with(args, &pattern, |regex| Value::Bool(regex.is_match(&text)))
}

fn illegal(error: EvalError) -> EvalError {
    EvalError::text(format!("Illegal regex: {error}"))
}

pub(super) fn find<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let (text, pattern) = (args.string(0)?, args.string(1)?);
    with(args, &pattern, |regex| Value::string(regex.find(&text).map_or("", |found| found.as_str()))).map_err(illegal)
}

pub(super) fn find_all<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let (text, pattern) = (args.string(0)?, args.string(1)?);
    let limit = if args.len() == 3 { args.int(2)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    with(args, &pattern, |regex| {
        Value::list(regex.find_iter(&text).take(limit).map(|found| Value::string(found.as_str())).collect())
    })
    .map_err(illegal)
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn re2_dialect() {
        for (pattern, text, matches) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "\u{661}", false),
            (r"^[\w-]+$", "a-b_1", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^[]a]+$", "]a", true),
            (r"^[[:alpha:]]+$", "ab", true),
            (r"^[a[]+$", "a[", true),
            (r"(?i)abc", "ABC", true),
            (r"^[^/]+$", "a/b", false),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(text), matches, "{pattern}");
        }
        assert!(compile("(").is_err());
        assert!(compile("a{1000}{1000}{1000}").is_err());
        assert!(compile(&"(".repeat(100_000)).is_err());
    }
}
