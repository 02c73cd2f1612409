//! StorageObjectInUseProtection: volumes and claims stay until nobody uses them, by a finalizer from the start.
//! Upstream: `plugin/pkg/admission/storage/storageobjectinuseprotection`.

use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

pub(crate) struct StorageObjectInUseProtection;

fn finalizer(info: &Info) -> Option<&'static str> {
    match (info.group, info.plural) {
        ("", "persistentvolumes") => Some("kubernetes.io/pv-protection"),
        ("", "persistentvolumeclaims") => Some("kubernetes.io/pvc-protection"),
        ("storage.k8s.io", "volumeattributesclasses") => Some("kubernetes.io/vac-protection"),
        _ => None,
    }
}

impl Admission for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Create && subresource.is_empty() && finalizer(info).is_some()
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        if let (Some(finalizer), Some(object)) = (finalizer(request.info), request.object.as_deref_mut()) {
            let finalizers = object.metadata_mut().finalizers.get_or_insert_default();
            if !finalizers.iter().any(|item| item == finalizer) {
                finalizers.push(finalizer.to_owned());
            }
        }
        ready(Ok(())).boxed()
    }
}
