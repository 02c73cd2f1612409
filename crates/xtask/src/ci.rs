//! Everything that continuous integration runs, in the order in which it fails soonest.

use crate::{codegen, process, tidy};

/// Warnings are errors here, so that the tree stays without any.
const CLIPPY: &[&str] = &["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"];

/// Runs all of it.
pub(crate) fn run() -> anyhow::Result<()> {
    process::run("cargo", &["fmt", "--all", "--", "--check"])?;
    tidy::run()?;
    codegen::run(true)?;
    process::run("cargo", CLIPPY)?;
    process::run("cargo", &["nextest", "run", "--workspace", "--locked", "--profile", "ci"])
}
