//! The one door to the project's chores. Each subcommand is a module; nothing is decided here.

mod ci;
mod codegen;
mod dist;
mod process;
mod tidy;
mod where_is;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about = "Chores of the project")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything that continuous integration runs
    Ci,
    /// Build the binary that is given away: static, small
    Dist,
    /// Check what the compiler does not: layers, module headers, sizes, generated files
    Tidy,
    /// Write the generated files from their sources
    Codegen {
        /// Only compare, and fail when a committed file differs
        #[arg(long)]
        check: bool,
    },
    /// Show where a kind is handled
    Where {
        /// Kind, in lower case: deployment
        kind: String,
    },
    /// Write the skeleton of a kind's folder
    NewKind {
        /// Group and version: apps/v1
        api_version: String,
        /// Kind: Deployment
        kind: String,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Ci => ci::run(),
        Command::Dist => dist::run(),
        Command::Tidy => tidy::run(),
        Command::Codegen { check } => codegen::run(check),
        Command::Where { kind } => where_is::run(&kind),
        Command::NewKind { api_version, kind } => where_is::new_kind(&api_version, &kind),
    }
}
