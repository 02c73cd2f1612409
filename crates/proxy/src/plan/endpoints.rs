//! Which endpoints answer. Pure. Upstream: `pkg/proxy/topology.go` `CategorizeEndpoints`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Endpoint;
use crate::config::Config;
use crate::view::{Distribution, EndpointView, PortView, ServiceView};

/// The endpoints of one port in one family.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// For policy Cluster.
    pub(super) cluster: BTreeSet<Endpoint>,
    /// For policy Local.
    pub(super) local: BTreeSet<Endpoint>,
    /// Some node has an endpoint that could answer.
    pub(super) any: bool,
    /// Addresses of this node among them.
    pub(super) local_addresses: BTreeSet<IpAddr>,
}

impl Chosen {
    pub(super) fn of(view: &ServiceView, port: &PortView, config: &Config, ipv6: bool) -> Self {
        let endpoints: Vec<&EndpointView> = view
            .endpoints
            .iter()
            .filter(|endpoint| {
                endpoint.port_name == port.name
                    && endpoint.protocol == port.protocol
                    && endpoint.address.is_ipv6() == ipv6
            })
            .collect();
        let is_local = |endpoint: &EndpointView| endpoint.node.as_deref() == Some(config.node_name.as_str());
        let last_resort = |endpoint: &EndpointView| endpoint.serving && endpoint.terminating;
        let set = |filter: &dyn Fn(&EndpointView) -> bool| -> BTreeSet<Endpoint> {
            let chosen = endpoints.iter().filter(|endpoint| filter(endpoint));
            chosen.map(|endpoint| Endpoint { address: endpoint.address, port: endpoint.port }).collect()
        };
        let mut chosen = Self::default();
        // Traffic of the node itself and its pods to an external address goes to any endpoint, whatever the policy.
        if !view.internal_local || view.externally_accessible() {
            let near = Near::of(view.distribution, &endpoints, config);
            chosen.cluster = set(&|endpoint| endpoint.ready && near.has(endpoint, config));
            if chosen.cluster.is_empty() {
                chosen.cluster = set(&last_resort);
            }
            chosen.any = !chosen.cluster.is_empty();
        }
        if view.internal_local || view.external_local && view.externally_accessible() {
            chosen.local = set(&|endpoint| endpoint.ready && is_local(endpoint));
            if chosen.local.is_empty() {
                chosen.local = set(&|endpoint| last_resort(endpoint) && is_local(endpoint));
            }
            chosen.any |= endpoints.iter().any(|endpoint| endpoint.ready || last_resort(endpoint));
        }
        let answering = |endpoint: &&&EndpointView| {
            let known = Endpoint { address: endpoint.address, port: endpoint.port };
            is_local(endpoint) && (chosen.cluster.contains(&known) || chosen.local.contains(&known))
        };
        chosen.local_addresses = endpoints.iter().filter(answering).map(|endpoint| endpoint.address).collect();
        chosen
    }
}

/// How near endpoints have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Near {
    Node,
    Zone,
    Anywhere,
}

impl Near {
    /// Hints count when every ready endpoint has them and some are for us.
    fn of(distribution: Distribution, endpoints: &[&EndpointView], config: &Config) -> Self {
        let ready = || endpoints.iter().filter(|endpoint| endpoint.ready);
        if distribution == Distribution::SameNode
            && ready().all(|endpoint| !endpoint.node_hints.is_empty())
            && ready().any(|endpoint| endpoint.node_hints.contains(&config.node_name))
        {
            return Self::Node;
        }
        if let Some(zone) = &config.zone
            && ready().all(|endpoint| !endpoint.zone_hints.is_empty())
            && ready().any(|endpoint| endpoint.zone_hints.contains(zone))
        {
            return Self::Zone;
        }
        Self::Anywhere
    }

    fn has(self, endpoint: &EndpointView, config: &Config) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Node => endpoint.node_hints.contains(&config.node_name),
            Self::Zone => config.zone.as_ref().is_some_and(|zone| endpoint.zone_hints.contains(zone)),
        }
    }
}
