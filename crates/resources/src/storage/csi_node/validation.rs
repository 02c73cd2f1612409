//! Validation of CSI nodes. Upstream: `ValidateCSINode` in `pkg/apis/storage/validation`.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver};

use crate::check::{self, IMMUTABLE, Report};
use crate::core::volume::csi_driver_name;
use crate::optional::Items;

const MAX_NODE_ID: usize = 192;

pub(super) fn validate(node: &CSINode) -> ErrorList {
    let mut errors = ErrorList::default();
    let mut names = BTreeSet::new();
    let path = Path::new("spec").child("drivers");
    for (index, driver) in node.spec.drivers.iter().enumerate() {
        let path = path.index(index);
        csi_driver_name(&driver.name, &path.child("name"), &mut errors);
        let id_path = path.child("nodeID");
        if driver.node_id.is_empty() {
            errors.required(&id_path, "");
        } else if driver.node_id.len() > MAX_NODE_ID {
            errors.invalid(&id_path, &driver.node_id, format!("must be {MAX_NODE_ID} characters or less"));
        }
        if let Some(count) = driver.allocatable.as_ref().and_then(|allocatable| allocatable.count) {
            check::non_negative(count, &path.child("allocatable").child("count"), &mut errors);
        }
        if !names.insert(&driver.name) {
            errors.duplicate(&path.child("name"), &driver.name);
        }
        topology_keys(driver, &path, &mut errors);
    }
    errors
}

fn topology_keys(driver: &CSINodeDriver, path: &Path, errors: &mut ErrorList) {
    let path = path.child("topologyKeys");
    let mut seen = BTreeSet::new();
    for key in driver.topology_keys.items() {
        if !seen.insert(key) {
            errors.duplicate(&path, key);
        }
        check::all_invalid(apimachinery::names::is_qualified_name(key), driver.topology_keys.items(), &path, errors);
    }
}

/// A driver's entry stays as it was registered, but for how many volumes fit.
pub(super) fn validate_update(new: &CSINode, old: &CSINode) -> ErrorList {
    let mut errors = validate(new);
    let fixed = |driver: &CSINodeDriver| CSINodeDriver { allocatable: None, ..driver.clone() };
    for before in &old.spec.drivers {
        let after = new.spec.drivers.iter().filter(|driver| driver.name == before.name);
        for after in after.filter(|after| fixed(after) != fixed(before)) {
            errors.invalid(&Path::new("CSINodeDriver"), after, IMMUTABLE);
        }
    }
    errors
}
