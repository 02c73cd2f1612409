//! Validation of services. Upstream: `ValidateService` in `pkg/apis/core/validation/validation.go`.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::families::{IPV4, IPV6, family_of};
use super::{is_externally_accessible, is_headless, kind, needs_health_check, spec};
use crate::check::{self, Report};
use crate::optional::{Items, Text};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const ONLY_FOR_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";
const NOT_FOR_EXTERNAL_NAME: &str = "may not be set for ExternalName services";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// One day.
const MAX_AFFINITY_SECONDS: i32 = 86_400;

pub fn validate(service: &Service) -> ErrorList {
    let mut errors = ErrorList::default();
    let (spec, path) = (spec(service), Path::new("spec"));
    topology_annotations(service, &mut errors);
    let headless = is_headless(spec);
    let ports = spec.ports.items();
    if ports.is_empty() && !headless && kind(service) != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    by_type(spec, &path, &mut errors);
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        service_port(port, ports.len() > 1, &mut names, &path.child("ports").index(index), &mut errors);
    }
    check::labels(spec.selector.as_ref(), &path.child("selector"), &mut errors);
    session_affinity(spec, &path, &mut errors);
    cluster_ips(spec, &mut errors);
    for (index, address) in spec.external_ips.items().iter().enumerate() {
        let path = path.child("externalIPs").index(index);
        if check::parse_ip(address).is_none() {
            check::ip(address, &path, &mut errors);
        } else {
            check::non_special_ip(address, &path, &mut errors);
        }
    }
    match spec.type_.text() {
        "" => errors.required(&path.child("type"), ""),
        kind if !TYPES.contains(&kind) => errors.not_supported(&path.child("type"), kind, TYPES),
        _ => {}
    }
    duplicates(spec, &path, &mut errors);
    source_ranges(service, &path, &mut errors);
    if spec.type_.text() == "LoadBalancer" {
        if spec.allocate_load_balancer_node_ports.is_none() {
            errors.required(&Path::new("allocateLoadBalancerNodePorts"), "");
        }
        if let Some(class) = &spec.load_balancer_class {
            check::qualified_name(class, &path.child("loadBalancerClass"), &mut errors);
        }
    } else {
        if spec.allocate_load_balancer_node_ports.is_some() {
            errors.forbidden(&path.child("allocateLoadBalancerNodePorts"), ONLY_FOR_BALANCERS);
        }
        if spec.load_balancer_class.is_some() {
            errors.forbidden(&path.child("loadBalancerClass"), ONLY_FOR_BALANCERS);
        }
    }
    traffic(spec, &path, &mut errors);
    errors
}

fn topology_annotations(service: &Service, errors: &mut ErrorList) {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    const MODE: &str = "service.kubernetes.io/topology-mode";
    let Some(annotations) = &service.metadata.annotations else { return };
    if let (Some(hints), Some(mode)) = (annotations.get(HINTS), annotations.get(MODE))
        && hints != mode
    {
        let path = Path::new("metadata").child("annotations").key(MODE);
        errors.invalid(&path, mode, format!("must match annotations[{HINTS}] when both are specified"));
    }
}

fn by_type(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    match spec.type_.text() {
        kind @ ("LoadBalancer" | "NodePort") if is_headless(spec) => {
            let message = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&path.child("clusterIPs").index(0), "None", message);
        }
        "ExternalName" => {
            if !spec.cluster_ips.items().is_empty() {
                errors.forbidden(&path.child("clusterIPs"), NOT_FOR_EXTERNAL_NAME);
            }
            if !spec.ip_families.items().is_empty() {
                errors.forbidden(&path.child("ipFamilies"), NOT_FOR_EXTERNAL_NAME);
            }
            if spec.ip_family_policy.is_some() {
                errors.forbidden(&path.child("ipFamilyPolicy"), NOT_FOR_EXTERNAL_NAME);
            }
            // A trailing dot only says that the name is complete.
            let name = spec.external_name.text();
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                errors.required(&path.child("externalName"), "");
            } else {
                check::dns_subdomain(name, &path.child("externalName"), errors);
            }
        }
        _ => {}
    }
}

