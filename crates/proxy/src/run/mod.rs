//! The shell: caches in, transactions out.

mod programmer;

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use api::core::v1::Service;
use api::discovery::v1::EndpointSlice;
use apimachinery::ObjectKey;
use informer::{Backoff, Cache, Change, Changes};
use netlink::{Monitor, Protocol, Socket, Topic, nft};
use supervisor::Supervisor;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::chains;
use crate::config::Config;
use crate::view::SERVICE_NAME;
use programmer::Programmer;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    #[error("set {key}")]
    Sysctl {
        key: String,
        #[source]
        source: io::Error,
    },
}

/// A running proxy. Its tasks end with the supervisor; its rules stay until [`teardown`].
#[derive(Debug)]
pub struct Proxy {
    programmed: watch::Receiver<u64>,
}

impl Proxy {
    /// Begins to follow the caches, in the calling thread's network namespace. The rules of an earlier process stay
    /// as they are until both caches are complete, and are then replaced in one transaction.
    pub fn start(
        config: Config,
        services: Cache<Service>,
        slices: Cache<EndpointSlice>,
        supervisor: &Supervisor,
    ) -> Result<Self, Error> {
        let (told, programmed) = watch::channel(0);
        let programmer = Programmer::new(config, services.clone(), &slices, supervisor.clone())?;
        let addresses = Monitor::open(Topic::Addresses)?;
        supervisor.spawn("proxy", follow(programmer, services, slices, addresses, told));
        Ok(Self { programmed })
    }

    /// Waits until the kernel has had everything the caches had at some time after their completion.
    pub async fn synced(&self) {
        let mut programmed = self.programmed.clone();
        // The other end is gone only when the process ends.
        if programmed.wait_for(|transactions| *transactions > 0).await.is_err() {
            tracing::debug!("the proxy ended before it was ready");
        }
    }

    /// How many transactions were committed.
    pub fn transactions(&self) -> watch::Receiver<u64> {
        self.programmed.clone()
    }
}

/// Removes all Service rules; the table goes when nothing else is in it. Done already is success.
pub async fn teardown(config: &Config) -> Result<(), Error> {
    // Before the rules that guard it go.
    for link in &config.loopback_links {
        programmer::route_loopback(link, "0")?;
    }
    let mut socket = Socket::open(Protocol::Netfilter)?;
    Ok(nft::remove(&mut socket, &config.table, chains::owns).await?)
}

async fn follow(
    mut programmer: Programmer,
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    mut addresses: Monitor,
    told: watch::Sender<u64>,
) {
    let mut service_changes = services.subscribe();
    let mut slice_changes = slices.subscribe();
    services.synced().await;
    slices.synced().await;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
    let mut keys: BTreeSet<ObjectKey> = BTreeSet::new();
    let mut retry: Option<Instant> = None;
    // Also without any Service the fixed rules have to be there.
    let mut first = true;
    loop {
        if !first {
            tokio::select! {
                change = service_changes.next() => match change {
                    Some(change) => drop(keys.insert(change.key)),
                    None => return,
                },
                change = slice_changes.next() => match change {
                    Some(change) => services_of(&change, &mut keys),
                    None => return,
                },
                heard = addresses.changed() => {
                    if let Err(error) = heard {
                        tracing::error!(%error, "cannot hear of changing addresses");
                        return;
                    }
                    programmer.look_at_addresses();
                }
                () = at(retry) => {}
            }
        }
        first = false;
        take_all(&mut service_changes, &mut slice_changes, &mut keys);
        match programmer.apply(&keys).await {
            Ok(changed) => {
                keys.clear();
                retry = None;
                backoff.reset();
                if changed {
                    told.send_modify(|transactions| *transactions += 1);
                }
            }
            Err(error) => {
                let delay = backoff.next_delay();
                tracing::error!(error = &error as &dyn std::error::Error, ?delay, "could not program Service rules");
                retry = Some(Instant::now() + delay);
            }
        }
    }
}

/// What came together is programmed together.
fn take_all(services: &mut Changes<Service>, slices: &mut Changes<EndpointSlice>, keys: &mut BTreeSet<ObjectKey>) {
    while let Some(change) = services.try_next() {
        keys.insert(change.key);
    }
    while let Some(change) = slices.try_next() {
        services_of(&change, keys);
    }
}

/// A slice may have been given to another Service.
fn services_of(change: &Change<EndpointSlice>, keys: &mut BTreeSet<ObjectKey>) {
    keys.extend(change.old.iter().chain(&change.new).filter_map(|slice| service_of(slice)));
}

pub(crate) fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(ObjectKey::new(slice.metadata.namespace.as_deref().unwrap_or_default(), name))
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
