//! A real etcd for the tests: `$TIPHYS_ETCD`, or `etcd` of the path. Where there is none, its tests say so and pass.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::Layout;
use engine::etcd::{EtcdFactory, EtcdOptions};
use grpc::Endpoint;
use store::{Store, StoreOptions, Template};
use tempfile::TempDir;

pub(crate) struct EtcdServer {
    process: Option<Child>,
    directory: TempDir,
    client: u16,
    peer: u16,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn program() -> Option<String> {
    let program = std::env::var("TIPHYS_ETCD").unwrap_or_else(|_| "etcd".to_owned());
    let found = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        eprintln!("skipped: there is no etcd here (TIPHYS_ETCD says where)");
    }
    found.is_ok().then_some(program)
}

// === impl EtcdServer ===

impl EtcdServer {
    pub(crate) fn start() -> Option<EtcdServer> {
        program()?;
        let directory = tempfile::tempdir().unwrap();
        let mut server = EtcdServer { process: None, directory, client: free_port(), peer: free_port() };
        server.resume();
        Some(server)
    }

    /// Starts it again on what it has kept.
    pub(crate) fn resume(&mut self) {
        let (client, peer) = (format!("http://127.0.0.1:{}", self.client), format!("http://127.0.0.1:{}", self.peer));
        let child = Command::new(program().unwrap())
            .args(["--data-dir", self.path().to_str().unwrap(), "--log-level", "error"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .env("ETCD_UNSUPPORTED_ARCH", "arm64")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(child);
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&format!("http://127.0.0.1:{}", self.client)).unwrap()
    }

    pub(crate) fn factory(&self) -> EtcdFactory {
        EtcdFactory::new(self.options())
    }

    pub(crate) fn options(&self) -> EtcdOptions {
        let builtin = ["pods", "nodes", "things", "secrets", "leases.coordination.k8s.io"].map(str::to_owned);
        EtcdOptions {
            endpoints: vec![self.endpoint()],
            tls: None,
            layout: Arc::new(Layout::new(Layout::DEFAULT_PREFIX, builtin)),
            compaction: None,
        }
    }

    pub(crate) fn open(&self) -> Store {
        self.open_with(StoreOptions { reopen: Duration::ZERO, ..StoreOptions::default() })
    }

    /// As soon as it answers.
    pub(crate) fn open_with(&self, options: StoreOptions) -> Store {
        let start = Instant::now();
        loop {
            match Store::open(self.factory(), options.clone()) {
                Ok(store) => return store,
                Err(error) if start.elapsed() > Duration::from_secs(20) => panic!("{error}"),
                Err(_) => std::thread::yield_now(),
            }
        }
    }

    pub(crate) fn channel(&self) -> grpc::Channel {
        let options = grpc::Options { tls: None, deadline: Duration::from_secs(5), message_bytes: 1 << 20 };
        grpc::Channel::new(vec![self.endpoint()], options)
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An object of the store's form.
pub(crate) fn object(text: &str) -> Template {
    let json =
        format!(r#"{{"apiVersion":"v1","kind":"Thing","metadata":{{"resourceVersion":"","name":"x"}},"v":"{text}"}}"#);
    let at = json.find(r#""","name""#).unwrap() + 1;
    Template::split(Bytes::from(json), at)
}

/// What was said to `object`.
pub(crate) fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).unwrap().rsplit('"').nth(1).unwrap().to_owned()
}
