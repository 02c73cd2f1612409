//! Debian packages: fetched once with `apt-get download`, read with `dpkg-deb --fsys-tarfile`.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tar::EntryType;

use super::tree::{Kind, Node, Tree};
use crate::archive::Members;
use crate::{Error, Result};

const MAX_ENTRIES: u64 = 100_000;
const MAX_FILE: u64 = 256 << 20;

/// The files of `packages`, from the cache or the archive.
pub(super) fn fetch(packages: &[String], cache: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(cache).map_err(Error::io("create", cache))?;
    let missing: Vec<&String> = packages.iter().filter(|package| cached(cache, package).is_none()).collect();
    if !missing.is_empty() && !download(&missing, cache)? {
        // A machine whose package lists were never fetched, or are too old.
        run(Command::new("apt-get").args(["-qq", "update"]))?;
        download(&missing, cache)?;
    }
    packages
        .iter()
        .map(|package| {
            cached(cache, package).ok_or_else(|| Error::Pack(format!("package {package} cannot be fetched")))
        })
        .collect()
}

/// `packages` and all that they depend on, in the order of their names.
pub(super) fn with_dependencies(packages: &[String]) -> Result<Vec<String>> {
    let without = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"];
    let without = without.map(|relation| format!("--no-{relation}"));
    let output = run(Command::new("apt-cache").args(["depends", "--recurse"]).args(without).args(packages))?;
    // A package stands at the beginning of a line, one that only others provide in angle brackets.
    let text = String::from_utf8_lossy(&output.stdout);
    let mut names: Vec<String> =
        text.lines().filter(|line| !line.starts_with([' ', '<', '|'])).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Adds the files of one package to `tree`.
pub(super) fn read(package: &Path, tree: &mut Tree) -> Result<()> {
    let failed = |e: std::io::Error| Error::Pack(format!("dpkg-deb: {e}"));
    let mut child =
        Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let stdout = child.stdout.take().ok_or_else(|| Error::Pack("dpkg-deb has no output".to_owned()))?;
    let mut archive = tar::Archive::new(stdout);
    let mut members = Members::new(archive.entries().map_err(failed)?, MAX_ENTRIES);
    while let Some(mut member) = members.next()? {
        let link = || String::from_utf8_lossy(member.link.as_deref().unwrap_or_default()).into_owned();
        let kind = match member.kind {
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Link(link()),
            EntryType::Link => {
                let target = super::tree::relative(link().trim_start_matches("./"));
                match tree.get(&target) {
                    Some(node) => node.kind.clone(),
                    None => return Err(Error::Pack(format!("dangling hard link to {}", target.display()))),
                }
            }
            EntryType::Regular => {
                let mut bytes = Vec::new();
                (&mut member.body).take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
                Kind::File(bytes)
            }
            _ => continue,
        };
        if !member.path.as_os_str().is_empty() {
            tree.insert(member.path, Node { kind, mode: member.mode, uid: member.uid, gid: member.gid });
        }
    }
    // What is left is padding; dpkg-deb must not die of a closed pipe.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map_err(failed)?;
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(Error::Pack(format!("dpkg-deb {}: {status}", package.display()))) }
}

/// The names busybox answers to, which only the program itself knows.
pub(super) fn busybox_applets(source: &Tree, cache: &Path) -> Result<Vec<String>> {
    let (_, bytes) = source
        .resolve(Path::new("bin/busybox"))
        .or_else(|| source.resolve(Path::new("usr/bin/busybox")))
        .ok_or_else(|| Error::Pack("no package has busybox".to_owned()))?;
    let path = cache.join(format!("busybox-{}", std::process::id()));
    fs::write(&path, bytes).map_err(Error::io("write", &path))?;
    let listed = fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .map_err(Error::io("chmod", &path))
        .and_then(|()| run(Command::new(&path).arg("--list")));
    fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    let text = String::from_utf8_lossy(&listed?.stdout).into_owned();
    Ok(text.lines().filter(|name| *name != "busybox" && !name.is_empty()).map(str::to_owned).collect())
}

fn download(packages: &[&String], cache: &Path) -> Result<bool> {
    // Without the sandbox user, which may not write into the cache directory.
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-o", "APT::Sandbox::User=root", "download"]).args(packages).current_dir(cache);
    let output = command.output().map_err(|e| Error::Pack(format!("apt-get: {e}")))?;
    Ok(output.status.success())
}

/// The newest file of a package in the cache (`name_version_arch.deb`).
fn cached(cache: &Path, package: &str) -> Option<PathBuf> {
    let prefix = format!("{package}_");
    let mut found: Vec<PathBuf> = fs::read_dir(cache)
        .ok()?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.starts_with(&prefix) && name.ends_with(".deb")
        })
        .collect();
    found.sort();
    found.pop()
}

fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| Error::Pack(format!("{name}: {e}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(Error::Pack(format!("{name}: {}: {}", output.status, message.trim())))
}
