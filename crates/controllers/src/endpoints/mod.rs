//! Writes the endpoints of services with a selector as Endpoints objects, for clients that do not know slices.
//! Upstream: `pkg/controller/endpoint`.

mod plan;
mod repack;
#[cfg(test)]
mod tests;

use api::{
    core::v1::{Endpoints as EndpointsObject, Pod, Service},
    service,
};
use apimachinery::ObjectKey;
use informer::{Cache, Controller, EventKind, Expectations, Next, Reconcile, ReconcileError, Recorder, uid_of};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, Preconditions},
};

use self::plan::{Plan, plan};
use crate::{
    Context, Entry, Rule, Watch,
    pod_control::{is_namespace_terminating, message_of},
    service_pods::{TriggerTimes, pods_of, services_of},
};

pub(crate) const ENTRY: Entry = Entry {
    name: "endpoints-controller",
    service_account: "endpoint-controller",
    watches: &[Watch::of("", "services"), Watch::of("", "pods"), Watch::of("", "endpoints")],
    rules: &[Rule::of("", "endpoints", &["create", "update", "delete"]), Rule::EVENTS],
    start,
};

struct Endpoints {
    client: Client,
    recorder: Recorder,
    services: Cache<Service>,
    pods: Cache<Pod>,
    endpoints: Cache<EndpointsObject>,
    triggers: TriggerTimes,
    written: Expectations<EndpointsObject>,
}

fn start(context: Context) {
    let services = context.caches.of::<Service>();
    let pods = context.caches.of::<Pod>();
    let endpoints = context.caches.of::<EndpointsObject>();
    let reconciler = Endpoints {
        client: context.client,
        recorder: context.recorder,
        services: services.clone(),
        pods: pods.clone(),
        endpoints: endpoints.clone(),
        triggers: TriggerTimes::default(),
        written: Expectations::new(&endpoints),
    };
    Controller::new(ENTRY.name, reconciler)
        .watch(&services)
        .watch_for(&pods, move |change, keys| services_of(&services, change, keys))
        .watch(&endpoints)
        .start(&context.supervisor);
}

impl Reconcile for Endpoints {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        self.written.settled(key).await;
        let existing = self.endpoints.get(key);
        let Some(service) = self.services.get(key) else {
            self.triggers.forget(key);
            if let Some(existing) = existing.filter(|existing| plan::is_ours(existing)) {
                self.delete(key, &existing).await?;
            }
            return Ok(Next::Await);
        };
        if service::selector(&service).is_none() {
            return Ok(Next::Await);
        }
        let pods = pods_of(&self.pods, &service);
        let trigger = self.triggers.observe(key, &service, &pods);
        let api = Api::<EndpointsObject>::namespaced(self.client.clone(), &key.namespace);
        let outcome = match plan(&service, &pods, existing.as_deref(), trigger) {
            Plan::Nothing => return Ok(Next::Await),
            Plan::Create(new) => api.create(&PostParams::default(), &new).await,
            Plan::Update(new) => api.replace(&key.name, &PostParams::default(), &new).await,
        };
        match outcome {
            Ok(written) => self.written.wrote(key, &written),
            Err(error) if is_namespace_terminating(&error) => {}
            Err(error) => {
                let reason = if existing.is_some() { "FailedToUpdateEndpoint" } else { "FailedToCreateEndpoint" };
                let verb = if existing.is_some() { "update" } else { "create" };
                let message = format!("Failed to {verb} endpoint {key}: {}", message_of(&error));
                self.recorder.object(&*service, EventKind::Warning, reason, message);
                return Err(error.into());
            }
        }
        Ok(Next::Await)
    }
}

impl Endpoints {
    async fn delete(&self, key: &ObjectKey, existing: &EndpointsObject) -> Result<(), kube::Error> {
        let api = Api::<EndpointsObject>::namespaced(self.client.clone(), &key.namespace);
        let preconditions = Preconditions { uid: Some(uid_of(existing).to_owned()), resource_version: None };
        match api.delete(&key.name, &DeleteParams::default().preconditions(preconditions)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
