//! Who set which field of an object: between the pipeline, which has JSON, and crate `fieldmanager`, which has trees.
//!
//! `metadata.managedFields` is kept apart from the object while it is worked on: as the JSON of the list, parsed only
//! when a write changed something that entries may speak of. Unchanged parts of an object are recognised by their bytes
//! and not looked into. Upstream counterpart: `RequestScope.FieldManager`.

use std::{borrow::Cow, cell::OnceCell, collections::BTreeMap, sync::Arc};

use apimachinery::{ApiError, scan};
use bytes::Bytes;
use fieldmanager::{
    Comparison, Filter, Invalid, Managed, Operation, PathElement, TypeRef, TypedValue, Versions, managed::Given,
};
use jiff::Timestamp;
use schema::{Limits, Node, json::Object};

use crate::{Kind, Registry, RequestCx};

/// How deep parts are compared by their bytes before they are looked into.
const RAW_DEPTH: usize = 3;

// === the list beside the object ===

/// JSON of the list in an object's bytes; empty when there is none.
pub(crate) fn of(object: &[u8]) -> &[u8] {
    scan::lookup(object, &["metadata", "managedFields"]).unwrap_or_default()
}

/// An object's bytes without the list, and the list.
pub(crate) fn split(object: &[u8]) -> (Cow<'_, [u8]>, &[u8]) {
    let list = of(object);
    (scan::without(object, list), list)
}

/// Whether two objects are the same in all but the list.
pub(crate) fn same_but_list(left: &[u8], right: &[u8]) -> bool {
    split(left).0 == split(right).0
}

/// RFC 3339, to the second.
pub(crate) fn stamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn parse(json: &[u8]) -> Result<Node<'_>, ApiError> {
    schema::json::parse(json, &Limits::TRUSTED).map_err(ApiError::internal)
}

/// The entries of a list that is stored. One that cannot be read counts as none, as upstream has it.
pub(crate) fn entries(list: &[u8]) -> Managed {
    if list.is_empty() {
        return Managed::default();
    }
    match parse(list).map(|node| Managed::parse(&node)) {
        Ok(Ok(managed)) => managed,
        _ => Managed::default(),
    }
}

/// A list that an admission plugin has written, as it is stored.
pub(crate) fn rewritten(list: Option<&serde_json::Value>) -> Result<Vec<u8>, String> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let managed = Managed::parse(&Node::from_value(list)).map_err(|error| error.to_string())?;
    Ok(managed.to_json())
}

// === the kind's versions ===

/// The kinds that show the same stored objects, one of them the request's.
pub(crate) struct Family<'a> {
    registry: &'a Registry,
    kind: &'a Kind,
    filter: Filter,
    others: OnceCell<BTreeMap<String, Option<Arc<Kind>>>>,
    /// Versions that somebody asked for and that are to be looked up.
    versions: Vec<String>,
    version: String,
    converted: &'a Conversions,
}

/// Objects in other versions, as far as they have been made. Conversions may have to wait for somebody outside.
#[derive(Default)]
pub(crate) struct Conversions {
    known: BTreeMap<(Vec<u8>, String), Bytes>,
    wanted: std::sync::Mutex<Vec<(Vec<u8>, String, String)>>,
}

impl<'a> Family<'a> {
    /// `versions`: those that entries speak of.
    pub(crate) fn new<'v>(
        registry: &'a Registry,
        kind: &'a Kind,
        subresource: &str,
        versions: impl IntoIterator<Item = &'v str>,
        converted: &'a Conversions,
    ) -> Self {
        let version = kind.gvk.api_version();
        let versions = versions.into_iter().filter(|other| *other != version).map(str::to_owned).collect();
        let filter = kind.resource.reset_fields(subresource);
        Self { registry, kind, filter, others: OnceCell::new(), versions, version, converted }
    }

    fn other(&self, version: &str) -> Option<&Arc<Kind>> {
        let others = self.others.get_or_init(|| {
            self.versions.iter().map(|version| (version.clone(), self.registry.sibling(self.kind, version))).collect()
        });
        others.get(version)?.as_ref()
    }
}

