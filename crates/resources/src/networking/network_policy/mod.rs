//! Network policies for the registry. Upstream: `pkg/registry/networking/networkpolicy`.

#[cfg(test)]
mod tests;
mod validation;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};
use serde_json::json;

use crate::meta::addresses::cidr_warnings;
use crate::meta::print;
use crate::optional::{Items, default_text};

type C = Column<NetworkPolicy>;

pub struct NetworkPolicies;

impl Strategy for NetworkPolicies {
    type Object = NetworkPolicy;

    const INFO: Info =
        Info::namespaced("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies").short(&["netpol"]);
    const COLUMNS: &'static [Column<NetworkPolicy>] = COLUMNS;

    fn set_defaults(&self, object: &mut NetworkPolicy) {
        let spec = object.spec.get_or_insert_default();
        spec.pod_selector.get_or_insert_default();
        let ingress = spec.ingress.items_mut().iter_mut().flat_map(|rule| rule.ports.items_mut());
        let egress = spec.egress.items_mut().iter_mut().flat_map(|rule| rule.ports.items_mut());
        for port in ingress.chain(egress) {
            default_text(&mut port.protocol, "TCP");
        }
        if spec.policy_types.items().is_empty() {
            let mut types = vec!["Ingress".to_owned()];
            if !spec.egress.items().is_empty() {
                types.push("Egress".to_owned());
            }
            spec.policy_types = Some(types);
        }
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut NetworkPolicy) {
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut NetworkPolicy, old: &NetworkPolicy) {
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &NetworkPolicy) -> ErrorList {
        validation::validate(object)
    }

    fn warnings(&self, _cx: &RequestCx, policy: &NetworkPolicy, _old: Option<&NetworkPolicy>) -> Vec<String> {
        let Some(spec) = &policy.spec else { return Vec::new() };
        let path = Path::new("spec");
        let ingress = spec.ingress.items().iter().enumerate();
        let ingress =
            ingress.map(|(index, rule)| (path.child("ingress").index(index).child("from"), rule.from.items()));
        let egress = spec.egress.items().iter().enumerate();
        let egress = egress.map(|(index, rule)| (path.child("egress").index(index).child("to"), rule.to.items()));
        let mut warnings = Vec::new();
        for (path, peers) in ingress.chain(egress) {
            for (index, peer) in peers.iter().enumerate() {
                let Some(block) = &peer.ip_block else { continue };
                let path = path.index(index).child("ipBlock");
                warnings.extend(cidr_warnings(&block.cidr, &path.child("cidr")));
                for (index, range) in block.except.items().iter().enumerate() {
                    warnings.extend(cidr_warnings(range, &path.child("except").index(index)));
                }
            }
        }
        warnings
    }
}

static COLUMNS: &[Column<NetworkPolicy>] = &[
    Column::NAME,
    C::string("Pod-Selector", |o, _| {
        json!(print::selector(o.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref())))
    }).describe("Selects the pods to which this NetworkPolicy object applies.  The array of ingress rules is applied to any pods selected by this field. Multiple network policies can select the same set of pods.  In this case, the ingress rules for each are combined additively. This field is NOT optional and follows standard label selector semantics. An empty podSelector matches all pods in this namespace."),
    Column::AGE,
];
