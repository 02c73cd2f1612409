//! OwnerReferencesPermissionEnforcement: who makes an object a dependent could have deleted it, and who makes it block
//! its owner's deletion may write the owner's finalizers. Upstream: `plugin/pkg/admission/gc`.

use std::sync::Arc;

use api::{ObjectMeta, OwnerReference};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
    auth::{Attributes, Authorizer},
};

use crate::gvr;

pub(crate) struct OwnerReferences {
    pub(crate) authorizer: Arc<dyn Authorizer>,
}

impl Admission for OwnerReferences {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn handles(&self, _info: &Info, _subresource: &str, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        self.check(request).boxed()
    }
}

impl OwnerReferences {
    async fn check(&self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        let Some(new) = request.object.as_deref().map(|object| object.metadata()) else { return Ok(()) };
        let old = request.old_object.map(|object| object.metadata());
        let references = |meta: Option<&ObjectMeta>| -> Vec<OwnerReference> {
            meta.and_then(|meta| meta.owner_references.clone()).unwrap_or_default()
        };
        let (new, old) = (references(Some(new)), references(old));
        // Giving up an owner is not restricted, nor is what is new with the object itself restricted by its deletion.
        if new == old {
            return Ok(());
        }
        if request.operation == Operation::Update {
            let mut attributes = self.attributes(request, "delete");
            request.info.group.clone_into(&mut attributes.api_group);
            request.info.version.clone_into(&mut attributes.api_version);
            request.info.plural.clone_into(&mut attributes.resource);
            request.namespace.clone_into(&mut attributes.namespace);
            request.name.clone_into(&mut attributes.name);
            let why = "cannot set an ownerRef on a resource you can't delete";
            self.require(request, &attributes, why).await?;
        }
        let blocks = |reference: &OwnerReference| reference.block_owner_deletion == Some(true);
        let blocked_before = |uid: &str| old.iter().any(|reference| reference.uid == uid && blocks(reference));
        for reference in new.iter().filter(|reference| blocks(reference) && !blocked_before(&reference.uid)) {
            let why =
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
            let Some(attributes) = self.finalizers(request, reference) else {
                let why = format!(
                    "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {} Kind {}",
                    reference.api_version, reference.kind
                );
                return Err(ApiError::forbidden(&gvr(request.info), request.name, why));
            };
            self.require(request, &attributes, why).await?;
        }
        Ok(())
    }

    fn attributes(&self, request: &AdmissionRequest<'_>, verb: &str) -> Attributes {
        Attributes {
            user: Arc::clone(&request.cx.user),
            verb: verb.to_owned(),
            is_resource_request: true,
            ..Attributes::default()
        }
    }

    /// Writing the owner's finalizers; none when its kind is not served.
    fn finalizers(&self, request: &AdmissionRequest<'_>, reference: &OwnerReference) -> Option<Attributes> {
        let kinds = request.place?.registry.kinds();
        let kind = kinds
            .iter()
            .find(|kind| kind.info().kind == reference.kind && kind.info().api_version() == reference.api_version)?;
        let info = kind.info();
        let mut attributes = self.attributes(request, "update");
        info.group.clone_into(&mut attributes.api_group);
        info.version.clone_into(&mut attributes.api_version);
        info.plural.clone_into(&mut attributes.resource);
        "finalizers".clone_into(&mut attributes.subresource);
        attributes.name.clone_from(&reference.name);
        if info.is_namespaced() {
            request.namespace.clone_into(&mut attributes.namespace);
        }
        Some(attributes)
    }

    async fn require(
        &self,
        request: &AdmissionRequest<'_>,
        attributes: &Attributes,
        why: &str,
    ) -> Result<(), ApiError> {
        let decision = self.authorizer.authorize(attributes).await;
        if decision.is_allowed() {
            return Ok(());
        }
        let why = format!("{why}: {}, <nil>", decision.reason());
        Err(ApiError::forbidden(&gvr(request.info), request.name, why))
    }
}
