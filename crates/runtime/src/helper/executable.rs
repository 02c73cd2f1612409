//! Finding a program inside the container, and executing it, with the messages that users know from runc.
//! Upstream: Go `os/exec.LookPath`, runc `libcontainer/standard_init_linux.go`.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, execve};

/// The path that `name` stands for with the given environment.
pub(super) fn find(name: &str, environment: &[String]) -> Result<PathBuf, String> {
    if name.is_empty() {
        return Err("exec: \"\": executable file not found in $PATH".to_owned());
    }
    if name.contains('/') {
        let path = PathBuf::from(name);
        return match check(&path) {
            Ok(()) => Ok(path),
            Err(Errno::ENOENT) => Err(format!("exec: {name:?}: stat {name}: no such file or directory")),
            Err(errno) => Err(format!("exec: {name:?}: {}", describe(errno))),
        };
    }
    let search = environment.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    let mut denied = false;
    for directory in search.split(':') {
        let path = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(Errno::EACCES) => denied = true,
            Err(_) => {}
        }
    }
    if denied {
        Err(format!("exec: {name:?}: permission denied"))
    } else {
        Err(format!("exec: {name:?}: executable file not found in $PATH"))
    }
}

/// Replaces this process. Only returns with what went wrong.
pub(super) fn execute(path: &Path, args: &[String], environment: &[String]) -> String {
    let strings = |values: &[String]| -> Result<Vec<CString>, String> {
        values
            .iter()
            .map(|value| CString::new(value.as_bytes()).map_err(|_| "exec: argument contains NUL".to_owned()))
            .collect()
    };
    let prepared = (|| {
        use std::os::unix::ffi::OsStrExt;
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| "exec: path contains NUL".to_owned())?;
        Ok::<_, String>((path, strings(args)?, strings(environment)?))
    })();
    match prepared {
        Ok((path_c, args, environment)) => match execve(&path_c, &args, &environment) {
            Ok(never) => match never {},
            Err(errno) => format!("exec {}: {}", path.display(), describe(errno)),
        },
        Err(message) => message,
    }
}

fn check(path: &Path) -> Result<(), Errno> {
    let metadata = std::fs::metadata(path).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
    if metadata.is_dir() {
        return Err(Errno::EISDIR);
    }
    access(path, AccessFlags::X_OK)
}

/// The texts of Go's `syscall.Errno`, which is what the messages are compared with.
fn describe(errno: Errno) -> String {
    match errno {
        Errno::ENOENT => "no such file or directory".to_owned(),
        Errno::EACCES => "permission denied".to_owned(),
        Errno::EISDIR => "is a directory".to_owned(),
        Errno::ENOEXEC => "exec format error".to_owned(),
        Errno::E2BIG => "argument list too long".to_owned(),
        Errno::ENOTDIR => "not a directory".to_owned(),
        other => other.desc().to_lowercase(),
    }
}
