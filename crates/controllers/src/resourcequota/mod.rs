//! Counts what namespaces hold, and writes it into the status of their quotas. Upstream: `pkg/controller/resourcequota`.
//!
//! Admission charges quotas while objects are made; here is found what has gone since, and what was charged for nothing.
//! Objects that are only counted are watched by their metadata, and only once a quota names their kind.

mod plan;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use api::{
    core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service},
    quota,
    resource::v1::ResourceClaim,
};
use apimachinery::ObjectKey;
use informer::{Cache, Caches, Change, Controller, Next, Object, PartialObject, Queue, Reconcile, ReconcileError};
use jiff::Timestamp;
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use supervisor::{Supervisor, TaskGuard};
use tracing::warn;

use crate::{Context, Entry, Rule, Watch, discovery::discover};

pub(crate) const ENTRY: Entry = Entry {
    name: "resourcequota-controller",
    service_account: "resourcequota-controller",
    watches: &[Watch::of("", "resourcequotas"), Watch::of("*", "*")],
    rules: &[Rule::of("", "resourcequotas/status", &["update"]), Rule::EVENTS],
    start,
};

struct Quotas {
    client: Client,
    caches: Caches,
    supervisor: Supervisor,
    quotas: Cache<ResourceQuota>,
    pods: Cache<Pod>,
    claims: Cache<PersistentVolumeClaim>,
    services: Cache<Service>,
    device_claims: Cache<ResourceClaim>,
    counted: Mutex<HashMap<String, Counted>>,
    /// When admission last charged which quota.
    charged: Mutex<HashMap<ObjectKey, Instant>>,
    queue: Mutex<Option<Queue>>,
}

/// What was charged just now is perhaps not stored yet: only after so long is it missing.
const SETTLED: Duration = Duration::from_secs(1);

/// A kind that some quota counts.
struct Counted {
    cache: Cache<PartialObject>,
    _feed: TaskGuard,
}

/// So that the frame and the feeds share it.
struct Shell(Arc<Quotas>);

fn start(context: Context) {
    let quotas = context.caches.of::<ResourceQuota>();
    let shared = Arc::new(Quotas {
        client: context.client.clone(),
        supervisor: context.supervisor.clone(),
        pods: context.caches.of(),
        claims: context.caches.of(),
        services: context.caches.of(),
        device_claims: context.caches.of(),
        quotas: quotas.clone(),
        caches: context.caches.clone(),
        counted: Mutex::default(),
        charged: Mutex::default(),
        queue: Mutex::default(),
    });
    let charges = shared.clone();
    let controller =
        Controller::new(ENTRY.name, Shell(shared.clone())).workers(2).watch_for(&quotas, move |change, keys| {
            charges.remember(change);
            keys.push(change.key.clone());
        });
    *shared.queue.lock() = Some(controller.queue());
    controller
        .watch_for(&shared.pods, beside(&quotas))
        .watch_for(&shared.claims, beside(&quotas))
        .watch_for(&shared.services, beside(&quotas))
        .watch_for(&shared.device_claims, beside(&quotas))
        .start(&context.supervisor);
}

/// The quotas of the namespace in which something changed.
fn beside<K: Object>(
    quotas: &Cache<ResourceQuota>,
) -> impl Fn(&Change<K>, &mut Vec<ObjectKey>) + Send + Sync + 'static + use<K> {
    let quotas = quotas.clone();
    move |change, keys| keys.extend(quotas.list_namespace(&change.key.namespace).iter().map(|quota| quota.key()))
}

impl Quotas {
    fn remember(&self, change: &Change<ResourceQuota>) {
        match (&change.old, &change.new) {
            (Some(old), Some(new)) if plan::lowers(new, &plan::used(old)) => {
                self.charged.lock().insert(change.key.clone(), Instant::now());
            }
            (_, None) => {
                self.charged.lock().remove(&change.key);
            }
            _ => {}
        }
    }

    /// How long until what was charged last is either stored or was never going to be.
    fn unsettled(&self, key: &ObjectKey) -> Option<Duration> {
        let since = self.charged.lock().get(key)?.elapsed();
        SETTLED.checked_sub(since).filter(|left| !left.is_zero())
    }

    /// Cache of the objects that a name like `count/deployments.apps` is about; none when there are no such objects.
    async fn cache_of(self: &Arc<Self>, name: &str) -> Result<Option<Cache<PartialObject>>, ReconcileError> {
        let Some((group, plural)) = quota::counted(name) else { return Ok(None) };
        let id = quota::count_name(group, plural);
        if let Some(known) = self.counted.lock().get(&id) {
            return Ok(Some(known.cache.clone()));
        }
        let resources = discover(&self.client).await?;
        let served = resources.served.into_iter().find(|served| {
            served.namespaced
                && served.resource.group == group
                && served.resource.plural == plural
                && served.supports("list")
                && served.supports("watch")
        });
        // A kind that may come later is looked for again.
        let Some(served) = served else { return Ok(None) };
        let cache = self.caches.metadata(&served.resource);
        cache.synced().await;
        let (mut changes, shared) = (cache.subscribe(), self.clone());
        let feed = self.supervisor.spawn_guarded("quota feed", async move {
            while let Some(change) = changes.next().await {
                let Some(queue) = shared.queue.lock().clone() else { return };
                for quota in shared.quotas.list_namespace(&change.key.namespace) {
                    queue.add(quota.key());
                }
            }
        });
        self.counted.lock().insert(id, Counted { cache: cache.clone(), _feed: feed });
        Ok(Some(cache))
    }

    async fn numbers(
        self: &Arc<Self>,
        namespace: &str,
        quota: &ResourceQuota,
    ) -> Result<BTreeMap<String, usize>, ReconcileError> {
        let mut numbers = BTreeMap::new();
        let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
        for name in hard.into_iter().flatten().map(|(name, _)| name).filter(|name| plan::is_only_counted(name)) {
            let count = match self.cache_of(name).await? {
                Some(cache) => cache.list_namespace(namespace).len(),
                None => 0,
            };
            numbers.insert(name.clone(), count);
        }
        Ok(numbers)
    }
}

impl Reconcile for Shell {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let quotas = &self.0;
        let Some(quota) = quotas.quotas.get(key) else { return Ok(Next::Await) };
        let numbers = quotas.numbers(&key.namespace, &quota).await?;
        let view = plan::View {
            quota: &quota,
            pods: quotas.pods.list_namespace(&key.namespace),
            claims: quotas.claims.list_namespace(&key.namespace),
            services: quotas.services.list_namespace(&key.namespace),
            device_claims: quotas.device_claims.list_namespace(&key.namespace),
            numbers,
        };
        let Some(status) = plan::plan(&view, Timestamp::now()) else { return Ok(Next::Await) };
        if let Some(left) = quotas.unsettled(key)
            && plan::lowers(&quota, &quota::amounts(status.used.as_ref()))
        {
            return Ok(Next::After(left));
        }
        let mut new = ResourceQuota::clone(&quota);
        new.status = Some(status);
        let api = Api::<ResourceQuota>::namespaced(quotas.client.clone(), &key.namespace);
        match api.replace_status(&key.name, &PostParams::default(), &new).await {
            Ok(_) => Ok(Next::Await),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Next::Await),
            Err(error) => {
                if !matches!(&error, kube::Error::Api(status) if status.is_conflict()) {
                    warn!(%key, %error, "quota was not counted");
                }
                Err(error.into())
            }
        }
    }
}