fn service_port<'a>(
    port: &'a ServicePort,
    needs_name: bool,
    names: &mut BTreeSet<&'a str>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let name = port.name.text();
    if needs_name && name.is_empty() {
        errors.required(&path.child("name"), "");
    } else if !name.is_empty() {
        check::dns_label(name, &path.child("name"), errors);
        if !names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
    }
    check::port_number(port.port, &path.child("port"), errors);
    check::protocol(port.protocol.text(), &path.child("protocol"), errors);
    let target = port.target_port.clone().unwrap_or(IntOrString::Int(0));
    check::port_number_or_name(&target, &path.child("targetPort"), errors);
    if let Some(protocol) = &port.app_protocol {
        check::qualified_name(protocol, &path.child("appProtocol"), errors);
    }
}

fn session_affinity(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let config_path = path.child("sessionAffinityConfig");
    match spec.session_affinity.text() {
        "" => errors.required(&path.child("sessionAffinity"), ""),
        "None" => {
            if spec.session_affinity_config.is_some() {
                errors.forbidden(&config_path, "must not be set when session affinity is None");
            }
        }
        "ClientIP" => {
            let message = "when session affinity type is ClientIP";
            let client_path = config_path.child("clientIP");
            let seconds_path = client_path.child("timeoutSeconds");
            match spec.session_affinity_config.as_ref().map(|config| config.client_ip.as_ref()) {
                None => errors.required(&config_path, message),
                Some(None) => errors.required(&client_path, message),
                Some(Some(client)) => match client.timeout_seconds {
                    None => errors.required(&seconds_path, message),
                    Some(seconds) if !(1..=MAX_AFFINITY_SECONDS).contains(&seconds) => {
                        let message = format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}");
                        errors.invalid(&seconds_path, seconds, message);
                    }
                    Some(_) => {}
                },
            }
        }
        other => errors.not_supported(&path.child("sessionAffinity"), other, &["ClientIP", "None"]),
    }
}

