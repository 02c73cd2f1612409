//! `tiphys demo`: a cluster with the example workload, and its end. What `make up` and `make down` call.

mod apply;

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use futures::TryStreamExt as _;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams},
};
use tokio::net::UnixDatagram;

use crate::{admin, image::Recipe, layout::Layout, reset};

/// How long anything here may take before it is called a failure.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start the cluster, deploy the examples, say where they answer
    Up {
        /// Data directory of the cluster
        #[arg(long)]
        data_dir: PathBuf,
        /// Where to write the administrator's kubeconfig
        #[arg(long)]
        write_kubeconfig: PathBuf,
        /// Folder with the manifests to apply
        #[arg(long)]
        examples: PathBuf,
    },
    /// Stop the cluster and remove all traces of it
    Down {
        /// Data directory of the cluster
        #[arg(long)]
        data_dir: PathBuf,
    },
}

pub(crate) fn main(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.verb {
        Verb::Up { data_dir, write_kubeconfig, examples } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(up(&Layout::new(&data_dir)?, &std::path::absolute(write_kubeconfig)?, &examples))
        }
        Verb::Down { data_dir } => reset::reset(&Layout::new(&data_dir)?),
    }
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
async fn up(layout: &Layout, kubeconfig: &Path, examples: &Path) -> anyhow::Result<()> {
    layout.check_ownership()?;
    layout.create()?;
    if admin::ask(&layout.socket(), &admin::Command::List).await?.is_some() {
        println!("The cluster in {} is running already.", layout.root().display());
    } else {
        for (recipe, name) in [(Recipe::Nginx, "nginx.tar"), (Recipe::Busybox, "busybox.tar")] {
            let archive = layout.archives().join(name);
            if !archive.exists() {
                println!("Packing {name} from Debian packages…");
                recipe.pack(&archive)?;
            }
        }
        println!("Starting the cluster…");
        start(layout, kubeconfig).await?;
    }
    let config = kube::config::Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("read {}; run `make down` if it belongs to an older cluster", kubeconfig.display()))?;
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await?;
    let client = Client::try_from(config)?;
    let applied = apply::folder(&client, examples).await?;
    for line in applied {
        println!("{line}");
    }
    tokio::time::timeout(PATIENCE, available(&client)).await.context(
        "the demo did not become available in time; look at `kubectl describe pods` with the kubeconfig above",
    )??;
    for service in objects(&client, "", "services", "Service").list(&ListParams::default()).await? {
        if service.data["spec"]["type"] == "LoadBalancer" {
            for port in service.data["spec"]["ports"].as_array().into_iter().flatten() {
                let name = service.metadata.name.as_deref().unwrap_or_default();
                println!("http://localhost:{} answers for service/{name}", port["port"]);
            }
        }
    }
    println!("export KUBECONFIG={}", kubeconfig.display());
    Ok(())
}

/// Starts the server in the background and waits until it says that it is ready.
async fn start(layout: &Layout, kubeconfig: &Path) -> anyhow::Result<()> {
    let socket_path = layout.root().join("notify.sock");
    if socket_path.exists() {
        fs::remove_file(&socket_path)?;
    }
    let socket = UnixDatagram::bind(&socket_path).with_context(|| format!("listen on {}", socket_path.display()))?;
    let log_path = layout.root().join("server.log");
    let log = fs::OpenOptions::new().create(true).append(true).open(&log_path)?;
    let mut child = tokio::process::Command::from({
        let mut command = std::process::Command::new(std::env::current_exe()?);
        command
            .arg("server")
            .arg("--data-dir")
            .arg(layout.root())
            .arg("--write-kubeconfig")
            .arg(kubeconfig)
            .env("NOTIFY_SOCKET", &socket_path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Not ended together with the terminal it was started from.
            .process_group(0);
        command
    })
    .spawn()
    .context("start the server")?;
    let ready = async {
        let mut buffer = [0; 256];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if buffer[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return anyhow::Ok(());
            }
        }
    };
    let outcome = tokio::select! {
        ready = ready => ready,
        ended = child.wait() => Err(anyhow::anyhow!("the server ended: {}", ended?)),
        () = tokio::time::sleep(PATIENCE) => Err(anyhow::anyhow!("the server was not ready within {} s", PATIENCE.as_secs())),
    };
    fs::remove_file(&socket_path)?;
    if let Err(error) = outcome {
        let log = fs::read_to_string(&log_path).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(10).collect();
        bail!(
            "{error:#}; the end of {}:\n{}",
            log_path.display(),
            tail.into_iter().rev().collect::<Vec<_>>().join("\n")
        );
    }
    Ok(())
}

/// Waits until every Deployment of the default namespace has all its replicas available.
async fn available(client: &Client) -> anyhow::Result<()> {
    let deployments = objects(client, "apps", "deployments", "Deployment");
    loop {
        let list = deployments.list(&ListParams::default()).await?;
        if list.items.iter().all(is_available) {
            return Ok(());
        }
        let version = list.metadata.resource_version.unwrap_or_default();
        let events = deployments.watch(&WatchParams::default(), &version).await?;
        futures::pin_mut!(events);
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_) => break,
                WatchEvent::Error(status) => ensure!(status.code == 410, "watch: {status:?}"),
                WatchEvent::Bookmark(_) => {}
            }
        }
    }
}

fn is_available(deployment: &DynamicObject) -> bool {
    let number = |path: &str| deployment.data.pointer(path).and_then(serde_json::Value::as_i64);
    number("/status/observedGeneration") >= deployment.metadata.generation
        && number("/status/availableReplicas").unwrap_or(0) >= number("/spec/replicas").unwrap_or(1)
}

/// Objects of the default namespace, without types: only a few of their fields are looked at.
fn objects(client: &Client, group: &str, plural: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: apimachinery::key::join_api_version(group, "v1"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    Api::default_namespaced_with(client.clone(), &resource)
}
