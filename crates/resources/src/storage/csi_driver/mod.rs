//! Csi drivers for the registry. Upstream: `pkg/registry/storage/csidriver`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::storage::v1::CSIDriver;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};
use serde_json::json;

use crate::optional::{Flag, Items};

type C = Column<CSIDriver>;

pub struct CSIDrivers;

impl Strategy for CSIDrivers {
    type Object = CSIDriver;

    const INFO: Info = Info::cluster("storage.k8s.io", "v1", "CSIDriver", "csidrivers");
    const RETURN_DELETED_OBJECT: bool = true;
    const COLUMNS: &'static [Column<CSIDriver>] = COLUMNS;

    fn set_defaults(&self, object: &mut CSIDriver) {
        let spec = &mut object.spec;
        spec.attach_required.get_or_insert(true);
        spec.pod_info_on_mount.get_or_insert(false);
        spec.storage_capacity.get_or_insert(false);
        spec.fs_group_policy.get_or_insert_with(|| "ReadWriteOnceWithFSType".to_owned());
        if spec.volume_lifecycle_modes.items().is_empty() {
            spec.volume_lifecycle_modes = Some(vec!["Persistent".to_owned()]);
        }
        spec.requires_republish.get_or_insert(false);
        spec.se_linux_mount.get_or_insert(false);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut CSIDriver) {
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut CSIDriver, old: &CSIDriver) {
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &CSIDriver) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &CSIDriver, old: &CSIDriver) -> ErrorList {
        validation::validate_update(new, old)
    }
}

fn token_requests(driver: &CSIDriver) -> String {
    match &driver.spec.token_requests {
        None => "<unset>".to_owned(),
        Some(requests) => requests.iter().map(|request| request.audience.as_str()).collect::<Vec<_>>().join(","),
    }
}

static COLUMNS: &[Column<CSIDriver>] = &[
    Column::NAME,
    C::boolean("AttachRequired", |o, _| json!(o.spec.attach_required.unwrap_or(true))),
    C::boolean("PodInfoOnMount", |o, _| json!(o.spec.pod_info_on_mount.is_set())),
    C::boolean("StorageCapacity", |o, _| json!(o.spec.storage_capacity.is_set())),
    C::string("TokenRequests", |o, _| json!(token_requests(o))),
    C::boolean("RequiresRepublish", |o, _| json!(o.spec.requires_republish.is_set())),
    C::string("Modes", |o, _| {
        let modes = o.spec.volume_lifecycle_modes.items();
        json!(if modes.is_empty() { "<none>".to_owned() } else { modes.join(",") })
    }),
    Column::AGE,
];
