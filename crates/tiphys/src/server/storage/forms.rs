//! Objects in the store that another API server has written: upstream's protobuf, or JSON in another order.

use std::borrow::Cow;

use encryption::Foreign;
use engine::Template;
use schema::{json, protobuf, table};

pub(super) struct Upstream;

/// Versions that are no more, and those that took their place without another field or meaning of a field: what older
/// servers have stored is read as if it were of the later one.
const SUCCESSORS: [(&str, &[&str], &str); 15] = [
    ("apiregistration.k8s.io/v1beta1", &["APIService"], "apiregistration.k8s.io/v1"),
    ("batch/v1beta1", &["CronJob"], "batch/v1"),
    ("certificates.k8s.io/v1beta1", &["CertificateSigningRequest"], "certificates.k8s.io/v1"),
    ("coordination.k8s.io/v1beta1", &["Lease"], "coordination.k8s.io/v1"),
    ("discovery.k8s.io/v1beta1", &["EndpointSlice"], "discovery.k8s.io/v1"),
    ("flowcontrol.apiserver.k8s.io/v1beta1", FLOW, "flowcontrol.apiserver.k8s.io/v1"),
    ("flowcontrol.apiserver.k8s.io/v1beta2", FLOW, "flowcontrol.apiserver.k8s.io/v1"),
    ("flowcontrol.apiserver.k8s.io/v1beta3", FLOW, "flowcontrol.apiserver.k8s.io/v1"),
    ("networking.k8s.io/v1beta1", &["IngressClass"], "networking.k8s.io/v1"),
    ("node.k8s.io/v1beta1", &["RuntimeClass"], "node.k8s.io/v1"),
    ("policy/v1beta1", &["PodDisruptionBudget"], "policy/v1"),
    (
        "rbac.authorization.k8s.io/v1beta1",
        &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"],
        "rbac.authorization.k8s.io/v1",
    ),
    ("scheduling.k8s.io/v1beta1", &["PriorityClass"], "scheduling.k8s.io/v1"),
    ("storage.k8s.io/v1beta1", &["CSIDriver", "CSINode", "CSIStorageCapacity"], "storage.k8s.io/v1"),
    ("storage.k8s.io/v1beta1", &["StorageClass", "VolumeAttachment"], "storage.k8s.io/v1"),
];
const FLOW: &[&str] = &["FlowSchema", "PriorityLevelConfiguration"];
/// Upstream's JSON begins with kind and version.
const BEGINNING: usize = 160;

fn successor(api_version: &str, kind: &str) -> Option<&'static str> {
    let found = SUCCESSORS.iter().find(|(old, kinds, _)| *old == api_version && kinds.contains(&kind));
    found.map(|(.., new)| *new)
}

impl Foreign for Upstream {
    fn is_older(&self, json: &[u8]) -> bool {
        let beginning = &json[..json.len().min(BEGINNING)];
        beginning.windows(8).any(|eight| eight == b"/v1beta1")
    }

    fn template(&self, _resource: &str, bytes: &[u8]) -> Option<Template> {
        let limits = json::Limits::default();
        let mut object = match bytes.starts_with(b"k8s\0") {
            true => {
                let envelope = protobuf::open(bytes, &limits).ok()?;
                let later = successor(&envelope.api_version, &envelope.kind)
                    .map(|version| protobuf::seal(version, &envelope.kind, envelope.raw));
                let decoded = protobuf::decode(table::builtin(), later.as_deref().unwrap_or(bytes), None, &limits);
                decoded.ok()?.into_owned()
            }
            false => json::parse(bytes, &limits).ok()?,
        };
        if let json::Node::Object(fields) = &mut object {
            let text = |name: &str| fields.get(name).and_then(json::Node::as_str).unwrap_or_default().to_owned();
            if let Some(version) = successor(&text("apiVersion"), &text("kind"))
                && let Some((_, place)) = fields.0.iter_mut().find(|(name, _)| name == "apiVersion")
            {
                *place = json::Node::string(version);
            }
        }
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
        // A version that is no more: the table does not know it, and its fields are those of the next.
        let slice = br#"{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"a"},"spec":{"minAvailable":1}}"#;
        let node = json::parse(slice, &json::Limits::default()).unwrap();
        let enveloped = protobuf::encode(table::builtin(), &node).unwrap();
        let raw = protobuf::open(&enveloped, &json::Limits::default()).unwrap().raw;
        let older = protobuf::seal("policy/v1beta1", "PodDisruptionBudget", raw);
        let read = Upstream.template("poddisruptionbudgets.policy", &older).unwrap().to_json();
        assert!(read.starts_with(br#"{"apiVersion":"policy/v1","kind":"PodDisruptionBudget""#));
        let older = br#"{"kind":"APIService","apiVersion":"apiregistration.k8s.io/v1beta1","metadata":{"name":"v1."}}"#;
        assert!(Upstream.is_older(older) && !Upstream.is_older(text));
        let read = Upstream.template("apiservices.apiregistration.k8s.io", older).unwrap().to_json();
        assert!(read.starts_with(br#"{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService""#));
        assert!(
            Upstream
                .template("ingresses.networking.k8s.io", &protobuf::seal("extensions/v1beta1", "Ingress", b""))
                .is_none()
        );
        for wrong in [&b"k8s\0\xff\xff"[..], b"", b"[1]", b"{", b"k8s:enc:x"] {
            assert!(Upstream.template("configmaps", wrong).is_none());
        }
    }
}
