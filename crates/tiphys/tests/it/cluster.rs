//! A cluster in a process of its own, in a temporary directory, on ports and ranges that nobody else has. Dropping it
//! resets it.

use std::{
    fmt::Debug,
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use kube::{
    Api, Client, Resource,
    api::{ListParams, PostParams, WatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before it is called a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tiphys");

pub(crate) struct Cluster {
    directory: TempDir,
    /// Where the data is, as the server sees it.
    pub(crate) data: PathBuf,
    pub(crate) api_port: u16,
    kubelet_port: u16,
    range: u16,
    /// Flags beyond those that every cluster has.
    flags: Vec<String>,
    /// Where its log goes.
    pub(crate) log_path: PathBuf,
    /// Words before the program: to run it somewhere else.
    pub(crate) prefix: Vec<String>,
    server: Option<Child>,
}

// === impl Cluster ===

impl Cluster {
    /// With a node and these images; not started.
    pub(crate) fn with_images(names: &[&str]) -> Self {
        let cluster = Self::new(&[]);
        fs::create_dir(cluster.data.join("images")).expect("create");
        for name in names {
            let archive = archive(name);
            fs::copy(&archive, cluster.data.join("images").join(format!("{name}.tar"))).expect("copy an archive");
        }
        cluster
    }

    /// Without a node.
    pub(crate) fn control_plane() -> Self {
        Self::new(&["--disable-agent"])
    }

    fn new(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let data = directory.path().join("data");
        fs::create_dir(&data).expect("create");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("chmod");
        Self {
            data,
            api_port: free_port(),
            kubelet_port: free_port(),
            range: free_range(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            log_path: directory.path().join("server.log"),
            prefix: Vec::new(),
            server: None,
            directory,
        }
    }

    /// Adds flags for the next start.
    pub(crate) fn flags(&mut self, flags: impl IntoIterator<Item = String>) {
        self.flags.extend(flags);
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// What `tiphys server` is called with.
    pub(crate) fn command(&self) -> Command {
        let mut words = self.prefix.iter().map(String::as_str).chain([PROGRAM, "server", "--data-dir"]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).arg(&self.data).arg("--write-kubeconfig").arg(self.kubeconfig());
        command.args(["--secure-port", &self.api_port.to_string(), "--kubelet-port", &self.kubelet_port.to_string()]);
        command.args(["--cluster-cidr", &format!("10.{}.0.0/16", self.range)]);
        command.args(["--service-cidr", &format!("10.{}.0.0/16", self.range + 1)]);
        command.args(&self.flags);
        command
    }

    /// Starts the server and waits until it says that it is ready.
    pub(crate) fn start(&mut self) {
        let socket_path = self.directory.path().join("notify.sock");
        drop(fs::remove_file(&socket_path));
        let socket = UnixDatagram::bind(&socket_path).expect("listen");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("set a timeout");
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log_path).expect("open the log");
        let mut child = self
            .command()
            .env("NOTIFY_SOCKET", &socket_path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("clone"))
            .stderr(log)
            .spawn()
            .expect("start the server");
        let begun = Instant::now();
        let mut buffer = [0; 256];
        loop {
            if let Ok(length) = socket.recv(&mut buffer)
                && buffer[..length].starts_with(b"READY=1")
            {
                break;
            }
            let ended = child.try_wait().expect("wait");
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "not ready ({ended:?}): {}", self.log_tail());
        }
        self.server = Some(child);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.as_ref().expect("a server").id()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut server = self.server.take().expect("a server");
        server.kill().expect("kill");
        server.wait().expect("wait");
    }

    /// SIGTERM, and its exit.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let mut server = self.server.take().expect("a server");
        crate::machine::signal(server.id(), nix::sys::signal::Signal::SIGTERM);
        server.wait().expect("wait")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log_path).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().rev().take(10).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// A client with the administrator's credentials, over HTTPS.
    pub(crate) async fn client(&self) -> Client {
        let kubeconfig = kube::config::Kubeconfig::read_from(self.kubeconfig()).expect("read the kubeconfig");
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("a config");
        // A refusal is to be seen, not waited out.
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }

    /// `tiphys WORDS --data-dir DIR`.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        Command::new(PROGRAM).args(words).arg("--data-dir").arg(&self.data).output().expect("run tiphys")
    }

    /// The same, which must succeed; what it prints.
    pub(crate) fn must_run(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    pub(crate) fn reset(&mut self) {
        self.must_run(&["reset", "--yes"]);
        if let Some(mut server) = self.server.take() {
            server.wait().expect("wait");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("end of the server's log:\n{}", self.log_tail());
        }
        if let Some(mut server) = self.server.take() {
            drop(server.kill());
            drop(server.wait());
        }
        let output = self.run(&["reset", "--yes"]);
        if !output.status.success() {
            eprintln!("reset: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// An object of the default namespace, made from JSON.
pub(crate) async fn create<K>(client: &Client, object: Value) -> K
where
    K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    K::DynamicType: Default,
{
    let object: K = serde_json::from_value(object).expect("an object of its kind");
    Api::<K>::default_namespaced(client.clone()).create(&PostParams::default(), &object).await.expect("create")
}

/// Waits until the objects of a label or field are as wanted, watching them; servers may come and go meanwhile.
pub(crate) async fn wait<K, T>(api: &Api<K>, what: &str, list: &ListParams, wanted: impl Fn(&[K]) -> Option<T>) -> T
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let mut last = Vec::new();
    let search = async {
        loop {
            // While the server is away there is nothing to wait for but the next attempt.
            let Ok(found) = api.list(list).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            if let Some(found) = wanted(&found.items) {
                return found;
            }
            last = found.items;
            let mut params = WatchParams::default().timeout(30);
            params.label_selector.clone_from(&list.label_selector);
            params.field_selector.clone_from(&list.field_selector);
            let version = found.metadata.resource_version.unwrap_or_default();
            if let Ok(events) = api.watch(&params, &version).await {
                let mut events = std::pin::pin!(events);
                // Whatever it is: everything is looked at anew.
                drop(events.next().await);
            }
        }
    };
    match tokio::time::timeout(PATIENCE, search).await {
        Ok(found) => found,
        Err(_) => panic!("{what} did not come about; last seen: {last:#?}"),
    }
}

/// The same for one object.
pub(crate) async fn wait_for<K, T>(api: &Api<K>, name: &str, what: &str, wanted: impl Fn(&K) -> Option<T>) -> T
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let list = ListParams::default().fields(&format!("metadata.name={name}"));
    wait(api, &format!("{name}: {what}"), &list, |items| items.first().and_then(&wanted)).await
}

/// The archive of an image, packed once for all test runs.
pub(crate) fn archive(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images").join(format!("{name}.tar"));
    if !path.exists() {
        fs::create_dir_all(path.parent().expect("a parent")).expect("create");
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let packed = Command::new(PROGRAM).args(["image", "pack", name, "-o"]).arg(&temporary).output().expect("pack");
        assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
        fs::rename(&temporary, &path).expect("rename");
    }
    path
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// The second byte of two neighbouring ranges that this machine has no route to, not given to anybody before.
fn free_range() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) + (std::process::id() % 60) as u16;
        let range = 100 + 2 * (number % 70);
        // The kernel prints addresses with the first byte last.
        if !routes.contains(&format!("{range:02X}0A\t")) {
            return range;
        }
    }
}
