//! A cluster from nothing: how long it takes, then the other cases on it, then its removal.

use std::{process::Stdio, time::Instant};

use anyhow::{Context as _, ensure};
use tokio::net::UnixDatagram;

use crate::{image::Recipe, layout::Layout, reset};

/// Ports that no other cluster of the machine is likely to have.
const API_PORT: &str = "16443";
const KUBELET_PORT: &str = "20250";

pub(super) async fn run(layout: &Layout, mut arguments: bench::Arguments) -> anyhow::Result<bench::Report> {
    ensure!(
        !layout.exists(),
        "{} holds a cluster already; the cold start needs an empty directory",
        layout.root().display()
    );
    layout.create()?;
    // Imported before the clock starts: the figure is about the cluster, not about unpacking an image.
    Recipe::Busybox.pack(&layout.archives().join("busybox.tar"))?;
    let outcome = measured(layout, &mut arguments).await;
    let layout = layout.clone();
    tokio::task::spawn_blocking(move || reset::reset(&layout)).await.context("remove the cluster")??;
    outcome
}

async fn measured(layout: &Layout, arguments: &mut bench::Arguments) -> anyhow::Result<bench::Report> {
    let socket_path = layout.root().join("notify.sock");
    let socket = UnixDatagram::bind(&socket_path).with_context(|| format!("listen on {}", socket_path.display()))?;
    let log = std::fs::File::create(layout.root().join("server.log"))?;
    let start = Instant::now();
    let mut server = tokio::process::Command::new(std::env::current_exe()?)
        .arg("server")
        .arg("--data-dir")
        .arg(layout.root())
        .args(["--secure-port", API_PORT, "--kubelet-port", KUBELET_PORT])
        .env("NOTIFY_SOCKET", &socket_path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("start the server")?;
    let mut buffer = [0; 64];
    tokio::select! {
        received = socket.recv(&mut buffer) => received.map(drop)?,
        ended = server.wait() => anyhow::bail!("the server ended: {}; see {}", ended?, layout.root().join("server.log").display()),
    }
    let mut report = bench::Report::default();
    report.add("start of the process to node Ready", start.elapsed().as_secs_f64() * 1e3, "ms");
    let size = std::fs::metadata(std::env::current_exe()?)?.len();
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    report.add("binary size", size as f64 / 1e6, "MB");
    arguments.pids.extend(server.id().and_then(|id| i32::try_from(id).ok()));
    arguments.kubeconfig = Some(layout.kubeconfig());
    bench::run(arguments, report).await
}
