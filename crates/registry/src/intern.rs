//! Names of kinds made at run time, for as long as the process lives.
//!
//! Names in [`crate::Info`] are `&'static`, so that built-in kinds are constants and looking at a name costs nothing.
//! Names of custom resources are kept here, each text once however often its definition changes: what is held is
//! bounded by the texts that definitions have ever had, never by requests.

use std::{collections::HashSet, sync::LazyLock};

use parking_lot::Mutex;

/// The same text, kept.
pub fn intern(text: &str) -> &'static str {
    static KNOWN: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock();
    match known.get(text) {
        Some(text) => text,
        None => {
            let text: &'static str = Box::leak(text.into());
            known.insert(text);
            text
        }
    }
}

/// The same texts, kept.
pub fn intern_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> &'static [&'static str] {
    static KNOWN: LazyLock<Mutex<HashSet<&'static [&'static str]>>> = LazyLock::new(Mutex::default);
    let texts: Vec<&'static str> = texts.into_iter().map(intern).collect();
    let mut known = KNOWN.lock();
    match known.get(texts.as_slice()) {
        Some(texts) => texts,
        None => {
            let texts: &'static [&'static str] = Box::leak(texts.into());
            known.insert(texts);
            texts
        }
    }
}

/// A path for [`crate::SelectableField`], kept.
pub fn intern_path<'a>(segments: impl IntoIterator<Item = &'a str>) -> &'static [&'static [&'static str]] {
    static KNOWN: LazyLock<Mutex<HashSet<&'static [&'static [&'static str]]>>> = LazyLock::new(Mutex::default);
    let path = [intern_all(segments)];
    let mut known = KNOWN.lock();
    match known.get(path.as_slice()) {
        Some(path) => path,
        None => {
            let path: &'static [&'static [&'static str]] = Box::leak(Box::new(path));
            known.insert(path);
            path
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once() {
        let one = intern(&String::from("widgets.example.com"));
        let other = intern(&String::from("widgets.example.com"));
        assert!(std::ptr::eq(one, other));
        assert!(std::ptr::eq(intern_all(["a", "b"]), intern_all(["a", "b"])));
        assert!(std::ptr::eq(intern_path(["spec", "x"]), intern_path(["spec", "x"])));
        assert_eq!(intern_path(["spec", "x"]), &[&["spec", "x"][..]]);
    }
}