impl Versions for Family<'_> {
    fn kind_in(&self, version: &str) -> Option<TypeRef<'_>> {
        let kind = if version == self.version { self.kind } else { self.other(version)? };
        Some(type_of(kind))
    }

    fn literal(&self) -> bool {
        is_literal(self.kind)
    }

    fn convert(&self, object: &Node<'_>, from: &str, to: &str) -> Result<Node<'static>, String> {
        let json = object.to_json();
        let key = (json, to.to_owned());
        match self.converted.known.get(&key) {
            Some(bytes) => {
                let node = schema::json::parse(bytes, &Limits::TRUSTED).map_err(|error| error.to_string())?;
                Ok(node.into_owned())
            }
            None => {
                if let Ok(mut wanted) = self.converted.wanted.lock() {
                    wanted.push((key.0, from.to_owned(), key.1));
                }
                Err("not yet converted".to_owned())
            }
        }
    }

    fn filter_in(&self, _version: &str) -> &Filter {
        &self.filter
    }
}

/// What the fields of a kind's objects are.
fn type_of(kind: &Kind) -> TypeRef<'_> {
    kind.resource.schema_type().map_or(TypeRef::Deduced, TypeRef::Named)
}

/// Built-in kinds are read as upstream's structs are, others as they are written.
fn is_literal(kind: &Kind) -> bool {
    let gvk = &kind.gvk;
    schema::builtin().kind(&gvk.group, &gvk.version, &gvk.kind).is_none()
}

fn typed<'n>(kind: &'n Kind, node: Node<'n>) -> TypedValue<'n> {
    TypedValue { kind: type_of(kind), node, literal: is_literal(kind) }
}

// === writes ===

/// Who writes.
#[derive(Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub(crate) manager: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) now: Timestamp,
}

impl<'a> Writer<'a> {
    pub(crate) fn of(cx: &'a RequestCx) -> Self {
        Self { manager: &cx.field_manager, subresource: &cx.subresource, now: cx.now }
    }
}

/// The list after a write.
pub(crate) struct Owned {
    pub(crate) list: Vec<u8>,
    /// Only times are others than before.
    pub(crate) only_times: bool,
}

impl Owned {
    pub(crate) fn kept(list: &[u8]) -> Self {
        Self { list: list.to_vec(), only_times: false }
    }
}

impl Conversions {
    /// Makes what was asked for. False: nothing was.
    pub(crate) async fn make_wanted(&mut self, registry: &Registry, kind: &Kind) -> Result<bool, ApiError> {
        let wanted = match self.wanted.get_mut() {
            Ok(wanted) => std::mem::take(wanted),
            Err(_) => Vec::new(),
        };
        let any = !wanted.is_empty();
        for (json, from, to) in wanted {
            let [bytes] = registry.converted(kind, [json.as_slice()], &from, &to).await?;
            self.known.insert((json, to), bytes);
        }
        Ok(any)
    }
}

