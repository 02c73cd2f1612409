//! Resource claims for the registry. Upstream: `pkg/registry/resource/resourceclaim`.

use apimachinery::field::{Error, ErrorList, Path};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::resource::v1::{DeviceRequest, ResourceClaim, ResourceClaimSpec};
use registry::{Column, Filter, Info, RequestCx, Strategy, Subresource, keep_metadata, reset_metadata};
use serde_json::json;

use crate::check::{self, Report};
use crate::optional::{Flag, Items, default_text};
use crate::resource::devices;

type C = Column<ResourceClaim>;

pub struct ResourceClaims;

impl Strategy for ResourceClaims {
    type Object = ResourceClaim;

    const INFO: Info = Info::namespaced("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims");
    const COLUMNS: &'static [Column<ResourceClaim>] = COLUMNS;
    const RETURN_DELETED_OBJECT: bool = true;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn reset_fields(&self, subresource: &str) -> Option<Filter> {
        reset_metadata(subresource)
    }

    fn set_defaults(&self, object: &mut ResourceClaim) {
        default_spec(&mut object.spec);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut ResourceClaim) {
        object.status = None;
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut ResourceClaim, old: &ResourceClaim) {
        new.status.clone_from(&old.status);
    }

    fn validate(&self, cx: &RequestCx, object: &ResourceClaim) -> ErrorList {
        let mut errors = ErrorList::default();
        let path = Path::new("spec");
        admin_access(cx, &object.spec, &mut errors);
        devices::claim::spec(&object.spec, &path, false, &mut errors);
        errors
    }

    fn validate_update(&self, _cx: &RequestCx, new: &ResourceClaim, old: &ResourceClaim) -> ErrorList {
        let mut errors = ErrorList::default();
        check::unchanged(&new.spec, &old.spec, &Path::new("spec"), &mut errors);
        errors
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut ResourceClaim, old: &ResourceClaim) {
        new.spec.clone_from(&old.spec);
        keep_metadata(new, old);
        devices::allocation::drop_deallocated(new, old);
    }

    fn validate_status_update(&self, cx: &RequestCx, new: &ResourceClaim, old: &ResourceClaim) -> ErrorList {
        let mut errors = ErrorList::default();
        admin_access_given(cx, new, old, &mut errors);
        errors.append(devices::allocation::validate(new, old));
        errors
    }
}

fn state(claim: &ResourceClaim) -> String {
    let deleted = claim.metadata.deletion_timestamp.is_some();
    let status = claim.status.as_ref();
    let mut states = Vec::new();
    if deleted {
        states.push("deleted");
    }
    if status.is_some_and(|status| status.allocation.is_some()) {
        states.push("allocated");
        if status.is_some_and(|status| !status.reserved_for.items().is_empty()) {
            states.push("reserved");
        }
    } else if !deleted {
        states.push("pending");
    }
    states.join(",")
}

/// Access beside the owner of a device is only for namespaces that are marked for it (`AuthorizedForAdmin`).
pub(super) fn admin_access(cx: &RequestCx, spec: &ResourceClaimSpec, errors: &mut ErrorList) {
    let requests = spec.devices.as_ref().map_or(&[][..], |devices| devices.requests.items());
    let asks = |request: &DeviceRequest| request.exactly.as_ref().is_some_and(|exact| exact.admin_access.is_set());
    if let Some(index) = requests.iter().position(asks) {
        let path = Path::new("spec").child("devices").child("requests").index(index);
        marked_for_administrators(cx, &path.child("adminAccess"), errors);
    }
}

/// The same for what is allocated, when it is (`AuthorizedForAdminStatus`).
fn admin_access_given(cx: &RequestCx, new: &ResourceClaim, old: &ResourceClaim, errors: &mut ErrorList) {
    let given = |claim: &ResourceClaim| {
        let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
        let devices = allocation.and_then(|allocation| allocation.devices.as_ref());
        let results = devices.map_or(&[][..], |devices| devices.results.items());
        results.iter().position(|result| result.admin_access.is_set())
    };
    if let (None, Some(index)) = (given(old), given(new)) {
        let path = Path::new("status").child("allocation").child("devices").child("results").index(index);
        marked_for_administrators(cx, &path.child("adminAccess"), errors);
    }
}

fn marked_for_administrators(cx: &RequestCx, path: &Path, errors: &mut ErrorList) {
    const LABEL: &str = "resource.kubernetes.io/admin-access";
    let namespace = cx.reader.get::<Namespace>("", "namespaces", "", &cx.namespace);
    let Some(namespace) = namespace else {
        let why = format!("namespaces {:?} not found", cx.namespace);
        errors.push(Error::internal(path, format!("could not retrieve namespace to verify admin access: {why}")));
        return;
    };
    let labels = namespace.metadata.labels.unwrap_or_default();
    if labels.get(LABEL).is_none_or(|value| value != "true") {
        let message = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
        errors.forbidden(path, message);
    }
}

pub(super) fn default_spec(spec: &mut ResourceClaimSpec) {
    let requests = spec.devices.iter_mut().flat_map(|devices| devices.requests.items_mut());
    for request in requests {
        let exactly = request.exactly.iter_mut().map(|exact| (&mut exact.allocation_mode, &mut exact.count));
        let alternatives = request.first_available.items_mut().iter_mut();
        let alternatives = alternatives.map(|alternative| (&mut alternative.allocation_mode, &mut alternative.count));
        for (mode, count) in exactly.chain(alternatives) {
            default_text(mode, "ExactCount");
            if mode.as_deref() == Some("ExactCount") && count.unwrap_or(0) == 0 {
                *count = Some(1);
            }
        }
        let exactly = request.exactly.iter_mut().filter_map(|exact| exact.tolerations.as_mut());
        let alternatives = request.first_available.items_mut().iter_mut();
        let alternatives = alternatives.filter_map(|alternative| alternative.tolerations.as_mut());
        for toleration in exactly.chain(alternatives).flatten() {
            default_text(&mut toleration.operator, "Equal");
        }
    }
}

static COLUMNS: &[Column<ResourceClaim>] = &[
    Column::NAME,
    C::string("State", |o, _| json!(state(o)))
        .describe("A summary of the current state (allocated, pending, reserved, etc.)."),
    Column::AGE,
];
