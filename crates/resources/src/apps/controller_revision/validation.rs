//! Validation of controller revisions. Upstream: `ValidateControllerRevision` in `pkg/apis/apps/validation`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::apps::v1::ControllerRevision;

use crate::check::{self, Report};

pub(super) fn validate(revision: &ControllerRevision) -> ErrorList {
    let mut errors = ErrorList::default();
    if revision.data.is_none() {
        errors.required(&Path::new("data"), "data is mandatory");
    }
    check::non_negative(revision.revision, &Path::new("revision"), &mut errors);
    errors
}

pub(super) fn validate_update(new: &ControllerRevision, old: &ControllerRevision) -> ErrorList {
    let mut errors = validate(new);
    check::unchanged(&new.data, &old.data, &Path::new("data"), &mut errors);
    errors
}
