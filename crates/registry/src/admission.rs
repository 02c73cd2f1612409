//! The seam to admission plugins. The `admission` crate implements them.
//!
//! Plugins run in the order of the list they are given in: all `mutate`, then validation by the strategy, then all
//! `validate`. When a plugin that calls out has changed the object, all `mutate` once more. Who needs the object as JSON
//! (webhooks, expressions) gets it in the spelling of the request's version, made once and shared.
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission`.

use std::{
    any::Any,
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use apimachinery::{ApiError, Gvk, Gvr};
use futures::future::{BoxFuture, FutureExt, ready};
use serde_json::Value;

use crate::{Handler, Info, Kind, Object, Registry, Subresource, object::AnyObject, request::RequestCx};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// What is about to happen.
pub struct AdmissionRequest<'a> {
    pub cx: &'a RequestCx,
    /// The resource (not the subresource's body kind).
    pub info: &'a Info,
    /// `""`, `status`, `scale`, `eviction`, `exec` …
    pub subresource: &'a str,
    pub operation: Operation,
    pub namespace: &'a str,
    /// `""` when the name is still to be generated.
    pub name: &'a str,
    /// The object as it will be; none for deletes. On an action subresource its body, of a stream its options.
    pub object: Option<&'a mut dyn AnyObject>,
    pub old_object: Option<&'a dyn AnyObject>,
    /// JSON of the object's `metadata.managedFields`, which it does not carry itself; empty: there are none.
    pub managed_fields: Cow<'a, [u8]>,
    /// The same, of the object before.
    pub old_managed_fields: &'a [u8],
    /// Where it is served; none where a plugin is tried alone.
    pub place: Option<Place<'a>>,
    pub reinvocation: Reinvocation,
    pub forms: Forms,
}

/// The kind that is asked for, and its neighbours.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub registry: &'a Registry,
    pub kind: &'a Kind,
}

/// Whether mutating plugins run a second time, and what they remember of the first.
/// Upstream: `admission.ReinvocationContext`.
#[derive(Default)]
pub struct Reinvocation {
    /// This is the second time.
    pub again: bool,
    requested: bool,
    memory: HashMap<&'static str, Box<dyn Any + Send + Sync>>,
}

/// The object as JSON, as far as somebody has asked for it.
#[derive(Default)]
pub struct Forms {
    object: OnceLock<Arc<Value>>,
    old_object: OnceLock<Arc<Value>>,
}

impl Reinvocation {
    /// Asks for the second time. In the second time it changes nothing.
    pub fn request(&mut self) {
        self.requested = true;
    }

    /// What a plugin remembers between both times.
    pub fn memory<T: Default + Send + Sync + 'static>(&mut self, plugin: &'static str) -> &mut T {
        let memory = self.memory.entry(plugin).or_insert_with(|| Box::new(T::default()));
        if !memory.is::<T>() {
            *memory = Box::new(T::default());
        }
        match memory.downcast_mut() {
            Some(memory) => memory,
            None => unreachable!("the type was just checked"),
        }
    }

    pub(crate) fn starts_again(&mut self) -> bool {
        if self.again || !self.requested {
            return false;
        }
        self.again = true;
        true
    }
}

impl<'a> AdmissionRequest<'a> {
    /// Without objects and place; the subresource, namespace and name are those of the request.
    pub fn new(cx: &'a RequestCx, info: &'a Info, operation: Operation) -> Self {
        Self {
            cx,
            info,
            subresource: &cx.subresource,
            operation,
            namespace: &cx.namespace,
            name: &cx.name,
            object: None,
            old_object: None,
            managed_fields: Cow::Borrowed(b""),
            old_managed_fields: b"",
            place: None,
            reinvocation: Reinvocation::default(),
            forms: Forms::default(),
        }
    }

    /// At a kind of a registry.
    pub fn at(registry: &'a Registry, kind: &'a Kind, cx: &'a RequestCx, operation: Operation) -> Self {
        Self { place: Some(Place { registry, kind }), ..Self::new(cx, kind.info(), operation) }
    }

    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.info.group == group && self.info.plural == plural
    }

    pub fn object<T: Object>(&self) -> Option<&T> {
        self.object.as_deref().and_then(|object| object.as_any().downcast_ref())
    }

    pub fn object_mut<T: Object>(&mut self) -> Option<&mut T> {
        self.forms.object.take();
        self.object.as_deref_mut().and_then(|object| object.as_any_mut().downcast_mut())
    }

    pub fn old_object<T: Object>(&self) -> Option<&T> {
        self.old_object.and_then(|object| object.as_any().downcast_ref())
    }

    /// Forgets the JSON: the object may have been changed.
    pub(crate) fn forget_forms(&mut self) {
        self.forms.object.take();
    }

    /// Group, version and resource as they were asked for.
    pub fn resource(&self) -> Gvr {
        Gvr::new(self.info.group, self.info.version, self.info.plural)
    }

    /// Kind of the object: the subresource's own, where it has one.
    pub fn kind(&self) -> Gvk {
        match self.declared().and_then(|subresource| subresource.body) {
            Some(body) => Gvk::new(body.group, body.version, body.kind),
            None => Gvk::new(self.info.group, self.info.version, self.info.kind),
        }
    }

    fn declared(&self) -> Option<&Subresource> {
        let subresources = self.place?.kind.resource.subresources();
        subresources.iter().find(|subresource| subresource.name == self.subresource)
    }

    /// JSON of the object in the version and of the kind that was asked for. Shared until a mutating plugin has run.
    pub fn object_json(&self) -> Result<Option<Arc<Value>>, ApiError> {
        match self.object.as_deref() {
            Some(object) => self.form(&self.forms.object, object, &self.managed_fields).map(Some),
            None => Ok(None),
        }
    }

    /// As [`AdmissionRequest::object_json`], of the object before.
    pub fn old_object_json(&self) -> Result<Option<Arc<Value>>, ApiError> {
        match self.old_object {
            Some(object) => self.form(&self.forms.old_object, object, self.old_managed_fields).map(Some),
            None => Ok(None),
        }
    }

    fn form(
        &self,
        form: &OnceLock<Arc<Value>>,
        object: &dyn AnyObject,
        managed_fields: &[u8],
    ) -> Result<Arc<Value>, ApiError> {
        if let Some(known) = form.get() {
            return Ok(Arc::clone(known));
        }
        let mut value = self.present(object)?;
        if !managed_fields.is_empty()
            && let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
        {
            let list = serde_json::from_slice(managed_fields).map_err(ApiError::internal)?;
            metadata.insert("managedFields".to_owned(), list);
        }
        let value = Arc::new(value);
        Ok(Arc::clone(form.get_or_init(|| value)))
    }

    fn present(&self, object: &dyn AnyObject) -> Result<Value, ApiError> {
        let declared = self.declared();
        if let (Some(place), Some(Handler::Scale)) = (self.place, declared.map(|subresource| subresource.handler)) {
            return crate::pipeline::scale_json(place.kind, object);
        }
        let json = object.to_json().map_err(ApiError::internal)?;
        if matches!(declared, Some(Subresource { handler: Handler::Connect | Handler::ConnectPath, .. })) {
            // A stream's options have no metadata.
            let mut options: Value = serde_json::from_slice(&json).map_err(ApiError::internal)?;
            options.as_object_mut().and_then(|options| options.remove("metadata"));
            return Ok(options);
        }
        let json = match self.place {
            // Bodies of actions and streams are not what is stored.
            Some(place) if declared.is_none_or(|subresource| subresource.body.is_none()) => {
                place.kind.present_working(&json.into())?
            }
            _ => json.into(),
        };
        serde_json::from_slice(&json).map_err(ApiError::internal)
    }

    /// Replaces the object by what its JSON was made into: decoded as a body would be, and defaulted.
    pub fn set_object_json(&mut self, value: &Value) -> Result<(), ApiError> {
        self.set_managed_fields(value)?;
        let mut value = Cow::Borrowed(value);
        if value.pointer("/metadata/managedFields").is_some()
            && let Some(metadata) = value.to_mut().get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("managedFields");
        }
        self.set_rest_of_object(&value)
    }

    /// Takes over what a plugin has made of the entries, unless it is nothing that can be read.
    /// Upstream: `managedFieldsValidatingAdmissionController`.
    fn set_managed_fields(&mut self, value: &Value) -> Result<(), ApiError> {
        let before = self.object_json()?;
        let (before, after) = match &before {
            Some(before) => (before.pointer("/metadata/managedFields"), value.pointer("/metadata/managedFields")),
            None => return Ok(()),
        };
        if before == after {
            return Ok(());
        }
        match crate::ownership::rewritten(after) {
            Ok(list) => self.managed_fields = Cow::Owned(list),
            Err(why) => self.cx.warn(format!(".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: {why}")),
        }
        Ok(())
    }

    fn set_rest_of_object(&mut self, value: &Value) -> Result<(), ApiError> {
        let declared = self.declared().copied();
        let place = self.place;
        self.forms.object.take();
        let Some(object) = self.object.as_deref_mut() else {
            return Err(ApiError::internal("there is no object that could be replaced"));
        };
        let json = serde_json::to_vec(value).map_err(ApiError::internal)?;
        let (Some(place), body) = (place, declared.and_then(|subresource| subresource.body)) else {
            return object.assign_json(&json).map_err(ApiError::internal);
        };
        match (declared.map(|subresource| subresource.handler), body) {
            (Some(Handler::Scale), _) => {
                let replicas = value["spec"]["replicas"].as_i64().and_then(|count| i32::try_from(count).ok());
                place.kind.resource.set_scale(object, replicas.unwrap_or_default());
                Ok(())
            }
            (_, Some(_)) => object.assign_json(&json).map_err(ApiError::internal),
            (_, None) => {
                let decoded = place.kind.decode_admitted(&json)?;
                object.replace(decoded).map_err(|_| ApiError::internal("the object changed its type"))
            }
        }
    }

    /// An object's JSON in the version of another kind with the same objects (`matchPolicy: Equivalent`).
    pub async fn convert(&self, from: &Kind, to: &Kind, value: &Value) -> Result<Value, ApiError> {
        // A subresource with a body of its own has it in every version.
        if from.gvr == to.gvr || self.declared().is_some_and(|subresource| subresource.body.is_some()) {
            return Ok(value.clone());
        }
        let json = serde_json::to_vec(value).map_err(ApiError::internal)?;
        let converted = match to.resource.custom() {
            Some(custom) => {
                let mut all = custom.convert_all(vec![json.into()]).await?;
                all.pop().ok_or_else(|| ApiError::internal("conversion gave no object"))?
            }
            None => {
                let hub = from.resource.decode(&json).map_err(ApiError::internal)?;
                to.present(&hub.to_json().map_err(ApiError::internal)?.into())?
            }
        };
        serde_json::from_slice(&converted).map_err(ApiError::internal)
    }
}

pub trait Admission: Send + Sync {
    /// The plugin's upstream name: `NamespaceLifecycle`.
    fn name(&self) -> &'static str;

    /// Cheap test whether the plugin wants to see such a request at all.
    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool;

    fn mutate<'a>(&'a self, _request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        ready(Ok(())).boxed()
    }

    fn validate<'a>(&'a self, _request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        ready(Ok(())).boxed()
    }
}
