//! Config maps for the registry. Upstream: `pkg/registry/core/configmap`.

use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use k8s_openapi::api::core::v1::ConfigMap;
use registry::{Column, Info, RequestCx, Strategy};
use serde_json::json;

use crate::check::{self, Report};
use crate::optional::Flag;

type C = Column<ConfigMap>;

/// Most bytes of all values together, of config maps and secrets.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;
const FIXED: &str = "field is immutable when `immutable` is set";

pub struct ConfigMaps;

impl Strategy for ConfigMaps {
    type Object = ConfigMap;

    const INFO: Info = Info::namespaced("", "v1", "ConfigMap", "configmaps").short(&["cm"]);
    const COLUMNS: &'static [Column<ConfigMap>] = COLUMNS;

    fn validate(&self, _cx: &RequestCx, map: &ConfigMap) -> ErrorList {
        validate(map)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &ConfigMap, old: &ConfigMap) -> ErrorList {
        let mut errors = ErrorList::default();
        if old.immutable.is_set() {
            if !new.immutable.is_set() {
                errors.forbidden(&Path::new("immutable"), FIXED);
            }
            if new.data != old.data {
                errors.forbidden(&Path::new("data"), FIXED);
            }
            if new.binary_data != old.binary_data {
                errors.forbidden(&Path::new("binaryData"), FIXED);
            }
        }
        errors.append(validate(new));
        errors
    }
}

fn validate(map: &ConfigMap) -> ErrorList {
    let mut errors = ErrorList::default();
    let mut size = 0;
    for (key, value) in map.data.iter().flatten() {
        let path = Path::new("data").key(key);
        check::all_invalid(names::is_config_map_key(key), key, &path, &mut errors);
        if map.binary_data.as_ref().is_some_and(|binary| binary.contains_key(key)) {
            errors.invalid(&path, key, "duplicate of key present in binaryData");
        }
        size += value.len();
    }
    for (key, value) in map.binary_data.iter().flatten() {
        check::all_invalid(names::is_config_map_key(key), key, &Path::new("binaryData").key(key), &mut errors);
        size += value.0.len();
    }
    if size > MAX_BYTES {
        errors.too_long(&Path::new(""), MAX_BYTES);
    }
    errors
}

static COLUMNS: &[Column<ConfigMap>] = &[
    Column::NAME,
    C::string("Data", |map, _| {
        json!(map.data.as_ref().map_or(0, |data| data.len()) + map.binary_data.as_ref().map_or(0, |data| data.len()))
    })
    .describe("Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or '.'. Values with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must not overlap with the keys in the BinaryData field, this is enforced during validation process."),
    Column::AGE,
];