/// `ValidateServiceClusterIPsRelatedFields`.
pub(super) fn cluster_ips(spec: &ServiceSpec, errors: &mut ErrorList) {
    if spec.type_.text() == "ExternalName" {
        return;
    }
    let path = Path::new("spec");
    let addresses_path = path.child("clusterIPs");
    let (address, addresses) = (spec.cluster_ip.text(), spec.cluster_ips.items());
    match (address, addresses.first()) {
        ("", Some(_)) => {
            errors.invalid(&addresses_path, json!(addresses), "must be empty when `clusterIP` is not specified");
        }
        ("", None) => {}
        (_, None) => errors.required(&addresses_path, ""),
        (address, Some(first)) if address != first => {
            errors.invalid(&addresses_path, json!(addresses), "first value must match `clusterIP`");
        }
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for (index, family) in spec.ip_families.items().iter().enumerate() {
        let path = path.child("ipFamilies").index(index);
        if family != IPV4 && family != IPV6 {
            errors.not_supported(&path, family, &[IPV4, IPV6]);
        }
        if !seen.insert(family) {
            errors.duplicate(&path, family);
        }
    }
    let policies = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    if let Some(policy) = &spec.ip_family_policy
        && !policies.contains(&policy.as_str())
    {
        errors.not_supported(&path.child("ipFamilyPolicy"), policy, policies);
    }
    let mut malformed = false;
    for (index, address) in addresses.iter().enumerate() {
        if index == 0 && address == "None" {
            if addresses.len() > 1 {
                malformed = true;
                errors.invalid(&addresses_path, json!(addresses), "'None' must be the first and only value");
            }
            continue;
        }
        malformed |= check::parse_ip(address).is_none();
        check::ip(address, &addresses_path.index(index), errors);
    }
    if addresses.len() > 2 {
        errors.invalid(&addresses_path, json!(addresses), "may only hold up to 2 values");
    }
    // What follows would only repeat that an address is malformed.
    if malformed {
        return;
    }
    if addresses.len() > 1 && !check::is_dual_stack(addresses.iter().map(String::as_str)) {
        let message = "may specify no more than one IP for each IP family";
        errors.invalid(&addresses_path, json!(addresses), message);
    }
    if is_headless(spec) {
        return;
    }
    for (index, (address, family)) in addresses.iter().zip(spec.ip_families.items()).enumerate() {
        if (family == IPV4 || family == IPV6) && family_of(address) != family {
            let message = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(&addresses_path.index(index), address, message);
        }
    }
}

fn duplicates(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let ports_path = path.child("ports");
    let ports = spec.ports.items();
    if spec.type_.text() == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| port.node_port.is_some()) {
            let message = "may not be used when `type` is 'ClusterIP'";
            errors.forbidden(&ports_path.index(index).child("nodePort"), message);
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        if let Some(number) = port.node_port
            && !seen.insert((port.protocol.text(), number))
        {
            errors.duplicate(&ports_path.index(index).child("nodePort"), number);
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        if !seen.insert((port.protocol.text(), port.port)) {
            let key = json!({"protocol": port.protocol.text(), "port": port.port});
            errors.duplicate(&ports_path.index(index), key);
        }
    }
}

fn source_ranges(service: &Service, path: &Path, errors: &mut ErrorList) {
    let spec = spec(service);
    let balancer = spec.type_.text() == "LoadBalancer";
    let ranges = spec.load_balancer_source_ranges.items();
    if !ranges.is_empty() {
        let path = path.child("LoadBalancerSourceRanges");
        if !balancer {
            errors.forbidden(&path, ONLY_FOR_BALANCERS);
        }
        for (index, range) in ranges.iter().enumerate() {
            check::cidr(range.trim(), &path.index(index), errors);
        }
        return;
    }
    let Some(text) = service.metadata.annotations.as_ref().and_then(|annotations| annotations.get(SOURCE_RANGES))
    else {
        return;
    };
    let path = Path::new("metadata").child("annotations").key(SOURCE_RANGES);
    if !balancer {
        errors.forbidden(&path, ONLY_FOR_BALANCERS);
    }
    for range in text.trim().split(',').filter(|_| !text.trim().is_empty()) {
        check::cidr(range.trim(), &path, errors);
    }
}

fn traffic(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    const POLICIES: &[&str] = &["Cluster", "Local"];
    let external_path = path.child("externalTrafficPolicy");
    match (is_externally_accessible(spec), spec.external_traffic_policy.text()) {
        (false, "") => {}
        (false, policy) => errors.invalid(&external_path, policy, "may only be set for externally-accessible services"),
        (true, "") => errors.required(&external_path, ""),
        (true, policy) if !POLICIES.contains(&policy) => errors.not_supported(&external_path, policy, POLICIES),
        _ => {}
    }
    let health_path = path.child("healthCheckNodePort");
    match (needs_health_check(spec), spec.health_check_node_port) {
        (false, Some(port)) => {
            let message = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(&health_path, port, message);
        }
        (true, None) => errors.required(&health_path, ""),
        (true, Some(port)) => check::port_number(port, &health_path, errors),
        (false, None) => {}
    }
    let internal_path = path.child("internalTrafficPolicy");
    match &spec.internal_traffic_policy {
        None if matches!(spec.type_.text(), "NodePort" | "LoadBalancer" | "ClusterIP") => {
            errors.required(&internal_path, "");
        }
        Some(policy) if !POLICIES.contains(&policy.as_str()) => errors.not_supported(&internal_path, policy, POLICIES),
        _ => {}
    }
    let distributions = &["PreferClose", "PreferSameNode", "PreferSameZone"];
    if let Some(distribution) = &spec.traffic_distribution
        && !distributions.contains(&distribution.as_str())
    {
        errors.not_supported(&path.child("trafficDistribution"), distribution, distributions);
    }
}

pub fn validate_update(new: &Service, old: &Service) -> ErrorList {
    let mut errors = ErrorList::default();
    let (new_spec, old_spec, path) = (spec(new), spec(old), Path::new("spec"));
    if kind(new) != "ExternalName" && kind(old) != "ExternalName" {
        let (was, is) = (is_headless(old_spec), is_headless(new_spec));
        if !(was && is) {
            fixed_once_set(
                ("clusterIPs", "clusterIP"),
                (new_spec.cluster_ips.items(), old_spec.cluster_ips.items()),
                new_spec,
                &mut errors,
            );
        }
        if !was && !is {
            fixed_once_set(
                ("ipFamilies", "ipFamily"),
                (new_spec.ip_families.items(), old_spec.ip_families.items()),
                new_spec,
                &mut errors,
            );
        }
    }
    if kind(new) == "LoadBalancer"
        && kind(old) == "LoadBalancer"
        && new_spec.load_balancer_class != old_spec.load_balancer_class
    {
        let class = json!(new_spec.load_balancer_class);
        errors.invalid(&path.child("loadBalancerClass"), class, "may not change once set");
    }
    if needs_health_check(new_spec)
        && needs_health_check(old_spec)
        && new_spec.health_check_node_port != old_spec.health_check_node_port
    {
        errors.forbidden(&path.child("healthCheckNodePort"), check::IMMUTABLE);
    }
    errors.append(validate(new));
    errors
}

/// A list whose first value stays and whose second may come, and go with `SingleStack`.
fn fixed_once_set(
    (field, singular): (&str, &str),
    (new, old): (&[String], &[String]),
    spec: &ServiceSpec,
    errors: &mut ErrorList,
) {
    let path = Path::new("spec").child(field);
    if new.len() == old.len() {
        for (index, _) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| new != old) {
            let index = if field == "ipFamilies" { 0 } else { index };
            errors.invalid(&path.index(index), json!(new), "may not change once set");
        }
        return;
    }
    if new.is_empty() {
        errors.invalid(&path.index(0), json!(new), format!("primary {singular} can not be unset"));
    }
    if let (Some(new_first), Some(old_first)) = (new.first(), old.first())
        && new_first != old_first
    {
        errors.invalid(&path.index(0), json!(new), "may not change once set");
    }
    if new.len() < old.len() && new.len() == 1 && spec.ip_family_policy.text() != "SingleStack" {
        let message = format!("must be set to 'SingleStack' when releasing the secondary {singular}");
        errors.invalid(&Path::new("spec").child("ipFamilyPolicy"), json!(spec.ip_family_policy), message);
    }
}

