//! The file `EncryptionConfiguration` (`apiserver.config.k8s.io/v1`): read, defaulted, validated with upstream's words.

use std::collections::HashSet;
use std::path::Path;

use apimachinery::ErrorList;
use apimachinery::field::{Error, Path as FieldPath};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

/// Which resources are encrypted, and how.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Configuration {
    api_version: String,
    kind: String,
    #[serde(default)]
    pub(crate) resources: Vec<ResourceConfiguration>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ResourceConfiguration {
    #[serde(default)]
    pub(crate) resources: Vec<String>,
    #[serde(default)]
    pub(crate) providers: Vec<ProviderConfiguration>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ProviderConfiguration {
    pub(crate) aesgcm: Option<Keys>,
    pub(crate) aescbc: Option<Keys>,
    pub(crate) secretbox: Option<Keys>,
    pub(crate) identity: Option<Identity>,
    pub(crate) kms: Option<Kms>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    #[serde(default)]
    pub(crate) keys: Vec<Key>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    secret: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Kms {
    #[serde(default = "v1")]
    pub(crate) api_version: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) endpoint: String,
    timeout: Option<String>,
    cachesize: Option<i32>,
}

/// Why a configuration is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("read {path}")]
    Read {
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The text is not shown: it has keys in it.
    #[error("the encryption configuration is not of its form, near line {line}")]
    Form { line: u64 },
    #[error("the encryption configuration is of {0}, apiserver.config.k8s.io/v1 EncryptionConfiguration is expected")]
    Kind(String),
    #[error("invalid encryption configuration: {0}")]
    Invalid(String),
    #[error("the KMS plugin cannot be used: {0}")]
    Kms(String),
}

/// More than any configuration has.
const MAX_BYTES: u64 = 1 << 20;
const AES_KEYS: &[usize] = &[16, 24, 32];
const GCM_KEYS: &[usize] = &[16, 32];
const SECRETBOX_KEYS: &[usize] = &[32];

// === impl Configuration ===

impl Configuration {
    pub fn read(path: &Path) -> Result<Configuration, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
            return Err(ConfigError::Invalid(format!("the file has more than {MAX_BYTES} bytes")));
        }
        Configuration::parse(&std::fs::read_to_string(path).map_err(failed)?)
    }

    pub fn parse(text: &str) -> Result<Configuration, ConfigError> {
        let parsed: Result<Configuration, _> = serde_saphyr::from_str(text);
        let configuration = parsed
            .map_err(|error| ConfigError::Form { line: error.location().map_or(0, |location| location.line()) })?;
        if (&*configuration.api_version, &*configuration.kind)
            != ("apiserver.config.k8s.io/v1", "EncryptionConfiguration")
        {
            return Err(ConfigError::Kind(format!("{} {}", configuration.api_version, configuration.kind)));
        }
        let errors = configuration.validate();
        if !errors.is_empty() {
            return Err(ConfigError::Invalid(errors.aggregate()));
        }
        Ok(configuration)
    }

    fn validate(&self) -> ErrorList {
        let root = FieldPath::new("resources");
        let mut errors = ErrorList::default();
        if self.resources.is_empty() {
            errors.push(Error::required(&root, "at least one resources is required"));
        }
        let mut kms_names = HashSet::new();
        for (number, entry) in self.resources.iter().enumerate() {
            let resources = root.index(number).child("resources");
            let providers = root.index(number).child("providers");
            if entry.resources.is_empty() {
                errors.push(Error::required(&resources, format!("at least one {resources} is required")));
            }
            validate_names(&entry.resources, &resources, &mut errors);
            if entry.providers.is_empty() {
                errors.push(Error::required(&providers, format!("at least one {providers} is required")));
            }
            for (at, provider) in entry.providers.iter().enumerate() {
                provider.validate(&providers.index(at), &mut kms_names, &mut errors);
            }
        }
        errors
    }
}

fn validate_names(names: &[String], path: &FieldPath, errors: &mut ErrorList) {
    let parsed: Vec<(&str, &str)> = names.iter().map(|name| name.split_once('.').unwrap_or((name, ""))).collect();
    let twice = parsed.iter().enumerate().any(|(at, name)| parsed[..at].contains(name));
    let masks = |one: &(&str, &str), other: &(&str, &str)| {
        one != other && (*one == ("*", "*") || (one.0 == "*" && one.1 == other.1))
    };
    if twice {
        let why = "the same resource cannot be specified multiple times";
        errors.push(Error::invalid(path, format!("{names:?}"), why));
    }
    if parsed.iter().any(|one| parsed.iter().any(|other| masks(one, other))) {
        let why = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked";
        errors.push(Error::invalid(path, format!("{names:?}"), why));
    }
    for (number, (name, (resource, group))) in names.iter().zip(&parsed).enumerate() {
        let why = if name.chars().any(char::is_uppercase) {
            "resource name should not contain capital letters"
        } else if name == "*" {
            "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
        } else if matches!(&**name, "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations") {
            "resources which do not have REST API/s cannot be encrypted"
        } else if *group == "events.k8s.io" {
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
        } else if *group == "extensions" {
            "'extensions' group has been removed and cannot be used for encryption"
        } else if *group == "*" && *resource != "*" {
            "encrypting the same resource across groups is not supported"
        } else {
            continue;
        };
        errors.push(Error::invalid(&path.index(number), name.as_str(), why));
    }
}

