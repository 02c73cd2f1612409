//! Csi nodes for the registry. Upstream: `pkg/registry/storage/csinode`.

use k8s_openapi::api::storage::v1::CSINode;
use registry::{Column, Info, Strategy};
use serde_json::json;

type C = Column<CSINode>;

pub struct CSINodes;

impl Strategy for CSINodes {
    type Object = CSINode;

    const INFO: Info = Info::cluster("storage.k8s.io", "v1", "CSINode", "csinodes");
    const COLUMNS: &'static [Column<CSINode>] = COLUMNS;
}

static COLUMNS: &[Column<CSINode>] = &[
    Column::NAME,
    C::integer("Drivers", |o, _| json!(o.spec.drivers.len()))
        .describe("Drivers indicates the number of CSI drivers registered on the node"),
    Column::AGE,
];
