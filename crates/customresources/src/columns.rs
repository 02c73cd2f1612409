//! Additional printer columns. Upstream: `customresource/tableconvertor`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use registry::{Column, ColumnHeader, DynamicObject, PrintCx, since};
use resources::apiextensions::custom_resource_definition::fields::{list, text};
use serde_json::Value;

use crate::jsonpath::JsonPath;

/// The columns of one version.
#[derive(Debug)]
pub(crate) struct Columns {
    headers: Vec<ColumnHeader>,
    /// One for each header after the first, which is the name.
    paths: Vec<JsonPath>,
}

impl Columns {
    /// Of a version; its age where it names no columns. Columns that are not understood end the table, as upstream's do.
    pub(crate) fn of(version: &Value) -> Self {
        let name = Column::<DynamicObject>::NAME;
        let mut columns =
            Self { headers: vec![header(name.name, name.kind, name.format, name.description, 0)], paths: Vec::new() };
        let asked = list(version, "additionalPrinterColumns");
        if asked.is_empty() {
            let age = Column::<DynamicObject>::AGE;
            columns.paths.extend(JsonPath::parse(".metadata.creationTimestamp"));
            columns.headers.push(header(age.name, "date", "", age.description, 0));
            return columns;
        }
        for column in asked {
            let path = text(column, "jsonPath");
            let Some(parsed) = JsonPath::parse(path) else {
                tracing::info!(path, "printer column is not understood");
                break;
            };
            let described = match text(column, "description") {
                "" => format!("Custom resource definition column (in JSONPath format): {path}"),
                own => own.to_owned(),
            };
            let priority = column.get("priority").and_then(Value::as_i64).and_then(|own| i32::try_from(own).ok());
            columns.paths.push(parsed);
            columns.headers.push(header(
                text(column, "name"),
                text(column, "type"),
                text(column, "format"),
                &described,
                priority.unwrap_or_default(),
            ));
        }
        columns
    }

    pub(crate) fn headers(&self) -> Vec<ColumnHeader> {
        self.headers.clone()
    }

    pub(crate) fn cells(&self, name: &str, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut cells = vec![Value::from(name)];
        for (path, header) in self.paths.iter().zip(self.headers.iter().skip(1)) {
            let cell = path.find(object).first().map_or(Value::Null, |value| cell(&header.kind, value, now));
            cells.push(cell);
        }
        cells
    }
}

fn header(name: &str, kind: &str, format: &str, description: &str, priority: i32) -> ColumnHeader {
    ColumnHeader {
        name: name.to_owned(),
        kind: kind.to_owned(),
        format: format.to_owned(),
        description: description.to_owned(),
        priority,
    }
}

/// Upstream: `cellForJSONValue`, and Go's printing of whatever a string column finds.
fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        ("string", Value::Null) => "<nil>".into(),
        ("string", Value::String(text)) => text.as_str().into(),
        ("string", Value::Object(_) | Value::Array(_)) => value.to_string().into(),
        ("string", other) => other.to_string().into(),
        (_, Value::Null) => Value::Null,
        ("integer", Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.into(),
            // Go cuts the fraction off.
            (None, Some(double)) => (double as i64).into(),
            (None, None) => Value::Null,
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(then) => since(Some(&Time(then)), &PrintCx { now }).into(),
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_upstreams() {
        // Rows of upstream's `tableconvertor_test.go`.
        let now = Timestamp::UNIX_EPOCH;
        for (kind, value, wanted) in [
            ("integer", json!(42), json!(42)),
            ("integer", json!(2.75), json!(2)),
            ("integer", json!("42"), json!(null)),
            ("number", json!(2.75), json!(2.75)),
            ("number", json!("x"), json!(null)),
            ("boolean", json!(false), json!(false)),
            ("boolean", json!(42), json!(null)),
            ("string", json!("hello"), json!("hello")),
            ("string", json!(42), json!("42")),
            ("string", json!(["a", 1]), json!("[\"a\",1]")),
            ("date", json!("1969-12-31T23:59:00Z"), json!("60s")),
            ("date", json!("yesterday"), json!("<invalid>")),
            ("date", json!(42), json!(null)),
            ("date", json!(null), json!(null)),
        ] {
            assert_eq!(cell(kind, &value, now), wanted, "{kind} {value}");
        }
    }

    #[test]
    fn a_version_without_columns_tells_its_age() {
        let columns = Columns::of(&json!({}));
        let names: Vec<String> = columns.headers().into_iter().map(|header| header.name).collect();
        assert_eq!(names, ["Name", "Age"]);
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "1970-01-01T00:00:00Z"}});
        assert_eq!(columns.cells("a", &object, Timestamp::UNIX_EPOCH), [json!("a"), json!("0s")]);
    }
}
