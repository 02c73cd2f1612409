//! Compiles the monitor (see monitor/main.rs) as a small static program of its own, to be embedded.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=monitor");
    let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
    let output = PathBuf::from(variable("OUT_DIR")).join("monitor");
    let mut command = Command::new(variable("RUSTC"));
    command
        .args(["--edition", "2024", "--crate-name", "tiphys_monitor", "monitor/main.rs", "-o"])
        .arg(&output)
        .arg("--target")
        .arg(variable("TARGET"))
        // No relocations to apply at start: pages stay shared between all monitors of the node.
        .args(["-C", "target-feature=+crt-static", "-C", "relocation-model=static"])
        .args(["-C", "opt-level=z", "-C", "panic=abort", "-C", "lto=fat", "-C", "codegen-units=1"])
        .args(["-C", "strip=symbols"]);
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        outcome => {
            println!(
                "cargo::error=the monitor cannot be compiled ({outcome:?}): are the static C libraries installed?"
            );
            ExitCode::FAILURE
        }
    }
}
