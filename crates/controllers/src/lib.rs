//! The controllers of the control plane. Upstream: `pkg/controller` and `cmd/kube-controller-manager`.
//!
//! Invariants:
//! - A controller knows the API only through its client, with the rights of its own service account.
//! - What to do is decided by a pure `plan`; shells read caches, carry out and requeue.
//! - Nothing polls: an idle cluster costs no CPU here.

mod claim;
mod context;
mod discovery;
mod entry;
mod evict;
mod history;
mod pod_control;
mod service_pods;

mod certificates;
mod clusterrole_aggregation;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod endpointslice;
mod garbage_collector;
mod job;
mod namespace;
mod node_lifecycle;
mod pod_gc;
mod replicaset;
mod replication_controller;
mod resourcequota;
mod root_ca;
mod service_lb;
mod serviceaccount;
mod servicecidr;
mod statefulset;
mod taint_eviction;
mod token;
mod ttl_after_finished;
mod validating_admission_policy_status;
mod volume_protection;

pub use context::{ClientFactory, Context, Options, Signing, TokenSigner};
pub use entry::{Entry, Rule, Watch, run};

/// Every controller there is, in the order they start.
pub static CONTROLLERS: &[Entry] = &[
    serviceaccount::ENTRY,
    root_ca::ENTRY,
    namespace::ENTRY,
    deployment::ENTRY,
    replicaset::ENTRY,
    endpointslice::ENTRY,
    endpoints::ENTRY,
    node_lifecycle::ENTRY,
    taint_eviction::ENTRY,
    pod_gc::ENTRY,
    service_lb::ENTRY,
    garbage_collector::ENTRY,
    replication_controller::ENTRY,
    job::ENTRY,
    daemonset::ENTRY,
    statefulset::ENTRY,
    disruption::ENTRY,
    resourcequota::ENTRY,
    servicecidr::ENTRY,
    volume_protection::CLAIMS,
    volume_protection::VOLUMES,
    volume_protection::CLASSES,
    ttl_after_finished::ENTRY,
    clusterrole_aggregation::ENTRY,
    validating_admission_policy_status::ENTRY,
    certificates::APPROVING,
    certificates::SIGNING,
    certificates::CLEANER,
    token::service_account::ENTRY,
    token::cleaner::ENTRY,
    token::legacy::ENTRY,
    token::bootstrap_signer::ENTRY,
];
