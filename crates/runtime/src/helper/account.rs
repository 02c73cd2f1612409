//! Users and groups by the container's own `/etc/passwd` and `/etc/group`, read without leaving its root.
//! Upstream: moby/sys/user `GetExecUser`, containerd `oci.WithUser`, `WithAdditionalGIDs`.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

use super::launch::Identity;

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

struct PasswdEntry<'f> {
    name: &'f str,
    uid: u32,
    gid: u32,
    home: &'f str,
}

const FILE_LIMIT: u64 = 4 << 20;

/// Finds `identity` in the root that `root` is open on. The error is what the user is told.
pub(super) fn resolve(identity: &Identity, root: BorrowedFd<'_>) -> Result<Account, String> {
    resolve_in(identity, &read(root, "etc/passwd"), &read(root, "etc/group"))
}

fn resolve_in(identity: &Identity, passwd: &str, group: &str) -> Result<Account, String> {
    let (user, image_group) = match identity.user.split_once(':') {
        Some((user, group)) => (user, group),
        None => (identity.user.as_str(), ""),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number: Option<u32> = user.parse().ok();
    let entry = passwd.lines().filter_map(PasswdEntry::parse).find(|entry| match number {
        Some(uid) => entry.uid == uid,
        None => entry.name == user,
    });
    let (uid, mut gid, home, name) = match (&entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home.to_owned(), Some(entry.name)),
        (None, Some(uid)) => (uid, 0, "/".to_owned(), None),
        (None, None) => return Err(format!("unable to find user {user}: no matching entries in passwd file")),
    };
    if !image_group.is_empty() {
        gid = match image_group.parse() {
            Ok(gid) => gid,
            Err(_) => groups(group)
                .find(|(name, _, _)| *name == image_group)
                .map(|(_, gid, _)| gid)
                .ok_or_else(|| format!("unable to find group {image_group}: no matching entries in group file"))?,
        };
    }
    gid = identity.group.unwrap_or(gid);
    let mut all = vec![gid];
    if !identity.strict
        && let Some(name) = name
    {
        all.extend(
            groups(group).filter(|(_, _, members)| members.split(',').any(|m| m == name)).map(|(_, gid, _)| gid),
        );
    }
    all.extend(&identity.supplemental);
    let mut unique = Vec::with_capacity(all.len());
    for gid in all {
        if !unique.contains(&gid) {
            unique.push(gid);
        }
    }
    Ok(Account { uid, gid, groups: unique, home: if home.is_empty() { "/".to_owned() } else { home } })
}

// === impl PasswdEntry ===

impl<'f> PasswdEntry<'f> {
    fn parse(line: &'f str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    }
}

fn groups(file: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    file.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        Some((name, fields.next()?.parse().ok()?, fields.next().unwrap_or_default()))
    })
}

/// A file of the container's root; empty when there is none. Links resolve inside the root.
fn read(root: BorrowedFd<'_>, path: &str) -> String {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .mode(Mode::empty())
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let Ok(fd) = openat2(root.as_fd(), path, how) else { return String::new() };
    let mut bytes = Vec::new();
    // A file that cannot be read has no accounts.
    drop(File::from(fd).take(FILE_LIMIT).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv/web:/bin/false\nbad line\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nadm:x:4:root,web\ntape:x:26:other\n";

    fn check(identity: Identity) -> Result<(u32, u32, Vec<u32>, String), String> {
        resolve_in(&identity, PASSWD, GROUP).map(|a| (a.uid, a.gid, a.groups, a.home))
    }

    fn user(user: &str) -> Identity {
        Identity { user: user.to_owned(), ..Identity::default() }
    }

    #[test]
    fn names_and_numbers_are_found_as_by_docker() {
        assert_eq!(check(user("")), Ok((0, 0, vec![0, 4], "/root".to_owned())));
        assert_eq!(check(user("web")), Ok((33, 34, vec![34, 4], "/srv/web".to_owned())));
        assert_eq!(check(user("33")), Ok((33, 34, vec![34, 4], "/srv/web".to_owned())));
        assert_eq!(check(user("web:tape")), Ok((33, 26, vec![26, 4], "/srv/web".to_owned())));
        assert_eq!(check(user("1000")), Ok((1000, 0, vec![0], "/".to_owned())));
        assert_eq!(check(user("1000:7")), Ok((1000, 7, vec![7], "/".to_owned())));
        assert_eq!(
            check(user("nobody")),
            Err("unable to find user nobody: no matching entries in passwd file".to_owned())
        );
        assert!(check(user("web:none")).is_err());
    }

    #[test]
    fn the_pods_groups_are_added() {
        let identity =
            Identity { user: "web".to_owned(), group: Some(5), supplemental: vec![100, 5], ..Identity::default() };
        assert_eq!(check(identity), Ok((33, 5, vec![5, 4, 100], "/srv/web".to_owned())));
        let strict = Identity { user: "web".to_owned(), supplemental: vec![100], strict: true, ..Identity::default() };
        assert_eq!(check(strict), Ok((33, 34, vec![34, 100], "/srv/web".to_owned())));
    }
}
