//! Control groups that a test's node makes, and their end.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The root of a test's control groups; dropping it removes the whole tree, whatever the test's end was.
///
/// Processes in the groups must be gone by then: a group that is in use stays, and the test fails.
pub struct ControlGroups {
    root: String,
}

impl ControlGroups {
    /// `root` is the path of the tree within each hierarchy, like `/tiphys-test-1`.
    pub fn new(root: impl Into<String>) -> Self {
        Self { root: root.into() }
    }

    /// The path within each hierarchy.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Where the tree is: once in each hierarchy of version 1, once in that of version 2.
    fn trees(&self) -> Vec<PathBuf> {
        let mount = Path::new("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(mount).into_iter().flatten().flatten().map(|entry| entry.path());
        let all = hierarchies.chain([mount.to_owned()]);
        all.map(|hierarchy| hierarchy.join(self.root.trim_start_matches('/'))).filter(|tree| tree.is_dir()).collect()
    }
}

impl Drop for ControlGroups {
    fn drop(&mut self) {
        for tree in self.trees() {
            let removed = remove(&tree);
            assert!(removed.is_ok() || std::thread::panicking(), "{} stays: {removed:?}", tree.display());
        }
    }
}

/// Control groups are removed leaves first; their files go with them.
fn remove(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
