//! Csi storage capacities for the registry. Upstream: `pkg/registry/storage/csistoragecapacity`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use registry::{Column, Info, RequestCx, Strategy};
use serde_json::json;

use crate::check::{self, IMMUTABLE, Report};
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

    fn validate(&self, _cx: &RequestCx, object: &CSIStorageCapacity) -> ErrorList {
        let mut errors = ErrorList::default();
        if let Some(topology) = &object.node_topology {
            check::label_selector(topology, &Path::new("nodeTopology"), &mut errors);
        }
        check::dns_subdomain(&object.storage_class_name, &Path::new("storageClassName"), &mut errors);
        for (amount, field) in [(&object.capacity, "capacity"), (&object.maximum_volume_size, "maximumVolumeSize")] {
            if let Some(amount) = amount {
                check::non_negative_quantity(amount, &Path::new(field), &mut errors);
            }
        }
        errors
    }

    /// What was asked of the driver stays; only its answer changes.
    fn validate_update(&self, _cx: &RequestCx, new: &CSIStorageCapacity, old: &CSIStorageCapacity) -> ErrorList {
        let mut errors = ErrorList::default();
        if new.node_topology != old.node_topology {
            errors.invalid(&Path::new("nodeTopology"), &new.node_topology, IMMUTABLE);
        }
        check::unchanged(&new.storage_class_name, &old.storage_class_name, &Path::new("storageClassName"), &mut errors);
        errors
    }
}

static COLUMNS: &[Column<CSIStorageCapacity>] = &[
    Column::NAME,
    C::string("StorageClassName", |o, _| json!(o.storage_class_name)),
    C::string("Capacity", |o, _| json!(o.capacity.as_ref().map_or("<unset>", |capacity| &capacity.0))),
];
