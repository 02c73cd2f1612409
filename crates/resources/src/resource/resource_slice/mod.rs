//! Resource slices for the registry. Upstream: `pkg/registry/resource/resourceslice`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::resource::v1::ResourceSlice;
use registry::{Column, Info, ObjectExt, RequestCx, SelectableField, Strategy};
use serde_json::json;

use crate::optional::Text;

type C = Column<ResourceSlice>;

pub struct ResourceSlices;

impl Strategy for ResourceSlices {
    type Object = ResourceSlice;

    const INFO: Info = Info::cluster("resource.k8s.io", "v1", "ResourceSlice", "resourceslices");
    const RETURN_DELETED_OBJECT: bool = true;
    const COLUMNS: &'static [Column<ResourceSlice>] = COLUMNS;
    const SELECTABLE: &'static [SelectableField] = &[
        SelectableField::new("spec.nodeName", &[&["spec", "nodeName"]]),
        SelectableField::new("spec.driver", &[&["spec", "driver"]]),
    ];

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut ResourceSlice) {
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut ResourceSlice, old: &ResourceSlice) {
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &ResourceSlice) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &ResourceSlice, old: &ResourceSlice) -> ErrorList {
        validation::validate_update(new, old)
    }
}

static COLUMNS: &[Column<ResourceSlice>] = &[
    Column::NAME,
    C::string("Node", |o, _| json!(o.spec.node_name.text())),
    C::string("Driver", |o, _| json!(o.spec.driver)),
    C::string("Pool", |o, _| json!(o.spec.pool.name)),
    Column::AGE,
];
