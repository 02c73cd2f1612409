//! One cluster of a test: its directory, its process, its end.

use std::{
    fs,
    io::ErrorKind,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    leftovers::Traces,
    machine::{self, Slot},
};

pub(crate) const NODE: &str = "worker";
/// How many seconds a start may take on a machine that is busy with other tests.
const START_SECONDS: u32 = 120;

pub(crate) struct Cluster {
    /// Beside the data directory, which `reset` removes: the log, the kubeconfig, the socket that tells of readiness.
    around: TempDir,
    process: Child,
    /// Its address ranges are its own as long as this is held.
    _slot: Slot,
}

impl Cluster {
    /// Starts a cluster with the packed images and waits until it says that it is ready.
    pub(crate) fn start() -> Self {
        let around = tempfile::Builder::new().prefix("tiphys-it-").tempdir().unwrap();
        let data = around.path().join("data");
        fs::create_dir_all(data.join("images")).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        for image in ["busybox", "nginx"] {
            let archive = machine::archive(image);
            fs::copy(&archive, data.join("images").join(archive.file_name().unwrap())).unwrap();
        }
        let slot = Slot::take();
        let ports = (machine::free_port(), machine::free_port());
        let process = spawn(around.path(), &slot, ports);
        Self { around, process, _slot: slot }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.around.path().join("data")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.around.path().join("kubeconfig")
    }

    /// A place for the files of a test.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.around.path().join(name)
    }

    /// What this cluster has in the kernel.
    pub(crate) fn traces(&self) -> Traces {
        Traces::of(&self.data(), &self.bridge())
    }

    /// Resets the cluster and looks for what is left of it.
    pub(crate) fn remove(mut self) {
        let bridge = self.bridge();
        let before = self.traces();
        assert!(!before.mounts.is_empty() && !before.links.is_empty() && !before.cgroups.is_empty(), "{before:#?}");
        let output = reset(&self.data());
        assert!(output.status.success(), "reset: {}", String::from_utf8_lossy(&output.stderr));
        self.process.wait().unwrap();
        let left = Traces::of(&self.data(), &bridge);
        assert!(left.is_empty(), "left behind: {left:#?}");
        assert!(!self.data().exists(), "the data directory is still there");
    }

    fn bridge(&self) -> String {
        let log = fs::read_to_string(log_file(self.around.path())).unwrap();
        let line = log.lines().find(|line| line.contains("pod network ready")).expect("the log names the bridge");
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["bridge"].as_str().unwrap().to_owned()
    }
}

/// A test that failed leaves nothing either, and shows what the server said.
impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", last_lines(self.around.path()));
        }
        if self.data().exists() {
            let output = reset(&self.data());
            if !output.status.success() {
                println!("reset: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }
}

fn spawn(around: &Path, slot: &Slot, ports: (u16, u16)) -> Child {
    let socket_path = around.join("notify");
    match fs::remove_file(&socket_path) {
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
        _ => {}
    }
    let socket = UnixDatagram::bind(&socket_path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let log = fs::File::options().create(true).append(true).open(log_file(around)).unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_tiphys"))
        .arg("server")
        .arg("--data-dir")
        .arg(around.join("data"))
        .arg("--write-kubeconfig")
        .arg(around.join("kubeconfig"))
        .args(["--node-name", NODE, "--secure-port", &ports.0.to_string(), "--kubelet-port", &ports.1.to_string()])
        .args(["--cluster-cidr", &slot.pods(), "--service-cidr", &slot.services()])
        .env("NOTIFY_SOCKET", &socket_path)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut message = [0; 256];
    for _ in 0..START_SECONDS {
        match socket.recv(&mut message) {
            Ok(length) if message[..length].starts_with(b"READY=1") => return process,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
        if let Some(status) = process.try_wait().unwrap() {
            panic!("the server ended with {status}: {}", last_lines(around));
        }
    }
    process.kill().unwrap();
    panic!("the server did not become ready: {}", last_lines(around));
}

fn reset(data: &Path) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_tiphys")).args(["reset", "--yes", "--data-dir"]).arg(data).output().unwrap()
}

fn log_file(around: &Path) -> PathBuf {
    around.join("log")
}

fn last_lines(around: &Path) -> String {
    let log = fs::read_to_string(log_file(around)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
