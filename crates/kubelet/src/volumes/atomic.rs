//! Writes a set of files so that readers see the old set or the new one, never a mixture: files live in a
//! timestamped directory, `..data` links to it and is swapped by one rename, and every file's visible path links
//! through `..data`. Upstream: pkg/volume/util/atomic_writer.go.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use super::payload::{Payload, check_path};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Makes `dir` hold exactly `payload`. False when it did already.
pub(super) fn write(dir: &Path, payload: &Payload, stamp: &str, group: Option<u32>) -> io::Result<bool> {
    for path in payload.keys() {
        check_path(path).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    }
    let old = match std::fs::read_link(dir.join(DATA)) {
        Ok(target) => Some(target),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(old) = &old
        && same(&dir.join(old), payload)?
    {
        return Ok(false);
    }
    let name = format!("..{stamp}");
    let fresh = dir.join(&name);
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh)?;
    }
    std::fs::DirBuilder::new().mode(0o755).create(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        let target = fresh.join(path);
        if let Some(parent) = target.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        let mut options = std::fs::OpenOptions::new();
        let mut handle = options.write(true).create_new(true).mode(file.mode).open(&target)?;
        io::Write::write_all(&mut handle, &file.content)?;
        // The process's umask must not narrow what was asked for; a group that owns the volume may read.
        let mode = if group.is_some() { file.mode | ((file.mode & 0o400) >> 3) } else { file.mode };
        handle.set_permissions(std::fs::Permissions::from_mode(mode))?;
        if file.owner.is_some() || group.is_some() {
            std::os::unix::fs::fchown(&handle, file.owner, group)?;
        }
    }
    let pending = dir.join(NEW_DATA);
    if pending.symlink_metadata().is_ok() {
        std::fs::remove_file(&pending)?;
    }
    symlink(&name, &pending)?;
    std::fs::rename(&pending, dir.join(DATA))?;
    link_tops(dir, payload)?;
    if let Some(old) = old {
        let stale = dir.join(&old);
        // Only what this writer made; a link that was tampered with leads nowhere else.
        if old.components().count() == 1 && old != Path::new(&name) && stale.is_dir() {
            std::fs::remove_dir_all(&stale)?;
        }
    }
    Ok(true)
}

/// Visible names link into `..data`; names that are no more are removed.
fn link_tops(dir: &Path, payload: &Payload) -> io::Result<()> {
    let tops: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for top in &tops {
        let link = dir.join(top);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(DATA).join(top), &link)?;
        }
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !tops.contains(name.as_ref()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn same(dir: &Path, payload: &Payload) -> io::Result<bool> {
    let mut present = BTreeSet::new();
    if !dir.is_dir() {
        return Ok(false);
    }
    collect(dir, Path::new(""), &mut present)?;
    if present.len() != payload.len() || !payload.keys().all(|path| present.contains(path)) {
        return Ok(false);
    }
    for (path, file) in payload {
        if std::fs::read(dir.join(path))? != file.content {
            return Ok(false);
        }
    }
    Ok(true)
}

fn collect(dir: &Path, below: &Path, into: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, into)?;
        } else {
            into.insert(path.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::payload::File;
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |content: &str| File { content: content.as_bytes().to_vec(), mode: 0o640, owner: None };
        files.iter().map(|(path, content)| ((*path).to_owned(), file(content))).collect()
    }

    #[test]
    fn files_appear_change_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let read = |path: &str| std::fs::read_to_string(dir.path().join(path)).ok();
        assert!(write(dir.path(), &payload(&[("a", "1"), ("d/b", "2")]), "t1", None).unwrap());
        assert_eq!((read("a").as_deref(), read("d/b").as_deref()), (Some("1"), Some("2")));
        assert_eq!(std::fs::read_link(dir.path().join("a")).unwrap(), Path::new("..data/a"));
        assert!(!write(dir.path(), &payload(&[("a", "1"), ("d/b", "2")]), "t2", None).unwrap(), "nothing changed");
        assert!(write(dir.path(), &payload(&[("a", "3")]), "t3", None).unwrap());
        assert_eq!((read("a").as_deref(), read("d/b")), (Some("3"), None));
        assert!(!dir.path().join("..t1").exists(), "the old set is removed");
        let mode = std::fs::metadata(dir.path().join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn an_open_file_keeps_its_old_content() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &payload(&[("a", "1")]), "t1", None).unwrap();
        let old = std::fs::canonicalize(dir.path().join("..data")).unwrap();
        write(dir.path(), &payload(&[("a", "2")]), "t2", None).unwrap();
        assert_ne!(std::fs::canonicalize(dir.path().join("..data")).unwrap(), old);
    }

    #[test]
    fn escaping_paths_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write(dir.path(), &payload(&[("../x", "1")]), "t1", None).is_err());
    }
}
