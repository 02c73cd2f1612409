//! What a claim was given. Upstream: `validateResourceClaimStatusUpdate` in `pkg/apis/resource/validation`.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path, go_quote};
use k8s_openapi::api::resource::v1::{
    AllocatedDeviceStatus, AllocationResult, DeviceAllocationConfiguration, DeviceRequestAllocationResult,
    NetworkDeviceData, ResourceClaim, ResourceClaimConsumerReference, ResourceClaimStatus,
};

use super::claim::Requests;
use super::{MAX_CONFIGS, binding_conditions, names, opaque, raw, set, slice};
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
    let key = |consumer: &ResourceClaimConsumerReference| consumer.uid.clone();
    let reserved_path = path.child("reservedFor");
    set(consumers, MAX_RESERVED_FOR, key, &reserved_path, &mut errors, consumer);

    let results = status.allocation.as_ref().and_then(|allocation| allocation.devices.as_ref());
    let allocated: BTreeSet<Device> =
        results.map_or(&[][..], |devices| devices.results.items()).iter().map(of_result).collect();
    set(status.devices.items(), usize::MAX, of_status, &path.child("devices"), &mut errors, |device, path, errors| {
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

/// What is reported of devices that are not allocated any more goes (`dropDeallocatedStatusDevices`).
pub(crate) fn drop_deallocated(new: &mut ResourceClaim, old: &ResourceClaim) {
    let allocated = |claim: &ResourceClaim| -> BTreeSet<Device> {
        let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
        let devices = allocation.and_then(|allocation| allocation.devices.as_ref());
        devices.map_or(&[][..], |devices| devices.results.items()).iter().map(of_result).collect()
    };
    let gone: BTreeSet<Device> = allocated(old).difference(&allocated(new)).cloned().collect();
    let Some(status) = &mut new.status else { return };
    if let Some(devices) = &mut status.devices {
        devices.retain(|device| !gone.contains(&of_status(device)));
    }
    status.devices.take_if(|devices| devices.is_empty());
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
    binding_conditions(result.binding_conditions.as_ref(), result.binding_failure_conditions.as_ref(), path, errors);
    if let Some(share) = &result.share_id {
        uuid(share, &path.child("shareID"), errors);
    }
}

/// `validateUID`.
fn uuid(text: &str, path: &Path, errors: &mut ErrorList) {
    if let Err(why) = parse_uuid(text) {
        errors.invalid(path, text, format!("error validating uid: {why}"));
    } else if text.len() != 36 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let message = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        errors.invalid(path, text, message);
    }
}

/// What the library that upstream uses has against a UUID, in any of the forms that it takes.
fn parse_uuid(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    let (digits, has_dashes) = match bytes.len() {
        36 => (bytes, true),
        45 if !bytes[..9].eq_ignore_ascii_case(b"urn:uuid:") => {
            let prefix = String::from_utf8_lossy(&bytes[..9]);
            return Err(format!("invalid urn prefix: {}", go_quote(&prefix)));
        }
        45 => (&bytes[9..], true),
        38 if bytes[0] != b'{' || bytes[37] != b'}' => return Err("invalid bracketed UUID format".to_owned()),
        38 => (&bytes[1..37], true),
        32 => (bytes, false),
        length => return Err(format!("invalid UUID length: {length}")),
    };
    let is_dash = |index: usize| has_dashes && matches!(index, 8 | 13 | 18 | 23);
    let sound = digits
        .iter()
        .enumerate()
        .all(|(index, byte)| if is_dash(index) { *byte == b'-' } else { byte.is_ascii_hexdigit() });
    if sound { Ok(()) } else { Err("invalid UUID format".to_owned()) }
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
    if let Some(data) = device.data.as_ref().filter(|data| !data.0.is_null()) {
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
    set(network.ips.items(), MAX_IPS, String::clone, &path.child("ips"), errors, |address, path, errors| {
        interface_address(address, path, errors);
    });
}

/// An address with the length of its network's prefix (`IsValidInterfaceAddress`).
fn interface_address(text: &str, path: &Path, errors: &mut ErrorList) {
    let Some((address, prefix)) = check::parse_cidr(text) else {
        let message = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        errors.invalid(path, text, message);
        return;
    };
    let address = address.to_canonical();
    // Of an IPv4 address that is written as an IPv6 one.
    let prefix = if address.is_ipv4() && prefix > 32 { prefix - 96 } else { prefix };
    let canonical = format!("{address}/{prefix}");
    if canonical != text {
        errors.invalid(path, text, format!("must be in canonical form ({canonical:?})"));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use k8s_openapi::api::resource::v1::ResourceClaim;
    use serde_json::{Value, json};

    fn claim(status: Value) -> ResourceClaim {
        let requests = json!([{"name": "a", "exactly": {"deviceClassName": "gpu"}}]);
        let value = json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": requests}}, "status": status});
        serde_json::from_value(value).expect("a claim")
    }

    fn result() -> Value {
        json!({"request": "a", "driver": "d.example.com", "pool": "p", "device": "gpu-0"})
    }

    fn errors(new: Value, old: Value) -> String {
        super::validate(&claim(new), &claim(old)).iter().map(|error| format!("{error}\n")).collect()
    }

    #[test]
    fn allocations_are_checked_once() {
        let allocated = json!({"allocation": {"devices": {"results": [result()]}}});
        assert_eq!(errors(allocated.clone(), json!({})), "");
        assert_eq!(errors(allocated.clone(), allocated.clone()), "");
        assert_eq!(errors(json!({}), allocated.clone()), "");
        expect![[r#"
            status.allocation.devices.results[0].request: Invalid value: "b": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            status.allocation.devices.results[0].driver: Required value
            status.allocation.devices.results[0].driver: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            status.allocation.devices.results[0].pool: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            status.allocation.devices.results[0].pool: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            status.allocation.devices.results[0].device: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            status.allocation.devices.results[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions
            status.allocation.devices.results[0].shareID: Invalid value: "x": error validating uid: invalid UUID length: 1
            status.allocation.devices.results[1].shareID: Invalid value: "6BA7B810-9DAD-11D1-80B4-00C04FD430C8": uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters
            status.allocation.devices.config[0].source: Required value
            status.allocation.devices.config[0].opaque: Required value
            status.allocation.devices.config[1].source: Unsupported value: "Else": supported values: "FromClaim", "FromClass"
        "#]].assert_eq(&errors(json!({"allocation": {"devices": {"results": [
            {"request": "b", "driver": "", "pool": "/", "device": "A", "shareID": "x", "bindingConditions": ["c"]},
            {"request": "a", "driver": "d", "pool": "p", "device": "a", "shareID": "6BA7B810-9DAD-11D1-80B4-00C04FD430C8"},
        ], "config": [{"source": ""}, {"source": "Else", "opaque": {"driver": "d", "parameters": {}}}]}}}), json!({})));
    }

    #[test]
    fn shares_have_uuids() {
        let of = |text: &str| super::parse_uuid(text).err().unwrap_or_default();
        expect![[r#"
            6ba7b810-9dad-11d1-80b4-00c04fd430c8: 
            6ba7b8109dad11d180b400c04fd430c8: 
            {6ba7b810-9dad-11d1-80b4-00c04fd430c8}: 
            urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8: 
            urn:uuix:6ba7b810-9dad-11d1-80b4-00c04fd430c8: invalid urn prefix: "urn:uuix:"
            (6ba7b810-9dad-11d1-80b4-00c04fd430c8): invalid bracketed UUID format
            6ba7b810+9dad-11d1-80b4-00c04fd430c8: invalid UUID format
            6ba7b8109dad11d180b400c04fd430cg: invalid UUID format
            : invalid UUID length: 0
        "#]]
        .assert_eq(
            &[
                "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
                "6ba7b8109dad11d180b400c04fd430c8",
                "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
                "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8",
                "urn:uuix:6ba7b810-9dad-11d1-80b4-00c04fd430c8",
                "(6ba7b810-9dad-11d1-80b4-00c04fd430c8)",
                "6ba7b810+9dad-11d1-80b4-00c04fd430c8",
                "6ba7b8109dad11d180b400c04fd430cg",
                "",
            ]
            .map(|text| format!("{text}: {}\n", of(text)))
            .concat(),
        );
    }

    #[test]
    fn consumers_need_an_allocation() {
        let consumer = |uid: &str| json!({"resource": "pods", "name": "p", "uid": uid});
        expect![[r#"
            status.reservedFor[2].resource: Required value
            status.reservedFor[2].name: Required value
            status.reservedFor[2].uid: Required value
            status.reservedFor[1]: Duplicate value: "1"
            status.reservedFor: Forbidden: may not be specified when `allocated` is not set
        "#]]
        .assert_eq(&errors(
            json!({"reservedFor": [consumer("1"), consumer("1"), {"resource": "", "name": "", "uid": ""}]}),
            json!({}),
        ));
    }

    #[test]
    fn devices_report_what_is_allocated() {
        let device = json!({"driver": "d.example.com", "pool": "p", "device": "gpu-0"});
        let allocation = json!({"devices": {"results": [result()]}});
        let with = |more: Value| {
            let mut device = device.clone();
            apimachinery::patch::merge_patch(&mut device, more);
            errors(json!({"allocation": allocation, "devices": [device]}), json!({"allocation": allocation}))
        };
        assert_eq!(with(json!({"networkData": {"ips": ["10.9.8.7/24", "2001:db8::1/64"]}, "data": {"a": 1}})), "");
        expect![[r#"
            status.devices[0]: Invalid value: "d.example.com/p/gpu-1": must be an allocated device in the claim
            status.devices[0].data: Invalid value: "<value omitted>": must be a valid JSON object
            status.devices[0].networkData.interfaceName: Too long: may not be more than 256 bytes
            status.devices[0].networkData.hardwareAddress: Too long: may not be more than 128 bytes
            status.devices[0].networkData.ips[0]: Invalid value: "10.9.8.7": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)
            status.devices[0].networkData.ips[1]: Invalid value: "010.9.8.7/24": must be in canonical form ("10.9.8.7/24")
            status.devices[0].networkData.ips[2]: Invalid value: "::ffff:10.9.8.7/120": must be in canonical form ("10.9.8.7/24")
            status.devices[0].networkData.ips[3]: Invalid value: "2001:DB8::1/64": must be in canonical form ("2001:db8::1/64")
            status.devices[0].networkData.ips[5]: Duplicate value: "10.9.8.7/24"
        "#]].assert_eq(&[
            json!({"device": "gpu-1"}),
            json!({"data": [1]}),
            json!({"networkData": {"interfaceName": "x".repeat(257), "hardwareAddress": "x".repeat(129)}}),
            json!({"networkData": {"ips": ["10.9.8.7", "010.9.8.7/24", "::ffff:10.9.8.7/120", "2001:DB8::1/64", "10.9.8.7/24", "10.9.8.7/24"]}}),
        ].map(with).concat());
    }

    #[test]
    fn devices_go_with_their_allocation() {
        let devices = json!([{"driver": "d.example.com", "pool": "p", "device": "gpu-0"}, {"driver": "d.example.com", "pool": "p", "device": "gpu-9"}]);
        let old = claim(json!({"allocation": {"devices": {"results": [result()]}}, "devices": devices}));
        let mut new = claim(json!({"devices": devices}));
        super::drop_deallocated(&mut new, &old);
        let left = new.status.and_then(|status| status.devices).unwrap_or_default();
        assert_eq!(left.iter().map(|device| device.device.as_str()).collect::<Vec<_>>(), ["gpu-9"]);
    }
}