impl Registry {
    /// The kind that shows the same objects in another version, such as `apps/v1`.
    fn sibling(&self, kind: &Kind, api_version: &str) -> Option<Arc<Kind>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let other = self.kind(group, version, &kind.gvr.resource)?;
        (stored_as(&other) == stored_as(kind)).then_some(other)
    }

    /// Objects of one version in another, all at once where a webhook has to be asked.
    async fn converted<const N: usize>(
        &self,
        kind: &Kind,
        objects: [&[u8]; N],
        from: &str,
        to: &str,
    ) -> Result<[Bytes; N], ApiError> {
        let missing = || ApiError::internal("no such version");
        let own = kind.gvk.api_version();
        let find = |version: &str| if version == own { None } else { self.sibling(kind, version) };
        let (from_other, to_other) = (find(from), find(to));
        let from = if from == own { kind } else { from_other.as_deref().ok_or_else(missing)? };
        let to = if to == own { kind } else { to_other.as_deref().ok_or_else(missing)? };
        let made = match to.resource.custom() {
            Some(custom) => {
                custom.convert_all(objects.iter().map(|json| Bytes::copy_from_slice(json)).collect()).await?
            }
            None => {
                let mut made = Vec::with_capacity(N);
                for json in objects {
                    let mut hub = from.resource.decode(json).map_err(ApiError::internal)?;
                    let template = crate::canonical::encode(&mut *hub, b"")?;
                    let revision = scan::text(json, &["metadata", "resourceVersion"]);
                    let stored = match revision.and_then(|revision| revision.parse().ok()) {
                        Some(revision) => crate::canonical::at(&template, revision),
                        None => crate::canonical::unversioned(&template),
                    };
                    made.push(to.present(&stored)?);
                }
                made
            }
        };
        made.try_into().map_err(|_| ApiError::internal("conversion gave other objects"))
    }

    /// The list of an object that is created. `given` is what the client has said of it.
    pub(crate) async fn owned_from_start(
        &self,
        kind: &Kind,
        writer: Writer<'_>,
        object: &[u8],
        given: &[u8],
    ) -> Vec<u8> {
        let given = if given.is_empty() {
            Given::Nothing
        } else {
            parse(given).map_or(Given::Nothing, |list| Given::of(Some(&list)))
        };
        let managed = match given {
            Given::Entries(managed) => managed,
            Given::Nothing | Given::Reset => Managed::default(),
        };
        let nothing = b"{}".as_slice();
        match self.updated(kind, writer, managed, true, nothing, object).await {
            Ok(managed) => managed.to_json(),
            Err(error) => {
                tracing::warn!(kind = %kind.gvk.kind, %error, "the owners of a new object's fields cannot be told");
                Vec::new()
            }
        }
    }

    /// The list of an object that is changed. `live` has the list that is stored; `given` is what the client has said.
    pub(crate) async fn owned_after(
        &self,
        kind: &Kind,
        writer: Writer<'_>,
        live: &[u8],
        new: &[u8],
        given: &[u8],
    ) -> Owned {
        let (live, list) = split(live);
        let given = match given {
            given if given.is_empty() || given == list || !writer.subresource.is_empty() => Given::Nothing,
            given => parse(given).map_or(Given::Nothing, |list| Given::of(Some(&list))),
        };
        match given {
            // Without entries there is nothing to keep, and nobody starts to.
            Given::Reset => return Owned { list: Vec::new(), only_times: false },
            Given::Nothing if list.is_empty() || same_for_owners(&live, new) => return Owned::kept(list),
            Given::Nothing | Given::Entries(_) => {}
        }
        let was_given = matches!(given, Given::Entries(_));
        let before = match given {
            Given::Entries(managed) => managed,
            Given::Nothing | Given::Reset => entries(list),
        };
        let kept = (!was_given).then(|| before.clone());
        match self.updated(kind, writer, before, false, &live, new).await {
            Ok(managed) => {
                let only_times = managed.same_but_times(&kept.unwrap_or_else(|| entries(list)));
                Owned { list: managed.to_json(), only_times }
            }
            Err(error) => {
                tracing::warn!(kind = %kind.gvk.kind, %error, "the owners of an object's fields cannot be told");
                Owned::kept(list)
            }
        }
    }

    async fn updated(
        &self,
        kind: &Kind,
        writer: Writer<'_>,
        managed: Managed,
        created: bool,
        live: &[u8],
        new: &[u8],
    ) -> Result<Managed, ApiError> {
        let version = kind.gvk.api_version();
        let mut elsewhere: BTreeMap<String, Option<(Arc<Kind>, Bytes, Bytes)>> = BTreeMap::new();
        for other in managed.versions().filter(|other| *other != version) {
            if elsewhere.contains_key(other) {
                continue;
            }
            let both = match self.sibling(kind, other) {
                Some(sibling) => {
                    let [live, new] = self.converted(kind, [live, new], &version, other).await?;
                    Some((sibling, live, new))
                }
                None => None,
            };
            elsewhere.insert(other.to_owned(), both);
        }
        let none = Conversions::default();
        let family = Family::new(self, kind, writer.subresource, managed.versions(), &none);
        let now = stamp(writer.now);
        let operation = Operation {
            manager: writer.manager,
            subresource: writer.subresource,
            api_version: &version,
            now: &now,
            versions: &family,
        };
        let mut compare = |wanted: &str| -> Result<Option<Comparison>, Invalid> {
            let (kind, live, new) = match elsewhere.get(wanted) {
                None => (kind, live, new),
                Some(Some((sibling, live, new))) => (&**sibling, live.as_ref(), new.as_ref()),
                Some(None) => return Ok(None),
            };
            compare(kind, live, new).map(Some)
        };
        operation.update(managed, created, &mut compare).map_err(ApiError::internal)
    }

    /// Lays a configuration over an object. `live` is none when there is no such object yet.
    pub(crate) async fn applied(
        &self,
        kind: &Kind,
        writer: Writer<'_>,
        live: Option<&[u8]>,
        config: &Node<'_>,
        force: bool,
    ) -> Result<Applied, ApiError> {
        check_kind(kind, config)?;
        let version = kind.gvk.api_version();
        let empty = format!("{{\"apiVersion\":\"{version}\",\"kind\":\"{}\"}}", kind.gvk.kind);
        let (live, list) = split(live.unwrap_or(empty.as_bytes()));
        let managed = match list.is_empty() {
            true => Managed::default(),
            false => Managed::parse(&parse(list)?)
                .map_err(|error| ApiError::plain(format!("failed to decode managed fields: {error}")))?,
        };
        let now = stamp(writer.now);
        let mut conversions = Conversions::default();
        loop {
            let applied = {
                let family = Family::new(self, kind, writer.subresource, managed.versions(), &conversions);
                let operation = Operation {
                    manager: writer.manager,
                    subresource: writer.subresource,
                    api_version: &version,
                    now: &now,
                    versions: &family,
                };
                operation.apply(&typed(kind, parse(&live)?), config, &managed, force)
            };
            // What has to be converted first is told by an attempt that fails for it.
            if applied.is_err() && conversions.make_wanted(self, kind).await? {
                continue;
            }
            let applied = applied.map_err(apply_error)?;
            let list = applied.managed.to_json();
            let object = applied.object.map(|object| object.to_json());
            return Ok(Applied { object, list });
        }
    }
}

