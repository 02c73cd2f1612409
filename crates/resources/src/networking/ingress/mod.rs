//! Ingresses for the registry. Upstream: `pkg/registry/networking/ingress`.

#[cfg(test)]
mod tests;
mod validation;

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::networking::v1::Ingress;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy, Subresource};
use serde_json::json;

use crate::meta::addresses::ip_warning;
use crate::optional::{Items, Text};

type C = Column<Ingress>;

pub struct Ingresses;

impl Strategy for Ingresses {
    type Object = Ingress;

    const INFO: Info = Info::namespaced("networking.k8s.io", "v1", "Ingress", "ingresses").short(&["ing"]);
    const COLUMNS: &'static [Column<Ingress>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut Ingress) {
        object.status = None;
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut Ingress, old: &Ingress) {
        new.status.clone_from(&old.status);
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &Ingress) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &Ingress, old: &Ingress) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &Ingress, _old: &Ingress) -> ErrorList {
        validation::validate_status(new)
    }

    fn warnings(&self, _cx: &RequestCx, ingress: &Ingress, old: Option<&Ingress>) -> Vec<String> {
        const CLASS: &str = "kubernetes.io/ingress.class";
        let has_annotation = ingress.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(CLASS));
        let has_field = ingress.spec.as_ref().is_some_and(|spec| spec.ingress_class_name.is_some());
        if old.is_some() || !has_annotation || has_field {
            return Vec::new();
        }
        vec![format!("annotation {CLASS:?} is deprecated, please use 'spec.ingressClassName' instead")]
    }

    fn status_warnings(&self, ingress: &Ingress) -> Vec<String> {
        let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let points = balancer.map_or(&[][..], |balancer| balancer.ingress.items()).iter().enumerate();
        let path = Path::new("status").child("loadBalancer").child("ingress");
        points.filter_map(|(index, point)| ip_warning(point.ip.text(), &path.index(index))).collect()
    }
}

fn hosts(ingress: &Ingress) -> String {
    const MAX: usize = 3;
    let rules = ingress.spec.as_ref().map_or(&[][..], |spec| spec.rules.items());
    let mut hosts = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= hosts.len() == MAX;
        if !more && !rule.host.text().is_empty() {
            hosts.push(rule.host.text());
        }
    }
    match (hosts.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, true) => format!("{} + {} more...", hosts.join(","), rules.len() - MAX),
        (false, false) => hosts.join(","),
    }
}

fn addresses(ingress: &Ingress) -> String {
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = status.map_or(&[][..], |status| status.ingress.items());
    let addresses: BTreeSet<&str> = points
        .iter()
        .map(|point| if point.ip.text().is_empty() { point.hostname.text() } else { point.ip.text() })
        .filter(|address| !address.is_empty())
        .collect();
    addresses.into_iter().collect::<Vec<_>>().join(",")
}

static COLUMNS: &[Column<Ingress>] = &[
    Column::NAME,
    C::string("Class", |o, _| json!(o.spec.as_ref().and_then(|s| s.ingress_class_name.as_deref()).unwrap_or("<none>")))
        .describe("The name of the IngressClass resource that should be used for additional configuration"),
    C::string("Hosts", |o, _| json!(hosts(o)))
        .describe("Hosts that incoming requests are matched against before the ingress rule"),
    C::string("Address", |o, _| json!(addresses(o)))
        .describe("Address is a list containing ingress points for the load-balancer"),
    C::string("Ports", |o, _| {
        json!(if o.spec.as_ref().is_some_and(|s| !s.tls.items().is_empty()) { "80, 443" } else { "80" })
    })
    .describe("Ports of TLS configurations that open"),
    Column::AGE,
];
