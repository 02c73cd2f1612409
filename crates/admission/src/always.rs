//! AlwaysAdmit and AlwaysDeny. Upstream: `plugin/pkg/admission/admit`, `plugin/pkg/admission/deny`.

use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::gvr;

/// Does nothing; kept for command lines that name it.
pub(crate) struct AlwaysAdmit;

/// Refuses every write.
pub(crate) struct AlwaysDeny;

impl Admission for AlwaysAdmit {
    fn name(&self) -> &'static str {
        "AlwaysAdmit"
    }

    fn handles(&self, _info: &Info, _subresource: &str, _operation: Operation) -> bool {
        false
    }
}

impl Admission for AlwaysDeny {
    fn name(&self) -> &'static str {
        "AlwaysDeny"
    }

    fn handles(&self, _info: &Info, _subresource: &str, _operation: Operation) -> bool {
        true
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let why = "admission control is denying all modifications";
        ready(Err(ApiError::forbidden(&gvr(request.info), request.name, why))).boxed()
    }
}
