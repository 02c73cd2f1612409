//! The settings of plugins, as `--admission-control-config-file` gives them: an `AdmissionConfiguration` whose entries
//! hold each plugin's own. Upstream: `k8s.io/apiserver/pkg/admission.ReadAdmissionConfiguration`.

use std::collections::BTreeMap;

use api::core::v1::Toleration;
use serde_json::Value;

use crate::{
    event_rate_limit::{Limit, LimitKind},
    pod_security::{self, Level, LevelVersion, Policy, Version},
    resource_quota::LimitedResource,
};

/// Of all plugins that have settings.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    pub pod_security: pod_security::Configuration,
    /// Node selectors by namespace; `clusterDefaultNodeSelector` for those that have none.
    pub pod_node_selectors: BTreeMap<String, String>,
    pub default_tolerations: Vec<Toleration>,
    pub allowed_tolerations: Vec<Toleration>,
    pub event_rate_limits: Vec<Limit>,
    /// What may be used only where a quota covers it.
    pub limited_resources: Vec<LimitedResource>,
    /// Registries, or paths below them.
    pub image_registries: Vec<String>,
    /// Settings of the plugins that read their own, by plugin.
    pub others: BTreeMap<String, Value>,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    #[error("unable to read admission plugin configuration: {0}")]
    Malformed(String),
    #[error("configuration of {plugin}: {why}")]
    Plugin { plugin: String, why: String },
}

impl Configuration {
    /// From the file's content. `open` reads what an entry's `path` names.
    pub fn read(
        file: &Value,
        open: impl Fn(&str) -> Result<Value, ConfigurationError>,
    ) -> Result<Self, ConfigurationError> {
        let kind = file["kind"].as_str().unwrap_or_default();
        if kind != "AdmissionConfiguration" {
            return Err(ConfigurationError::Malformed(format!("no kind \"AdmissionConfiguration\", but {kind:?}")));
        }
        let mut configuration = Self::default();
        for entry in file["plugins"].as_array().into_iter().flatten() {
            let name = entry["name"].as_str().unwrap_or_default();
            let path = entry["path"].as_str().unwrap_or_default();
            let own = match &entry["configuration"] {
                Value::Null if path.is_empty() => continue,
                Value::Null => open(path)?,
                inline => inline.clone(),
            };
            let outcome = configuration.plugin(name, &own);
            outcome.map_err(|why| ConfigurationError::Plugin { plugin: name.to_owned(), why })?;
        }
        Ok(configuration)
    }

    fn plugin(&mut self, name: &str, own: &Value) -> Result<(), String> {
        match name {
            "PodSecurity" => self.pod_security = read_pod_security(own)?,
            "PodNodeSelector" => {
                // The older form has the selectors below one more field.
                let selectors = own.get("podNodeSelectorPluginConfig").unwrap_or(own);
                self.pod_node_selectors = strings_by_name(selectors)?;
            }
            "PodTolerationRestriction" => {
                self.default_tolerations = tolerations(&own["default"])?;
                self.allowed_tolerations = tolerations(&own["whitelist"])?;
            }
            "EventRateLimit" => self.event_rate_limits = limits(&own["limits"])?,
            "ResourceQuota" => self.limited_resources = limited_resources(&own["limitedResources"])?,
            "ImageRegistryAllowList" => self.image_registries = strings(&own["registries"])?,
            other => {
                self.others.insert(other.to_owned(), own.clone());
            }
        }
        Ok(())
    }
}

fn strings(value: &Value) -> Result<Vec<String>, String> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let text = |item: &Value| item.as_str().map(str::to_owned).ok_or_else(|| format!("{item} is no text"));
    items.iter().map(text).collect()
}

fn strings_by_name(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let fields =
        value.as_object().into_iter().flatten().filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind"));
    let text = |(name, item): (&String, &Value)| {
        item.as_str().map(|item| (name.clone(), item.to_owned())).ok_or_else(|| format!("{name} is no text"))
    };
    fields.map(text).collect()
}

fn tolerations(value: &Value) -> Result<Vec<Toleration>, String> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    apimachinery::json::from_value(value).map_err(|error| error.to_string())
}

