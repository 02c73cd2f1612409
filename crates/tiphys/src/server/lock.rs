//! The lock that a running server holds on its data directory.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

/// Held as long as the process lives; the kernel releases it whatever happens.
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

/// Takes the lock, or says who has it.
pub(crate) fn take(path: &Path) -> anyhow::Result<Lock> {
    let file = open(path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.set_len(0).context("write the lock")?;
            write!(lock, "{}", std::process::id()).context("write the lock")?;
            Ok(Lock(lock))
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).context("read the lock")?;
            bail!(
                "a server (process {holder}) is running on {} already; stop it, or give this one another --data-dir",
                path.parent().unwrap_or(path).display()
            )
        }
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

/// The process that holds the lock, if any does.
pub(crate) fn holder(path: &Path) -> anyhow::Result<Option<i32>> {
    if !path.exists() {
        return Ok(None);
    }
    match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(_free) => Ok(None),
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).context("read the lock")?;
            Ok(holder.trim().parse().ok())
        }
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

/// Waits until nobody holds the lock.
pub(crate) fn wait(path: &Path) -> anyhow::Result<()> {
    match Flock::lock(open(path)?, FlockArg::LockExclusive) {
        Ok(_free) => Ok(()),
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.lock");
        assert_eq!(holder(&path).unwrap(), None);
        let held = take(&path).unwrap();
        assert_eq!(holder(&path).unwrap(), i32::try_from(std::process::id()).ok());
        let refused = take(&path).err().map(|error| error.to_string()).unwrap();
        assert!(refused.contains("is running on"), "{refused}");
        drop(held);
        assert_eq!(holder(&path).unwrap(), None);
        take(&path).unwrap();
    }
}
