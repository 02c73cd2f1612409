//! Images packed from Debian packages can be imported, exported and imported again.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use images::{Store, pack};

/// Packages are downloaded once for all test runs.
pub(crate) fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debian-packages")
}

#[test]
fn nginx_is_packed_the_same_every_time_and_survives_export() {
    let first = pack::pack(&pack::nginx(), &cache()).expect("pack nginx");
    let second = pack::pack(&pack::nginx(), &cache()).expect("pack nginx again");
    assert!(first.archive == second.archive, "two builds of the same packages differ");

    let directory = tempfile::tempdir().expect("temporary directory");
    let store = Store::open(directory.path().join("a")).expect("open store");
    let images = store.import_stream(first.archive.as_slice(), &[]).expect("import");
    let image = images.first().expect("one image");
    assert_eq!(image.names, ["docker.io/library/nginx:latest"]);
    assert_eq!(image.config.cmd, ["/usr/sbin/nginx", "-g", "daemon off;"]);
    let root = store.lower_directories(image).remove(0);
    assert!(root.join("usr/sbin/nginx").is_file());
    assert!(root.join("usr/share/nginx/html/index.html").is_file());
    assert_eq!(std::fs::read_link(root.join("var/log/nginx/access.log")).expect("a link"), Path::new("/dev/stdout"));

    // chroot shows that every shared library came along.
    let output =
        std::process::Command::new("chroot").arg(&root).args(["/usr/sbin/nginx", "-v"]).output().expect("run nginx");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let exported = directory.path().join("nginx.tar");
    let mut file = File::create(&exported).expect("create");
    store.export(&["nginx".to_owned()], &mut file).expect("export");
    file.flush().expect("flush");
    let other = Store::open(directory.path().join("b")).expect("open store");
    let again = other.import(&File::open(&exported).expect("open"), &[]).expect("import the export");
    assert_eq!(again[0].id, image.id);
    assert_eq!(again[0].names, image.names);
    assert_eq!(again[0].manifest, image.manifest);
}

#[test]
fn a_recipe_can_be_read_and_brings_programs_with_their_libraries_and_files_of_the_machine() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mine = directory.path().join("mine");
    std::fs::write(&mine, "#!/bin/sh\n").expect("write");
    std::fs::set_permissions(&mine, Permissions::from_mode(0o4755)).expect("chmod");
    let recipe = serde_json::json!({
        "names": ["example.test/tools:1"],
        "packages": ["bash"],
        "dependencies": true,
        "programs": ["/bin/bash"],
        "copy": {"/usr/local/bin/mine": mine},
        "config": {"Entrypoint": ["/bin/bash"]},
    });
    let recipe: pack::Recipe = serde_json::from_value(recipe).expect("a recipe");
    let packed = pack::pack(&recipe, &cache()).expect("pack");
    let store = Store::open(directory.path().join("store")).expect("open store");
    let image = store.import_stream(packed.archive.as_slice(), &[]).expect("import").remove(0);
    assert_eq!(
        (&image.names[..], &image.config.entrypoint[..]),
        (&["example.test/tools:1".to_owned()][..], &["/bin/bash".to_owned()][..])
    );
    let root = store.lower_directories(&image).remove(0);
    let mode = std::fs::metadata(root.join("usr/local/bin/mine")).expect("copied").permissions().mode();
    assert_eq!(mode & 0o7777, 0o4755);
    let output = std::process::Command::new("chroot").arg(&root).args(["/bin/bash", "-c", "echo $((6 * 7))"]).output();
    assert_eq!(output.expect("run bash").stdout, b"42\n", "a library is missing");

    let unknown = serde_json::json!({"names": [], "package": ["bash"]});
    assert!(serde_json::from_value::<pack::Recipe>(unknown).is_err(), "a misspelt field was ignored");
}

#[test]
fn a_directory_of_archives_is_imported_once() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let archives = directory.path().join("archives");
    std::fs::create_dir(&archives).expect("create");
    let busybox = pack::pack(&pack::busybox(), &cache()).expect("pack busybox");
    std::fs::write(archives.join("busybox.tar"), &busybox.archive).expect("write");
    std::fs::write(archives.join("broken.tar"), b"not a tar at all").expect("write");

    let store = Store::open(directory.path().join("store")).expect("open store");
    assert_eq!(store.import_directory(&archives).expect("import").len(), 1);
    assert_eq!(store.import_directory(&archives).expect("import").len(), 0, "an unchanged archive was read again");
    let reopened = Store::open(directory.path().join("store")).expect("open store again");
    assert_eq!(reopened.import_directory(&archives).expect("import").len(), 0);
    let imported = reopened.get("busybox").expect("imported");
    assert!(imported.pinned, "the node may not collect what it cannot fetch again");

    reopened.remove("busybox").expect("remove");
    assert_eq!(reopened.import_directory(&archives).expect("import").len(), 1, "a removed image comes back");
}

#[test]
fn the_echo_server_answers_and_ends_when_asked() {
    use std::io::{BufRead, BufReader, Read};
    use std::net::TcpStream;
    use std::process::{Command, Stdio};
    let packed = pack::pack(&pack::echo(), &cache()).expect("pack echo");
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = Store::open(directory.path()).expect("open store");
    let image = store.import_stream(packed.archive.as_slice(), &[]).expect("import").remove(0);
    assert_eq!(image.config.entrypoint, ["/echo"]);
    let program = store.lower_directories(&image)[0].join("echo");
    let mut server = Command::new(program)
        .envs([("PORT", "0"), ("data-1", "value")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("start echo");
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("stdout")).read_line(&mut line).expect("read");
    let port: u16 = line.trim().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let get = |path: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("write");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read");
        text
    };
    assert!(get("/env/data-1").ends_with("\r\n\r\nvalue\n"));
    assert!(get("/env/none").starts_with("HTTP/1.1 404"));
    assert!(get("/").contains("GET / HTTP/1.1"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(server.id().cast_signed()), nix::sys::signal::Signal::SIGTERM)
        .expect("signal");
    assert!(server.wait().expect("wait").success());
}
