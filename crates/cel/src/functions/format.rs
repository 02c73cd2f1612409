//! Named formats: `format.dns1123Label().validate(text)`.

use apimachinery::names;
use base64::Engine as _;

use super::{Args, Out, time, url::Url};
use crate::{
    error::EvalError,
    value::{Opaque, Value},
};

/// A format by name.
#[derive(Debug)]
pub struct Format {
    pub(crate) name: &'static str,
    /// Length of the regular expression that it is taken for, for costs.
    pub(crate) regex_size: u64,
    check: fn(&str) -> Vec<String>,
}

/// By the names of functions. Sizes are upstream's.
const FORMATS: &[(&str, Format)] = &[
    ("dns1123Label", Format { name: "DNS1123Label", regex_size: 30, check: |text| names::label_name(text, false) }),
    (
        "dns1123Subdomain",
        Format { name: "DNS1123Subdomain", regex_size: 60, check: |text| names::subdomain_name(text, false) },
    ),
    ("dns1035Label", Format { name: "DNS1035Label", regex_size: 30, check: |text| names::dns1035_name(text, false) }),
    ("qualifiedName", Format { name: "QualifiedName", regex_size: 60, check: names::is_qualified_name }),
    (
        "dns1123LabelPrefix",
        Format { name: "DNS1123LabelPrefix", regex_size: 30, check: |text| names::label_name(text, true) },
    ),
    (
        "dns1123SubdomainPrefix",
        Format { name: "DNS1123SubdomainPrefix", regex_size: 60, check: |text| names::subdomain_name(text, true) },
    ),
    (
        "dns1035LabelPrefix",
        Format { name: "DNS1035LabelPrefix", regex_size: 30, check: |text| names::dns1035_name(text, true) },
    ),
    ("labelValue", Format { name: "LabelValue", regex_size: 40, check: names::is_valid_label_value }),
    ("uri", Format { name: "URI", regex_size: 1321, check: |text| Url::parse(text).err().into_iter().collect() }),
    (
        "uuid",
        Format { name: "uuid", regex_size: 79, check: |text| unless(is_uuid(text), "does not match the UUID format") },
    ),
    ("byte", Format { name: "byte", regex_size: 85, check: |text| unless(is_base64(text), "invalid base64") }),
    (
        "date",
        Format { name: "date", regex_size: 113, check: |text| unless(time::parse_date(text).is_ok(), "invalid date") },
    ),
    (
        "datetime",
        Format { name: "datetime", regex_size: 113, check: |text| unless(is_datetime(text), "invalid datetime") },
    ),
];

fn unless(good: bool, message: &str) -> Vec<String> {
    if good { Vec::new() } else { vec![message.to_owned()] }
}

/// Groups of 8, 4, 4, 4 and 12 digits; the hyphens between may be missing.
fn is_uuid(text: &str) -> bool {
    let mut rest = text;
    for (index, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        match rest.get(..length) {
            Some(group) if group.bytes().all(|b| b.is_ascii_hexdigit()) => rest = &rest[length..],
            _ => return false,
        }
    }
    rest.is_empty()
}

fn is_base64(text: &str) -> bool {
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

fn is_datetime(text: &str) -> bool {
    time::parse_timestamp(&text.to_uppercase().replacen(' ', "T", 1)).is_ok()
}

fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|(known, _)| *known == name).map(|(_, format)| format)
}

/// `format.uri()`: the function is named after the format.
pub(super) fn named<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let name = args.function.strip_prefix("format.").unwrap_or_default();
    find(name).map(|format| Value::opaque(Opaque::Format(format))).ok_or(EvalError::NO_OVERLOAD)
}

/// `format.named("uri")`.
pub(super) fn by_name<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let name = args.string(0)?;
    Ok(find(&name).map_or(Value::NONE, |format| Value::some(Value::opaque(Opaque::Format(format)))))
}

pub(super) fn validate<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let text = args.string(1)?;
    let Opaque::Format(format) = args.opaque(0)? else { return Err(args.mismatch()) };
    let faults = (format.check)(&text);
    if faults.is_empty() {
        return Ok(Value::NONE);
    }
    Ok(Value::some(Value::list(faults.into_iter().map(Value::string).collect())))
}
