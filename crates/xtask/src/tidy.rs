//! What the compiler does not check: the layers of the workspace, module headers, the size of files, folder modules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::process;

/// Past this a file has a second concept in it, unless it is one uniform table.
const FILE_LINES_MAX: usize = 900;
/// Words that mean something was left for later.
const UNFINISHED: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

/// Fails with every finding.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut findings = layers()?;
    findings.extend(files()?);
    if findings.is_empty() {
        return Ok(());
    }
    bail!("tidy found {}:\n{}", findings.len(), findings.join("\n"));
}

/// Compares the edges between our crates with layers.toml.
fn layers() -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(process::root().join("layers.toml")).context("read layers.toml")?;
    let layers = parse_layers(&text)?;
    let layer_of: BTreeMap<&str, &Layer> =
        layers.iter().flat_map(|layer| layer.crates.iter().map(move |name| (name.as_str(), layer))).collect();
    let metadata = process::output("cargo", &["metadata", "--format-version", "1", "--no-deps"])?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
    let mut findings = Vec::new();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(layer) = layer_of.get(name) else {
            findings.push(format!("layers.toml: crate {name} is in no layer"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = dependency["name"].as_str().unwrap_or_default();
            // Tests may start a whole cluster, whatever layer they are in.
            if !ours.contains(used) || dependency["kind"] == "dev" {
                continue;
            }
            let Some(used_layer) = layer_of.get(used) else { continue };
            let agents_apart = layer.name == "agents" && used_layer.name == "agents";
            if !layer.uses.contains(&used_layer.name) || agents_apart {
                findings.push(format!("{name} ({}) must not use {used} ({})", layer.name, used_layer.name));
            }
        }
    }
    Ok(findings)
}

struct Layer {
    name: String,
    crates: Vec<String>,
    uses: Vec<String>,
}

/// The little of TOML that layers.toml is written in.
fn parse_layers(text: &str) -> anyhow::Result<Vec<Layer>> {
    let mut layers: Vec<Layer> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("[layers.").and_then(|rest| rest.strip_suffix(']')) {
            layers.push(Layer { name: name.to_owned(), crates: Vec::new(), uses: Vec::new() });
            continue;
        }
        let (key, list) = line.split_once('=').with_context(|| format!("layers.toml: {line}"))?;
        let items = list.trim().trim_matches(['[', ']']).split(',');
        let items =
            items.map(|item| item.trim().trim_matches('"').to_owned()).filter(|item| !item.is_empty()).collect();
        let layer = layers.last_mut().context("layers.toml: a key before the first layer")?;
        match key.trim() {
            "crates" => layer.crates = items,
            "uses" => layer.uses = items,
            other => bail!("layers.toml: unknown key {other}"),
        }
    }
    Ok(layers)
}

/// Looks at every Rust file that git knows.
fn files() -> anyhow::Result<Vec<String>> {
    let listed = process::output("git", &["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])?;
    let mut findings = Vec::new();
    for name in listed.lines() {
        let Ok(text) = fs::read_to_string(process::root().join(name)) else { continue };
        findings.extend(file(name, &text));
    }
    Ok(findings)
}

fn file(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let generated = text.lines().take(5).any(|line| line.contains("@generated"));
    if generated {
        return findings;
    }
    if !text.starts_with("//!") {
        findings.push(format!("{name}: opens without //! (what it is, what it must not do, upstream counterpart)"));
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(format!("{name}: {lines} lines; split it by concept (at most {FILE_LINES_MAX})"));
    }
    if !name.starts_with("crates/xtask/") {
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = UNFINISHED.iter().find(|word| line.contains(**word)) {
                findings.push(format!("{name}:{}: {word}; finish it or file it", number + 1));
            }
        }
    }
    let folder = Path::new(name).with_extension("");
    if process::root().join(&folder).is_dir() {
        findings.push(format!("{name}: stands beside a folder of its name; make it {}/mod.rs", folder.display()));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_header_is_found() {
        assert_eq!(file("x.rs", "//! Says what it is.\nfn f() {}\n"), Vec::<String>::new());
        assert_eq!(file("x.rs", "fn f() {}\n").len(), 1);
        assert_eq!(file("x.rs", &format!("//! x\n{}", "\n".repeat(1000))).len(), 1);
        assert_eq!(file("x.rs", "// @generated\n").len(), 0);
    }

    #[test]
    fn layers_are_read() {
        let layers = parse_layers("# x\n[layers.a]\ncrates = [\"p\", \"q\"]\nuses = []\n").unwrap();
        assert_eq!((layers[0].name.as_str(), layers[0].crates.len(), layers[0].uses.len()), ("a", 2, 0));
    }
}
