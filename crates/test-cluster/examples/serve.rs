//! Runs a test cluster until interrupted, to try clients against: `cargo run -p test-cluster --example serve -- KUBECONFIG`.

use test_cluster::{Options, TestCluster};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "kubeconfig".to_owned());
    let durable = arguments.next().is_some_and(|argument| argument == "durable");
    let cluster = TestCluster::start_with(Options { durable, ..Options::default() }).await?;
    std::fs::write(&path, cluster.kubeconfig())?;
    tracing::info!(address = %cluster.address(), kubeconfig = path, "serving");
    tokio::signal::ctrl_c().await?;
    cluster.stop().await;
    Ok(())
}
