//! Objects as table rows and as bare metadata. Upstream: `endpoints/handlers/response.go`, `printers/tablegenerator.go`.

use apimachinery::{ApiError, scan};
use bytes::Bytes;
use jiff::Timestamp;
use registry::{CREATED_DESCRIPTION, ColumnHeader, Kind, NAME_DESCRIPTION};
use serde_json::{Value, json};

/// What a row carries beside its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(ApiError::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', 'None', or empty",
                apimachinery::field::go_quote(other)
            ))),
        }
    }
}

/// How one kind is printed.
pub(crate) struct Printer<'a> {
    kind: &'a Kind,
    columns: Vec<ColumnHeader>,
    include: Include,
    now: Timestamp,
    /// `meta.k8s.io/v1`, or what it was before.
    version: &'static str,
}

impl<'a> Printer<'a> {
    pub(crate) fn new(kind: &'a Kind, include: Include, now: Timestamp, version: &'static str) -> Self {
        Self { kind, columns: kind.resource.columns(), include, now, version }
    }

    /// JSON of a table without its rows, and without the brace that ends it.
    pub(crate) fn head(&self, metadata: &Value, with_columns: bool) -> Vec<u8> {
        let columns = if with_columns { self.definitions() } else { Value::Null };
        format!(
            "{{\"kind\":\"Table\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"columnDefinitions\":{columns}",
            self.version
        )
        .into_bytes()
    }

    fn definitions(&self) -> Value {
        if self.columns.is_empty() {
            return json!([
                {"name": "Name", "type": "string", "format": "name", "description": NAME_DESCRIPTION, "priority": 0},
                {"name": "Created At", "type": "date", "format": "", "description": CREATED_DESCRIPTION, "priority": 0},
            ]);
        }
        let definition = |column: &ColumnHeader| {
            json!({
                "name": column.name, "type": column.kind, "format": column.format,
                "description": column.description, "priority": column.priority,
            })
        };
        self.columns.iter().map(definition).collect()
    }

    /// One row from an object's JSON.
    pub(crate) fn row(&self, bytes: &Bytes) -> Result<Vec<u8>, ApiError> {
        let presented;
        let bytes = match self.kind.resource.custom() {
            Some(_) => {
                presented = self.kind.present(bytes)?;
                &presented
            }
            None => bytes,
        };
        let cells = if self.columns.is_empty() {
            let text = |name: &str| scan::text(bytes, &["metadata", name]).unwrap_or_default().into_owned();
            vec![Value::from(text("name")), Value::from(text("creationTimestamp"))]
        } else {
            let object = self.kind.resource.decode_stored(bytes).map_err(ApiError::internal)?;
            self.kind.resource.cells(&*object, self.now)
        };
        let mut row = b"{\"cells\":".to_vec();
        serde_json::to_writer(&mut row, &cells).map_err(ApiError::internal)?;
        match self.include {
            Include::None => row.extend_from_slice(b",\"object\":null}"),
            Include::Metadata => {
                row.extend_from_slice(b",\"object\":");
                row.extend_from_slice(&metadata_only(bytes, self.version));
                row.push(b'}');
            }
            Include::Object => {
                row.extend_from_slice(b",\"object\":");
                match self.kind.resource.hub() {
                    Some(converted) => row.extend_from_slice(&converted.present(bytes)?),
                    None => row.extend_from_slice(bytes),
                }
                row.push(b'}');
            }
        }
        Ok(row)
    }

    /// A whole table of one object.
    pub(crate) fn single(&self, bytes: &Bytes, with_columns: bool) -> Result<Vec<u8>, ApiError> {
        let version = scan::text(bytes, &["metadata", "resourceVersion"]).unwrap_or_default();
        let mut out = self.head(&json!({ "resourceVersion": version }), with_columns);
        out.extend_from_slice(b",\"rows\":[");
        out.extend(self.row(bytes)?);
        out.extend_from_slice(b"]}");
        Ok(out)
    }
}

/// The object as `PartialObjectMetadata`.
pub(crate) fn metadata_only(bytes: &[u8], version: &str) -> Vec<u8> {
    let metadata = scan::lookup(bytes, &["metadata"]).unwrap_or(b"{}");
    let mut out = Vec::with_capacity(metadata.len() + 80);
    out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"");
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(b"\",\"metadata\":");
    out.extend_from_slice(metadata);
    out.push(b'}');
    out
}
