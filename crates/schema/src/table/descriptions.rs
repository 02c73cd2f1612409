//! Descriptions of types and fields, inflated when somebody asks for documentation.

use std::collections::HashMap;
use std::io::Read;

/// Every description; about a megabyte, so drop it when the document is made.
#[derive(Debug, Default)]
pub struct Descriptions {
    types: HashMap<String, TypeText>,
}

#[derive(Debug, Default)]
struct TypeText {
    own: String,
    fields: HashMap<String, String>,
}

/// Inflates the descriptions of the built-in kinds.
pub fn descriptions() -> Descriptions {
    let packed: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.deflate"));
    let mut text = String::new();
    let mut descriptions = Descriptions::default();
    // The bytes are compiled in; a document without descriptions is still a document.
    if flate2::read::DeflateDecoder::new(packed).read_to_string(&mut text).is_err() {
        return descriptions;
    }
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, description)) = line.strip_prefix('\t').and_then(|rest| rest.split_once('\t')) {
            let entry = descriptions.types.entry(current.clone()).or_default();
            entry.fields.insert(name.to_owned(), unescape(description));
        } else if let Some((name, description)) = line.split_once('\t') {
            name.clone_into(&mut current);
            descriptions.types.entry(current.clone()).or_default().own = unescape(description);
        }
    }
    descriptions
}

impl Descriptions {
    /// Description of a type, empty when there is none.
    pub fn of_type(&self, name: &str) -> &str {
        self.types.get(name).map_or("", |text| text.own.as_str())
    }

    /// Description of a field, empty when there is none.
    pub fn of_field(&self, name: &str, field: &str) -> &str {
        self.types.get(name).and_then(|text| text.fields.get(field)).map_or("", String::as_str)
    }
}

fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, true) => plain.push(if characters.next() == Some('n') { '\n' } else { '\\' }),
            (other, false) => plain.push(other),
        }
    }
    plain
}
