//! Where cargo keeps the sources of the packages that the table is made from.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

pub(super) struct Sources {
    pub(super) workspace: PathBuf,
    pub(super) k8s_openapi: PathBuf,
    pub(super) k8s_openapi_version: String,
    pub(super) k8s_pb: PathBuf,
    pub(super) k8s_pb_version: String,
}

impl Sources {
    /// Asks `cargo metadata`; `k8s-pb` is an optional dependency of this crate, so that it is locked and fetched but
    /// never compiled.
    pub(super) fn locate() -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
            .output()
            .context("run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("parse cargo metadata")?;
        let root = metadata.get("workspace_root").and_then(|root| root.as_str()).context("workspace_root")?;
        let (k8s_openapi, k8s_openapi_version) = package(&metadata, "k8s-openapi")?;
        let (k8s_pb, k8s_pb_version) = package(&metadata, "k8s-pb")?;
        Ok(Self { workspace: PathBuf::from(root), k8s_openapi, k8s_openapi_version, k8s_pb, k8s_pb_version })
    }
}

fn package(metadata: &serde_json::Value, name: &str) -> Result<(PathBuf, String)> {
    let packages = metadata.get("packages").and_then(|packages| packages.as_array()).context("packages")?;
    let text = |package: &serde_json::Value, key: &str| Some(package.get(key)?.as_str()?.to_owned());
    for package in packages {
        if text(package, "name").as_deref() != Some(name) {
            continue;
        }
        let manifest = text(package, "manifest_path").context("manifest_path")?;
        let folder = Path::new(&manifest).parent().context("folder of the manifest")?;
        return Ok((folder.to_owned(), text(package, "version").context("version")?));
    }
    bail!("package {name} is not in cargo metadata")
}
