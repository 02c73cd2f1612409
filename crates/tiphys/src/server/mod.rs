//! `tiphys server`: control plane and node in one process.
//!
//! The order of starting is the order of needs: keys, store, API, then everybody who is a client of the API. Nothing
//! sleeps until "it should be up by now": each step is awaited.

mod access;
mod address;
mod admission;
mod aggregation;
pub(crate) mod api_server;
mod control_plane;
mod kubelets;
pub(crate) mod lock;
pub(crate) mod names;
mod node;
mod notify;
mod operations;
pub(crate) mod storage;
mod upstream;

use std::{net::IpAddr, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use ipnet::IpNet;
use operations::OperationFlags;
pub(crate) use operations::with_config_file;
use supervisor::Supervisor;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
pub(crate) use upstream::take as take_upstream;

use crate::{
    layout::{DEFAULT_DATA_DIR, Layout},
    logging,
};

#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Where the cluster is kept
    #[arg(long, default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// Also write the administrator's kubeconfig here
    #[arg(long)]
    write_kubeconfig: Option<PathBuf>,
    /// Address that the API listens on
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: IpAddr,
    /// Address at which the rest of the cluster reaches the API; the node's if not given
    #[arg(long)]
    advertise_address: Option<IpAddr>,
    /// Name under which the API is reached from outside, for the documents of service account tokens
    #[arg(long)]
    external_hostname: Option<String>,
    /// Port of the API
    #[arg(long, default_value_t = 6443)]
    secure_port: u16,
    /// Further names and addresses that the API's certificate is good for
    #[arg(long = "tls-san")]
    tls_sans: Vec<String>,
    /// Name of the node
    #[arg(long)]
    node_name: Option<String>,
    /// Address of the node
    #[arg(long)]
    node_ip: Option<IpAddr>,
    /// Port of the node's own HTTPS server
    #[arg(long, default_value_t = 10250)]
    kubelet_port: u16,
    /// Range of pods' addresses
    #[arg(long, default_value = "10.42.0.0/16")]
    cluster_cidr: IpNet,
    /// Range of Services' addresses
    #[arg(long, alias = "service-cluster-ip-range", default_value = "10.43.0.0/16")]
    service_cidr: IpNet,
    /// Admission plugins to switch on beside those that are
    #[arg(long, value_delimiter = ',')]
    enable_admission_plugins: Vec<String>,
    /// Admission plugins to switch off
    #[arg(long, value_delimiter = ',')]
    disable_admission_plugins: Vec<String>,
    /// Seconds that pods stay on a node that is not ready, where they do not say
    #[arg(long, default_value_t = 300)]
    default_not_ready_toleration_seconds: i64,
    /// Seconds that pods stay on a node that cannot be reached, where they do not say
    #[arg(long, default_value_t = 300)]
    default_unreachable_toleration_seconds: i64,
    /// Settings of admission plugins: a file with an AdmissionConfiguration
    #[arg(long)]
    admission_control_config_file: Option<PathBuf>,
    /// Run only the control plane, no node
    #[arg(long)]
    disable_agent: bool,
    #[command(flatten)]
    access: access::AccessFlags,
    #[command(flatten)]
    aggregation: aggregation::AggregationFlags,
    #[command(flatten)]
    kubelets: kubelets::KubeletFlags,
    #[command(flatten)]
    storage: storage::StorageArguments,
    #[command(flatten)]
    operations: OperationFlags,
}

/// What all parts of the server are told.
pub(crate) struct Settings {
    pub(crate) arguments: Arguments,
    pub(crate) layout: Layout,
    pub(crate) node_name: String,
    pub(crate) node_ip: IpAddr,
    /// The ranges of Services' addresses, the first one for those that do not say.
    pub(crate) service_ranges: Vec<IpNet>,
    pub(crate) role: Role,
}

/// What of a cluster this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// API, controllers, scheduler and perhaps a node.
    Server,
    /// The API alone.
    ApiServer {
        /// Whether it says in the endpoints of the `kubernetes` Service where it is.
        keeps_endpoints: bool,
    },
}

pub(crate) fn main(arguments: Arguments) -> anyhow::Result<()> {
    logging::start(arguments.operations.logging_format.as_deref(), arguments.operations.v);
    metrics::disable(&arguments.operations.disabled_metrics);
    let layout = Layout::new(&arguments.data_dir)?;
    let node_name = match &arguments.node_name {
        Some(name) => name.clone(),
        None => address::hostname()?,
    };
    let wrong = apimachinery::names::is_dns1123_subdomain(&node_name);
    anyhow::ensure!(
        wrong.is_empty(),
        "the node cannot be called {node_name:?}: {}; give it a --node-name",
        wrong.join("; ")
    );
    let node_ip = arguments.node_ip.unwrap_or_else(address::primary);
    let (service_ranges, role) = (vec![arguments.service_cidr], Role::Server);
    serve(Settings { arguments, layout, node_name, node_ip, service_ranges, role })
}

/// Takes the directory for itself and runs.
fn serve(settings: Settings) -> anyhow::Result<()> {
    let layout = &settings.layout;
    layout.check_ownership()?;
    layout.create()?;
    let _lock = lock::take(&layout.lock())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let outcome = runtime.block_on(run(settings));
    // What is still blocked in a system call is not waited for: everything acknowledged is on disk.
    runtime.shutdown_background();
    outcome
}

/// Whether a version of a group is among those that are served from the start.
fn serves(group_version: &str) -> bool {
    let kinds = apiserver::kinds::all(&resources::Options::default());
    kinds.iter().any(|kind| kind.info().api_version() == group_version)
}

/// Runs until a signal or a broken component ends it.
async fn run(settings: Settings) -> anyhow::Result<()> {
    let supervisor = Supervisor::new();
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let started = async {
        let control_plane = control_plane::start(&settings, &supervisor).await?;
        if settings.role == Role::Server {
            control_plane.start_agents(&settings, &supervisor);
        }
        let node = match settings.arguments.disable_agent {
            true => None,
            false => Some(node::start(&settings, &control_plane, &supervisor).await?),
        };
        if settings.role == Role::Server {
            control_plane.write_kubeconfigs(&settings)?;
        }
        notify::send("READY=1");
        info!(data_dir = %settings.layout.root().display(), "cluster is ready");
        anyhow::Ok((control_plane, node))
    };
    let (control_plane, _node) = tokio::select! {
        started = started => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let broken = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = supervisor.failed() => true,
    };
    notify::send("STOPPING=1");
    info!("stopping; containers go on");
    control_plane.stop(&supervisor).await;
    anyhow::ensure!(
        !broken,
        "a component failed; the log above says which and why. Containers go on, start the server again"
    );
    Ok(())
}
