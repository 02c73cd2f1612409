//! Csi storage capacities for the registry. Upstream: `pkg/registry/storage/csistoragecapacity`.

use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use registry::{Column, Info, Strategy};
use serde_json::json;

use crate::meta::quantity;

type C = Column<CSIStorageCapacity>;

pub struct CSIStorageCapacities;

impl Strategy for CSIStorageCapacities {
    type Object = CSIStorageCapacity;

    const INFO: Info = Info::namespaced("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities");
    const COLUMNS: &'static [Column<CSIStorageCapacity>] = COLUMNS;

    fn set_defaults(&self, object: &mut CSIStorageCapacity) {
        for amount in [&mut object.capacity, &mut object.maximum_volume_size].into_iter().flatten() {
            quantity::canonicalize(amount);
        }
    }
}

static COLUMNS: &[Column<CSIStorageCapacity>] = &[
    Column::NAME,
    C::string("StorageClassName", |o, _| json!(o.storage_class_name)),
    C::string("Capacity", |o, _| json!(o.capacity.as_ref().map_or("<unset>", |capacity| &capacity.0))),
];