// === impl ProviderConfiguration ===

impl ProviderConfiguration {
    fn validate(&self, path: &FieldPath, kms_names: &mut HashSet<String>, errors: &mut ErrorList) {
        let given = [
            self.aesgcm.is_some(),
            self.aescbc.is_some(),
            self.secretbox.is_some(),
            self.identity.is_some(),
            self.kms.is_some(),
        ];
        match given.into_iter().filter(|given| *given).count() {
            0 => {
                let why =
                    "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
                errors.push(Error::invalid(path, "{}", why));
            }
            1 => {}
            _ => {
                let why =
                    "more than one provider specified in a single element, should split into different list elements";
                errors.push(Error::invalid(path, "REDACTED", why));
            }
        }
        for (keys, name, lengths) in [
            (&self.aesgcm, "aesgcm", GCM_KEYS),
            (&self.aescbc, "aescbc", AES_KEYS),
            (&self.secretbox, "secretbox", SECRETBOX_KEYS),
        ] {
            if let Some(keys) = keys {
                keys.validate(&path.child(name).child("keys"), lengths, errors);
            }
        }
        if let Some(kms) = &self.kms {
            kms.validate(&path.child("kms"), kms_names, errors);
        }
    }
}

// === impl Keys ===

impl Keys {
    fn validate(&self, path: &FieldPath, lengths: &[usize], errors: &mut ErrorList) {
        if self.keys.is_empty() {
            errors.push(Error::required(path, "at least one keys is required"));
        }
        for (number, key) in self.keys.iter().enumerate() {
            let path = path.index(number);
            if key.name.is_empty() {
                errors.push(Error::required(&path.child("name"), "name is a mandatory field for a key"));
            }
            if key.secret.is_empty() {
                errors.push(Error::required(&path.child("secret"), "secret is a mandatory field for a key"));
                continue;
            }
            match key.secret() {
                None => {
                    errors.push(Error::invalid(&path.child("secret"), "REDACTED", "secrets must be base64 encoded"));
                }
                Some(secret) if !lengths.contains(&secret.len()) => {
                    let expected: Vec<String> = lengths.iter().map(usize::to_string).collect();
                    let why = format!(
                        "secret is not of the expected length, got {}, expected one of [{}]",
                        secret.len(),
                        expected.join(" ")
                    );
                    errors.push(Error::invalid(&path.child("secret"), "REDACTED", why));
                }
                Some(_) => {}
            }
        }
    }
}

// === impl Key ===

