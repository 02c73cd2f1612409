//! Objects in the store that another API server has written: upstream's protobuf, or JSON in another order.

use std::borrow::Cow;

use encryption::Foreign;
use engine::Template;
use schema::{json, protobuf, table};

pub(super) struct Upstream;

impl Foreign for Upstream {
    fn template(&self, _resource: &str, bytes: &[u8]) -> Option<Template> {
        let limits = json::Limits::default();
        let object = match bytes.starts_with(b"k8s\0") {
            true => protobuf::decode(table::builtin(), bytes, None, &limits).ok()?,
            false => json::parse(bytes, &limits).ok()?,
        };
        let json::Node::Object(json::Object(mut fields)) = object else { return None };
        // The revision is that of the record, whatever a writer may have left in the object.
        let mut metadata = match take(&mut fields, "metadata") {
            Some(json::Node::Object(metadata)) => metadata,
            Some(_) | None => json::Object::default(),
        };
        metadata.0.retain(|(name, _)| name != "resourceVersion");
        let mut ordered: Vec<(Cow<'_, str>, json::Node<'_>)> = Vec::with_capacity(fields.len() + 1);
        for name in ["apiVersion", "kind"] {
            if let Some(value) = take(&mut fields, name) {
                ordered.push((name.into(), value));
            }
        }
        ordered.push(("metadata".into(), json::Node::Object(metadata)));
        ordered.append(&mut fields);
        Template::from_json(&json::Node::Object(json::Object(ordered)).to_json().into())
    }
}

fn take<'a>(fields: &mut Vec<(Cow<'a, str>, json::Node<'a>)>, name: &str) -> Option<json::Node<'a>> {
    let at = fields.iter().position(|(key, _)| key == name)?;
    Some(fields.remove(at).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_upstream_writes_is_understood() {
        let text =
            br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"7"},"data":{"k":"v"}}"#;
        let expected = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"}}"#;
        let from_json = Upstream.template("configmaps", text).unwrap();
        assert_eq!(from_json.to_json(), expected);
        let node = json::parse(expected.as_bytes(), &json::Limits::default()).unwrap();
        let enveloped = protobuf::encode(table::builtin(), &node).unwrap();
        assert_eq!(Upstream.template("configmaps", &enveloped).unwrap().to_json(), expected);
        for wrong in [&b"k8s\0\xff\xff"[..], b"", b"[1]", b"{", b"k8s:enc:x"] {
            assert!(Upstream.template("configmaps", wrong).is_none());
        }
    }
}
