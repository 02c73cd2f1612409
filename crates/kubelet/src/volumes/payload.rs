//! What files a volume of configuration holds. Pure. Upstream: pkg/volume/{configmap,secret,downwardapi,projected}.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret};

use crate::env::{EnvError, Facts, field_value, find_container, resource_value};

/// Files by relative path.
pub(super) type Payload = BTreeMap<String, File>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub content: Vec<u8>,
    pub mode: u32,
    /// Owned by this user instead of root.
    pub owner: Option<u32>,
}

/// Why a volume's files cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PayloadError {
    #[error("configmap references non-existent config key: {0}")]
    ConfigKey(String),
    #[error("references non-existent secret key: {0}")]
    SecretKey(String),
    #[error("conflicting duplicate paths")]
    Duplicate,
    #[error("invalid path {0:?}")]
    Path(String),
    #[error(transparent)]
    Field(#[from] EnvError),
}

/// A selection of keys and where they go.
pub(super) struct Selection<'a> {
    pub items: Option<&'a Vec<KeyToPath>>,
    pub default_mode: u32,
    pub optional: bool,
}

pub(super) fn config_map(map: &ConfigMap, selection: &Selection<'_>) -> Result<Payload, PayloadError> {
    let texts = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binaries = map.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    select(texts.chain(binaries).collect(), selection, PayloadError::ConfigKey)
}

pub(super) fn secret(secret: &Secret, selection: &Selection<'_>) -> Result<Payload, PayloadError> {
    let all = secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    select(all.collect(), selection, PayloadError::SecretKey)
}

fn select(
    all: BTreeMap<&str, &[u8]>,
    selection: &Selection<'_>,
    missing: fn(String) -> PayloadError,
) -> Result<Payload, PayloadError> {
    let file = |content: &[u8], mode: u32| File { content: content.to_vec(), mode, owner: None };
    let Some(items) = selection.items.filter(|items| !items.is_empty()) else {
        return Ok(all
            .into_iter()
            .map(|(key, content)| (key.to_owned(), file(content, selection.default_mode)))
            .collect());
    };
    let mut payload = Payload::new();
    for item in items {
        match all.get(item.key.as_str()) {
            Some(content) => {
                payload.insert(item.path.clone(), file(content, mode_of(item.mode, selection.default_mode)));
            }
            None if selection.optional => {}
            None => return Err(missing(item.key.clone())),
        }
    }
    Ok(payload)
}

pub(super) fn downward(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    default_mode: u32,
    facts: &Facts,
) -> Result<Payload, PayloadError> {
    let mut payload = Payload::new();
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            field_value(pod, &field.field_path, facts)?
        } else if let Some(resource) = &item.resource_field_ref {
            let name = resource.container_name.as_deref().unwrap_or_default();
            let container = find_container(pod, name).ok_or_else(|| EnvError::Container(name.to_owned()))?;
            resource_value(
                container,
                &resource.resource,
                resource.divisor.as_ref().map(|divisor| divisor.0.as_str()),
                facts,
            )?
        } else {
            continue;
        };
        let file = File { content: text.into_bytes(), mode: mode_of(item.mode, default_mode), owner: None };
        payload.insert(item.path.clone(), file);
    }
    Ok(payload)
}

/// Adds files to others; two sources of a projected volume must not want the same path.
pub(super) fn merge(into: &mut Payload, from: Payload) -> Result<(), PayloadError> {
    for (path, file) in from {
        if into.insert(path, file).is_some() {
            return Err(PayloadError::Duplicate);
        }
    }
    Ok(())
}

pub(super) fn mode_of(own: Option<i32>, default: u32) -> u32 {
    own.and_then(|mode| u32::try_from(mode).ok()).map_or(default, |mode| mode & 0o777)
}

/// A relative path that stays where it is put.
pub(super) fn check_path(path: &str) -> Result<(), PayloadError> {
    let bad = path.is_empty()
        || path.len() > 4096
        || path.starts_with('/')
        || path.starts_with("..")
        || path.split('/').any(|part| part == ".." || part.len() > 255)
        || path.contains('\0');
    if bad { Err(PayloadError::Path(path.to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map() -> ConfigMap {
        serde_json::from_value(json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAE="}})).unwrap()
    }

    #[test]
    fn all_keys_or_chosen_ones() {
        let all = config_map(&map(), &Selection { items: None, default_mode: 0o644, optional: false }).unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(all["c"].content, [0, 1]);
        let items: Vec<KeyToPath> =
            serde_json::from_value(json!([{"key": "a", "path": "x/y", "mode": 0o400}])).unwrap();
        let chosen =
            config_map(&map(), &Selection { items: Some(&items), default_mode: 0o644, optional: false }).unwrap();
        assert_eq!(chosen["x/y"].mode, 0o400);
    }

    #[test]
    fn missing_keys_are_errors_unless_optional() {
        let items: Vec<KeyToPath> = serde_json::from_value(json!([{"key": "zz", "path": "x"}])).unwrap();
        let with = |optional| config_map(&map(), &Selection { items: Some(&items), default_mode: 0o644, optional });
        assert_eq!(with(false).unwrap_err().to_string(), "configmap references non-existent config key: zz");
        assert!(with(true).unwrap().is_empty());
    }

    #[test]
    fn paths_stay_inside() {
        for bad in ["", "/etc", "../x", "a/../b", "..data"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
        assert!(check_path("a/b..c").is_ok());
    }
}
