//! Attacks that must be refused, and what must be unpacked faithfully. Needs root, for owners, whiteouts and attributes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use super::{Limits, Refusal, Summary, extract_layer};
use crate::{Error, Result};

/// A layer in the making. Names are written as given, without the `tar` crate's own checks.
struct Layer {
    tar: Builder<Vec<u8>>,
}

impl Layer {
    fn new() -> Self {
        Self { tar: Builder::new(Vec::new()) }
    }

    fn entry(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000);
        let raw = header.as_old_mut();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.tar.append(&header, content).expect("append");
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name, "", content.as_bytes())
    }

    fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.tar.into_inner().expect("finish")
    }

    fn unpack(self) -> (tempfile::TempDir, Result<Summary>) {
        let directory = tempfile::tempdir().expect("temporary directory");
        fs::create_dir(directory.path().join("root")).expect("create");
        fs::write(directory.path().join("victim"), "untouched").expect("write");
        let result = extract_layer(self.bytes().as_slice(), &directory.path().join("root"), &Limits::default());
        let victim = fs::read_to_string(directory.path().join("victim")).expect("read");
        assert_eq!(victim, "untouched", "something outside was written");
        let outside: Vec<_> = fs::read_dir(directory.path()).expect("list").flatten().map(|e| e.file_name()).collect();
        assert_eq!(outside.len(), 2, "something outside was made: {outside:?}");
        (directory, result)
    }

    #[track_caller]
    fn refused(self) -> Refusal {
        match self.unpack().1 {
            Err(Error::Refused(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[test]
fn names_that_leave_the_root_are_refused() {
    for name in ["../victim", "a/../../victim", "a/b/../../../victim", "..", "/../victim"] {
        assert!(matches!(Layer::new().file(name, "x").refused(), Refusal::Traversal { .. }), "{name}");
    }
    assert!(matches!(Layer::new().hard_link("x", "../victim").refused(), Refusal::Traversal { .. }));
    assert!(matches!(Layer::new().file(".wh...", "").refused(), Refusal::Traversal { .. }));
}

#[test]
fn nothing_is_written_through_links() {
    let through = |layer: Layer| assert!(matches!(layer.refused(), Refusal::ThroughLink { .. }));
    through(Layer::new().symlink("d", "..").file("d/victim", "x"));
    through(Layer::new().symlink("d", "/").file("d/victim", "x"));
    through(Layer::new().directory("real").symlink("d", "real").file("d/f", "x"));
    through(Layer::new().symlink("d", "/tmp").file("d/.wh.victim", ""));
    through(Layer::new().file("d", "x").file("d/f", "x"));
    through(Layer::new().symlink("d", "..").hard_link("x", "d/victim"));
    // A link that is replaced by the file of the same name is not followed.
    let (directory, result) = Layer::new().symlink("f", "../victim").file("f", "mine").unpack();
    result.expect("unpacked");
    assert_eq!(fs::read_to_string(directory.path().join("root/f")).expect("read"), "mine");
    // A hard link to a symbolic link links the link itself.
    let (directory, result) = Layer::new().symlink("s", "../victim").hard_link("h", "s").file("h", "mine").unpack();
    result.expect("unpacked");
    assert!(fs::symlink_metadata(directory.path().join("root/s")).expect("stat").file_type().is_symlink());
}

#[test]
fn a_hard_link_to_what_is_not_there_is_refused() {
    assert!(matches!(Layer::new().hard_link("x", "/etc/passwd").refused(), Refusal::DanglingLink { .. }));
    assert!(matches!(Layer::new().directory("d").hard_link("x", "d").refused(), Refusal::DanglingLink { .. }));
}

#[test]
fn device_nodes_are_left_out_or_refused() {
    let layer =
        || Layer::new().entry(EntryType::Char, "null", "", b"").entry(EntryType::Block, "disk", "", b"").file("f", "x");
    let (directory, result) = layer().unpack();
    result.expect("unpacked");
    let names: Vec<_> = fs::read_dir(directory.path().join("root")).expect("list").flatten().collect();
    assert_eq!(names.len(), 1);
    let limits = Limits { refuse_devices: true, ..Limits::default() };
    let directory = tempfile::tempdir().expect("temporary directory");
    let refused = extract_layer(layer().bytes().as_slice(), directory.path(), &limits);
    assert!(matches!(refused, Err(Error::Refused(Refusal::Device { .. }))));
}

#[test]
fn bombs_are_refused() {
    let limits = Limits { bytes: 1 << 20, entries: 50, ratio: 20, ratio_free_bytes: 64 << 10, ..Limits::default() };
    let check = |bytes: &[u8]| {
        let directory = tempfile::tempdir().expect("temporary directory");
        match extract_layer(bytes, directory.path(), &limits) {
            Err(Error::Refused(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    };
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).expect("compress");
        encoder.finish().expect("compress")
    };
    let zeros = |n: usize| Layer::new().entry(EntryType::Regular, "zeros", "", &vec![0; n]).bytes();
    assert_eq!(check(&gzip(&zeros(512 << 10))), Refusal::Ratio { limit: 20 });
    assert_eq!(
        check(&zstd::encode_all(zeros(512 << 10).as_slice(), 3).expect("compress")),
        Refusal::Ratio { limit: 20 }
    );
    assert_eq!(check(&zeros(2 << 20)), Refusal::TooLarge { limit: 1 << 20 });
    let many = (0..60).fold(Layer::new(), |layer, i| layer.file(&format!("f{i}"), ""));
    assert_eq!(check(&many.bytes()), Refusal::TooManyEntries { limit: 50 });
}

#[test]
fn malformed_archives_are_refused() {
    let good = Layer::new().file("f", &"x".repeat(2000)).bytes();
    let directory = tempfile::tempdir().expect("temporary directory");
    let check = |bytes: &[u8]| match extract_layer(bytes, directory.path(), &Limits::default()) {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(check(&good[..1000]), Refusal::Truncated);
    let mut wrong_sum = good.clone();
    wrong_sum[0] ^= 1;
    assert!(matches!(check(&wrong_sum), Refusal::Header { .. }));
    // A name that claims to be gigabytes long.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 33);
    header.set_cksum();
    let mut long = header.as_bytes().to_vec();
    long.resize(512 + (1 << 20), b'a');
    assert!(matches!(check(&long), Refusal::NameTooLong { .. }));
    let deep = "d/".repeat(49);
    let deep =
        Layer::new().entry(EntryType::XHeader, "pax", "", pax(&[("path", &format!("{}f", deep.repeat(4)))]).as_bytes());
    assert!(matches!(check(&deep.file("f", "").bytes()), Refusal::NameTooLong { .. }));
    let two_sizes =
        Layer::new().entry(EntryType::XHeader, "pax", "", pax(&[("size", "99999")]).as_bytes()).file("f", "x");
    assert!(matches!(check(&two_sizes.bytes()), Refusal::Header { .. }));
}

fn pax(records: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (key, value) in records {
        let body = format!(" {key}={value}\n");
        let mut length = body.len();
        while length != body.len() + length.to_string().len() {
            length = body.len() + length.to_string().len();
        }
        text.push_str(&format!("{length}{body}"));
    }
    text
}

#[test]
fn attributes_that_steer_the_overlay_are_left_out() {
    let records = pax(&[("SCHILY.xattr.trusted.overlay.redirect", "/etc"), ("SCHILY.xattr.user.note", "kept")]);
    let layer = Layer::new().entry(EntryType::XHeader, "pax", "", records.as_bytes()).directory("d");
    let (directory, result) = layer.unpack();
    result.expect("unpacked");
    assert_eq!(attribute(&directory.path().join("root/d"), c"trusted.overlay.redirect"), None);
}

#[test]
fn whiteouts_become_what_overlayfs_knows() {
    let layer = Layer::new()
        .file("d/.wh.gone", "")
        .file("e/.wh..wh..opq", "")
        .file("e/new", "x")
        .file(".wh.kept", "")
        .file("kept", "x");
    let (directory, result) = layer.unpack();
    result.expect("unpacked");
    let root = directory.path().join("root");
    let gone = fs::symlink_metadata(root.join("d/gone")).expect("stat");
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert_eq!(attribute(&root.join("e"), c"trusted.overlay.opaque"), Some(b"y".to_vec()));
    assert_eq!(fs::read_to_string(root.join("kept")).expect("read"), "x");

    // Mounted, the lower files are hidden.
    let (lower, upper) = (directory.path().join("lower"), root);
    fs::create_dir_all(lower.join("d")).expect("create");
    fs::create_dir_all(lower.join("e")).expect("create");
    for path in ["d/gone", "d/stays", "e/old"] {
        fs::write(lower.join(path), "lower").expect("write");
    }
    let merged = directory.path().join("merged");
    fs::create_dir(&merged).expect("create");
    let options = format!("lowerdir={}:{}", upper.display(), lower.display());
    nix::mount::mount(Some("overlay"), &merged, Some("overlay"), nix::mount::MsFlags::empty(), Some(options.as_str()))
        .expect("mount");
    let found = ["d/gone", "d/stays", "e/old", "e/new"].map(|path| merged.join(path).exists());
    nix::mount::umount(&merged).expect("unmount");
    assert_eq!(found, [false, true, false, true]);
}

#[test]
fn owners_modes_and_links_are_kept() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(0);
    header.set_mode(0o4755);
    header.set_uid(12);
    header.set_gid(34);
    header.set_mtime(1_234_567);
    let mut layer = Layer::new();
    layer.tar.append_data(&mut header, "bin/tool", std::io::empty()).expect("append");
    let (directory, result) = layer.hard_link("bin/again", "bin/tool").symlink("bin/short", "tool").unpack();
    let summary = result.expect("unpacked");
    assert_eq!(summary.entries, 3);
    let root = directory.path().join("root");
    let tool = fs::metadata(root.join("bin/tool")).expect("stat");
    assert_eq!((tool.mode() & 0o7777, tool.uid(), tool.gid(), tool.mtime()), (0o4755, 12, 34, 1_234_567));
    assert_eq!(fs::metadata(root.join("bin/again")).expect("stat").ino(), tool.ino());
    assert_eq!(fs::read_link(root.join("bin/short")).expect("link"), Path::new("tool"));
}

#[test]
fn the_root_itself_may_be_a_link_target_of_nothing() {
    // A prepared link inside the root (by an earlier, trusted step) is not followed either.
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = directory.path().join("root");
    fs::create_dir(&root).expect("create");
    symlink("..", root.join("up")).expect("link");
    let bytes = Layer::new().file("up/victim", "x").bytes();
    let refused = extract_layer(bytes.as_slice(), &root, &Limits::default());
    assert!(matches!(refused, Err(Error::Refused(Refusal::ThroughLink { .. }))));
    assert!(!directory.path().join("victim").exists());
}

#[expect(unsafe_code, reason = "no safe wrapper of lgetxattr among the dependencies")]
fn attribute(path: &Path, name: &std::ffi::CStr) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("a path");
    let mut buffer = [0_u8; 256];
    // SAFETY: both strings are NUL-terminated and the buffer has the length it says.
    let n = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(n).ok().map(|n| buffer[..n].to_vec())
}
