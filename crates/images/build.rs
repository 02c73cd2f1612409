//! Compiles the echo server (see echo/main.rs) as a small static program, to be packed into an image.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=echo");
    let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
    let output = PathBuf::from(variable("OUT_DIR")).join("echo");
    let mut command = Command::new(variable("RUSTC"));
    command
        .args(["--edition", "2024", "--crate-name", "tiphys_echo", "echo/main.rs", "-o"])
        .arg(&output)
        .arg("--target")
        .arg(variable("TARGET"))
        .args(["-C", "target-feature=+crt-static", "-C", "relocation-model=static"])
        .args(["-C", "opt-level=z", "-C", "panic=abort", "-C", "lto=fat", "-C", "codegen-units=1"])
        .args(["-C", "strip=symbols"]);
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        outcome => {
            println!(
                "cargo::error=the echo server cannot be compiled ({outcome:?}): are the static C libraries installed?"
            );
            ExitCode::FAILURE
        }
    }
}
