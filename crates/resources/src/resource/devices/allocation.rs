//! What a claim was given. Upstream: `validateResourceClaimStatusUpdate` in `pkg/apis/resource/validation`.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::resource::v1::{
    AllocatedDeviceStatus, AllocationResult, DeviceAllocationConfiguration, DeviceRequestAllocationResult,
    NetworkDeviceData, ResourceClaim, ResourceClaimConsumerReference, ResourceClaimStatus,
};

use super::claim::Requests;
use super::{MAX_CONFIGS, binding_conditions, len, names, opaque, raw, set, slice, toleration, unset_both};
use crate::check::{self, Report};
use crate::core::pod::validation::node_selector;
use crate::core::volume::csi_driver_name;
use crate::optional::{Items, Text};

const MAX_RESERVED_FOR: usize = 256;
const MAX_RESULTS: usize = 32;
const MAX_CONDITIONS: usize = 8;
const MAX_DATA: usize = 10 * 1024;
const MAX_IPS: usize = 16;
const MAX_INTERFACE_NAME: usize = 256;
const MAX_HARDWARE_ADDRESS: usize = 128;

/// Driver, pool, device and, where a device is shared, the share.
type Device = (String, String, String, String);

pub(crate) fn validate(new: &ResourceClaim, old: &ResourceClaim) -> ErrorList {
    let mut errors = ErrorList::default();
    let (empty, path) = (ResourceClaimStatus::default(), Path::new("status"));
    let (status, old_status) = (new.status.as_ref().unwrap_or(&empty), old.status.as_ref().unwrap_or(&empty));
    let consumers = status.reserved_for.items();
    let key = (|consumer: &ResourceClaimConsumerReference| consumer.uid.clone(), "uid");
    let reserved_path = path.child("reservedFor");
    set(consumers, MAX_RESERVED_FOR, key, &reserved_path, &mut errors, consumer);

    let results = status.allocation.as_ref().and_then(|allocation| allocation.devices.as_ref());
    let allocated: BTreeSet<Device> =
        results.map_or(&[][..], |devices| devices.results.items()).iter().map(of_result).collect();
    let key = (|device: &AllocatedDeviceStatus| of_status(device), "deviceID");
    set(status.devices.items(), usize::MAX, key, &path.child("devices"), &mut errors, |device, path, errors| {
        device_status(device, &allocated, path, errors);
    });

    if !consumers.is_empty() {
        let added = consumers.iter().any(|consumer| !old_status.reserved_for.items().contains(consumer));
        if status.allocation.is_none() {
            errors.forbidden(&reserved_path, "may not be specified when `allocated` is not set");
        } else if new.metadata.deletion_timestamp.is_some() && added {
            let message = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.forbidden(&reserved_path, message);
        }
    }
    let path = path.child("allocation");
    match (&status.allocation, &old_status.allocation) {
        (Some(new), Some(old)) => check::unchanged(new, old, &path, &mut errors),
        (Some(allocation), None) => {
            self::allocation(allocation, &Requests::of(new.spec.devices.as_ref()), &path, &mut errors);
        }
        (None, _) => {}
    }
    errors
}

fn of_result(result: &DeviceRequestAllocationResult) -> Device {
    (result.driver.clone(), result.pool.clone(), result.device.clone(), result.share_id.text().to_owned())
}

fn of_status(device: &AllocatedDeviceStatus) -> Device {
    (device.driver.clone(), device.pool.clone(), device.device.clone(), device.share_id.text().to_owned())
}

fn consumer(consumer: &ResourceClaimConsumerReference, path: &Path, errors: &mut ErrorList) {
    for (value, field) in [(&consumer.resource, "resource"), (&consumer.name, "name"), (&consumer.uid, "uid")] {
        if value.is_empty() {
            errors.required(&path.child(field), "");
        }
    }
}

fn allocation(allocation: &AllocationResult, requests: &Requests<'_>, path: &Path, errors: &mut ErrorList) {
    let devices_path = path.child("devices");
    if let Some(devices) = &allocation.devices {
        let path = devices_path.child("results");
        slice(devices.results.items(), MAX_RESULTS, &path, errors, |result, path, errors| {
            self::result(result, requests, path, errors);
        });
        let path = devices_path.child("config");
        // Of the class and of the claim.
        slice(devices.config.items(), 2 * MAX_CONFIGS, &path, errors, |config, path, errors| {
            self::config(config, requests, path, errors);
        });
    }
    if let Some(selector) = &allocation.node_selector {
        node_selector(selector, &path.child("nodeSelector"), errors);
    }
}

