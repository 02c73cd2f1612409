//! Measures a cluster through its public API, whatever it is made of, so that two clusters' figures come from the same
//! driver. CPU and memory are those of the server's processes, read from `/proc`; the driver's own do not count.
//!
//! Every case cleans up after itself; all objects live in namespaces of the benchmark's own.

mod cases;
mod http2;
mod report;
mod target;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

pub use report::Report;
use target::Target;

/// What to measure, and where.
#[derive(Args, Debug)]
#[group(skip)]
pub struct Arguments {
    /// The cluster; `KUBECONFIG` and the usual places where absent
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Processes whose CPU and memory count, their children included
    #[arg(long = "pid", value_delimiter = ',')]
    pub pids: Vec<i32>,
    /// Cases to run; all that the cluster allows where absent
    #[arg(long = "case", value_enum, value_delimiter = ',')]
    pub cases: Vec<Case>,
    /// Image of the pods that are created, present on the node, with a shell
    #[arg(long, default_value = "busybox:latest")]
    pub image: String,
    /// Seconds that the idle case watches
    #[arg(long, default_value_t = 30)]
    pub idle_seconds: u64,
    /// Objects of the create, get and update cases
    #[arg(long, default_value_t = 2000)]
    pub objects: usize,
    /// Requests on their way at one time
    #[arg(long, default_value_t = 16)]
    pub concurrency: usize,
    /// Pods created one at a time
    #[arg(long, default_value_t = 20)]
    pub pods: usize,
    /// Pods created at once
    #[arg(long, default_value_t = 30)]
    pub burst: usize,
    /// Watchers of the fan-out case
    #[arg(long, default_value_t = 100)]
    pub watchers: usize,
    /// Writes a second of the watch-latency case
    #[arg(long, default_value_t = 1000)]
    pub write_rate: usize,
    /// Watchers of the watch-latency case
    #[arg(long, default_value_t = 4)]
    pub latency_watchers: usize,
    /// Objects of the list case
    #[arg(long, default_value_t = 10_000)]
    pub list_objects: usize,
    /// Watches of the idle-watches case
    #[arg(long, default_value_t = 5000)]
    pub idle_watches: usize,
    /// Full lists at once of the overload case
    #[arg(long, default_value_t = 2000)]
    pub overload_lists: usize,
    /// Objects of 1.5 KB that those lists are of
    #[arg(long, default_value_t = 10_000)]
    pub overload_objects: usize,
    /// Nodes that exist only as API objects, for the scheduling case
    #[arg(long, default_value_t = 100)]
    pub simulate_nodes: usize,
    /// Pods of the scheduling case
    #[arg(long, default_value_t = 1000)]
    pub schedule_pods: usize,
    /// Also write the results here, as JSON
    #[arg(long)]
    pub output: Option<PathBuf>,
}

/// A thing that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Memory and CPU of a cluster that nobody uses
    Idle,
    /// ConfigMaps of 1 KB: create, get, update
    Objects,
    /// Events to many watchers
    Watch,
    /// From a write to those who watch, at a given rate of writes
    WatchLatency,
    /// Memory of watches in which nothing happens
    IdleWatches,
    /// A list of many objects
    List,
    /// Full lists, watches and large patches all at once, and whether heartbeats come through
    Overload,
    /// Pods one at a time: create to Running, delete to gone
    Pods,
    /// Many pods at once
    Burst,
    /// Pods onto simulated nodes
    Scheduling,
}

/// Those that are no attack on the cluster.
const ALL: &[Case] = &[
    Case::Idle,
    Case::Objects,
    Case::Watch,
    Case::WatchLatency,
    Case::IdleWatches,
    Case::List,
    Case::Pods,
    Case::Burst,
    Case::Scheduling,
];

/// Runs the cases and gives their figures, those of a case that failed not among them.
pub async fn run(arguments: &Arguments, mut report: Report) -> anyhow::Result<Report> {
    let target = Target::open(arguments).await.context("reach the cluster")?;
    let chosen = if arguments.cases.is_empty() { ALL } else { arguments.cases.as_slice() };
    for case in chosen {
        tracing::info!(?case, "measuring");
        let outcome = match case {
            Case::Idle => cases::idle::run(&target, arguments, &mut report).await,
            Case::Objects => cases::objects::run(&target, arguments, &mut report).await,
            Case::Watch => cases::watch::run(&target, arguments, &mut report).await,
            Case::WatchLatency => cases::watch_latency::run(&target, arguments, &mut report).await,
            Case::IdleWatches => cases::idle_watches::run(&target, arguments, &mut report).await,
            Case::Overload => cases::overload::run(&target, arguments, &mut report).await,
            Case::List => cases::list::run(&target, arguments, &mut report).await,
            Case::Pods => cases::pods::run(&target, arguments, &mut report).await,
            Case::Burst => cases::burst::run(&target, arguments, &mut report).await,
            Case::Scheduling => cases::scheduling::run(&target, arguments, &mut report).await,
        };
        outcome.with_context(|| format!("case {case:?}"))?;
    }
    if let Some(path) = &arguments.output {
        std::fs::write(path, report.to_json()?).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(report)
}
