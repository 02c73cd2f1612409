//! PersistentVolumeClaimResize: only a bound claim grows, and only where its class allows it.
//! Upstream: `plugin/pkg/admission/storage/persistentvolume/resize`.

use api::{core::v1::PersistentVolumeClaim, storage::v1::StorageClass};
use apimachinery::{ApiError, Quantity};
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::gvr;

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

pub(crate) struct PersistentVolumeClaimResize;

impl Admission for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        info.group.is_empty()
            && info.plural == "persistentvolumeclaims"
            && subresource.is_empty()
            && operation == Operation::Update
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let outcome = check(request).map_err(|why| ApiError::forbidden(&gvr(request.info), request.name, why));
        ready(outcome).boxed()
    }
}

fn check(request: &AdmissionRequest<'_>) -> Result<(), &'static str> {
    let claims = (request.object::<PersistentVolumeClaim>(), request.old_object::<PersistentVolumeClaim>());
    let (Some(new), Some(old)) = claims else { return Ok(()) };
    if size(new) <= size(old) {
        return Ok(());
    }
    if old.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Bound") {
        return Err("Only bound persistent volume claims can be expanded");
    }
    let class = |claim: &PersistentVolumeClaim| {
        let annotated = claim.metadata.annotations.as_ref().and_then(|all| all.get(CLASS_ANNOTATION).cloned());
        annotated.or_else(|| claim.spec.as_ref()?.storage_class_name.clone()).unwrap_or_default()
    };
    let (name, old_name) = (class(new), class(old));
    let allows = |name: &str| {
        let class = request.cx.reader.get::<StorageClass>("storage.k8s.io", "storageclasses", "", name);
        class.is_some_and(|class| class.allow_volume_expansion == Some(true))
    };
    if name.is_empty() || old_name.is_empty() || name != old_name || !allows(&name) {
        return Err(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        );
    }
    Ok(())
}

fn size(claim: &PersistentVolumeClaim) -> Quantity {
    let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    requests.and_then(|requests| requests.get("storage")?.0.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use api::core::v1::PersistentVolumeClaim;
    use registry::Info;
    use serde_json::{Value, json};

    use super::PersistentVolumeClaimResize;
    use crate::testing::Case;

    const CLAIMS: Info = Info::namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims");

    #[test]
    fn classes_say_what_grows() {
        let class = |grows: bool| {
            format!(
                r#"{{"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{{"name":"fast"}},"provisioner":"x","allowVolumeExpansion":{grows}}}"#
            )
        };
        let claim = |size: &str, phase: &str| -> Value {
            json!({"metadata": {"name": "c", "namespace": "ns"}, "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": size}}}, "status": {"phase": phase}})
        };
        let grow = |class: &str, phase: &str| {
            let stored = [class];
            let case = Case::update(CLAIMS, &stored, claim("1Gi", phase), claim("2Gi", phase));
            case.run::<PersistentVolumeClaim>(&PersistentVolumeClaimResize).object
        };
        assert!(grow(&class(true), "Bound").is_ok());
        assert!(grow(&class(false), "Bound").expect_err("refused").contains("must support resize"));
        assert!(
            grow(&class(true), "Pending")
                .expect_err("refused")
                .ends_with("Only bound persistent volume claims can be expanded")
        );
    }
}
