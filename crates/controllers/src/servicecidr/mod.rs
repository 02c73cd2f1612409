//! Says of ServiceCIDRs that they are ready, and keeps one that is deleted until no address is left that only it covers.
//! Upstream: `pkg/controller/servicecidrs`.

use api::{
    Condition, Time,
    networking::v1::{IPAddress, ServiceCIDR},
};
use apimachinery::ObjectKey;
use informer::{Cache, Controller, Next, Object as _, Reconcile, ReconcileError};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{Context, Entry, Rule, Watch};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const READY: &str = "Ready";

pub(crate) const ENTRY: Entry = Entry {
    name: "service-cidr-controller",
    service_account: "service-cidrs-controller",
    watches: &[Watch::of("networking.k8s.io", "servicecidrs"), Watch::of("networking.k8s.io", "ipaddresses")],
    rules: &[
        Rule::of("networking.k8s.io", "servicecidrs", &["get", "list", "patch", "update", "watch"]),
        Rule::of("networking.k8s.io", "servicecidrs/finalizers", &["patch", "update"]),
        Rule::of("networking.k8s.io", "servicecidrs/status", &["patch", "update"]),
        Rule::EVENTS,
    ],
    start,
};

struct ServiceCidrs {
    client: Client,
    cidrs: Cache<ServiceCIDR>,
    addresses: Cache<IPAddress>,
}

fn start(context: Context) {
    let cidrs = context.caches.of::<ServiceCIDR>();
    let addresses = context.caches.of::<IPAddress>();
    let reconciler = ServiceCidrs { client: context.client, cidrs: cidrs.clone(), addresses: addresses.clone() };
    let all = cidrs.clone();
    Controller::new(ENTRY.name, reconciler)
        .workers(1)
        .watch(&cidrs)
        // Only the end of an address lets a range go.
        .watch_for(&addresses, move |change, keys| {
            if change.new.is_none() {
                let going = all.list().into_iter().filter(|cidr| cidr.metadata.deletion_timestamp.is_some());
                keys.extend(going.map(|cidr| cidr.key()));
            }
        })
        .start(&context.supervisor);
}

/// What is to be done with a range.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    AddFinalizer,
    RemoveFinalizer,
    /// The ready condition: status, reason, message.
    Say(&'static str, &'static str, &'static str),
}

fn plan(cidr: &ServiceCIDR, others: &[&ServiceCIDR], addresses: &[std::net::IpAddr]) -> Step {
    let has_finalizer = cidr.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    let conditions = cidr.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == READY);
    if cidr.metadata.deletion_timestamp.is_none() {
        return match ready {
            _ if !has_finalizer => Step::AddFinalizer,
            Some(ready) if ready.status == "True" => Step::Nothing,
            _ => Step::Say("True", "", "Kubernetes Service CIDR is ready"),
        };
    }
    if !has_finalizer {
        return Step::Nothing;
    }
    let ranges = |cidr: &ServiceCIDR| -> Vec<ipnet::IpNet> {
        let spec = cidr.spec.clone().unwrap_or_default();
        spec.cidrs.unwrap_or_default().iter().filter_map(|text| text.parse().ok()).collect()
    };
    let covered = |address: &std::net::IpAddr| {
        let mut staying = others.iter().filter(|other| other.metadata.deletion_timestamp.is_none());
        staying.any(|other| ranges(other).iter().any(|range| range.contains(address)))
    };
    let own = ranges(cidr);
    let orphans = addresses.iter().any(|address| own.iter().any(|range| range.contains(address)) && !covered(address));
    match ready {
        _ if !orphans => Step::RemoveFinalizer,
        Some(ready) if ready.status == "False" => Step::Nothing,
        _ => Step::Say(
            "False",
            "Terminating",
            "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
        ),
    }
}

impl Reconcile for ServiceCidrs {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(cidr) = self.cidrs.get(key) else { return Ok(Next::Await) };
        let all = self.cidrs.list();
        let others: Vec<&ServiceCIDR> = all.iter().map(|other| &**other).filter(|other| other.key() != *key).collect();
        let addresses: Vec<std::net::IpAddr> =
            self.addresses.list().iter().filter_map(|address| address.metadata.name.as_deref()?.parse().ok()).collect();
        let api = Api::<ServiceCIDR>::all(self.client.clone());
        let mut finalizers = cidr.metadata.finalizers.clone().unwrap_or_default();
        let outcome = match plan(&cidr, &others, &addresses) {
            Step::Nothing => return Ok(Next::Await),
            Step::AddFinalizer => {
                finalizers.push(FINALIZER.to_owned());
                self.set_finalizers(&api, key, &cidr, finalizers).await
            }
            Step::RemoveFinalizer => {
                finalizers.retain(|finalizer| finalizer != FINALIZER);
                self.set_finalizers(&api, key, &cidr, finalizers).await
            }
            Step::Say(status, reason, message) => {
                let mut new = ServiceCIDR::clone(&cidr);
                let conditions = new.status.get_or_insert_default().conditions.get_or_insert_default();
                conditions.retain(|condition| condition.type_ != READY);
                conditions.push(Condition {
                    type_: READY.to_owned(),
                    status: status.to_owned(),
                    reason: reason.to_owned(),
                    message: message.to_owned(),
                    observed_generation: None,
                    last_transition_time: Time(Timestamp::now()),
                });
                api.replace_status(&key.name, &PostParams::default(), &new).await.map(|_| ())
            }
        };
        match outcome {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Next::Await),
            other => other.map(|()| Next::Await).map_err(ReconcileError::from),
        }
    }
}

impl ServiceCidrs {
    async fn set_finalizers(
        &self,
        api: &Api<ServiceCIDR>,
        key: &ObjectKey,
        cidr: &ServiceCIDR,
        finalizers: Vec<String>,
    ) -> Result<(), kube::Error> {
        let patch = json!({"metadata": {
            "resourceVersion": cidr.metadata.resource_version, "uid": cidr.metadata.uid, "finalizers": finalizers,
        }});
        api.patch_metadata(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn cidr(value: Value) -> ServiceCIDR {
        serde_json::from_value(value).expect("a range")
    }

    #[test]
    fn a_range_stays_while_its_addresses_do() {
        let fresh = cidr(json!({"metadata": {"name": "a"}, "spec": {"cidrs": ["10.0.0.0/24"]}}));
        assert_eq!(plan(&fresh, &[], &[]), Step::AddFinalizer);
        let held = json!({"metadata": {"name": "a", "finalizers": [FINALIZER]}, "spec": {"cidrs": ["10.0.0.0/24"]}});
        assert!(matches!(plan(&cidr(held.clone()), &[], &[]), Step::Say("True", ..)));
        let mut going = held;
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let going = cidr(going);
        let address = ["10.0.0.7".parse().expect("an address")];
        assert!(matches!(plan(&going, &[], &address), Step::Say("False", "Terminating", _)));
        let wider = cidr(json!({"metadata": {"name": "b"}, "spec": {"cidrs": ["10.0.0.0/16"]}}));
        assert_eq!(plan(&going, &[&wider], &address), Step::RemoveFinalizer);
        assert_eq!(plan(&going, &[], &[]), Step::RemoveFinalizer);
    }
}
