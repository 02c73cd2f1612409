//! The frame a controller runs in: watches feed a keyed queue, workers reconcile one key at a time, and whether and
//! when a key is tried again is decided here and nowhere else. Upstream: controller-runtime `reconcileHandler`.

use std::{future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration};

use apimachinery::ObjectKey;
use futures::{FutureExt as _, future::join_all};
use supervisor::Supervisor;
use tracing::{Instrument as _, debug, debug_span, error, warn};

use crate::{Cache, Change, Object, Queue};

/// When to look at an object again, if nothing happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Only when something happens.
    Await,
    /// After this time.
    After(Duration),
}

/// Why an object could not be reconciled; it is tried again with exponential back-off.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server said no, or could not be asked.
    #[error(transparent)]
    Client(#[from] kube::Error),
    /// Anything else.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// What a controller does for one object. Level-triggered: it is not told what happened.
pub trait Reconcile: Send + Sync + 'static {
    /// Brings the world nearer to what the object wants.
    fn reconcile(&self, key: &ObjectKey) -> impl Future<Output = Result<Next, ReconcileError>> + Send;
}

/// A controller that is being put together.
pub struct Controller<R> {
    name: &'static str,
    reconciler: Arc<R>,
    queue: Queue,
    workers: usize,
    feeds: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
    synced: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<R: Reconcile> Controller<R> {
    /// A controller without watches, with upstream's usual five workers.
    pub fn new(name: &'static str, reconciler: R) -> Self {
        Self {
            name,
            reconciler: Arc::new(reconciler),
            queue: Queue::named(name),
            workers: 5,
            feeds: Vec::new(),
            synced: Vec::new(),
        }
    }

    /// How many keys are reconciled at the same time.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// The queue, for timers of the controller's own.
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Reconciles the objects of a cache.
    pub fn watch<K: Object>(self, cache: &Cache<K>) -> Self {
        self.watch_for(cache, |change, keys| keys.push(change.key.clone()))
    }

    /// Reconciles what a function derives from each change of a cache.
    pub fn watch_for<K: Object>(
        mut self,
        cache: &Cache<K>,
        map: impl Fn(&Change<K>, &mut Vec<ObjectKey>) + Send + Sync + 'static,
    ) -> Self {
        let mut changes = cache.subscribe();
        let queue = self.queue.clone();
        self.feeds.push(Box::pin(async move {
            let mut keys = Vec::new();
            while let Some(change) = changes.next().await {
                map(&change, &mut keys);
                for key in keys.drain(..) {
                    queue.add(key);
                }
            }
        }));
        self.needs(cache)
    }

    /// Waits for a cache to be complete before the first key is reconciled.
    pub fn needs<K: Object>(mut self, cache: &Cache<K>) -> Self {
        let cache = cache.clone();
        self.synced.push(Box::pin(async move { cache.synced().await }));
        self
    }

    /// Starts the tasks and returns; they end with the supervisor.
    pub fn start(self, supervisor: &Supervisor) {
        let Self { name, reconciler, queue, workers, feeds, synced } = self;
        let supervisor_of_workers = supervisor.clone();
        supervisor.spawn(name, async move {
            join_all(synced).await;
            for _ in 0..workers {
                let (reconciler, queue) = (reconciler.clone(), queue.clone());
                supervisor_of_workers.spawn(name, work(name, reconciler, queue));
            }
            join_all(feeds).await;
        });
    }
}

impl ReconcileError {
    /// From any error.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    /// Somebody else wrote or deleted the object first. Nothing is wrong; what there is now will be looked at.
    pub fn is_outdated(&self) -> bool {
        let Self::Client(kube::Error::Api(status)) = self else { return false };
        let names_object = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
        status.is_conflict() || (status.is_not_found() && names_object)
    }
}

async fn work<R: Reconcile>(name: &'static str, reconciler: Arc<R>, queue: Queue) {
    while let Some(item) = queue.get().await {
        let span = debug_span!("reconcile", controller = name, key = %*item);
        async {
            // A bug in one object's path must not stop the others: the panic is logged and the key retried.
            match AssertUnwindSafe(reconciler.reconcile(&item)).catch_unwind().await {
                Ok(Ok(next)) => {
                    queue.forget(&item);
                    if let Next::After(delay) = next {
                        queue.add_after((*item).clone(), delay);
                    }
                }
                Ok(Err(error)) => {
                    let delay = queue.add_rate_limited((*item).clone());
                    if error.is_outdated() {
                        debug!(controller = name, key = %*item, %error, ?delay, "object changed meanwhile");
                    } else {
                        warn!(controller = name, key = %*item, %error, ?delay, "reconcile failed");
                    }
                }
                Err(_) => {
                    let delay = queue.add_rate_limited((*item).clone());
                    error!(controller = name, key = %*item, ?delay, "reconcile panicked");
                }
            }
        }
        .instrument(span)
        .await;
    }
}
