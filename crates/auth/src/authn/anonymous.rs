//! Those who present nothing. Upstream: `k8s.io/apiserver/pkg/authentication/request/anonymous`.

use serde::Deserialize;

/// Whether requests without credentials go on as `system:anonymous`, and to which paths.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anonymous {
    #[serde(default)]
    pub enabled: bool,
    /// Only these paths, exactly; none: all.
    #[serde(default)]
    pub conditions: Vec<PathCondition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathCondition {
    pub path: String,
}

impl Anonymous {
    /// Everywhere, or nowhere.
    pub fn everywhere(enabled: bool) -> Self {
        Self { enabled, conditions: Vec::new() }
    }

    pub(super) fn allows(&self, path: &str) -> bool {
        self.enabled && (self.conditions.is_empty() || self.conditions.iter().any(|condition| condition.path == path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_it_is_said() {
        assert!(Anonymous::everywhere(true).allows("/api") && !Anonymous::everywhere(false).allows("/healthz"));
        let some = Anonymous { enabled: true, conditions: vec![PathCondition { path: "/livez".into() }] };
        assert!(some.allows("/livez"));
        for path in ["/livez/", "/livez/ping", "/Livez", "/healthz", "//livez", "/livez/../api"] {
            assert!(!some.allows(path), "{path}");
        }
    }
}
