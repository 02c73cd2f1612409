//! What a binding gives its policy as `params`. Upstream: `generic.CollectParams`.

use std::sync::Arc;

use apimachinery::Selector;
use registry::{Kind, admission::AdmissionRequest};
use serde_json::Value;

use super::definition::{ParamKind, ParamRef};

/// The kind of a policy's parameters. Err: upstream's message of a policy that is not configured.
pub(crate) fn kind(wanted: &ParamKind, request: &AdmissionRequest<'_>) -> Result<Arc<Kind>, String> {
    let found = request.place.and_then(|place| {
        place.registry.kinds().into_iter().find(|kind| {
            kind.gvk.group == wanted.group && kind.gvk.version == wanted.version && kind.gvk.kind == wanted.kind
        })
    });
    found.ok_or_else(|| {
        let ParamKind { group, version, kind } = wanted;
        format!("failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'")
    })
}

/// The parameters, each of which the policy is evaluated with: none at all where nothing is asked for (one `None`), or
/// where what is asked for is missing and that is allowed (empty).
pub(crate) async fn collect(
    kind: Option<&Arc<Kind>>,
    reference: Option<&ParamRef>,
    request: &AdmissionRequest<'_>,
) -> Result<Vec<Option<Value>>, String> {
    let (Some(kind), Some(reference)) = (kind, reference) else { return Ok(vec![None]) };
    let namespace = if kind.info().is_namespaced() {
        if !reference.namespace.is_empty() {
            reference.namespace.as_str()
        } else if request.namespace.is_empty() {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned()
            );
        } else {
            request.namespace
        }
    } else {
        if !reference.namespace.is_empty() {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
        ""
    };
    let mut params = Vec::new();
    if !reference.name.is_empty() {
        if let Some(entry) = kind.stored_one(namespace, &reference.name) {
            params.push(Some(present(kind, entry.bytes()).await?));
        }
    } else if let Some(selector) = &reference.selector {
        let selector = selector.as_ref().map_err(Clone::clone)?;
        for entry in kind.stored_in(namespace) {
            let value = present(kind, entry.bytes()).await?;
            if selects(selector, &value) {
                params.push(Some(value));
            }
        }
    } else {
        return Err("one of name or selector must be provided".to_owned());
    }
    if params.is_empty() && reference.denies_missing {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(params)
}

async fn present(kind: &Kind, stored: &bytes::Bytes) -> Result<Value, String> {
    let json = kind.present_one(stored).await.map_err(|error| error.message)?;
    serde_json::from_slice(&json).map_err(|error| error.to_string())
}

fn selects(selector: &Selector, object: &Value) -> bool {
    let labels = object["metadata"]["labels"].as_object();
    selector.matches_with(|key| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str))
}
