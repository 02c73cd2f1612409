//! Plans changed Services and tells the kernel.

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::core::v1::Service;
use api::discovery::v1::EndpointSlice;
use apimachinery::ObjectKey;
use informer::{Cache, Index};
use netlink::nft::Batch;
use netlink::{Protocol, Socket, conntrack, link, namespace};
use supervisor::Supervisor;

use super::{Error, service_of};
use crate::affinity::{self, Forgotten};
use crate::chains;
use crate::config::Config;
use crate::health::HealthServers;
use crate::plan::{Plan, plan};
use crate::shadow::{Difference, Shadow};
use crate::stale::Stale;
use crate::tables::SetId;
use crate::view::{Protocol as Transport, ServiceView};

pub(super) struct Programmer {
    config: Config,
    services: Cache<Service>,
    slices: Index<EndpointSlice>,
    netfilter: Socket,
    route: Socket,
    shadow: Shadow,
    stale: Stale,
    forgotten: Forgotten,
    health: HealthServers,
    /// The node's addresses that are not on its links.
    configured_addresses: Vec<IpAddr>,
    addresses_changed: bool,
    /// The kernel may hold something else than the shadow: at start, and after a transaction that failed.
    whole: bool,
}

impl Programmer {
    pub(super) fn new(
        config: Config,
        services: Cache<Service>,
        slices: &Cache<EndpointSlice>,
        supervisor: Supervisor,
    ) -> Result<Self, Error> {
        let index = slices.index("service", |slice| service_of(slice).iter().map(ToString::to_string).collect());
        Ok(Self {
            services,
            slices: index,
            netfilter: Socket::open(Protocol::Netfilter)?,
            route: Socket::open(Protocol::Route)?,
            shadow: Shadow::default(),
            stale: Stale::default(),
            forgotten: Forgotten::default(),
            health: HealthServers::new(config.health_check_address, supervisor),
            configured_addresses: config.node_addresses.clone(),
            addresses_changed: true,
            config,
            whole: true,
        })
    }

    /// Brings the kernel to what the caches say of these Services; answers whether anything had to be told.
    pub(super) async fn apply(&mut self, keys: &BTreeSet<ObjectKey>) -> Result<bool, Error> {
        let mut keys = keys.clone();
        if self.addresses_changed && self.read_addresses().await? {
            // Whose load balancer is the node itself may have changed.
            keys.extend(self.services.list().iter().map(|service| informer::Object::key(&**service)));
        }
        let mut difference = Difference::default();
        for key in &keys {
            self.plan(key, &mut difference);
        }
        let changed = if self.whole {
            self.replace_all().await?;
            true
        } else {
            self.tell(&difference).await?
        };
        self.forgotten.forget(&self.config, &self.shadow, &mut self.netfilter).await?;
        self.forget_stale().await?;
        let shadow = &self.shadow;
        self.health.set(&keys, |service| shadow.plan_of(service)?.health);
        Ok(changed)
    }

    fn plan(&mut self, key: &ObjectKey, difference: &mut Difference) {
        let service = self.services.get(key);
        let slices = self.slices.get(&key.to_string());
        let view = service.and_then(|service| {
            ServiceView::of(key, &service, slices.iter().map(AsRef::as_ref), self.config.external_ips)
        });
        let previous = self.shadow.plan_of(key);
        let planned: Option<Plan> = view.map(|view| plan(&view, &self.config, previous));
        self.stale.note(previous, planned.as_ref());
        self.forgotten.note(previous, planned.as_ref());
        self.shadow.replace(key, planned, difference);
    }

    async fn tell(&mut self, difference: &Difference) -> Result<bool, Error> {
        let mut batch = Batch::new();
        self.shadow.encode(&self.config, difference, &mut batch);
        if batch.is_empty() {
            return Ok(false);
        }
        let (operations, bytes) = (batch.len(), batch.size());
        // If it fails, or nobody waits for the answer, the shadow is ahead of the kernel.
        self.whole = true;
        batch.send(&mut self.netfilter).await?;
        self.whole = false;
        tracing::debug!(operations, bytes, "programmed Service rules");
        Ok(true)
    }

    /// One transaction from whatever is there to what has to be. Remembered clients stay remembered.
    async fn replace_all(&mut self) -> Result<(), Error> {
        let layout = chains::layout(&self.config);
        let kept: Vec<String> = affinity::maps(&self.config).map(SetId::name).collect();
        let keep = |name: &str| kept.iter().any(|kept| kept == name);
        let fill = |batch: &mut Batch| self.shadow.encode_all(&self.config, batch);
        layout.replace(&mut self.netfilter, chains::owns, keep, fill).await?;
        // After the rules that guard it are there.
        for link in &self.config.loopback_links {
            route_loopback(link, "1")?;
        }
        self.whole = false;
        // What an earlier process's clients are remembered with may be gone by now.
        self.forgotten.everything();
        let services = self.shadow.services();
        tracing::info!(services, "programmed all Service rules");
        Ok(())
    }

    /// The node's addresses may have changed: they are read before the next transaction.
    pub(super) fn look_at_addresses(&mut self) {
        self.addresses_changed = true;
    }

    /// Reads the node's addresses; answers whether they are others than before.
    async fn read_addresses(&mut self) -> Result<bool, Error> {
        let listed = link::addresses(&mut self.route).await?;
        let mut addresses = self.configured_addresses.clone();
        addresses.extend(listed.into_iter().filter(|listed| listed.scope == 0).map(|listed| listed.address));
        addresses.sort();
        addresses.dedup();
        self.addresses_changed = false;
        let changed = addresses != self.config.node_addresses;
        self.config.node_addresses = addresses;
        Ok(changed)
    }

    async fn forget_stale(&mut self) -> Result<(), Error> {
        if self.stale.is_empty() {
            return Ok(());
        }
        let (stale, addresses) = (&self.stale, &self.config.node_addresses);
        let udp = Transport::Udp.number();
        let forgotten =
            conntrack::forget(&mut self.netfilter, udp, |connection| stale.is(connection, addresses)).await?;
        if forgotten > 0 {
            tracing::debug!(forgotten, "forgot tracked UDP connections");
        }
        self.stale = Stale::default();
        Ok(())
    }
}

/// Whether loopback addresses are routed on the link.
pub(super) fn route_loopback(link: &str, value: &str) -> Result<(), Error> {
    let key = format!("ipv4/conf/{link}/route_localnet");
    match namespace::set_sysctl(&key, value) {
        // The link may come later; whoever makes it knows that it has to route loopback addresses.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::debug!(link, "no such link to route loopback addresses on");
            Ok(())
        }
        other => other.map_err(|source| Error::Sysctl { key, source }),
    }
}
