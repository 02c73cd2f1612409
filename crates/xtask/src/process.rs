//! Running other programs, and finding the project's root.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

/// The folder of the root manifest.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_owned()
}

/// Runs a program in the root, showing what it prints; an exit code other than zero is an error.
pub(crate) fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    run_with(program, arguments, &[])
}

/// Like [`run`], with variables added to the environment.
pub(crate) fn run_with(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<()> {
    let shown = format!("{program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(root())
        .status()
        .with_context(|| format!("start {shown}"))?;
    if !status.success() {
        bail!("{shown} failed: {status}");
    }
    Ok(())
}

/// What a program prints.
pub(crate) fn output(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let shown = format!("{program} {}", arguments.join(" "));
    let output =
        Command::new(program).args(arguments).current_dir(root()).output().with_context(|| format!("start {shown}"))?;
    if !output.status.success() {
        bail!("{shown} failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{shown} printed something that is not text"))
}