/// What an apply made.
pub(crate) struct Applied {
    /// JSON of the merged object; none: the object stays as it is.
    pub(crate) object: Option<Vec<u8>>,
    pub(crate) list: Vec<u8>,
}

pub(crate) fn apply_error(error: fieldmanager::ApplyError) -> ApiError {
    match error {
        fieldmanager::ApplyError::Conflicts(conflicts) => conflicts.to_error(),
        fieldmanager::ApplyError::BadRequest(message) => ApiError::bad_request(message),
        fieldmanager::ApplyError::Failed(message) => ApiError::plain(message),
    }
}

/// The configuration has to say what it is.
fn check_kind(kind: &Kind, config: &Node<'_>) -> Result<(), ApiError> {
    let text = |name: &str| config.get(name).and_then(Node::as_str).unwrap_or_default();
    let (api_version, name) = (text("apiVersion"), text("kind"));
    if api_version == kind.gvk.api_version() && name == kind.gvk.kind {
        return Ok(());
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Err(ApiError::bad_request(format!("invalid object type: {group}/{version}, Kind={name}")))
}

/// What tells families of versions apart: where their objects are stored.
fn stored_as(kind: &Kind) -> String {
    match kind.resource.hub() {
        Some(converted) => converted.hub.info().group_resource(),
        None => kind.info().group_resource(),
    }
}

/// Entries of the parent as its scale shows them, for every version of the parent.
pub(crate) fn replicas_paths(
    registry: &Registry,
    kind: &Kind,
    managed: &Managed,
) -> BTreeMap<String, Option<Vec<PathElement>>> {
    let path = |kind: &Kind| {
        let path = kind.resource.replicas_path()?;
        Some(path.into_iter().map(PathElement::field).collect::<Vec<_>>())
    };
    let own = kind.gvk.api_version();
    let others = managed.versions().filter(|version| *version != own);
    let mut paths: BTreeMap<String, Option<Vec<PathElement>>> =
        others.filter_map(|version| Some((version.to_owned(), path(&*registry.sibling(kind, version)?)))).collect();
    paths.insert(own, path(kind));
    paths
}

// === comparing bytes ===

fn compare(kind: &Kind, live: &[u8], new: &[u8]) -> Result<Comparison, Invalid> {
    let wrong = |error: schema::json::JsonError| Invalid(vec![(String::new(), error.to_string())]);
    let (live, new) = different_parts(live, new, RAW_DEPTH).map_err(wrong)?;
    typed(kind, live).compare(&typed(kind, new))
}

/// Members of metadata that the server writes and nobody owns.
fn is_unowned(name: &[u8]) -> bool {
    matches!(name, b"resourceVersion" | b"managedFields")
}

/// Whether nothing that can be owned is different, as far as bytes tell.
fn same_for_owners(live: &[u8], new: &[u8]) -> bool {
    same_members(live, new, |name, live, new| {
        live == new || (name == b"metadata" && same_members(live, new, |_, live, new| live == new))
    })
}

/// Whether both have the same members in the same order, but for those that nobody owns.
fn same_members(left: &[u8], right: &[u8], same: impl Fn(&[u8], &[u8], &[u8]) -> bool) -> bool {
    let owned = |object| scan::entries(object).filter(|(name, _)| !is_unowned(name));
    let mut right = owned(right);
    owned(left).all(|(name, value)| {
        right.next().is_some_and(|(other_name, other)| name == other_name && same(name, value, other))
    }) && right.next().is_none()
}

/// Both objects without those members that have the same bytes on both sides. What has members keeps one, because an
/// empty object may be none.
fn different_parts<'l, 'r>(
    left: &'l [u8],
    right: &'r [u8],
    depth: usize,
) -> Result<(Node<'l>, Node<'r>), schema::json::JsonError> {
    let whole = || Ok((schema::json::parse(left, &Limits::TRUSTED)?, schema::json::parse(right, &Limits::TRUSTED)?));
    if depth == 0 || left.first() != Some(&b'{') || right.first() != Some(&b'{') {
        return whole();
    }
    let on_left: Vec<(&'l [u8], &'l [u8])> = scan::entries(left).collect();
    let on_right: Vec<(&'r [u8], &'r [u8])> = scan::entries(right).collect();
    let places: BTreeMap<&[u8], usize> = on_right.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect();
    // Names with escapes are not compared by their bytes.
    if on_left.iter().any(|(name, _)| name.contains(&b'\\')) || on_right.iter().any(|(name, _)| name.contains(&b'\\')) {
        return whole();
    }
    let (mut out_left, mut out_right): (Object<'l>, Object<'r>) = (Object::default(), Object::default());
    let mut seen = vec![false; on_right.len()];
    let mut same: Option<(&'l [u8], &'l [u8], &'r [u8])> = None;
    for &(name, value) in &on_left {
        if is_unowned(name) {
            continue;
        }
        let at = places.get::<[u8]>(name).copied();
        let Some(&(other_name, other)) = at.and_then(|at| on_right.get(at)) else {
            out_left.push(String::from_utf8_lossy(name), schema::json::parse(value, &Limits::TRUSTED)?);
            continue;
        };
        if let Some(seen) = at.and_then(|at| seen.get_mut(at)) {
            *seen = true;
        }
        if value != other {
            let (left, right) = different_parts(value, other, depth - 1)?;
            out_left.push(String::from_utf8_lossy(name), left);
            out_right.push(String::from_utf8_lossy(other_name), right);
        } else if same.is_none_or(|(_, known, _)| value.len() < known.len()) {
            same = Some((name, value, other));
        }
    }
    for (&(name, value), seen) in on_right.iter().zip(seen) {
        if !seen && !is_unowned(name) {
            out_right.push(String::from_utf8_lossy(name), schema::json::parse(value, &Limits::TRUSTED)?);
        }
    }
    if let Some((name, left, right)) = same
        && (out_left.is_empty() || out_right.is_empty())
    {
        out_left.push(String::from_utf8_lossy(name), schema::json::parse(left, &Limits::TRUSTED)?);
        out_right.push(String::from_utf8_lossy(name).into_owned(), schema::json::parse(right, &Limits::TRUSTED)?);
    }
    Ok((Node::Object(out_left), Node::Object(out_right)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_comes_out_wherever_it_is() {
        for (whole, without) in [
            (r#"{"metadata":{"a":1,"managedFields":[{"b":2}]},"c":3}"#, r#"{"metadata":{"a":1},"c":3}"#),
            (r#"{"metadata":{"managedFields":[{"b":2}],"a":1},"c":3}"#, r#"{"metadata":{"a":1},"c":3}"#),
            (r#"{"metadata":{"managedFields":[{"b":2}]},"c":3}"#, r#"{"metadata":{},"c":3}"#),
        ] {
            let (rest, list) = split(whole.as_bytes());
            assert_eq!((std::str::from_utf8(&rest).unwrap(), list), (without, br#"[{"b":2}]"#.as_slice()));
        }
        assert_eq!(split(b"{}").1, b"");
    }

    #[test]
    fn only_different_parts_are_looked_into() {
        let left = br#"{"a":{"b":1,"c":{"d":2}},"e":[1],"metadata":{"resourceVersion":"1","name":"x"}}"#;
        let right = br#"{"a":{"b":1,"c":{"d":3}},"e":[1],"f":null,"metadata":{"resourceVersion":"2","name":"x"}}"#;
        let (left, right) = different_parts(left, right, RAW_DEPTH).unwrap();
        assert_eq!(left.to_json(), br#"{"a":{"c":{"d":2}},"metadata":{"name":"x"}}"#);
        assert_eq!(right.to_json(), br#"{"a":{"c":{"d":3}},"metadata":{"name":"x"},"f":null}"#);
        assert!(same_for_owners(
            br#"{"metadata":{"resourceVersion":"1"}}"#,
            br#"{"metadata":{"resourceVersion":"2"}}"#
        ));
        assert!(!same_for_owners(br#"{"metadata":{"labels":{}}}"#, br#"{"metadata":{"labels":{"a":"b"}}}"#));
        assert!(!same_for_owners(br#"{"a":{}}"#, br#"{}"#));
    }
}
