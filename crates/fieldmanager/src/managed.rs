//! The entries of `metadata.managedFields`: who owns what, since when, as of which version.
//!
//! Upstream: `managedfields/internal/managedfields.go`.

use std::{cmp::Ordering, collections::BTreeMap};

use schema::{Node, json::write_string};

use crate::set::{Set, SetError};

/// What writes did: `Apply` or `Update`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationType {
    Apply,
    Update,
}

impl OperationType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// What makes an entry one of its own. An applier is the same in every version, an updater is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManagerId {
    pub manager: String,
    pub operation: OperationType,
    /// Empty for appliers.
    pub api_version: String,
    pub subresource: String,
}

impl ManagerId {
    pub fn updater(manager: &str, api_version: &str, subresource: &str) -> Self {
        Self {
            manager: manager.to_owned(),
            operation: OperationType::Update,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    pub fn applier(manager: &str, subresource: &str) -> Self {
        Self {
            manager: manager.to_owned(),
            operation: OperationType::Apply,
            api_version: String::new(),
            subresource: subresource.to_owned(),
        }
    }
}

/// A set of fields, as one version names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedSet {
    pub set: Set,
    pub api_version: String,
    pub applied: bool,
}

/// All entries of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed {
    pub fields: BTreeMap<ManagerId, VersionedSet>,
    /// RFC 3339, to the second. An entry may have none.
    pub times: BTreeMap<ManagerId, String>,
}

/// Why a list of entries is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManagedError {
    #[error("managedFields is not a list of objects")]
    NotAList,
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    #[error("apiVersion must not be empty")]
    ApiVersion,
    #[error("missing fieldsType in managed fields entry {0}")]
    NoFieldsType(usize),
    #[error("invalid fieldsType {} in managed fields entry {index}", apimachinery::field::go_quote(.fields_type))]
    FieldsType { fields_type: String, index: usize },
    #[error("error decoding set: {0}")]
    Set(#[from] SetError),
}

/// What a client asks for with the list it sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// Nothing, or something that cannot be read: what the live object has stays.
    Nothing,
    /// An empty list, or one with one empty entry: all ownership is forgotten.
    Reset,
    Entries(Managed),
}

impl Managed {
    /// From the list's JSON; null is none.
    pub fn parse(list: &Node<'_>) -> Result<Self, ManagedError> {
        let items = match list {
            Node::Array(items) => items.as_slice(),
            Node::Null => &[],
            _ => return Err(ManagedError::NotAList),
        };
        let mut managed = Self::default();
        for (index, item) in items.iter().enumerate() {
            managed.read(index, item)?;
        }
        Ok(managed)
    }

    fn read(&mut self, index: usize, item: &Node<'_>) -> Result<(), ManagedError> {
        if item.as_object().is_none() {
            return Err(ManagedError::NotAList);
        }
        let text = |name: &str| item.get(name).and_then(Node::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => OperationType::Apply,
            "Update" => OperationType::Update,
            _ => return Err(ManagedError::Operation),
        };
        let api_version = text("apiVersion");
        if api_version.is_empty() {
            return Err(ManagedError::ApiVersion);
        }
        match text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err(ManagedError::NoFieldsType(index)),
            other => return Err(ManagedError::FieldsType { fields_type: other.to_owned(), index }),
        }
        let applied = operation == OperationType::Apply;
        let id = ManagerId {
            manager: text("manager").to_owned(),
            operation,
            api_version: if applied { String::new() } else { api_version.to_owned() },
            subresource: text("subresource").to_owned(),
        };
        let set = match item.get("fieldsV1") {
            Some(fields) => Set::from_json(fields)?,
            None => Set::new(),
        };
        match text("time") {
            "" => self.times.remove(&id),
            time => self.times.insert(id.clone(), time.to_owned()),
        };
        self.fields.insert(id, VersionedSet { set, api_version: api_version.to_owned(), applied });
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The versions that entries speak of.
    pub fn versions(&self) -> impl Iterator<Item = &str> {
        self.fields.values().map(|versioned| versioned.api_version.as_str())
    }

    /// The list's JSON in upstream's order; empty when there are no entries.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.fields.is_empty() {
            return out;
        }
        let mut entries: Vec<(&ManagerId, &VersionedSet)> = self.fields.iter().collect();
        entries.sort_by(|left, right| self.order(left, right));
        out.reserve(entries.len() * 256);
        out.push(b'[');
        for (index, (id, versioned)) in entries.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.write(id, versioned, &mut out);
        }
        out.push(b']');
        out
    }

    /// Appliers first, then by time, name, version and subresource. Upstream: `sortEncodedManagedFields`.
    fn order(&self, left: &(&ManagerId, &VersionedSet), right: &(&ManagerId, &VersionedSet)) -> Ordering {
        // Times all have one form, so that their text is in their order.
        let time = |id: &ManagerId| self.times.get(id).map_or("", String::as_str);
        let operation = |(id, versioned): &(&ManagerId, &VersionedSet)| (!versioned.applied, id.operation);
        operation(left)
            .cmp(&operation(right))
            .then_with(|| time(left.0).cmp(time(right.0)))
            .then_with(|| left.0.manager.cmp(&right.0.manager))
            .then_with(|| left.1.api_version.cmp(&right.1.api_version))
            .then_with(|| left.0.subresource.cmp(&right.0.subresource))
    }

    fn write(&self, id: &ManagerId, versioned: &VersionedSet, out: &mut Vec<u8>) {
        out.push(b'{');
        if !id.manager.is_empty() {
            out.extend_from_slice(b"\"manager\":");
            write_string(&id.manager, out);
            out.push(b',');
        }
        let operation = if versioned.applied { OperationType::Apply } else { id.operation };
        out.extend_from_slice(b"\"operation\":\"");
        out.extend_from_slice(operation.as_str().as_bytes());
        out.extend_from_slice(b"\",\"apiVersion\":");
        write_string(&versioned.api_version, out);
        if let Some(time) = self.times.get(id) {
            out.extend_from_slice(b",\"time\":");
            write_string(time, out);
        }
        out.extend_from_slice(b",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":");
        versioned.set.write_json(out);
        if !id.subresource.is_empty() {
            out.extend_from_slice(b",\"subresource\":");
            write_string(&id.subresource, out);
        }
        out.push(b'}');
    }

    /// Whether both are the same but for the times.
    pub fn same_but_times(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

impl Given {
    /// From what an object that came from a client has for `metadata.managedFields`.
    pub fn of(list: Option<&Node<'_>>) -> Self {
        let items = match list {
            None | Some(Node::Null) => return Self::Nothing,
            Some(Node::Array(items)) => items,
            Some(_) => return Self::Nothing,
        };
        let empty_entry = |item: &Node<'_>| match item {
            Node::Object(object) => object.0.iter().all(|(_, value)| match value {
                Node::Null => true,
                Node::String(text) => text.is_empty(),
                _ => false,
            }),
            _ => false,
        };
        match items.as_slice() {
            [] => return Self::Reset,
            [only] if empty_entry(only) => return Self::Reset,
            _ => {}
        }
        match Managed::parse(&Node::Array(items.clone())) {
            Ok(managed) if !managed.is_empty() => Self::Entries(managed),
            _ => Self::Nothing,
        }
    }
}
