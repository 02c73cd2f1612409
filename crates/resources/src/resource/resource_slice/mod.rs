//! Resource slices for the registry. Upstream: `pkg/registry/resource/resourceslice`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::resource::v1::{DeviceAttribute, ResourceSlice};
use registry::{Column, Info, ObjectExt, RequestCx, SelectableField, Strategy};
use serde_json::json;

use crate::optional::{Items, Text};

type C = Column<ResourceSlice>;

pub struct ResourceSlices;

impl Strategy for ResourceSlices {
    type Object = ResourceSlice;

    const INFO: Info = Info::cluster("resource.k8s.io", "v1", "ResourceSlice", "resourceslices");
    const COLUMNS: &'static [Column<ResourceSlice>] = COLUMNS;
    const RETURN_DELETED_OBJECT: bool = true;
    const SELECTABLE: &'static [SelectableField] = &[
        SelectableField::new("spec.nodeName", &[&["spec", "nodeName"]]),
        SelectableField::new("spec.driver", &[&["spec", "driver"]]),
    ];

    fn prepare_for_create(&self, cx: &RequestCx, object: &mut ResourceSlice) {
        object.start_generation();
        drop_disabled(object, None);
        stamp_taints(cx, object);
    }

    fn prepare_for_update(&self, cx: &RequestCx, new: &mut ResourceSlice, old: &ResourceSlice) {
        drop_disabled(new, Some(old));
        stamp_taints(cx, new);
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &ResourceSlice) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &ResourceSlice, old: &ResourceSlice) -> ErrorList {
        validation::validate_update(new, old)
    }
}

/// Takes away what belongs to features that are off by default (`DRAListTypeAttributes`, `DRANodeAllocatableResources`),
/// unless the stored slice has it (`dropDisabledFields`).
fn drop_disabled(slice: &mut ResourceSlice, old: Option<&ResourceSlice>) {
    let devices = || old.into_iter().flat_map(|old| old.spec.devices.items());
    let lists = |attribute: &DeviceAttribute| {
        attribute.bools.is_some()
            || attribute.ints.is_some()
            || attribute.strings.is_some()
            || attribute.versions.is_some()
    };
    let had_lists = devices().any(|device| device.attributes.iter().flatten().any(|(_, attribute)| lists(attribute)));
    let had_mappings = devices().any(|device| device.node_allocatable_resource_mappings.is_some());
    for device in slice.spec.devices.items_mut() {
        if !had_mappings {
            device.node_allocatable_resource_mappings = None;
        }
        for attribute in device.attributes.iter_mut().flatten().map(|(_, attribute)| attribute).filter(|_| !had_lists) {
            (attribute.bools, attribute.ints, attribute.strings, attribute.versions) = (None, None, None, None);
        }
    }
}

/// A taint that does not say since when it is there, is there from now on (`SetDefaults_DeviceTaint`).
fn stamp_taints(cx: &RequestCx, slice: &mut ResourceSlice) {
    let devices = slice.spec.devices.items_mut().iter_mut();
    for taint in devices.flat_map(|device| device.taints.items_mut()) {
        taint.time_added.get_or_insert_with(|| cx.time());
    }
}

static COLUMNS: &[Column<ResourceSlice>] = &[
    Column::NAME,
    C::string("Node", |o, _| json!(o.spec.node_name.text())).describe("NodeName identifies the node which provides the resources in this pool. A field selector can be used to list only ResourceSlice objects belonging to a certain node.\n\nThis field can be used to limit access from nodes to ResourceSlices with the same node name. It also indicates to autoscalers that adding new nodes of the same type as some old node might also make new resources available.\n\nExactly one of NodeName, NodeSelector, AllNodes, and PerDeviceNodeSelection must be set. This field is immutable."),
    C::string("Driver", |o, _| json!(o.spec.driver)).describe("Driver identifies the DRA driver providing the capacity information. A field selector can be used to list only ResourceSlice objects with a certain driver name.\n\nMust be a DNS subdomain and should end with a DNS domain owned by the vendor of the driver. It should use only lower case characters. This field is immutable."),
    C::string("Pool", |o, _| json!(o.spec.pool.name)).describe("Name is used to identify the pool. For node-local devices, this is often the node name, but this is not required.\n\nIt must not be longer than 253 characters and must consist of one or more DNS sub-domains separated by slashes. This field is immutable."),
    Column::AGE,
];