fn result(result: &DeviceRequestAllocationResult, requests: &Requests<'_>, path: &Path, errors: &mut ErrorList) {
    requests.reference(&result.request, &path.child("request"), errors);
    csi_driver_name(&result.driver, &path.child("driver"), errors);
    names::pool(&result.pool, &path.child("pool"), errors);
    check::dns_label(&result.device, &path.child("device"), errors);
    for (index, each) in result.tolerations.items().iter().enumerate() {
        toleration(each, &path.child("tolerations").index(index), errors);
    }
    binding_conditions(result.binding_conditions.as_ref(), &path.child("bindingConditions"), errors);
    binding_conditions(result.binding_failure_conditions.as_ref(), &path.child("bindingFailureConditions"), errors);
    unset_both(len(&result.binding_conditions), len(&result.binding_failure_conditions), path, errors);
    if let Some(share) = &result.share_id {
        uuid(share, &path.child("shareID"), errors);
    }
}

fn uuid(text: &str, path: &Path, errors: &mut ErrorList) {
    let dashes = [8, 13, 18, 23];
    let well_formed = text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| {
            if dashes.contains(&index) { byte == b'-' } else { matches!(byte, b'0'..=b'9' | b'a'..=b'f') }
        });
    if !well_formed {
        let message = "must be a lowercase UUID in 8-4-4-4-12 format";
        errors.invalid(path, text, message);
    }
}

fn config(config: &DeviceAllocationConfiguration, requests: &Requests<'_>, path: &Path, errors: &mut ErrorList) {
    match config.source.as_str() {
        "" => errors.required(&path.child("source"), ""),
        "FromClaim" | "FromClass" => {}
        other => errors.not_supported(&path.child("source"), other, &["FromClaim", "FromClass"]),
    }
    requests.references(config.requests.items(), &path.child("requests"), errors);
    opaque(config.opaque.as_ref(), path, false, errors);
}

fn device_status(device: &AllocatedDeviceStatus, allocated: &BTreeSet<Device>, path: &Path, errors: &mut ErrorList) {
    csi_driver_name(&device.driver, &path.child("driver"), errors);
    names::pool(&device.pool, &path.child("pool"), errors);
    check::dns_label(&device.device, &path.child("device"), errors);
    if !allocated.contains(&of_status(device)) {
        let id = format!("{}/{}/{}", device.driver, device.pool, device.device);
        errors.invalid(path, id, "must be an allocated device in the claim");
    }
    let conditions = device.conditions.items();
    if conditions.len() > MAX_CONDITIONS {
        errors.too_many(&path.child("conditions"), conditions.len(), MAX_CONDITIONS);
    }
    check::conditions(conditions, &path.child("conditions"), errors);
    if let Some(data) = &device.data {
        raw(data, &path.child("data"), false, MAX_DATA, errors);
    }
    if let Some(network) = &device.network_data {
        network_data(network, &path.child("networkData"), errors);
    }
}

fn network_data(network: &NetworkDeviceData, path: &Path, errors: &mut ErrorList) {
    if network.interface_name.text().len() > MAX_INTERFACE_NAME {
        errors.too_long(&path.child("interfaceName"), MAX_INTERFACE_NAME);
    }
    if network.hardware_address.text().len() > MAX_HARDWARE_ADDRESS {
        errors.too_long(&path.child("hardwareAddress"), MAX_HARDWARE_ADDRESS);
    }
    set(network.ips.items(), MAX_IPS, (String::clone, ""), &path.child("ips"), errors, |address, path, errors| {
        interface_address(address, path, errors);
    });
}

/// An address with the length of its network's prefix (`IsValidInterfaceAddress`).
fn interface_address(text: &str, path: &Path, errors: &mut ErrorList) {
    match text.parse::<ipnet::IpNet>() {
        Err(_) => {
            let message = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
            errors.invalid(path, text, message);
        }
        Ok(net) if net.to_string() != text => {
            errors.invalid(path, text, format!("must be in canonical form ({:?})", net.to_string()));
        }
        Ok(_) => {}
    }
}
