//! Every kind, through the same checks.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use registry::{AnyObject, Info, Resource};
use serde_json::Value;

use super::{Options, all};

/// Kinds of the fixtures that no store holds: what a request carries, or another kind's subresource.
const NOT_STORED: &[&str] = &[
    "admission.k8s.io/v1/AdmissionReview",
    "apidiscovery.k8s.io/v2/APIGroupDiscovery",
    "authentication.k8s.io/v1/SelfSubjectReview",
    "authentication.k8s.io/v1/TokenRequest",
    "authentication.k8s.io/v1/TokenReview",
    "authorization.k8s.io/v1/LocalSubjectAccessReview",
    "authorization.k8s.io/v1/SelfSubjectAccessReview",
    "authorization.k8s.io/v1/SelfSubjectRulesReview",
    "authorization.k8s.io/v1/SubjectAccessReview",
    // Another spelling of autoscaling/v2.
    "autoscaling/v1/HorizontalPodAutoscaler",
    "autoscaling/v1/Scale",
    "core/v1/APIGroup",
    "core/v1/APIVersions",
    "core/v1/Binding",
    "core/v1/CreateOptions",
    "core/v1/DeleteOptions",
    "core/v1/GetOptions",
    "core/v1/ListOptions",
    "core/v1/NodeProxyOptions",
    "core/v1/PatchOptions",
    "core/v1/PodAttachOptions",
    "core/v1/PodExecOptions",
    "core/v1/PodLogOptions",
    "core/v1/PodPortForwardOptions",
    "core/v1/PodProxyOptions",
    "core/v1/RangeAllocation",
    "core/v1/SerializedReference",
    "core/v1/ServiceProxyOptions",
    "core/v1/Status",
    "core/v1/UpdateOptions",
    "core/v1/WatchEvent",
    // Another spelling of core events.
    "events.k8s.io/v1/Event",
    "policy/v1/Eviction",
];

fn kinds() -> Vec<Arc<dyn Resource>> {
    all(&Options::default())
}

fn identity(info: &Info) -> String {
    let group = if info.group.is_empty() { "core" } else { info.group };
    format!("{group}/{}/{}", info.version, info.kind)
}

/// Group, version and kind of each fixture with its file. Empty where the fixtures are not at hand.
fn fixtures() -> Vec<(String, PathBuf)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/fixtures/api-v1.36");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let files = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?.strip_suffix(".json")?.to_owned();
        let (rest, kind) = name.rsplit_once('.')?;
        let (group, version) = rest.rsplit_once('.')?;
        let stable = !version.contains("alpha") && !version.contains("beta");
        stable.then(|| (format!("{group}/{version}/{kind}"), path))
    });
    files.collect()
}

fn decode(kind: &dyn Resource, json: &[u8]) -> Box<dyn AnyObject> {
    kind.decode(json).unwrap_or_else(|error| panic!("{}: {error}", identity(kind.info())))
}

fn json(object: &dyn AnyObject) -> Value {
    serde_json::from_slice(&object.to_json().expect("encode")).expect("decode")
}

#[test]
fn every_stored_kind_is_in_the_list() {
    let served: HashSet<String> = kinds().iter().map(|kind| identity(kind.info())).collect();
    let missing: Vec<_> = fixtures()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !served.contains(name) && !NOT_STORED.contains(&name.as_str()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn names_are_unique() {
    let mut seen = HashSet::new();
    for kind in kinds() {
        let info = kind.info();
        assert!(seen.insert((info.group, info.version, info.plural)), "{info:?}");
        assert!(info.plural.chars().all(|c| c.is_ascii_lowercase()), "{info:?}");
        assert!(info.kind.chars().next().is_some_and(|c| c.is_ascii_uppercase()), "{info:?}");
        assert!(info.short.iter().all(|short| *short != info.plural), "{info:?}");
    }
}

#[test]
fn the_schema_knows_every_kind() {
    for kind in kinds() {
        let info = kind.info();
        assert!(schema::builtin().kind(info.group, info.version, info.kind).is_some(), "{info:?}");
    }
}

#[test]
fn fixtures_survive_their_kind() {
    let fixtures = fixtures();
    let mut lost = Vec::new();
    for kind in kinds() {
        let name = identity(kind.info());
        let Some((_, path)) = fixtures.iter().find(|(fixture, _)| *fixture == name) else { continue };
        let bytes = std::fs::read(path).expect("fixture");
        let given = strip(serde_json::from_slice(&bytes).expect("fixture"));
        let mut object = decode(kind.as_ref(), given.to_string().as_bytes());
        lost.extend(lost_fields(&name, &given, &strip(json(object.as_ref()))));

        kind.set_defaults(object.as_mut());
        let once = json(object.as_ref());
        kind.set_defaults(object.as_mut());
        assert_eq!(json(object.as_ref()), once, "{name}: defaults applied twice differ");
        assert_eq!(kind.cells(object.as_ref(), Timestamp::UNIX_EPOCH).len(), kind.columns().len(), "{name}");
    }
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn empty_objects_get_defaults_and_cells() {
    for kind in kinds() {
        let info = kind.info();
        let empty =
            format!(r#"{{"apiVersion":"{}","kind":"{}","metadata":{{"name":"x"}}}}"#, info.api_version(), info.kind);
        let Ok(mut object) = kind.decode(empty.as_bytes()) else { continue };
        kind.cells(object.as_ref(), Timestamp::UNIX_EPOCH);
        kind.set_defaults(object.as_mut());
        let once = json(object.as_ref());
        kind.set_defaults(object.as_mut());
        assert_eq!(json(object.as_ref()), once, "{info:?}: defaults applied twice differ");
        kind.cells(object.as_ref(), Timestamp::UNIX_EPOCH);
    }
}

/// Paths of `given` that `kept` has not, or has with another value.
fn lost_fields(path: &str, given: &Value, kept: &Value) -> Vec<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => given
            .iter()
            .flat_map(|(name, value)| {
                lost_fields(&format!("{path}.{name}"), value, kept.get(name).unwrap_or(&Value::Null))
            })
            .collect(),
        (Value::Array(given), Value::Array(kept)) if given.len() == kept.len() => given
            .iter()
            .zip(kept)
            .enumerate()
            .flat_map(|(index, (given, kept))| lost_fields(&format!("{path}[{index}]"), given, kept))
            .collect(),
        _ if given == kept => Vec::new(),
        _ => vec![format!("{path}: {given} became {kept}")],
    }
}

/// Without what typed structs leave out: nulls and empty values.
fn strip(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept =
                fields.into_iter().map(|(name, value)| (name, strip(value))).filter(|(_, value)| !is_empty(value));
            Value::Object(kept.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(strip).collect()),
        other => other,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}
