//! Csi storage capacities for the registry. Upstream: `pkg/registry/storage/csistoragecapacity`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use registry::{Column, Info, RequestCx, Strategy};
use serde_json::json;

use crate::check::{self, IMMUTABLE, Report};
use crate::core::pod::warnings::node_label;
use crate::meta::quantity;
use crate::optional::Items;

type C = Column<CSIStorageCapacity>;

pub struct CSIStorageCapacities;

impl Strategy for CSIStorageCapacities {
    type Object = CSIStorageCapacity;

    const INFO: Info = Info::namespaced("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities");
    const COLUMNS: &'static [Column<CSIStorageCapacity>] = COLUMNS;
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;

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

    fn warnings(
        &self,
        _cx: &RequestCx,
        capacity: &CSIStorageCapacity,
        _old: Option<&CSIStorageCapacity>,
    ) -> Vec<String> {
        let Some(topology) = &capacity.node_topology else { return Vec::new() };
        let mut warnings = Vec::new();
        for (index, expression) in topology.match_expressions.items().iter().enumerate() {
            let message = node_label(&expression.key);
            warnings.extend(
                message.map(|message| {
                    format!("nodeTopology.matchExpressions[{index}].key: {} is {message}", expression.key)
                }),
            );
        }
        for label in topology.match_labels.iter().flatten().map(|(label, _)| label) {
            let message = node_label(label);
            warnings.extend(message.map(|message| format!("nodeTopology.matchLabels.{label}: {message}")));
        }
        warnings
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
    C::string("StorageClassName", |o, _| json!(o.storage_class_name)).describe("storageClassName represents the name of the StorageClass that the reported capacity applies to. It must meet the same requirements as the name of a StorageClass object (non-empty, DNS subdomain). If that object no longer exists, the CSIStorageCapacity object is obsolete and should be removed by its creator. This field is immutable."),
    C::string("Capacity", |o, _| json!(o.capacity.as_ref().map_or("<unset>", |capacity| &capacity.0))).describe("capacity is the value reported by the CSI driver in its GetCapacityResponse for a GetCapacityRequest with topology and parameters that match the previous fields.\n\nThe semantic is currently (CSI spec 1.2) defined as: The available capacity, in bytes, of the storage that can be used to provision volumes. If not set, that information is currently unavailable."),
];
