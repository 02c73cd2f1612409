//! Services for the registry. Upstream: `pkg/registry/core/service` (strategy and storage).

mod allocation;
pub mod claims;
mod columns;
pub mod defaults;
mod families;
#[cfg(test)]
mod tests;
mod transitions;
pub mod validation;

use apimachinery::ApiError;
use apimachinery::field::{ErrorList, Path};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use registry::{
    Column, Companion, Handler, Info, NameRule, RequestCx, Reservation, SelectableField, Strategy, Subresource,
};

use crate::meta::addresses::{cidr_warnings, ip_warning};
use crate::optional::{Flag, Items, Text};
use allocation::Allocator;

/// Services, which are given addresses and node ports.
pub struct Services {
    allocator: Allocator,
}

impl Services {
    /// `ranges` are the cluster's service address ranges, the default family first.
    pub fn new(ranges: Vec<IpNet>) -> Self {
        Self { allocator: Allocator::new(ranges) }
    }
}

impl Strategy for Services {
    type Object = Service;

    const INFO: Info = Info::namespaced("", "v1", "Service", "services").short(&["svc"]).categories(&["all"]);
    const COLUMNS: &'static [Column<Service>] = columns::COLUMNS;
    const RETURN_DELETED_OBJECT: bool = true;
    const SUBRESOURCES: &'static [Subresource] =
        &[Subresource::STATUS, Subresource::new("proxy", Handler::ConnectPath).body("", "v1", "ServiceProxyOptions")];
    const SELECTABLE: &'static [SelectableField] = &[
        SelectableField::new("spec.clusterIP", &[&["spec", "clusterIP"]]),
        SelectableField::new("spec.type", &[&["spec", "type"]]),
    ];
    const NAME_RULE: NameRule = NameRule::Dns1035Label;
    const ALLOW_CREATE_ON_UPDATE: bool = true;
    const ALLOCATES: bool = true;

    fn set_defaults(&self, service: &mut Service) {
        defaults::set_defaults(service);
    }

    fn reserve(
        &self,
        cx: &RequestCx,
        new: &mut Service,
        old: Option<&Service>,
    ) -> Result<Option<Box<dyn Reservation>>, ApiError> {
        transitions::keep_allocated(new, old);
        transitions::sync_cluster_ips(new, old);
        families::complete(new, old, self.allocator.families())?;
        Ok(Some(Box::new(self.allocator.reserve(cx, new, old)?)))
    }

    fn prepare_for_create(&self, _cx: &RequestCx, service: &mut Service) {
        service.status = None;
        defaults::status(service);
    }

    fn validate(&self, _cx: &RequestCx, service: &Service) -> ErrorList {
        validation::validate(service)
    }

    fn warnings(&self, _cx: &RequestCx, service: &Service, _old: Option<&Service>) -> Vec<String> {
        warnings(service)
    }

    fn status_warnings(&self, service: &Service) -> Vec<String> {
        let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let points = balancer.map_or(&[][..], |balancer| balancer.ingress.items()).iter().enumerate();
        let path = Path::new("status").child("loadBalancer").child("ingress");
        points.filter_map(|(index, point)| ip_warning(point.ip.text(), &path.index(index))).collect()
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut Service, old: &Service) {
        new.status.clone_from(&old.status);
        transitions::drop_what_the_type_has_not(new, old);
        if kind(new) != "LoadBalancer"
            && let Some(status) = &mut new.status
        {
            status.load_balancer = Some(Default::default());
        }
    }

    fn validate_update(&self, _cx: &RequestCx, new: &Service, old: &Service) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut Service, old: &Service) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &Service, _old: &Service) -> ErrorList {
        validation::validate_status(new)
    }

    fn released(&self, cx: &RequestCx, service: &Service) -> Vec<Companion> {
        claims::Claims::of(service).released_by(&cx.reader, service)
    }
}

static EMPTY: std::sync::LazyLock<ServiceSpec> = std::sync::LazyLock::new(ServiceSpec::default);

/// The spec; an absent one counts as empty.
fn spec(service: &Service) -> &ServiceSpec {
    service.spec.as_ref().unwrap_or(&EMPTY)
}

fn kind(service: &Service) -> &str {
    spec(service).type_.text()
}

/// `clusterIP: None`: names for the endpoints, and no address of its own.
fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ips.items() == ["None"]
}

fn needs_cluster_ip(service: &Service) -> bool {
    kind(service) != "ExternalName"
}

fn needs_node_port(service: &Service) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

fn is_externally_accessible(spec: &ServiceSpec) -> bool {
    match spec.type_.text() {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.external_ips.items().is_empty(),
        _ => false,
    }
}

fn needs_health_check(spec: &ServiceSpec) -> bool {
    spec.type_.text() == "LoadBalancer" && spec.external_traffic_policy.text() == "Local"
}

/// Whether node ports are taken for ports that name none.
fn allocates_node_ports(spec: &ServiceSpec) -> bool {
    match spec.type_.text() {
        "NodePort" => true,
        "LoadBalancer" => spec.allocate_load_balancer_node_ports.is_set(),
        _ => false,
    }
}

/// Upstream: `pkg/api/service/warnings.go`.
fn warnings(service: &Service) -> Vec<String> {
    let mut warnings = Vec::new();
    let spec = spec(service);
    let hints = "service.kubernetes.io/topology-aware-hints";
    if service.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(hints)) {
        warnings
            .push(format!("annotation {hints} is deprecated, please use service.kubernetes.io/topology-mode instead"));
    }
    let (external_ips, path) = (spec.external_ips.items(), Path::new("spec"));
    let is_headless = spec.cluster_ip.as_deref() == Some("None");
    let is_set = !is_headless && !spec.cluster_ip.text().is_empty();
    let cluster_ips = spec.cluster_ips.items().iter().enumerate().filter(|_| is_set);
    warnings.extend(cluster_ips.filter_map(|(index, ip)| ip_warning(ip, &path.child("clusterIPs").index(index))));
    if is_headless && spec.type_.text() == "ClusterIP" {
        for (set, field) in [
            (!spec.load_balancer_ip.text().is_empty(), "loadBalancerIP"),
            (!external_ips.is_empty(), "externalIPs"),
            (spec.session_affinity.text() != "None", "SessionAffinity"),
        ] {
            if set {
                warnings.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    let external = external_ips.iter().enumerate();
    warnings.extend(external.filter_map(|(index, ip)| ip_warning(ip, &path.child("externalIPs").index(index))));
    warnings.extend(ip_warning(spec.load_balancer_ip.text(), &path.child("loadBalancerIP")));
    for (index, range) in spec.load_balancer_source_ranges.items().iter().enumerate() {
        warnings.extend(cidr_warnings(range, &path.child("loadBalancerSourceRanges").index(index)));
    }
    if spec.type_.text() == "ExternalName" && !external_ips.is_empty() {
        warnings.push(r#"spec.externalIPs is ignored when spec.type is "ExternalName""#.to_owned());
    }
    if spec.type_.text() != "ExternalName" && !spec.external_name.text().is_empty() {
        warnings.push(r#"spec.externalName is ignored when spec.type is not "ExternalName""#.to_owned());
    }
    if spec.traffic_distribution.text() == "PreferClose" {
        warnings.push(r#"spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone""#.to_owned());
    }
    warnings
}
