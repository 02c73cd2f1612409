//! Regular expressions as Go reads them. The syntax of both engines is nearly one; what differs is rewritten.

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

/// Perl classes and word boundaries are ASCII in Go, classes know neither nesting nor set operations, a brace that counts
/// nothing is a brace, and there is `\Q…\E`.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = escape(rest, &mut out),
            '[' => rest = class(rest, &mut out),
            '{' if !counts(rest) => out.push_str("\\{"),
            c => out.push(c),
        }
    }
    out
}

/// What stands behind a backslash outside of a class; gives back what follows.
fn escape<'p>(rest: &'p str, out: &mut String) -> &'p str {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let after = &rest[c.len_utf8()..];
    if c == 'Q' {
        let (literal, after) = after.split_once("\\E").unwrap_or((after, ""));
        out.push_str(&regex::escape(literal));
        return after;
    }
    match (perl_class(c), c) {
        (Some(members), _) => {
            out.push('[');
            out.push_str(members);
            out.push(']');
        }
        (None, 'b') => out.push_str("(?-u:\\b)"),
        (None, 'B') => out.push_str("(?-u:\\B)"),
        // The ends of words in the other engine.
        (None, '<' | '>') => out.push(c),
        (None, c) => {
            out.push('\\');
            out.push(c);
        }
    }
    after
}

/// The members of `\d` and its like, as they stand in a class.
fn perl_class(c: char) -> Option<&'static str> {
    Some(match c {
        'd' => "0-9",
        'D' => "^0-9",
        'w' => "0-9A-Za-z_",
        'W' => "^0-9A-Za-z_",
        's' => "\\t\\n\\f\\r ",
        'S' => "^\\t\\n\\f\\r ",
        _ => return None,
    })
}

/// Whether what follows an opening brace says how often something repeats.
fn counts(rest: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((inner, _)) = rest.split_once('}') else { return false };
    match inner.split_once(',') {
        None => digits(inner),
        Some((least, most)) => digits(least) && (most.is_empty() || digits(most)),
    }
}

/// A class after its opening bracket; gives back what follows its closing one. Upstream: `syntax.parseClass`.
fn class<'p>(rest: &'p str, out: &mut String) -> &'p str {
    out.push('[');
    let mut rest = rest;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    loop {
        if !first && let Some(after) = rest.strip_prefix(']') {
            out.push(']');
            return after;
        }
        first = false;
        if let Some(length) = named_class(rest) {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        if let Some(members) = rest.strip_prefix('\\').and_then(|rest| rest.chars().next()).and_then(perl_class) {
            out.push('[');
            out.push_str(members);
            out.push(']');
            rest = &rest[2..];
            continue;
        }
        let Some(after) = class_character(rest, out) else { return rest };
        rest = after;
        // `[a-]` is two characters, and a sign behind a class or a range is one.
        if let Some(after) = rest.strip_prefix('-').filter(|after| !after.is_empty() && !after.starts_with(']')) {
            out.push('-');
            match class_character(after, out) {
                Some(after) => rest = after,
                None => return after,
            }
        }
    }
}

/// Length of `[:alpha:]`, `\p{Greek}` or `\pL`.
fn named_class(rest: &str) -> Option<usize> {
    if rest.starts_with("[:") {
        return rest.find(":]").map(|at| at + 2);
    }
    let after = rest.strip_prefix("\\p").or_else(|| rest.strip_prefix("\\P"))?;
    match after.chars().next()? {
        '{' => after.find('}').map(|at| at + 3),
        c => Some(2 + c.len_utf8()),
    }
}

/// One character of a class, written so that it means nothing else; gives back what follows. None at the end.
fn class_character<'p>(rest: &'p str, out: &mut String) -> Option<&'p str> {
    let mut characters = rest.chars();
    let c = characters.next()?;
    if c != '\\' {
        if matches!(c, '[' | ']' | '^' | '-' | '&' | '~') {
            out.push('\\');
        }
        out.push(c);
        return Some(characters.as_str());
    }
    let escaped = characters.next()?;
    if !matches!(escaped, '<' | '>') {
        out.push('\\');
    }
    out.push(escaped);
    // `\x{10FFFF}` goes as it is.
    let after = characters.as_str();
    let length = if escaped == 'x' && after.starts_with('{') { after.find('}').map_or(0, |at| at + 1) } else { 0 };
    out.push_str(&after[..length]);
    Some(&after[length..])
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
            (r"^[\w-.]+$", "a-b.", true),
            (r"^[a-z0-9-.]+$", "a-1.", true),
            (r"^[0-9-\p{L}]+$", "1-é", true),
            (r"^[--9]+$", "-./0", true),
            (r"^[^-a]+$", "b", true),
            (r"^[a\-z]+$", "b", false),
            (r"^[\D]+$", "ab", true),
            (r"^[^\S]+$", " ", true),
            (r"^[\x{61}-\x63]+$", "abc", true),
            (r"^[\]\[]+$", "[]", true),
            (r"^\<a\>$", "<a>", true),
            (r"^{{a}}$", "{{a}}", true),
            (r"^a{2}b{1,}c{,2}$", "aabbc{,2}", true),
            (r"^\$\{x\}$", "${x}", true),
            (r"(?i)^abc$", "AbC", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().is_match(text), wanted, "{pattern} {text}");
        }
        assert!(Pattern::new("a(b").unwrap_err().starts_with("error parsing regexp: "));
        assert!(Pattern::new("(?=a)").is_err());
        assert!(Pattern::new("[a").is_err());
        assert!(Pattern::new("[z-a]").is_err());
        assert!(Pattern::new("[").is_err());
    }
}
