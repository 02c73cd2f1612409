//! DefaultStorageClass: a claim that names no class gets the default one.
//! Upstream: `plugin/pkg/admission/storage/storageclass/setdefault`.

use api::{core::v1::PersistentVolumeClaim, storage::v1::StorageClass};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::default_ingress_class::newest_default;

const GROUP: &str = "storage.k8s.io";
const LEGACY_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

pub(crate) struct DefaultStorageClass;

impl Admission for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        info.group.is_empty()
            && info.plural == "persistentvolumeclaims"
            && subresource.is_empty()
            && operation == Operation::Create
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let reader = request.cx.reader.clone();
        if let Some(claim) = request.object_mut::<PersistentVolumeClaim>() {
            let legacy = claim.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(LEGACY_ANNOTATION));
            let spec = claim.spec.get_or_insert_default();
            if spec.storage_class_name.is_none() && !legacy {
                let classes = reader.list::<StorageClass>(GROUP, "storageclasses", None);
                spec.storage_class_name = newest_default(
                    classes.into_iter().map(|class| class.metadata),
                    "storageclass.kubernetes.io/is-default-class",
                );
            }
        }
        ready(Ok(())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::newest_default;

    #[test]
    fn the_newest_default_wins() {
        let meta = |name: &str, default: &str, created: &str| api::ObjectMeta {
            name: Some(name.into()),
            annotations: Some([("d".to_owned(), default.to_owned())].into()),
            creation_timestamp: Some(api::Time(created.parse().unwrap())),
            ..Default::default()
        };
        let all = [
            meta("old", "true", "2024-01-01T00:00:00Z"),
            meta("b", "true", "2024-01-02T00:00:00Z"),
            meta("a", "true", "2024-01-02T00:00:00Z"),
            meta("no", "false", "2024-01-03T00:00:00Z"),
        ];
        assert_eq!(newest_default(all.into_iter(), "d"), Some("a".into()));
        assert_eq!(newest_default(std::iter::empty(), "d"), None);
    }
}
