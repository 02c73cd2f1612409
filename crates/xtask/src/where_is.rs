//! Where a kind is handled, and the skeleton of a new one.

use std::fs;

use anyhow::{Context as _, bail, ensure};

use crate::process;

/// Prints the places of a kind, as far as they exist.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(kind: &str) -> anyhow::Result<()> {
    let folder = snake_case(kind);
    let files = process::output("git", &["ls-files", "--cached", "--others", "--exclude-standard"])?;
    let mut found = false;
    for (what, prefix) in [
        ("strategy, defaults, validation, columns, tests", "crates/resources/src/"),
        ("controller", "crates/controllers/src/"),
        ("pure helpers", "crates/api/src/"),
        ("end-to-end tests", "crates/tiphys/tests/"),
    ] {
        for file in files.lines().filter(|file| file.starts_with(prefix)) {
            let rest = &file[prefix.len()..];
            if rest.split(['/', '.']).any(|part| part == folder || part == folder.replace('_', "")) {
                println!("{what:48} {file}");
                found = true;
            }
        }
    }
    ensure!(found, "nothing is called {folder}; kinds are folders of crates/resources/src/<group>/");
    Ok(())
}

/// Writes `crates/resources/src/<group>/<kind>/{mod,defaults,validation,columns}.rs`.
#[expect(clippy::print_stdout, reason = "tells what is left to do by hand")]
pub(crate) fn new_kind(api_version: &str, kind: &str) -> anyhow::Result<()> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let module = if group.is_empty() { "core" } else { group.split('.').next().unwrap_or(group) };
    let folder = process::root().join("crates/resources/src").join(module).join(snake_case(kind));
    if folder.exists() {
        bail!("{} is there already", folder.display());
    }
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let plural = format!("{}s", kind.to_lowercase());
    let files = [
        (
            "mod.rs",
            format!(
                "//! {kind} for the registry. Upstream: pkg/registry/{module}.\n\nmod columns;\nmod defaults;\nmod validation;\n\n\
                 use api::{module}::{version}::{kind};\nuse apimachinery::ErrorList;\nuse registry::{{Column, Info, RequestCx, Strategy}};\n\n\
                 pub struct {kind}s;\n\nimpl Strategy for {kind}s {{\n    type Object = {kind};\n\n    \
                 const INFO: Info = Info::namespaced(\"{group}\", \"{version}\", \"{kind}\", \"{plural}\");\n    \
                 const COLUMNS: &'static [Column<{kind}>] = columns::COLUMNS;\n\n    \
                 fn set_defaults(&self, object: &mut {kind}) {{\n        defaults::set(object);\n    }}\n\n    \
                 fn validate(&self, _cx: &RequestCx, object: &{kind}) -> ErrorList {{\n        validation::validate(object)\n    }}\n}}\n"
            ),
        ),
        (
            "defaults.rs",
            format!(
                "//! Defaults of {kind}.\n\nuse api::{module}::{version}::{kind};\n\npub(super) fn set(_object: &mut {kind}) {{}}\n"
            ),
        ),
        (
            "validation.rs",
            format!(
                "//! Validation of {kind}.\n\nuse api::{module}::{version}::{kind};\nuse apimachinery::ErrorList;\n\n\
                 pub(super) fn validate(_object: &{kind}) -> ErrorList {{\n    ErrorList::new()\n}}\n"
            ),
        ),
        (
            "columns.rs",
            format!(
                "//! Columns of {kind}.\n\nuse api::{module}::{version}::{kind};\nuse registry::Column;\n\n\
                 pub(super) const COLUMNS: &[Column<{kind}>] = &[Column::NAME, Column::AGE];\n"
            ),
        ),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text).with_context(|| format!("write {name}"))?;
    }
    println!("Wrote {}. Add `mod {};` beside it and a line to RESOURCES.", folder.display(), snake_case(kind));
    Ok(())
}

/// `ReplicaSet` and `replicaset` alike are looked for as `replica_set` and `replicaset`.
fn snake_case(kind: &str) -> String {
    let mut name = String::new();
    for (index, c) in kind.chars().enumerate() {
        if c.is_uppercase() && index > 0 {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    name
}
