//! Leader election on a Lease. Upstream: client-go `tools/leaderelection` with `resourcelock.LeaseLock`.
//!
//! Time is measured locally from when a change of the lease was seen, so clocks of different machines need not agree.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use rand::RngExt as _;
use supervisor::Supervisor;
use tokio::{sync::watch, time::Instant};
use tracing::{debug, info, warn};

/// Whose turn it is, and how fast that may change.
#[derive(Clone, Debug)]
pub struct ElectorConfig {
    /// Where the lease is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who we are; unique among the candidates.
    pub identity: String,
    /// A lease that was not renewed for this long may be taken over.
    pub lease_duration: Duration,
    /// A leader that could not renew for this long stops.
    pub renew_deadline: Duration,
    /// The pause between attempts.
    pub retry_period: Duration,
}

/// A candidate.
pub struct Elector {
    api: Api<Lease>,
    config: ElectorConfig,
    observed: Option<(LeaseSpec, Instant)>,
}

/// Held by a leader. Once [`Leadership::lost`] resolves, nothing more may be written.
#[derive(Clone, Debug)]
pub struct Leadership {
    lost: watch::Receiver<bool>,
}

// === impl ElectorConfig ===

impl ElectorConfig {
    /// Upstream's durations: 15, 10 and 2 seconds.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

// === impl Elector ===

impl Elector {
    /// A candidate that has not stood yet.
    pub fn new(client: Client, config: ElectorConfig) -> Self {
        Self { api: Api::namespaced(client, &config.namespace), config, observed: None }
    }

    /// Resolves when we lead; a task keeps the lease renewed until that fails or the process stops.
    pub async fn acquire(mut self, supervisor: &Supervisor) -> Leadership {
        loop {
            match self.try_once().await {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => debug!(%error, name = self.config.name, "lease not acquired"),
            }
            // Jitter as upstream's JitterFactor 1.2, so that candidates do not collide each time.
            let jitter = rand::rng().random_range(1.0..2.2);
            tokio::time::sleep(self.config.retry_period.mul_f64(jitter)).await;
        }
        info!(name = self.config.name, identity = self.config.identity, "became leader");
        let (sender, lost) = watch::channel(false);
        let stopping = supervisor.clone();
        supervisor.spawn_draining("leader-election", async move {
            tokio::select! {
                () = self.keep() => warn!(name = self.config.name, "leadership lost"),
                () = stopping.shutting_down() => self.release().await,
            }
            sender.send_replace(true);
        });
        Leadership { lost }
    }

    /// Renews until that failed for too long.
    async fn keep(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.config.retry_period).await;
            let deadline = renewed + self.config.renew_deadline;
            match tokio::time::timeout_at(deadline, self.try_once()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => debug!(%error, name = self.config.name, "lease not renewed"),
                Err(_) => return,
            }
            if Instant::now() >= renewed + self.config.renew_deadline {
                return;
            }
        }
    }

    /// Whether we hold the lease after this attempt.
    async fn try_once(&mut self) -> Result<bool, kube::Error> {
        let now = Timestamp::now();
        let Some(lease) = self.api.get_opt(&self.config.name).await? else {
            let metadata = ObjectMeta {
                name: Some(self.config.name.clone()),
                namespace: Some(self.config.namespace.clone()),
                ..ObjectMeta::default()
            };
            let lease = Lease { metadata, spec: Some(self.claim(None, now)) };
            return match self.api.create(&PostParams::default(), &lease).await {
                Ok(created) => {
                    self.observe(created.spec.unwrap_or_default());
                    Ok(true)
                }
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
                Err(error) => Err(error),
            };
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let since = self.observe(spec.clone());
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let theirs = !holder.is_empty() && holder != self.config.identity;
        let duration = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(self.config.lease_duration, Duration::from_secs);
        if theirs && since.elapsed() < duration {
            return Ok(false);
        }
        let claim = Lease { spec: Some(self.claim(Some(&spec), now)), ..lease };
        match self.api.replace(&self.config.name, &PostParams::default(), &claim).await {
            Ok(updated) => {
                self.observe(updated.spec.unwrap_or_default());
                Ok(true)
            }
            // Another candidate was faster; whether it leads shows at the next attempt.
            Err(kube::Error::Api(status)) if status.is_conflict() && theirs => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn release(&mut self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.config.name).await else { return };
        let Some(spec) = lease.spec.as_mut() else { return };
        if spec.holder_identity.as_deref() != Some(&self.config.identity) {
            return;
        }
        // As upstream's ReleaseOnCancel: nobody holds it, and it is over in a second.
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        if let Err(error) = self.api.replace(&self.config.name, &PostParams::default(), &lease).await {
            debug!(%error, name = self.config.name, "lease not released");
        }
    }

    /// When this state of the lease was first seen.
    fn observe(&mut self, spec: LeaseSpec) -> Instant {
        match &self.observed {
            Some((seen, since)) if *seen == spec => *since,
            _ => {
                let now = Instant::now();
                self.observed = Some((spec, now));
                now
            }
        }
    }

    fn claim(&self, current: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let ours = current.is_some_and(|spec| spec.holder_identity.as_deref() == Some(&self.config.identity));
        let transitions = current.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let acquired = current.filter(|_| ours).and_then(|spec| spec.acquire_time.clone());
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.lease_duration.as_secs()).ok(),
            acquire_time: Some(acquired.unwrap_or(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if ours || current.is_none() {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..LeaseSpec::default()
        }
    }
}

// === impl Leadership ===

impl Leadership {
    /// Resolves when somebody else may lead.
    pub async fn lost(&mut self) {
        // A closed channel means that the renewing task is gone, which is the same as lost.
        let _ = self.lost.wait_for(|lost| *lost).await.is_ok();
    }
}
