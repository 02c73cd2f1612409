//! For this crate's tests: a program whose `main` begins as the agent's does, and that can own a runtime and be killed.
//!
//! `runtime-driver own ROOT STORE ARG…` runs ARG… in a busybox container, prints `<sandbox> <container>`, and waits.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use cri::{ContainerConfig, PodSandboxConfig, RuntimeService};
use images::{Puller, PullerConfig, Store};
use runtime::{LoopbackOnly, Runtime, RuntimeConfig};

fn main() -> ExitCode {
    runtime::helper::main_if_helper();
    match own() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "runtime-driver: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn own() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    anyhow::ensure!(args.next().as_deref() == Some("own"), "usage: runtime-driver own ROOT STORE ARG…");
    let mut path = || args.next().map(PathBuf::from).ok_or_else(|| anyhow::anyhow!("a path is missing"));
    let (root, store) = (path()?, path()?);
    let command: Vec<String> = args.collect();
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    tokio.block_on(async {
        let runtime = Runtime::open(RuntimeConfig {
            root: root.clone(),
            puller: Puller::new(Store::open(store)?, PullerConfig::default()),
            network: Arc::new(LoopbackOnly),
            default_cgroup_parent: cgroup_parent(&root),
            helper: None,
            version: ("tiphys".to_owned(), "test".to_owned()),
            supervisor: supervisor::Supervisor::new(),
        })
        .await?;
        let sandbox_config =
            PodSandboxConfig { log_directory: root.to_string_lossy().into_owned(), ..PodSandboxConfig::default() };
        let sandbox = runtime.run_pod_sandbox(&sandbox_config).await?;
        let config = ContainerConfig {
            image: "busybox".to_owned(),
            command,
            log_path: "driver.log".to_owned(),
            ..ContainerConfig::default()
        };
        let container = runtime.create_container(&sandbox, &config, &sandbox_config).await?;
        runtime.start_container(&container).await?;
        writeln!(io::stdout(), "{sandbox} {container}")?;
        io::stdout().flush()?;
        std::future::pending::<()>().await;
        Ok(())
    })
}

/// Named after the test's directory, in which the runtime's lies, so that the test can remove it.
fn cgroup_parent(root: &std::path::Path) -> String {
    let name = root.parent().and_then(|parent| parent.file_name()).unwrap_or_default();
    format!("/tiphys-test-{}", name.to_string_lossy().replace('.', ""))
}
