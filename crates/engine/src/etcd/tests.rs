//! What needs no etcd. What does is in the store's tests, over a real one.

use super::*;

#[test]
fn versions_whose_progress_is_believed() {
    for (version, told) in [
        ("3.4.23", false),
        ("3.4.31", true),
        ("3.5.12", false),
        ("3.5.13", true),
        ("3.5.30+dfsg", true),
        ("3.6.0-rc.1", true),
        ("4.0.0", true),
        ("", false),
        ("what", false),
    ] {
        assert_eq!(tells_progress(version), told, "{version}");
    }
}

#[test]
fn ranges_end_behind_their_prefix() {
    assert_eq!(prefix_end(b"/registry/"), "/registry0");
    assert_eq!(prefix_end(b"a\xff"), "b");
    assert_eq!(prefix_end(b"\xff"), "\0");
}
