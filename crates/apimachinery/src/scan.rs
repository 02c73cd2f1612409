//! Finding single values in canonical JSON without decoding it: labels and fields for selectors, metadata for deletions.
//!
//! Only for bytes that this server has encoded itself; on anything else it finds nothing, and never panics.

use std::borrow::Cow;

/// The raw bytes of the value at `path` below an object.
pub fn lookup<'a>(object: &'a [u8], path: &[&str]) -> Option<&'a [u8]> {
    let mut value = object;
    for name in path {
        value = entries(value).find_map(|(key, value)| (key == name.as_bytes()).then_some(value))?;
    }
    Some(value)
}

/// The value at `path` as selectors see it: strings unquoted, numbers and booleans as written.
pub fn text<'a>(object: &'a [u8], path: &[&str]) -> Option<Cow<'a, str>> {
    unquoted(lookup(object, path)?)
}

/// An object without one of its values, which [`lookup`] has found in it, and without the value's name.
pub fn without<'a>(object: &'a [u8], value: &'a [u8]) -> Cow<'a, [u8]> {
    let whole = Cow::Borrowed(object);
    if value.is_empty() {
        return whole;
    }
    let start = (value.as_ptr() as usize).wrapping_sub(object.as_ptr() as usize);
    let (Some(before), Some(after)) = (object.get(..start), object.get(start.saturating_add(value.len())..)) else {
        return whole;
    };
    let name = before.strip_suffix(b"\":").and_then(|before| before.get(..memchr::memrchr(b'"', before)?));
    let Some(before) = name else { return whole };
    let (before, after) = match before.strip_suffix(b",") {
        Some(before) => (before, after),
        None => (before, after.strip_prefix(b",").unwrap_or(after)),
    };
    Cow::Owned([before, after].concat())
}

/// A scalar's text; none for null, lists and objects.
pub fn unquoted(raw: &[u8]) -> Option<Cow<'_, str>> {
    match raw.first()? {
        b'"' => {
            let inner = raw.get(1..raw.len().checked_sub(1)?)?;
            if inner.contains(&b'\\') {
                serde_json::from_slice::<String>(raw).ok().map(Cow::Owned)
            } else {
                std::str::from_utf8(inner).ok().map(Cow::Borrowed)
            }
        }
        b'{' | b'[' | b'n' => None,
        _ => std::str::from_utf8(raw).ok().map(Cow::Borrowed),
    }
}

/// Keys and raw values of an object, in order. Keys with escapes are given as written.
pub fn entries(object: &[u8]) -> Entries<'_> {
    let rest = match object.split_first() {
        Some((b'{', rest)) => rest,
        _ => &[],
    };
    Entries { rest }
}

pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = match self.rest.first()? {
            b',' => &self.rest[1..],
            b'"' => self.rest,
            _ => return None,
        };
        let key_end = string_end(rest)?;
        let key = rest.get(1..key_end - 1)?;
        let value = rest.get(key_end..)?.strip_prefix(b":")?;
        let end = value_end(value)?;
        self.rest = &value[end..];
        Some((key, &value[..end]))
    }
}

/// Where the string that begins `bytes` ends, its closing quote included.
fn string_end(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Where the value that begins `bytes` ends.
fn value_end(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' => string_end(bytes),
        b'{' | b'[' => {
            let (mut at, mut depth) = (0, 0_usize);
            loop {
                match bytes.get(at)? {
                    b'"' => {
                        at += string_end(&bytes[at..])?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
        }
        _ => bytes.iter().position(|byte| matches!(byte, b',' | b'}' | b']')).or(Some(bytes.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &[u8] = br#"{"a":{"b":"x\"y","c":[1,{"d":"}"}],"n":null,"t":true},"e":-1.5,"f":"z"}"#;

    #[test]
    fn values_are_found_by_path() {
        assert_eq!(text(OBJECT, &["a", "b"]).as_deref(), Some("x\"y"));
        assert_eq!(lookup(OBJECT, &["a", "c"]), Some(br#"[1,{"d":"}"}]"#.as_slice()));
        assert_eq!(text(OBJECT, &["a", "t"]).as_deref(), Some("true"));
        assert_eq!(text(OBJECT, &["a", "n"]), None);
        assert_eq!(text(OBJECT, &["e"]).as_deref(), Some("-1.5"));
        assert_eq!(text(OBJECT, &["f"]).as_deref(), Some("z"));
        assert_eq!(text(OBJECT, &["a", "b", "c"]), None);
    }

    #[test]
    fn values_are_taken_out() {
        for (path, rest) in [
            (["a", "b"], r#"{"a":{"c":[1,{"d":"}"}],"n":null,"t":true},"e":-1.5,"f":"z"}"#),
            (["a", "t"], r#"{"a":{"b":"x\"y","c":[1,{"d":"}"}],"n":null},"e":-1.5,"f":"z"}"#),
        ] {
            let value = lookup(OBJECT, &path).unwrap();
            assert_eq!(std::str::from_utf8(&without(OBJECT, value)).unwrap(), rest);
        }
        let only = br#"{"a":{"b":1}}"#;
        assert_eq!(&*without(only, lookup(only, &["a", "b"]).unwrap()), br#"{"a":{}}"#);
        assert_eq!(&*without(OBJECT, b""), OBJECT);
        assert_eq!(&*without(OBJECT, b"elsewhere"), OBJECT);
    }

    #[test]
    fn broken_bytes_end_the_search() {
        for length in 0..OBJECT.len() {
            assert!(lookup(&OBJECT[..length], &["zzz"]).is_none());
        }
        assert!(lookup(b"]]]", &["a"]).is_none());
        assert!(lookup(b"{\"a\":]}", &["b"]).is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, cut in 0..OBJECT.len(), byte: u8) {
            entries(&bytes).count();
            lookup(&bytes, &["a", "b"]);
            let mut damaged = OBJECT.to_vec();
            damaged[cut] = byte;
            entries(&damaged).count();
            text(&damaged, &["a", "b"]);
        }
    }
}
