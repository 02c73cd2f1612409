//! The `tiphys` program. It only composes: each subcommand is a module, each role a crate of its own.

mod admin;
mod bench;
mod demo;
mod image;
mod layout;
mod logging;
mod registries;
mod reset;
mod server;
mod store;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Kubernetes in one binary.
#[derive(Parser)]
#[command(name = "tiphys", version = version::TEXT, about, disable_help_subcommand = true, args_override_self = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a cluster on this machine: control plane and node in one process
    Server(Box<server::Arguments>),
    /// Serve the API alone, over an etcd that other API servers may share; flags as kube-apiserver's
    Apiserver(Box<server::api_server::Arguments>),
    /// Manage the images of the node
    Image(image::Arguments),
    /// Remove all traces of a cluster
    Reset(reset::Arguments),
    /// Start or remove a cluster with the example workload
    Demo(demo::Arguments),
    /// Save, restore and move what a cluster keeps
    Store(store::Arguments),
    /// Measure a cluster, this or any other
    Bench(bench::Arguments),
    /// Print the version
    Version,
}

fn main() -> ExitCode {
    // Containers are made by a short-lived, single-threaded execution of this same program: before anything else.
    runtime::helper::main_if_helper();
    let arguments = match server::with_config_file(std::env::args().collect())
        .and_then(|arguments| server::take_upstream(arguments, &Arguments::command()))
    {
        Ok(arguments) => arguments,
        Err(error) => {
            logging::print_error(&error);
            return ExitCode::FAILURE;
        }
    };
    let outcome = match Arguments::parse_from(arguments).command {
        Command::Server(arguments) => server::main(*arguments),
        Command::Apiserver(arguments) => server::api_server::main(*arguments),
        Command::Image(arguments) => image::main(arguments),
        Command::Reset(arguments) => reset::main(&arguments),
        Command::Demo(arguments) => demo::main(arguments),
        Command::Store(arguments) => store::main(arguments),
        Command::Bench(arguments) => bench::main(arguments),
        Command::Version => version::main(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::print_error(&error);
            ExitCode::FAILURE
        }
    }
}
