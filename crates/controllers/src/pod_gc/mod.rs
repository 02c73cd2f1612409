//! Deletes pods that nobody else will: of nodes that are gone, ended ones beyond a number, and those being deleted
//! that no kubelet has. Upstream: `pkg/controller/podgc`, by events in the place of a round every 20 seconds.

mod plan;

use std::{collections::HashMap, sync::Arc, time::Duration};

use api::{
    core::v1::{Node, Pod},
    pod,
};
use apimachinery::ObjectKey;
use informer::{Cache, Controller, Index, Next, Reconcile, ReconcileError};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::info;

use self::plan::{Verdict, judge};
use crate::{
    Context, Entry, Options, Rule, Watch,
    evict::{Eviction, evict},
    service_pods::by_node,
};

pub(crate) const ENTRY: Entry = Entry {
    name: "pod-garbage-collector-controller",
    service_account: "pod-garbage-collector",
    watches: &[Watch::of("", "pods"), Watch::of("", "nodes")],
    rules: &[
        Rule::of("", "pods", &["delete"]),
        Rule::of("", "pods/status", &["patch"]),
        Rule::of("", "nodes", &["get"]),
    ],
    start,
};

/// A node that is missing may be about to be registered. Upstream: `quarantineTime`.
const QUARANTINE: Duration = Duration::from_secs(40);

struct PodGc {
    client: Client,
    options: Arc<Options>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    ended: Index<Pod>,
    /// Since when a node that pods name is missing. Bound: such nodes.
    missing: Mutex<HashMap<String, Instant>>,
}

fn start(context: Context) {
    let pods = context.caches.of::<Pod>();
    let nodes = context.caches.of::<Node>();
    let ended = pods.index("ended", |pod| if pod::is_terminal(pod) { vec![String::new()] } else { Vec::new() });
    let on_node = by_node(&pods);
    let threshold = usize::try_from(context.options.terminated_pod_threshold).ok().filter(|threshold| *threshold > 0);
    let reconciler = PodGc {
        client: context.client,
        options: context.options,
        pods: pods.clone(),
        nodes: nodes.clone(),
        ended: ended.clone(),
        missing: Mutex::default(),
    };
    Controller::new(ENTRY.name, reconciler)
        .workers(2)
        .watch_for(&pods, move |change, keys| {
            keys.push(change.key.clone());
            if let Some(threshold) = threshold.filter(|threshold| ended.count("") > *threshold) {
                let excess = ended.count("") - threshold;
                keys.extend(plan::oldest(ended.get(""), excess));
            }
        })
        .watch_for(&nodes, move |change, keys| {
            let matters = change.new.is_none() || change.new.as_ref().is_some_and(|node| plan::is_out_of_service(node));
            if matters {
                keys.extend(on_node.keys(&change.key.name));
            }
        })
        .start(&context.supervisor);
}

impl Reconcile for PodGc {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(pod) = self.pods.get(key) else { return Ok(Next::Await) };
        let node_name = pod::node_name(&pod);
        let node = node_name.and_then(|name| self.nodes.get(&ObjectKey::cluster(name)));
        if let Some(name) = node_name
            && node.is_some()
        {
            self.missing.lock().remove(name);
        }
        let verdict = judge(&pod, node.as_deref(), self.excess(), || plan::oldest(self.ended.get(""), self.excess()));
        let how = match verdict {
            Verdict::Keep => return Ok(Next::Await),
            Verdict::Orphaned => {
                let name = node_name.unwrap_or_default();
                let since = *self.missing.lock().entry(name.to_owned()).or_insert_with(Instant::now);
                let left = QUARANTINE.saturating_sub(since.elapsed());
                if !left.is_zero() {
                    return Ok(Next::After(left));
                }
                if Api::<Node>::all(self.client.clone()).get_opt(name).await?.is_some() {
                    return Ok(Next::Await);
                }
                let disruption = Some(("DeletionByPodGC", "PodGC: node no longer exists"));
                Eviction { disruption, fail: true, grace: Some(0) }
            }
            Verdict::Unscheduled | Verdict::OutOfService => Eviction { disruption: None, fail: true, grace: Some(0) },
            Verdict::Excess => Eviction { disruption: None, fail: false, grace: Some(0) },
        };
        info!(pod = %key, ?verdict, "deleting pod");
        evict(&self.client, &pod, &how).await?;
        Ok(Next::Await)
    }
}

impl PodGc {
    /// How many ended pods are too many.
    fn excess(&self) -> usize {
        let threshold = usize::try_from(self.options.terminated_pod_threshold).unwrap_or(0);
        if threshold == 0 { 0 } else { self.ended.count("").saturating_sub(threshold) }
    }
}
