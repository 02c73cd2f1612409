//! Text: searching, cutting, joining. Positions count code points.

use super::{Args, Out, lists};
use crate::{
    error::EvalError,
    value::{Str, Value, chars},
};

pub(super) fn contains<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(args.string(0)?.contains(&*args.string(1)?)))
}

pub(super) fn starts_with<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(args.string(0)?.starts_with(&*args.string(1)?)))
}

pub(super) fn ends_with<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(args.string(0)?.ends_with(&*args.string(1)?)))
}

fn out_of_range(index: i64) -> EvalError {
    EvalError::text(format!("index out of range: {index}"))
}

/// The byte at which so many code points have passed; none beyond the end.
fn byte_at(text: &str, index: usize) -> Option<usize> {
    if text.is_ascii() {
        return (index <= text.len()).then_some(index);
    }
    text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(index)
}

pub(super) fn char_at<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let (text, index) = (args.string(0)?, args.int(1)?);
    let at = usize::try_from(index).ok().and_then(|index| byte_at(&text, index)).ok_or_else(|| out_of_range(index))?;
    Ok(Value::string(text[at..].chars().next().map(String::from).unwrap_or_default()))
}

#[expect(clippy::cast_possible_wrap, reason = "no text is that long")]
fn length(text: &str) -> i64 {
    chars(text) as i64
}

pub(super) fn index_of<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let (text, part) = (args.string(0)?, args.string(1)?);
    let offset = if args.len() == 3 { args.int(2)? } else { 0 };
    let length = length(&text);
    let Ok(from) = usize::try_from(offset) else { return Err(out_of_range(offset)) };
    if part.is_empty() {
        return Ok(Value::Int(offset.min(length)));
    }
    let found = byte_at(&text, from).and_then(|at| text[at..].find(&*part).map(|found| at + found));
    Ok(Value::Int(found.map_or(-1, |at| self::length(&text[..at]))))
}

pub(super) fn last_index_of<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let (text, part) = (args.string(0)?, args.string(1)?);
    let length = length(&text);
    if args.len() == 2 {
        if part.is_empty() {
            return Ok(Value::Int(length));
        }
        return Ok(Value::Int(text.rfind(&*part).map_or(-1, |at| self::length(&text[..at]))));
    }
    let offset = args.int(2)?;
    let Ok(last) = usize::try_from(offset) else { return Err(out_of_range(offset)) };
    if part.is_empty() {
        return Ok(Value::Int(offset.min(length)));
    }
    if offset >= length {
        return Ok(Value::Int(-1));
    }
    // What is found may start at the offset and end after it.
    let end = byte_at(&text, last).map_or(text.len(), |at| (at + part.len()).min(text.len()));
    let end = (0..=end).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let mut found = text[..end].rfind(&*part).map(|at| self::length(&text[..at]));
    if found.is_some_and(|at| at > offset) {
        found = byte_at(&text, last).and_then(|at| text[..at].rfind(&*part)).map(|at| self::length(&text[..at]));
    }
    Ok(Value::Int(found.unwrap_or(-1)))
}

pub(super) fn lower_ascii<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::string(args.string(0)?.to_ascii_lowercase()))
}

pub(super) fn upper_ascii<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::string(args.string(0)?.to_ascii_uppercase()))
}

/// Largest text that a replacement may make: its cost is known only from the input.
const MAX_TEXT: usize = 64 << 20;

pub(super) fn replace<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let (text, from, to) = (args.string(0)?, args.string(1)?, args.string(2)?);
    let limit = if args.len() == 4 { args.int(3)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if (text.len() + 1).min(limit).saturating_mul(to.len()) > MAX_TEXT {
        return Err(EvalError::new("replacement too large"));
    }
    Ok(Value::string(text.replacen(&*from, &to, limit)))
}

pub(super) fn split<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let (text, separator) = (args.string(0)?, args.string(1)?);
    let limit = if args.len() == 3 { args.int(2)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return Ok(Value::list(Vec::new()));
    }
    let text: &str = &text;
    let parts: Vec<Value<'a>> = if separator.is_empty() {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(char) = rest.chars().next() {
            if parts.len() + 1 == limit {
                parts.push(rest);
                rest = "";
                break;
            }
            let (part, after) = rest.split_at(char.len_utf8());
            parts.push(part);
            rest = after;
        }
        debug_assert!(rest.is_empty());
        parts.into_iter().map(Value::string).collect()
    } else {
        text.splitn(limit, &*separator).map(Value::string).collect()
    };
    Ok(Value::list(parts))
}

pub(super) fn substring<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let (text, start) = (args.string(0)?, args.int(1)?);
    let place = |index: i64| {
        usize::try_from(index).ok().and_then(|index| byte_at(&text, index)).ok_or_else(|| out_of_range(index))
    };
    let end = if args.len() == 3 {
        let end = args.int(2)?;
        if start > end {
            return Err(EvalError::text(format!("invalid substring range. start: {start}, end: {end}")));
        }
        Some(end)
    } else {
        None
    };
    let from = place(start)?;
    let to = end.map_or(Ok(text.len()), place)?;
    Ok(match &text {
        Str::Borrowed(text) => Value::str(&text[from..to]),
        Str::Shared(text) => Value::string(&text[from..to]),
    })
}

pub(super) fn trim<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    // Go's set of spaces, which is Unicode's White_Space.
    Ok(match args.string(0)? {
        Str::Borrowed(text) => Value::str(text.trim()),
        Str::Shared(text) => Value::string(text.trim()),
    })
}

pub(super) fn join<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let list = args.list(0)?;
    let separator = if args.len() == 2 { args.string(1)? } else { Str::Borrowed("") };
    let mut out = String::new();
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            out.push_str(&separator);
        }
        match item.as_str() {
            Some(text) => out.push_str(text),
            None => return Err(EvalError::text(format!("join: invalid input: {item}"))),
        }
        if out.len() > MAX_TEXT {
            return Err(EvalError::new("join: result too large"));
        }
    }
    Ok(Value::string(out))
}

pub(super) fn quote<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let text = args.string(0)?;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out.push('"');
    Ok(Value::string(out))
}

pub(super) fn reverse<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::string(args.string(0)?.chars().rev().collect::<String>()))
}

/// A name as a part of a JSON pointer.
pub(super) fn escape_key<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::string(args.string(0)?.replace('~', "~0").replace('/', "~1")))
}

/// `indexOf` of lists and texts.
pub(super) fn of_text<'a>(args: &mut Args<'a, '_>, last: bool) -> Option<Out<'a>> {
    matches!(args.get(0), Value::String(_)).then(|| if last { last_index_of(args) } else { index_of(args) })
}

/// `size` of a text.
pub(super) fn size<'a>(text: &str) -> Value<'a> {
    lists::int(chars(text))
}
