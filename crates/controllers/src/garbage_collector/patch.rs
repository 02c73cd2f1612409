//! Patches that take owners or finalizers away and fail if the object has changed; pure. Upstream: `patch.go`.

use api::ObjectMeta;
use serde_json::{Value, json};

use super::graph::FOREGROUND;

/// The object without references to these owners. A merge patch with the whole list and the revision, because custom
/// resources know no strategic merge.
pub(super) fn without_owners(meta: &ObjectMeta, uids: &[&str]) -> Value {
    let owners: Vec<_> =
        meta.owner_references.iter().flatten().filter(|owner| !uids.contains(&owner.uid.as_str())).collect();
    json!({"metadata": {"ownerReferences": owners, "uid": meta.uid, "resourceVersion": meta.resource_version}})
}

/// The object, blocking no owner's deletion any more.
pub(super) fn unblocking(meta: &ObjectMeta) -> Value {
    let mut owners = meta.owner_references.clone().unwrap_or_default();
    for owner in owners.iter_mut().filter(|owner| owner.block_owner_deletion == Some(true)) {
        owner.block_owner_deletion = Some(false);
    }
    json!({"metadata": {"ownerReferences": owners, "uid": meta.uid, "resourceVersion": meta.resource_version}})
}

/// The object without a finalizer; `None` if it has none such.
pub(super) fn without_finalizer(meta: &ObjectMeta, finalizer: &str) -> Option<Value> {
    let finalizers = meta.finalizers.as_ref()?;
    if !finalizers.iter().any(|known| known == finalizer) {
        return None;
    }
    let kept: Vec<_> = finalizers.iter().filter(|known| *known != finalizer).collect();
    Some(json!({"metadata": {"finalizers": kept, "uid": meta.uid, "resourceVersion": meta.resource_version}}))
}

pub(super) fn is_waiting_for_dependents(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some() && meta.finalizers.iter().flatten().any(|finalizer| finalizer == FOREGROUND)
}