/// `ValidateLoadBalancerStatus`.
pub fn validate_status(service: &Service) -> ErrorList {
    const MODES: &[&str] = &["Proxy", "VIP"];
    let mut errors = ErrorList::default();
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = balancer.map_or(&[][..], |balancer| balancer.ingress.items());
    let path = Path::new("status").child("loadBalancer").child("ingress");
    if kind(service) != "LoadBalancer" && !points.is_empty() {
        errors.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
        return errors;
    }
    for (index, point) in points.iter().enumerate() {
        let path = path.index(index);
        let (address, name) = (point.ip.text(), point.hostname.text());
        if !address.is_empty() {
            check::ip(address, &path.child("ip"), &mut errors);
        }
        let mode_path = path.child("ipMode");
        match &point.ip_mode {
            None if !address.is_empty() => errors.required(&mode_path, "must be specified when `ip` is set"),
            Some(_) if address.is_empty() => errors.forbidden(&mode_path, "may not be specified when `ip` is not set"),
            Some(mode) if !MODES.contains(&mode.as_str()) => errors.not_supported(&mode_path, mode, MODES),
            _ => {}
        }
        if !name.is_empty() {
            check::dns_subdomain(name, &path.child("hostname"), &mut errors);
            if check::parse_ip(name).is_some() {
                errors.invalid(&path.child("hostname"), name, "must be a DNS name, not an IP address");
            }
        }
    }
    errors
}
