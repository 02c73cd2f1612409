//! Secrets for the registry. Upstream: `pkg/registry/core/secret`.

#[cfg(test)]
mod tests;

use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use registry::{Column, Info, RequestCx, SelectableField, Strategy};
use serde_json::{Map, Value, json};

use crate::check::{self, Report};
use crate::core::config_map::MAX_BYTES;
use crate::optional::{Flag, Text, default_text};

type C = Column<Secret>;

const FIXED: &str = "field is immutable when `immutable` is set";
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

pub struct Secrets;

impl Strategy for Secrets {
    type Object = Secret;

    const INFO: Info = Info::namespaced("", "v1", "Secret", "secrets");
    const COLUMNS: &'static [Column<Secret>] = COLUMNS;
    const SELECTABLE: &'static [SelectableField] = &[SelectableField::new("type", &[&["type"]])];

    fn set_defaults(&self, secret: &mut Secret) {
        default_text(&mut secret.type_, "Opaque");
        // Plain text is for writing only; what it names wins.
        for (key, text) in secret.string_data.take().into_iter().flatten() {
            secret.data.get_or_insert_default().insert(key, ByteString(text.into_bytes()));
        }
    }

    fn validate(&self, _cx: &RequestCx, secret: &Secret) -> ErrorList {
        validate(secret)
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut Secret, old: &Secret) {
        // Clients that leave the type out do not mean to change it, and `Opaque` is only its default.
        if new.type_.text() == "Opaque" && old.type_.text().is_empty() {
            new.type_.clone_from(&old.type_);
        }
    }

    fn validate_update(&self, _cx: &RequestCx, new: &Secret, old: &Secret) -> ErrorList {
        let mut errors = ErrorList::default();
        check::unchanged(&new.type_, &old.type_, &Path::new("type"), &mut errors);
        if old.immutable.is_set() {
            if !new.immutable.is_set() {
                errors.forbidden(&Path::new("immutable"), FIXED);
            }
            if new.data != old.data {
                errors.forbidden(&Path::new("data"), FIXED);
            }
        }
        errors.append(validate(new));
        errors
    }
}

fn validate(secret: &Secret) -> ErrorList {
    let mut errors = ErrorList::default();
    let path = Path::new("data");
    let value = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.as_slice());
    let mut size = 0;
    for (key, value) in secret.data.iter().flatten() {
        check::all_invalid(names::is_config_map_key(key), key, &path.key(key), &mut errors);
        size += value.0.len();
    }
    if size > MAX_BYTES {
        errors.too_long(&path, MAX_BYTES);
    }
    match secret.type_.text() {
        "kubernetes.io/service-account-token" => {
            let annotations = secret.metadata.annotations.as_ref();
            if annotations.and_then(|map| map.get(SERVICE_ACCOUNT_NAME)).is_none_or(String::is_empty) {
                let path = Path::new("metadata").child("annotations").key(SERVICE_ACCOUNT_NAME);
                errors.required(&path, "");
            }
        }
        "kubernetes.io/dockercfg" => json_object(".dockercfg", value(".dockercfg"), &path, &mut errors),
        "kubernetes.io/dockerconfigjson" => {
            json_object(".dockerconfigjson", value(".dockerconfigjson"), &path, &mut errors);
        }
        "kubernetes.io/basic-auth" if value("username").is_none() && value("password").is_none() => {
            errors.required(&path.key("username"), "");
            errors.required(&path.key("password"), "");
        }
        "kubernetes.io/ssh-auth" if value("ssh-privatekey").is_none_or(<[u8]>::is_empty) => {
            errors.required(&path.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if value(key).is_none() {
                    errors.required(&path.key(key), "");
                }
            }
        }
        _ => {}
    }
    errors
}

fn json_object(key: &str, value: Option<&[u8]>, path: &Path, errors: &mut ErrorList) {
    let path = path.key(key);
    let Some(value) = value else {
        errors.required(&path, "");
        return;
    };
    if let Err(error) = serde_json::from_slice::<Map<String, Value>>(value) {
        errors.invalid(&path, "<secret contents redacted>", error.to_string());
    }
}

static COLUMNS: &[Column<Secret>] = &[
    Column::NAME,
    C::string("Type", |secret, _| json!(secret.type_.text())).describe("Used to facilitate programmatic handling of secret data. More info: https://kubernetes.io/docs/concepts/configuration/secret/#secret-types"),
    C::string("Data", |secret, _| json!(secret.data.as_ref().map_or(0, |data| data.len()))).describe("Data contains the secret data. Each key must consist of alphanumeric characters, '-', '_' or '.'. The serialized form of the secret data is a base64 encoded string, representing the arbitrary (possibly non-string) data value here. Described in https://tools.ietf.org/html/rfc4648#section-4"),
    Column::AGE,
];
