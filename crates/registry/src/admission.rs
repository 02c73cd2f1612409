//! The seam to admission plugins. The `admission` crate implements them.
//!
//! Plugins run in the order of the list they are given in: all `mutate`, then validation by the strategy, then all `validate`.
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission`.

use futures::future::{BoxFuture, FutureExt, ready};

use apimachinery::ApiError;

use crate::{Info, Object, object::AnyObject, request::RequestCx};

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
    /// The object as it will be; none for deletes and for streams. On an action subresource, its body.
    pub object: Option<&'a mut dyn AnyObject>,
    pub old_object: Option<&'a dyn AnyObject>,
    /// `DeleteOptions`, `CreateOptions` … as JSON, when the request carried any.
    pub options: Option<&'a serde_json::Value>,
}

impl AdmissionRequest<'_> {
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.info.group == group && self.info.plural == plural
    }

    pub fn object<T: Object>(&self) -> Option<&T> {
        self.object.as_deref().and_then(|object| object.as_any().downcast_ref())
    }

    pub fn object_mut<T: Object>(&mut self) -> Option<&mut T> {
        self.object.as_deref_mut().and_then(|object| object.as_any_mut().downcast_mut())
    }

    pub fn old_object<T: Object>(&self) -> Option<&T> {
        self.old_object.and_then(|object| object.as_any().downcast_ref())
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
