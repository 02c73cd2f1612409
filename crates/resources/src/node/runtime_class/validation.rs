//! Validation of runtime classes. Upstream: `pkg/apis/node/validation`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::node::v1::RuntimeClass;

use crate::check;
use crate::core::pod::validation::quantity_of;

pub(super) fn validate(class: &RuntimeClass) -> ErrorList {
    let mut errors = ErrorList::default();
    check::dns_label(&class.handler, &Path::new("handler"), &mut errors);
    let path = Path::new("overhead").child("podFixed");
    for (name, amount) in class.overhead.iter().flat_map(|overhead| overhead.pod_fixed.iter().flatten()) {
        quantity_of(name, amount, &path.key(name), &mut errors);
    }
    if let Some(scheduling) = &class.scheduling {
        check::labels(scheduling.node_selector.as_ref(), &Path::new("scheduling").child("nodeSelector"), &mut errors);
    }
    errors
}

pub(super) fn validate_update(new: &RuntimeClass, old: &RuntimeClass) -> ErrorList {
    let mut errors = ErrorList::default();
    check::unchanged(&new.handler, &old.handler, &Path::new("handler"), &mut errors);
    errors
}
