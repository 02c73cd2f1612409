//! hostPath volumes: checks and creations by type. Upstream: pkg/volume/hostpath, whose messages these are.

use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes sure the path is what its type says.
pub(super) fn prepare(path: &str, kind: &str) -> Result<(), String> {
    let target = Path::new(path);
    let meta = std::fs::metadata(target);
    let wrong = |what: &str| Err(format!("hostPath type check failed: {path} is not a {what}"));
    match kind {
        "" => Ok(()),
        "DirectoryOrCreate" => match meta {
            Ok(meta) if meta.is_dir() => Ok(()),
            Ok(_) => wrong("directory"),
            Err(_) => std::fs::create_dir_all(target)
                .and_then(|()| std::fs::set_permissions(target, std::fs::Permissions::from_mode(0o755)))
                .map_err(|error| format!("hostPath type check failed: {error}")),
        },
        "FileOrCreate" => match meta {
            Ok(meta) if meta.is_file() => Ok(()),
            Ok(_) => wrong("file"),
            Err(_) => std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o644)
                .open(target)
                .map(|_| ())
                .map_err(|error| format!("hostPath type check failed: {error}")),
        },
        "Directory" if meta.as_ref().is_ok_and(|meta| meta.is_dir()) => Ok(()),
        "Directory" => wrong("directory"),
        "File" if meta.as_ref().is_ok_and(|meta| meta.is_file()) => Ok(()),
        "File" => wrong("file"),
        "Socket" if meta.as_ref().is_ok_and(|meta| meta.file_type().is_socket()) => Ok(()),
        "Socket" => wrong("socket file"),
        "CharDevice" if meta.as_ref().is_ok_and(|meta| meta.file_type().is_char_device()) => Ok(()),
        "CharDevice" => wrong("character device"),
        "BlockDevice" if meta.as_ref().is_ok_and(|meta| meta.file_type().is_block_device()) => Ok(()),
        "BlockDevice" => wrong("block device"),
        other => Err(format!("{other} is an invalid volume type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        assert_eq!(prepare(&at("new/deep"), "DirectoryOrCreate"), Ok(()));
        assert_eq!(prepare(&at("f"), "FileOrCreate"), Ok(()));
        assert_eq!(prepare(&at("f"), "File"), Ok(()));
        assert!(prepare(&at("f"), "Directory").unwrap_err().ends_with("/f is not a directory"));
        assert!(prepare(&at("none"), "Socket").unwrap_err().ends_with("is not a socket file"));
        assert_eq!(prepare("/dev/null", "CharDevice"), Ok(()));
        assert_eq!(prepare(&at("none"), ""), Ok(()));
    }
}