impl Key {
    pub(crate) fn secret(&self) -> Option<Vec<u8>> {
        BASE64_STANDARD.decode(&self.secret).ok()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl Kms ===

impl Kms {
    /// Upstream's default: three seconds.
    pub(crate) fn timeout(&self) -> Option<std::time::Duration> {
        match &self.timeout {
            None => Some(std::time::Duration::from_secs(3)),
            Some(text) => go_duration(text).filter(|duration| !duration.is_zero()),
        }
    }

    fn validate(&self, path: &FieldPath, names: &mut HashSet<String>, errors: &mut ErrorList) {
        let name = path.child("name");
        if self.name.is_empty() {
            errors.push(Error::required(&name, "name is a mandatory field for a provider"));
        } else if self.name.contains(':') {
            let why = format!("invalid KMS provider name {}, must not contain ':'", self.name);
            errors.push(Error::invalid(&name, self.name.as_str(), why));
        } else if !names.insert(self.name.clone()) {
            let why = format!("duplicate KMS provider name {}, names must be unique", self.name);
            errors.push(Error::invalid(&name, self.name.as_str(), why));
        }
        if self.timeout().is_none() {
            let timeout = self.timeout.clone().unwrap_or_default();
            errors.push(Error::invalid(&path.child("timeout"), timeout, "timeout should be a positive value"));
        }
        let endpoint = path.child("endpoint");
        if self.endpoint.is_empty() {
            errors.push(Error::invalid(&endpoint, "", "endpoint is a mandatory field for a kms"));
        } else if !self.endpoint.starts_with("unix://") {
            let scheme = self.endpoint.split_once("://").map_or("", |(scheme, _)| scheme);
            let why = format!("unsupported scheme {scheme:?} for KMS provider, only unix is supported");
            errors.push(Error::invalid(&endpoint, self.endpoint.as_str(), why));
        }
        if self.api_version != "v1"
            && let Some(size) = self.cachesize
        {
            errors.push(Error::invalid(&path.child("cachesize"), i64::from(size), "cachesize is not supported in v2"));
        }
        let version = path.child("apiVersion");
        match &*self.api_version {
            "v2" => {}
            // As upstream, which has it behind a feature gate that is off.
            "v1" => {
                let why = "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead";
                errors.push(Error::invalid(&version, "v1", why));
            }
            other => {
                let why = format!("unsupported apiVersion {other} for KMS provider, only v1 and v2 are supported");
                errors.push(Error::invalid(&version, other, why));
            }
        }
    }
}

/// As Go writes durations, `1m30s` or `500ms`; `None` for anything else, and for what is below zero.
fn go_duration(text: &str) -> Option<std::time::Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(rest.len());
        let factor = match &rest[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number * factor;
        rest = &rest[unit..];
    }
    std::time::Duration::try_from_secs_f64(seconds).ok()
}

fn v1() -> String {
    "v1".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resources: &str, wrong: &str) {
        let text =
            format!("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n{resources}");
        match Configuration::parse(&text) {
            Ok(_) => assert_eq!(wrong, "", "{resources}"),
            Err(error) => {
                let error = error.to_string();
                assert!(!wrong.is_empty() && error.contains(wrong), "{error}");
                assert!(!error.contains("c2VjcmV0"), "a key is shown: {error}");
            }
        }
    }

    #[test]
    fn upstreams_rules_hold() {
        let key = |length: usize| BASE64_STANDARD.encode(vec![7; length]);
        let gcm = |resource: &str, key: &str| {
            format!("- resources: [{resource}]\n  providers:\n  - aesgcm: {{keys: [{{name: a, secret: {key}}}]}}\n")
        };
        check(&gcm("secrets", &key(32)), "");
        check(&gcm("secrets, '*.apps', configmaps", &key(16)), "");
        check(&gcm("'*.*'", &key(32)), "");
        check("- resources: [secrets]\n  providers:\n  - identity: {}\n", "");
        check(
            "- resources: [secrets]\n  providers:\n  - kms: {apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: 1m3s}\n",
            "",
        );
        check("", "at least one resources is required");
        check(&gcm("secrets", &key(17)), "secret is not of the expected length, got 17, expected one of");
        check(&gcm("secrets", "c2VjcmV0!"), "secrets must be base64 encoded");
        check(&gcm("Secrets", &key(32)), "should not contain capital letters");
        check(&gcm("'*'", &key(32)), "use '*.' to encrypt");
        check(&gcm("secrets, '*.'", &key(32)), "overlapping resources");
        check(&gcm("secrets, secrets", &key(32)), "cannot be specified multiple times");
        check(&gcm("events.events.k8s.io", &key(32)), "'events' API group");
        check(&gcm("'secrets.*'", &key(32)), "across groups");
        check("- resources: [secrets]\n  providers: []\n", "at least one resources[0].providers is required");
        check("- resources: [secrets]\n  providers:\n  - {}\n", "does not contain any of the expected providers");
        check(
            "- resources: [secrets]\n  providers:\n  - identity: {}\n    secretbox: {keys: []}\n",
            "more than one provider",
        );
        check("- resources: [secrets]\n  providers:\n  - secretbox: {keys: []}\n", "at least one keys is required");
        check(
            "- resources: [secrets]\n  providers:\n  - kms: {apiVersion: v2, name: 'a:b', endpoint: 'unix:///a'}\n",
            "must not contain ':'",
        );
        check(
            "- resources: [secrets]\n  providers:\n  - kms: {apiVersion: v2, name: a, endpoint: 'tcp://a'}\n",
            "unsupported scheme \"tcp\"",
        );
        check(
            "- resources: [secrets]\n  providers:\n  - kms: {apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: 0s}\n",
            "positive value",
        );
        check("- resources: [secrets]\n  unknown: {}\n", "not of its form");
    }

    #[test]
    fn keys_are_not_shown() {
        let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - secretbox: {keys: [{name: a, secret: BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=}]}\n";
        let configuration = Configuration::parse(text).unwrap();
        assert!(!format!("{configuration:?}").contains("BwcH"));
    }
}
