//! Regular expressions as Go reads them. The syntax of both engines is nearly one; what differs is rewritten.

use std::fmt::Write as _;

use regex::Regex;

/// A compiled pattern and the text it came from.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

/// Of one compiled pattern; Go's own engine stops at about the same.
const MAX_BYTES: usize = 4 << 20;

impl Pattern {
    /// `pattern` in Go's syntax (RE2), or why it is none.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let translated = translate(pattern);
        let regex = regex::RegexBuilder::new(&translated).size_limit(MAX_BYTES).build();
        match regex {
            Ok(regex) => Ok(Self { text: pattern.to_owned(), regex }),
            Err(error) => Err(format!("error parsing regexp: {}", last_line(&error.to_string()))),
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches anywhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}

/// Perl classes and word boundaries are ASCII in Go, a bracket inside a class is a bracket, and there is `\Q…\E`.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    let mut in_class = false;
    let mut class_start = false;
    while let Some(c) = rest.next() {
        let at_start = std::mem::take(&mut class_start);
        match c {
            '\\' => match rest.next() {
                Some('Q') => {
                    let mut literal = String::new();
                    while let Some(c) = rest.next() {
                        if c == '\\' && rest.peek() == Some(&'E') {
                            rest.next();
                            break;
                        }
                        literal.push(c);
                    }
                    out.push_str(&regex::escape(&literal));
                }
                Some('d') if in_class => out.push_str("0-9"),
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') if in_class => out.push_str("0-9A-Za-z_"),
                Some('w') => out.push_str("[0-9A-Za-z_]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') if in_class => out.push_str("\\t\\n\\f\\r "),
                Some('s') => out.push_str("[\\t\\n\\f\\r ]"),
                Some('S') => out.push_str("[^\\t\\n\\f\\r ]"),
                Some('b') if !in_class => out.push_str("(?-u:\\b)"),
                Some('B') if !in_class => out.push_str("(?-u:\\B)"),
                Some(escaped) => {
                    let _written = write!(out, "\\{escaped}");
                }
                None => out.push('\\'),
            },
            '[' if !in_class => {
                in_class = true;
                class_start = true;
                out.push('[');
                if rest.peek() == Some(&'^') {
                    rest.next();
                    out.push('^');
                }
                if rest.peek() == Some(&']') {
                    rest.next();
                    out.push_str("\\]");
                }
            }
            '[' if rest.peek() == Some(&':') => out.push('['),
            '[' => out.push_str("\\["),
            ']' if in_class => {
                // The end of `[:alpha:]` is not the end of the class.
                if !out.ends_with(':') || !posix_class_ends(&out) {
                    in_class = false;
                }
                out.push(']');
            }
            // Set operations exist only in the other engine.
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && !at_start && rest.peek() == Some(&'-') => out.push_str("\\-"),
            _ => out.push(c),
        }
    }
    out
}

/// Whether `out` ends in `[:name:`.
fn posix_class_ends(out: &str) -> bool {
    let Some(inner) = out.strip_suffix(':') else { return false };
    let Some(start) = inner.rfind("[:") else { return false };
    let name = inner[start + 2..].trim_start_matches('^');
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, text, wanted) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "१२", false),
            (r"^\w+$", "é", false),
            (r"^[\w.-]+$", "a.b-c", true),
            (r"^[[]x$", "[x", true),
            (r"^[^[]+$", "abc", true),
            (r"^[[:alpha:]_]+$", "ab_", true),
            (r"^[a&&b]+$", "&", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^[]a]+$", "]a", true),
            (r"^[\d-]+$", "1-2", true),
            ("é", "café", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().is_match(text), wanted, "{pattern} {text}");
        }
        assert!(Pattern::new("a(b").unwrap_err().starts_with("error parsing regexp: "));
        assert!(Pattern::new("(?=a)").is_err());
    }
}
