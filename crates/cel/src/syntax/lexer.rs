//! Text to tokens.

use crate::error::Issues;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    End,
    /// Operators, brackets and the words `in`, `true`, `false`, `null`.
    Sign(&'static str),
    Float,
    Int,
    Uint,
    String,
    Bytes,
    Ident,
    /// A name in backquotes.
    Escaped,
}

/// Code points `start..end` of the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Two-character signs come first, so that the longest wins.
const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*",
    "/", "%",
];

/// Ends with one [`Kind::End`]. What is no token is an issue and skipped.
pub(crate) fn lex(text: &[char], issues: &mut Issues) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let char = text[at];
        if matches!(char, '\t' | ' ' | '\r' | '\n' | '\u{c}') {
            at += 1;
            continue;
        }
        if text[at..].starts_with(&['/', '/']) {
            at += text[at..].iter().position(|c| *c == '\n').unwrap_or(text.len() - at);
            continue;
        }
        match token(&text[at..]) {
            Ok((kind, length)) => {
                tokens.push(Token { kind, start: narrow(at), end: narrow(at + length) });
                at += length;
            }
            Err(read) => {
                let bad: String = text[at..(at + read + 1).min(text.len())].iter().collect();
                let bad = bad.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
                issues.at(narrow(at), format!("Syntax error: token recognition error at: '{bad}'"));
                at += read + 1;
            }
        }
    }
    let end = narrow(text.len());
    tokens.push(Token { kind: Kind::End, start: end, end });
    tokens
}

fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The longest token at the start, or how many code points could have been the start of one.
fn token(text: &[char]) -> Result<(Kind, usize), usize> {
    let first = text[0];
    if first.is_ascii_digit() || (first == '.' && text.get(1).is_some_and(char::is_ascii_digit)) {
        return Ok(number(text));
    }
    let prefix = match first {
        '"' | '\'' => Some((Kind::String, 0, false)),
        'r' | 'R' if quote_at(text, 1) => Some((Kind::String, 1, true)),
        'b' | 'B' if quote_at(text, 1) => Some((Kind::Bytes, 1, false)),
        'b' | 'B' if matches!(text.get(1), Some('r' | 'R')) && quote_at(text, 2) => Some((Kind::Bytes, 2, true)),
        _ => None,
    };
    let mut failed = 0;
    if let Some((kind, skip, raw)) = prefix {
        match quoted(&text[skip..], raw) {
            Ok(length) => return Ok((kind, skip + length)),
            Err(read) => failed = skip + read,
        }
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = text.iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').count();
        let word: String = text[..length.min(6)].iter().collect();
        let kind = match word.as_str() {
            "in" => Kind::Sign("in"),
            "true" => Kind::Sign("true"),
            "false" => Kind::Sign("false"),
            "null" => Kind::Sign("null"),
            _ => Kind::Ident,
        };
        return Ok((kind, length));
    }
    if first == '`' {
        let inside =
            text[1..].iter().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' '));
        let length = inside.count();
        if length > 0 && text.get(1 + length) == Some(&'`') {
            return Ok((Kind::Escaped, length + 2));
        }
        return Err(1 + length);
    }
    if let Some(sign) = SIGNS.iter().find(|sign| sign.chars().enumerate().all(|(i, c)| text.get(i) == Some(&c))) {
        return Ok((Kind::Sign(sign), sign.len()));
    }
    if matches!(first, '=' | '&' | '|') {
        return Err(1);
    }
    Err(failed)
}

fn quote_at(text: &[char], at: usize) -> bool {
    matches!(text.get(at), Some('"' | '\''))
}

fn number(text: &[char]) -> (Kind, usize) {
    let digits = |from: usize| text[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    if text.starts_with(&['0', 'x']) {
        let hex = text[2..].iter().take_while(|c| c.is_ascii_hexdigit()).count();
        if hex > 0 {
            return with_suffix(text, 2 + hex);
        }
    }
    let whole = digits(0);
    let mut end = whole;
    let mut float = false;
    if text.get(end) == Some(&'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
        float = true;
    }
    if matches!(text.get(end), Some('e' | 'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some('+' | '-')));
        let exponent = text.get(end + 1 + sign..).map_or(0, |_| digits(end + 1 + sign));
        if exponent > 0 {
            end += 1 + sign + exponent;
            float = true;
        }
    }
    if float { (Kind::Float, end) } else { with_suffix(text, whole) }
}

fn with_suffix(text: &[char], end: usize) -> (Kind, usize) {
    if matches!(text.get(end), Some('u' | 'U')) { (Kind::Uint, end + 1) } else { (Kind::Int, end) }
}

/// Length of a quoted string, or how much was read when it went wrong.
fn quoted(text: &[char], raw: bool) -> Result<usize, usize> {
    let quote = text[0];
    if text.starts_with(&[quote, quote, quote]) {
        // An unterminated long string is an empty short one, followed by something else.
        return body(text, 3, quote, raw, true).or(Ok(2));
    }
    body(text, 1, quote, raw, false)
}

fn body(text: &[char], from: usize, quote: char, raw: bool, long: bool) -> Result<usize, usize> {
    let mut at = from;
    while let Some(char) = text.get(at) {
        if *char == quote && (!long || text[at..].starts_with(&[quote, quote, quote])) {
            return Ok(at + if long { 3 } else { 1 });
        }
        if !long && matches!(char, '\n' | '\r') {
            return Err(at);
        }
        if *char == '\\' && !raw {
            at += escape(&text[at..]).map_err(|read| at + read)?;
        } else {
            at += 1;
        }
    }
    Err(at)
}

/// Length of an escape sequence, the backslash included.
fn escape(text: &[char]) -> Result<usize, usize> {
    let all = |count: usize, test: fn(&char) -> bool| {
        for at in 2..2 + count {
            if !text.get(at).is_some_and(test) {
                return Err(at);
            }
        }
        Ok(2 + count)
    };
    match text.get(1) {
        Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`') => Ok(2),
        Some('x' | 'X') => all(2, char::is_ascii_hexdigit),
        Some('u') => all(4, char::is_ascii_hexdigit),
        Some('U') => all(8, char::is_ascii_hexdigit),
        Some('0'..='3') => all(2, |c| matches!(c, '0'..='7')),
        _ => Err(1),
    }
}
