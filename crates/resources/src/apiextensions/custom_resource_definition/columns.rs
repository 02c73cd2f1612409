//! Columns of definitions. Upstream: `customresourcedefinition/tableconvertor`.

use registry::{Column, DynamicObject};
use serde_json::Value;

pub(super) const COLUMNS: &[Column<DynamicObject>] = &[
    Column::NAME,
    Column::<DynamicObject>::new("Created At", "date", |object: &DynamicObject, _| {
        Value::from(object.metadata.creation_timestamp.as_ref().map(|time| time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
    })
    .describe("CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"),
];
