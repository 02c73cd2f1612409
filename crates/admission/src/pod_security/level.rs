//! Levels, versions, and how a namespace's labels say them. Upstream: `k8s.io/pod-security-admission/api`.

use std::{collections::BTreeMap, fmt};

use apimachinery::{
    ErrorList,
    field::{Error, Path},
};

const PREFIX: &str = "pod-security.kubernetes.io/";

/// From the least to the most strict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

/// The rules of a minor version, or those of this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    #[default]
    Latest,
    /// `v1.N`.
    Minor(u32),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelVersion {
    pub level: Level,
    pub version: Version,
}

/// What holds in a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub enforce: LevelVersion,
    pub audit: LevelVersion,
    pub warn: LevelVersion,
}

impl Level {
    /// `privileged`, `baseline` or `restricted`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }
}

impl Version {
    /// `latest` or `v1.N`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        let digits = text.strip_prefix("v1.")?;
        let canonical = digits == "0" || !digits.starts_with('0');
        let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
        canonical.then_some(Self::Minor(number))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Version::Latest => write!(f, "{}:latest", self.level),
            Version::Minor(minor) => write!(f, "{}:v1.{minor}", self.level),
        }
    }
}

impl LevelVersion {
    fn is_equivalent(&self, other: &Self) -> bool {
        (self.level == Level::Privileged && other.level == Level::Privileged) || self == other
    }
}

impl Policy {
    pub(super) fn is_fully_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|mode| mode.level == Level::Privileged)
    }

    pub(super) fn is_equivalent(&self, other: &Self) -> bool {
        self.enforce.is_equivalent(&other.enforce)
            && self.audit.is_equivalent(&other.audit)
            && self.warn.is_equivalent(&other.warn)
    }
}

pub(super) fn has_label(labels: &BTreeMap<String, String>, mode: &str) -> bool {
    labels.contains_key(&format!("{PREFIX}{mode}")) || labels.contains_key(&format!("{PREFIX}{mode}-version"))
}

/// The policy that labels ask for. With errors there is a policy too: strict where pods are refused, lax where they
/// are only spoken of.
pub(super) fn policy(labels: &BTreeMap<String, String>, defaults: Policy) -> (Policy, ErrorList) {
    let mut policy = defaults;
    let mut errors = ErrorList::default();
    let get = |suffix: &str| labels.get(&format!("{PREFIX}{suffix}"));
    let invalid = |suffix: &str, value: &str, why: &str, errors: &mut ErrorList| {
        let path = Path::new("metadata").child("labels").key(&format!("{PREFIX}{suffix}"));
        errors.push(Error::invalid(&path, value, why));
    };
    let mut states_enforce = false;
    for (mode, target, on_error) in [
        ("enforce", &mut policy.enforce, Level::Restricted),
        ("audit", &mut policy.audit, Level::Privileged),
        ("warn", &mut policy.warn, Level::Privileged),
    ] {
        if let Some(text) = get(mode) {
            target.level = Level::parse(text).unwrap_or_else(|| {
                invalid(mode, text, "must be one of privileged, baseline, restricted", &mut errors);
                on_error
            });
            states_enforce |= mode == "enforce" && Level::parse(text).is_some();
        }
        let suffix = format!("{mode}-version");
        if let Some(text) = get(&suffix) {
            target.version = Version::parse(text).unwrap_or_else(|| {
                invalid(&suffix, text, r#"must be "latest" or "v1.x""#, &mut errors);
                Version::Latest
            });
        }
    }
    // Who is stricter than the default warns as strictly.
    if get("warn").is_none() && states_enforce && policy.enforce.level > policy.warn.level {
        policy.warn.level = policy.enforce.level;
        if get("warn-version").is_none() {
            policy.warn.version = policy.enforce.version;
        }
    }
    (policy, errors)
}
