//! Csi nodes for the registry. Upstream: `pkg/registry/storage/csinode`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::storage::v1::CSINode;
use registry::{Column, Info, RequestCx, Strategy};
use serde_json::json;

type C = Column<CSINode>;

pub struct CSINodes;

impl Strategy for CSINodes {
    type Object = CSINode;

    const INFO: Info = Info::cluster("storage.k8s.io", "v1", "CSINode", "csinodes");
    const COLUMNS: &'static [Column<CSINode>] = COLUMNS;
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;
    const RETURN_DELETED_OBJECT: bool = true;

    fn validate(&self, _cx: &RequestCx, object: &CSINode) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &CSINode, old: &CSINode) -> ErrorList {
        validation::validate_update(new, old)
    }
}

static COLUMNS: &[Column<CSINode>] = &[
    Column::NAME,
    C::integer("Drivers", |o, _| json!(o.spec.drivers.len()))
        .describe("Drivers indicates the number of CSI drivers registered on the node"),
    Column::AGE,
];
