//! Endpoint slices for the registry. Upstream: `pkg/registry/discovery/endpointslice`.

#[cfg(test)]
mod tests;
mod validation;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};
use serde_json::json;

use crate::meta::addresses::ip_warning;
use crate::meta::print;
use crate::optional::{Items, default_text};

type C = Column<EndpointSlice>;

pub struct EndpointSlices;

impl Strategy for EndpointSlices {
    type Object = EndpointSlice;

    const INFO: Info = Info::namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
    const COLUMNS: &'static [Column<EndpointSlice>] = COLUMNS;

    fn set_defaults(&self, slice: &mut EndpointSlice) {
        for port in slice.ports.items_mut() {
            port.name.get_or_insert_default();
            default_text(&mut port.protocol, "TCP");
        }
        for endpoint in slice.endpoints.items_mut() {
            endpoint.conditions.get_or_insert_default();
        }
    }

    fn prepare_for_create(&self, _cx: &RequestCx, slice: &mut EndpointSlice) {
        slice.start_generation();
    }

    fn validate(&self, _cx: &RequestCx, slice: &EndpointSlice) -> ErrorList {
        validation::validate(slice, validation::ADDRESS_TYPES)
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut EndpointSlice, old: &EndpointSlice) {
        let changed = new.metadata.labels != old.metadata.labels
            || new.endpoints != old.endpoints
            || new.ports != old.ports
            || new.address_type != old.address_type;
        new.bump_generation_if(old, changed);
    }

    fn validate_update(&self, _cx: &RequestCx, new: &EndpointSlice, old: &EndpointSlice) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn warnings(&self, _cx: &RequestCx, slice: &EndpointSlice, _old: Option<&EndpointSlice>) -> Vec<String> {
        // The controllers' come from elsewhere, where somebody was warned.
        let labels = slice.metadata.labels.as_ref();
        let manager = labels.and_then(|labels| labels.get("endpointslice.kubernetes.io/managed-by"));
        if manager.is_some_and(|manager| CONTROLLERS.contains(&manager.as_str())) {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        for (index, endpoint) in slice.endpoints.items().iter().enumerate() {
            let path = Path::new("endpoints").index(index).child("addresses");
            let addresses = endpoint.addresses.iter().enumerate();
            warnings.extend(addresses.filter_map(|(index, address)| ip_warning(address, &path.index(index))));
        }
        warnings
    }
}

const CONTROLLERS: &[&str] = &["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

static COLUMNS: &[Column<EndpointSlice>] = &[
    Column::NAME,
    C::string("AddressType", |slice, _| json!(slice.address_type)).describe("addressType specifies the type of address carried by this EndpointSlice. All addresses in this slice must be the same type. This field is immutable after creation. The following address types are currently supported: * IPv4: Represents an IPv4 Address. * IPv6: Represents an IPv6 Address. * FQDN: Represents a Fully Qualified Domain Name."),
    C::string("Ports", |slice, _| {
        let ports: Vec<String> = slice
            .ports
            .items()
            .iter()
            .map(|port| match (port.port, &port.name) {
                (Some(number), _) => number.to_string(),
                (None, Some(name)) => name.clone(),
                (None, None) => "*".to_owned(),
            })
            .collect();
        json!(print::first_three(ports.iter().map(String::as_str)))
    })
    .describe("ports specifies the list of network ports exposed by each endpoint in this slice. Each port must have a unique name. When ports is empty, it indicates that there are no defined ports. When a port is defined with a nil port value, it indicates \"all ports\". Each slice may include a maximum of 100 ports."),
    C::string("Endpoints", |slice, _| {
        let addresses = slice.endpoints.items().iter().flat_map(|endpoint| &endpoint.addresses);
        json!(print::first_three(addresses.map(String::as_str)))
    })
    .describe("endpoints is a list of unique endpoints in this slice. Each slice may include a maximum of 1000 endpoints."),
    Column::AGE,
];