fn limits(value: &Value) -> Result<Vec<Limit>, String> {
    /// Upstream's default.
    const CACHE: u64 = 4096;
    let limit = |item: &Value| {
        let kind = item["type"].as_str().unwrap_or_default();
        let number = |field: &str| {
            let number = item[field].as_i64().and_then(|number| i32::try_from(number).ok());
            number.filter(|number| *number > 0).ok_or_else(|| format!("{field}: must be positive"))
        };
        Ok(Limit {
            kind: LimitKind::parse(kind).ok_or_else(|| format!("type: Unsupported value: {kind:?}"))?,
            qps: number("qps")?,
            burst: number("burst")?,
            cache_size: usize::try_from(item["cacheSize"].as_u64().filter(|size| *size > 0).unwrap_or(CACHE))
                .map_err(|error| error.to_string())?,
        })
    };
    let all: Vec<Limit> = value.as_array().into_iter().flatten().map(limit).collect::<Result<_, String>>()?;
    if all.is_empty() { Err("limits: Required value".to_owned()) } else { Ok(all) }
}

/// Upstream: `resourcequota/v1.LimitedResource`.
fn limited_resources(value: &Value) -> Result<Vec<LimitedResource>, String> {
    let limited = |(index, item): (usize, &Value)| {
        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        if text("resource").is_empty() {
            return Err(format!("limitedResources[{index}].resource: Required value"));
        }
        let scopes = match &item["matchScopes"] {
            Value::Null => Vec::new(),
            scopes => apimachinery::json::from_value(scopes).map_err(|error| error.to_string())?,
        };
        let (group, plural) = (text("apiGroup"), text("resource"));
        Ok(LimitedResource { group, plural, contains: strings(&item["matchContains"])?, scopes })
    };
    value.as_array().into_iter().flatten().enumerate().map(limited).collect()
}

fn read_pod_security(value: &Value) -> Result<pod_security::Configuration, String> {
    let defaults = &value["defaults"];
    let mode = |name: &str| -> Result<LevelVersion, String> {
        let level = defaults[name].as_str().filter(|text| !text.is_empty()).unwrap_or("privileged");
        let version_field = format!("{name}-version");
        let version = defaults[&version_field].as_str().filter(|text| !text.is_empty()).unwrap_or("latest");
        Ok(LevelVersion {
            level: Level::parse(level)
                .ok_or_else(|| format!("defaults.{name}: must be one of privileged, baseline, restricted"))?,
            version: Version::parse(version)
                .ok_or_else(|| format!("defaults.{version_field}: must be \"latest\" or \"v1.x\""))?,
        })
    };
    let exemptions = &value["exemptions"];
    Ok(pod_security::Configuration {
        defaults: Policy { enforce: mode("enforce")?, audit: mode("audit")?, warn: mode("warn")? },
        usernames: strings(&exemptions["usernames"])?,
        runtime_classes: strings(&exemptions["runtimeClasses"])?,
        namespaces: strings(&exemptions["namespaces"])?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_read() {
        let file = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": [
            {"name": "PodSecurity", "configuration": {"defaults": {"enforce": "baseline", "enforce-version": "v1.30"}, "exemptions": {"namespaces": ["kube-system"]}}},
            {"name": "EventRateLimit", "path": "limits"},
            {"name": "Other", "configuration": {"a": 1}},
        ]});
        let open = |path: &str| {
            assert_eq!(path, "limits");
            Ok(json!({"limits": [{"type": "Namespace", "qps": 5, "burst": 10}]}))
        };
        let read = Configuration::read(&file, open).unwrap();
        assert_eq!(read.pod_security.defaults.enforce.to_string(), "baseline:v1.30");
        assert_eq!(read.pod_security.namespaces, ["kube-system"]);
        assert_eq!(read.event_rate_limits[0].burst, 10);
        assert_eq!(read.others["Other"], json!({"a": 1}));
        let wrong = json!({"kind": "AdmissionConfiguration", "plugins": [{"name": "PodSecurity", "configuration": {"defaults": {"warn": "x"}}}]});
        let error = Configuration::read(&wrong, open).unwrap_err();
        assert!(error.to_string().contains("must be one of privileged"), "{error}");
    }
}
