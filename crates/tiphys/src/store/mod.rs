//! `tiphys store`: snapshots of a cluster's store, and moving it between the data directory and etcd.
//!
//! Saving and copying read beside a running server; restoring and copying write only where nothing is yet.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what the commands are for")]

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use engine::{
    Layout as Keys, Revision,
    etcd::EtcdOptions,
    transfer::{BUMP, Contents},
};

use crate::{
    layout::{DEFAULT_DATA_DIR, Layout},
    server::storage::{StorageArguments, builtin_resources},
};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Save and restore the store
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Copy the store from the data directory to etcd, or from etcd to the data directory
    Copy(Copy),
}

#[derive(Subcommand)]
enum Snapshot {
    /// Write everything that is in the store to a file; a running server is not disturbed
    Save(Place),
    /// Make a store of a snapshot, where there is none. It goes on at a later revision than was ever given out
    Restore(Place),
    /// Check a snapshot, and tell what is in it
    Status {
        /// The snapshot
        file: PathBuf,
    },
}

/// A store and a file.
#[derive(Args)]
struct Place {
    /// The snapshot
    file: PathBuf,
    /// Where the cluster is kept
    #[arg(long, default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    #[command(flatten)]
    storage: StorageArguments,
}

#[derive(Args)]
struct Copy {
    /// Which way
    #[arg(long)]
    to: Target,
    /// Where the cluster is kept, or is to be
    #[arg(long, default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    #[command(flatten)]
    storage: StorageArguments,
}

#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// The data directory
    Embedded,
    /// --etcd-servers
    Etcd3,
}

/// A store that no server has open here.
enum Store {
    Directory(PathBuf),
    Etcd(EtcdOptions),
}

pub(crate) fn main(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Snapshot(Snapshot::Save(place)) => {
            let contents = place.store()?.read()?;
            let bytes = contents.save(&place.file).context("write the snapshot")?;
            println!("{} objects at revision {}, {bytes} bytes", contents.records.len(), contents.revision);
            println!("Encrypted objects need their keys: keep pki/encryption.yaml, or your own file, elsewhere.");
        }
        Command::Snapshot(Snapshot::Restore(place)) => {
            let contents = Contents::of_snapshot(&place.file).context("read the snapshot")?;
            let revision = place.store()?.write(&contents)?;
            println!("{} objects, going on at revision {revision}", contents.records.len());
        }
        Command::Snapshot(Snapshot::Status { file }) => {
            let contents = Contents::of_snapshot(&file).context("read the snapshot")?;
            println!("revision  {}", contents.revision);
            println!("objects   {}", contents.records.len());
            println!("bytes     {}", contents.bytes());
            let encrypted = |record: &&engine::Record| record.value.head.starts_with(b"k8s:enc:");
            println!("encrypted {}", contents.records.iter().filter(encrypted).count());
        }
        Command::Copy(copy) => {
            let etcd = copy.storage.etcd(&keys(&copy.storage))?.context("--etcd-servers are missing")?;
            let directory = Store::Directory(Layout::new(&copy.data_dir)?.store());
            let (from, to) = match copy.to {
                Target::Embedded => (Store::Etcd(etcd), directory),
                Target::Etcd3 => (directory, Store::Etcd(etcd)),
            };
            let contents = from.read()?;
            let revision = to.write(&contents)?;
            println!("{} objects, going on at revision {revision}", contents.records.len());
        }
    }
    Ok(())
}

fn keys(storage: &StorageArguments) -> Arc<Keys> {
    Arc::new(Keys::new(storage.prefix(), builtin_resources()))
}

impl Place {
    fn store(&self) -> anyhow::Result<Store> {
        Ok(match self.storage.etcd(&keys(&self.storage))? {
            Some(etcd) => Store::Etcd(etcd),
            None => Store::Directory(Layout::new(&self.data_dir)?.store()),
        })
    }
}

impl Store {
    fn read(&self) -> anyhow::Result<Contents> {
        let contents = match self {
            Store::Directory(path) => Contents::of_log(path),
            Store::Etcd(options) => Contents::of_etcd(options),
        };
        contents.context("read the store")
    }

    fn write(&self, contents: &Contents) -> anyhow::Result<Revision> {
        match self {
            Store::Directory(path) => {
                let revision = Revision(contents.revision.0.saturating_add(BUMP));
                contents.into_log(path, revision).context("make the store")?;
                Ok(revision)
            }
            Store::Etcd(options) => {
                let shown = std::io::stderr().is_terminal();
                let mut tell = |left: u64| {
                    if shown {
                        eprint!("\r{left:>12} to be written");
                        // What does not appear is no reason to stop.
                        std::io::stderr().flush().ok();
                    }
                };
                // etcd counts one by one, so that only what was given out is left behind.
                let revision = contents.into_etcd(options, contents.revision, &mut tell).context("fill etcd")?;
                if shown {
                    eprintln!();
                }
                Ok(revision)
            }
        }
    }
}
