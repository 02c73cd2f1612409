//! From a webhook and a request to whether, and in which version, it is asked.
//! Upstream: `generic.Webhook.ShouldCallHook`, `predicates/namespace`, `predicates/object`.

use std::sync::Arc;

use apimachinery::{ApiError, Gvk, Gvr, Selector, labels::Labels};
use registry::{
    AnyObject, Handler, Kind,
    admission::{AdmissionRequest, Operation},
};
use serde_json::Value;

use super::{
    hook::Hook,
    rules::{self, Rule},
};

/// As what a webhook is asked about a request.
#[derive(Clone)]
pub(crate) struct Invocation {
    pub(crate) resource: Gvr,
    pub(crate) kind: Gvk,
    /// Set when that is another version than was asked for.
    pub(crate) equivalent: Option<Arc<Kind>>,
}

/// Whether the webhook is to be asked.
pub(crate) async fn invocation(hook: &Hook, request: &AdmissionRequest<'_>) -> Result<Option<Invocation>, ApiError> {
    let Some(invocation) = matched(&hook.rules, hook.is_equivalent, request) else { return Ok(None) };
    let namespace = in_namespace(&hook.namespaces, request);
    if matches!(namespace, Ok(false)) {
        return Ok(None);
    }
    let object = of_object(&hook.objects, request);
    if matches!(object, Ok(false)) {
        return Ok(None);
    }
    namespace?;
    object?;
    if !hook.conditions.is_empty() {
        let (object, old_object) = objects(request, &invocation).await?;
        if !hook.conditions.hold(request, &invocation, object.as_deref(), old_object.as_deref())? {
            return Ok(None);
        }
    }
    Ok(Some(invocation))
}

/// The first rule that is about the request, or about the same objects in another version.
pub(crate) fn matched(rules: &[Rule], equivalent: bool, request: &AdmissionRequest<'_>) -> Option<Invocation> {
    if is_effect_of_action(request) {
        return None;
    }
    if rules.iter().any(|rule| rule.matches(request, request.info)) {
        return Some(Invocation { resource: request.resource(), kind: request.kind(), equivalent: None });
    }
    let place = request.place.filter(|_| equivalent)?;
    let others = place.registry.equivalents(place.kind);
    let other = rules.iter().find_map(|rule| others.iter().find(|other| rule.matches(request, other.info())))?;
    Some(as_equivalent(other, request))
}

/// The request as one for another version of its objects.
pub(crate) fn as_equivalent(other: &Arc<Kind>, request: &AdmissionRequest<'_>) -> Invocation {
    let body = other
        .resource
        .subresources()
        .iter()
        .find(|subresource| subresource.name == request.subresource)
        .and_then(|subresource| subresource.body);
    let kind = match body {
        Some(body) => Gvk::new(body.group, body.version, body.kind),
        None => other.gvk.clone(),
    };
    Invocation { resource: other.gvr.clone(), kind, equivalent: Some(Arc::clone(other)) }
}

/// What an action does to the object it acts on; the action itself was asked about.
pub(crate) fn is_effect_of_action(request: &AdmissionRequest<'_>) -> bool {
    let declared = request.place.map(|place| place.kind.resource.subresources()).unwrap_or_default();
    let action = declared.iter().find(|subresource| subresource.name == request.subresource);
    request.operation != Operation::Create && action.is_some_and(|action| action.handler == Handler::Action)
}

/// Both objects in the version in which the webhook wants them.
pub(crate) async fn objects(
    request: &AdmissionRequest<'_>,
    invocation: &Invocation,
) -> Result<(Option<Arc<Value>>, Option<Arc<Value>>), ApiError> {
    let (object, old_object) = (request.object_json()?, request.old_object_json()?);
    let (Some(place), Some(wanted)) = (request.place, &invocation.equivalent) else { return Ok((object, old_object)) };
    let mut converted = [object, old_object];
    for form in &mut converted {
        if let Some(value) = form {
            *form = Some(Arc::new(request.convert(place.kind, wanted, value).await?));
        }
    }
    let [object, old_object] = converted;
    Ok((object, old_object))
}

/// Of cluster-scoped objects, only Namespaces can be left out by a namespace selector.
pub(crate) fn in_namespace(
    selector: &Result<Selector, String>,
    request: &AdmissionRequest<'_>,
) -> Result<bool, ApiError> {
    let is_namespace = rules::is_namespaces(request.info);
    if request.namespace.is_empty() && !is_namespace {
        return Ok(true);
    }
    let selector = selector.as_ref().map_err(ApiError::internal)?;
    if selector.is_everything() {
        return Ok(true);
    }
    let own = is_namespace
        && request.subresource.is_empty()
        && matches!(request.operation, Operation::Create | Operation::Update);
    if own && let Some(object) = request.object.as_deref() {
        return Ok(matches(selector, object));
    }
    let name = if is_namespace { request.name } else { request.namespace };
    let stored = request
        .cx
        .reader
        .raw("", "namespaces", "", name)
        .ok_or_else(|| ApiError::not_found(&Gvr::new("", "v1", "namespaces"), name))?;
    let labels: Labels = match apimachinery::scan::lookup(&stored, &["metadata", "labels"]) {
        Some(labels) => serde_json::from_slice(labels).map_err(ApiError::internal)?,
        None => Labels::new(),
    };
    Ok(selector.matches(&labels))
}

/// Either object may be the one that is meant.
pub(crate) fn of_object(selector: &Result<Selector, String>, request: &AdmissionRequest<'_>) -> Result<bool, ApiError> {
    let selector = selector.as_ref().map_err(ApiError::internal)?;
    let selected = |object: Option<&dyn AnyObject>| object.is_some_and(|object| matches(selector, object));
    Ok(selector.is_everything() || selected(request.object.as_deref()) || selected(request.old_object))
}

fn matches(selector: &Selector, object: &dyn AnyObject) -> bool {
    let labels = object.metadata().labels.as_ref();
    selector.matches_with(|key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
}
