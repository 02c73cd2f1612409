//! `tiphys bench`: figures of a cluster. With `--cold-start` it starts one of its own first.

mod cold_start;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::{layout::Layout, logging, server::lock};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Measure a cluster of our own in this (empty) directory, from its first start to its removal
    #[arg(long)]
    cold_start: Option<PathBuf>,
    /// Measure the cluster that runs in this directory: finds its kubeconfig and its process
    #[arg(long, conflicts_with = "cold_start")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    bench: bench::Arguments,
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn main(mut arguments: Arguments) -> anyhow::Result<()> {
    logging::start(None, None);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        if let Some(directory) = &arguments.cold_start {
            return cold_start::run(&Layout::new(directory)?, arguments.bench).await;
        }
        if let Some(directory) = &arguments.data_dir {
            let layout = Layout::new(directory)?;
            let process = lock::holder(&layout.lock())?.context("no server runs in that directory")?;
            arguments.bench.pids.push(process);
            arguments.bench.kubeconfig.get_or_insert_with(|| layout.kubeconfig());
        }
        bench::run(&arguments.bench, bench::Report::default()).await
    })?;
    print!("{report}");
    Ok(())
}
