//! Lets claims, volumes and their attribute classes go once nobody uses them any more: takes their finalizers away.
//! Upstream: `pkg/controller/volume/pvcprotection`, `pvprotection`, `vacprotection`.

mod plan;

use api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::VolumeAttributesClass,
};
use apimachinery::ObjectKey;
use informer::{Cache, Controller, Next, Object, Reconcile, ReconcileError};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};

use self::plan::{Step, step};
use crate::{Context, Entry, Rule, Watch};

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";
const CLASS: &str = "kubernetes.io/vac-protection";

pub(crate) const CLAIMS: Entry = Entry {
    name: "persistentvolumeclaim-protection-controller",
    service_account: "pvc-protection-controller",
    watches: &[Watch::of("", "persistentvolumeclaims"), Watch::of("", "pods")],
    rules: &[Rule::of("", "persistentvolumeclaims", &["get", "update"]), Rule::EVENTS],
    start: start_claims,
};

pub(crate) const VOLUMES: Entry = Entry {
    name: "persistentvolume-protection-controller",
    service_account: "pv-protection-controller",
    watches: &[Watch::of("", "persistentvolumes")],
    rules: &[Rule::of("", "persistentvolumes", &["get", "update"]), Rule::EVENTS],
    start: start_volumes,
};

pub(crate) const CLASSES: Entry = Entry {
    name: "volumeattributesclass-protection-controller",
    service_account: "volumeattributesclass-protection-controller",
    watches: &[
        Watch::of("storage.k8s.io", "volumeattributesclasses"),
        Watch::of("", "persistentvolumeclaims"),
        Watch::of("", "persistentvolumes"),
    ],
    rules: &[Rule::of("storage.k8s.io", "volumeattributesclasses", &["get", "update"]), Rule::EVENTS],
    start: start_classes,
};

struct Claims {
    client: Client,
    claims: Cache<PersistentVolumeClaim>,
    pods: Cache<Pod>,
}

struct Volumes {
    client: Client,
    volumes: Cache<PersistentVolume>,
}

struct Classes {
    client: Client,
    classes: Cache<VolumeAttributesClass>,
    claims: Cache<PersistentVolumeClaim>,
    volumes: Cache<PersistentVolume>,
}

fn start_claims(context: Context) {
    let claims = context.caches.of::<PersistentVolumeClaim>();
    let pods = context.caches.of::<Pod>();
    let reconciler = Claims { client: context.client, claims: claims.clone(), pods: pods.clone() };
    Controller::new(CLAIMS.name, reconciler)
        .workers(1)
        .watch(&claims)
        // Only a pod that goes, or is another one now, lets a claim go.
        .watch_for(&pods, |change, keys| {
            if let Some(old) = change.old.as_ref().filter(|_| change.new.is_none() || change.is_replacement()) {
                keys.extend(plan::claims_of(old).map(|name| ObjectKey::new(&change.key.namespace, &name)));
            }
        })
        .start(&context.supervisor);
}

fn start_volumes(context: Context) {
    let volumes = context.caches.of::<PersistentVolume>();
    let reconciler = Volumes { client: context.client, volumes: volumes.clone() };
    Controller::new(VOLUMES.name, reconciler).workers(1).watch(&volumes).start(&context.supervisor);
}

fn start_classes(context: Context) {
    let classes = context.caches.of::<VolumeAttributesClass>();
    let claims = context.caches.of::<PersistentVolumeClaim>();
    let volumes = context.caches.of::<PersistentVolume>();
    let reconciler =
        Classes { client: context.client, classes: classes.clone(), claims: claims.clone(), volumes: volumes.clone() };
    Controller::new(CLASSES.name, reconciler)
        .workers(1)
        .watch(&classes)
        .watch_for(&claims, |change, keys| {
            let old = change.old.as_deref().into_iter().flat_map(plan::classes_of_claim);
            keys.extend(old.map(|name| ObjectKey::new("", &name)));
        })
        .watch_for(&volumes, |change, keys| {
            let old = change.old.as_deref().and_then(plan::class_of_volume);
            keys.extend(old.map(|name| ObjectKey::new("", name)));
        })
        .start(&context.supervisor);
}

/// Writes the finalizers that the plan asks for.
async fn carry_out<K>(api: &Api<K>, object: &K, name: &str, finalizer: &str, step: Step) -> Result<Next, ReconcileError>
where
    K: Object + serde::Serialize + std::fmt::Debug,
{
    let mut new = object.clone();
    let finalizers = new.meta_mut().finalizers.get_or_insert_default();
    match step {
        Step::Nothing => return Ok(Next::Await),
        Step::Hold => finalizers.push(finalizer.to_owned()),
        Step::LetGo => finalizers.retain(|other| other != finalizer),
    }
    match api.replace(name, &PostParams::default(), &new).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Next::Await),
        other => other.map(|_| Next::Await).map_err(ReconcileError::from),
    }
}

impl Reconcile for Claims {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(claim) = self.claims.get(key) else { return Ok(Next::Await) };
        let uses = |pod: &Pod| plan::is_scheduled(pod) && plan::claims_of(pod).any(|name| name == key.name);
        let used = || self.pods.list_namespace(&key.namespace).iter().any(|pod| uses(pod));
        let step = step(&claim.metadata, CLAIM, used);
        if step == Step::LetGo {
            // The cache may be behind a pod that has just been bound, and letting go cannot be taken back.
            let pods = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
            if pods.list(&ListParams::default()).await?.items.iter().any(uses) {
                return Ok(Next::Await);
            }
        }
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &key.namespace);
        carry_out(&api, &*claim, &key.name, CLAIM, step).await
    }
}

impl Reconcile for Volumes {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(volume) = self.volumes.get(key) else { return Ok(Next::Await) };
        let bound = || volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        let step = step(&volume.metadata, VOLUME, bound);
        carry_out(&Api::all(self.client.clone()), &*volume, &key.name, VOLUME, step).await
    }
}

impl Reconcile for Classes {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(class) = self.classes.get(key) else { return Ok(Next::Await) };
        let used = || {
            self.volumes.list().iter().any(|volume| plan::class_of_volume(volume) == Some(&key.name))
                || self.claims.list().iter().any(|claim| plan::classes_of_claim(claim).any(|name| name == key.name))
        };
        let step = step(&class.metadata, CLASS, used);
        carry_out(&Api::all(self.client.clone()), &*class, &key.name, CLASS, step).await
    }
}
