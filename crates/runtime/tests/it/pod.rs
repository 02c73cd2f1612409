//! What the tests share: a runtime in a temporary directory with one sandbox, and busybox to run in it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cri::{
    ContainerConfig, ContainerEventKind, ContainerStatus, CriResult, ImageService, PodSandboxConfig, RuntimeService,
};
use images::{Puller, PullerConfig, Store, pack};
use runtime::{LoopbackOnly, Runtime, RuntimeConfig};
use supervisor::Supervisor;
use tempfile::TempDir;

/// Nothing here takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The packed busybox image; packages are downloaded once for all runs.
pub(crate) fn busybox() -> &'static [u8] {
    static ARCHIVE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debian-packages");
        pack::pack(&pack::busybox(), &cache).expect("pack busybox").archive
    });
    &ARCHIVE
}

pub(crate) struct Pod {
    pub(crate) runtime: Runtime,
    pub(crate) config: PodSandboxConfig,
    pub(crate) sandbox: String,
    directory: Option<TempDir>,
}

pub(crate) fn store_with_busybox(directory: &Path) -> Store {
    let store = Store::open(directory.join("images")).expect("open store");
    store.import_stream(busybox(), &[]).expect("import busybox");
    store
}

pub(crate) async fn open(directory: &Path, store: Store) -> Runtime {
    Runtime::open(RuntimeConfig {
        root: directory.join("runtime"),
        puller: Puller::new(store, PullerConfig::default()),
        network: Arc::new(LoopbackOnly),
        default_cgroup_parent: cgroup_root(directory),
        // A release build of the agent gives figures worth noting.
        helper: Some(
            std::env::var_os("TIPHYS_TEST_HELPER")
                .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_runtime-driver")), PathBuf::from),
        ),
        version: ("tiphys".to_owned(), "test".to_owned()),
        supervisor: Supervisor::new(),
    })
    .await
    .expect("open runtime")
}

pub(crate) fn cgroup_root(directory: &Path) -> String {
    let name = directory.file_name().expect("a name").to_string_lossy().replace('.', "");
    format!("/tiphys-test-{name}")
}

impl Pod {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut PodSandboxConfig)) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = store_with_busybox(directory.path());
        let runtime = open(directory.path(), store).await;
        let mut config = PodSandboxConfig {
            hostname: "pod-under-test".to_owned(),
            log_directory: directory.path().join("logs").to_string_lossy().into_owned(),
            cgroup_parent: format!("{}/pod", cgroup_root(directory.path())),
            ..PodSandboxConfig::default()
        };
        change(&mut config);
        let sandbox = runtime.run_pod_sandbox(&config).await.expect("run sandbox");
        Self { runtime, config, sandbox, directory: Some(directory) }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.as_ref().expect("still there").path()
    }

    pub(crate) fn shell(script: &str) -> ContainerConfig {
        ContainerConfig {
            image: "busybox".to_owned(),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            log_path: "out.log".to_owned(),
            ..ContainerConfig::default()
        }
    }

    pub(crate) async fn try_start(&self, config: ContainerConfig) -> CriResult<String> {
        let id = self.runtime.create_container(&self.sandbox, &config, &self.config).await?;
        self.runtime.start_container(&id).await?;
        Ok(id)
    }

    pub(crate) async fn run(&self, config: ContainerConfig) -> String {
        self.try_start(config).await.expect("start container")
    }

    pub(crate) async fn status(&self, id: &str) -> ContainerStatus {
        self.runtime.container_status(id).await.expect("status")
    }

    /// Waits for the end of a container by its event, as the kubelet does.
    pub(crate) async fn wait(&self, id: &str) -> ContainerStatus {
        let mut events = self.runtime.events();
        let wait = async {
            loop {
                let status = self.status(id).await;
                if status.finished_at != 0 {
                    return status;
                }
                while let Ok(event) = events.recv().await {
                    if event.container_id == id && event.kind == ContainerEventKind::Stopped {
                        break;
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the container ends")
    }

    /// Runs a container to its end: exit code and log text without the prefixes.
    pub(crate) async fn output(&self, config: ContainerConfig) -> (i32, String) {
        let id = self.run(config).await;
        let status = self.wait(&id).await;
        let text = log_text(Path::new(&status.log_path));
        self.runtime.remove_container(&id).await.expect("remove container");
        std::fs::remove_file(&status.log_path).expect("remove log");
        (status.exit_code, text)
    }

    pub(crate) async fn exec(&self, id: &str, script: &str) -> (i32, String) {
        let command = ["sh", "-c", script].map(str::to_owned);
        let result = self.runtime.exec_sync(id, &command, Some(PATIENCE)).await.expect("exec");
        (result.exit_code, String::from_utf8_lossy(&result.stdout).into_owned())
    }

    /// Removes everything and checks that nothing is left.
    pub(crate) async fn finish(mut self) {
        self.runtime.remove_pod_sandbox(&self.sandbox).await.expect("remove sandbox");
        let images = self.runtime.list_images().await.expect("images");
        assert_eq!(images.len(), 1);
        let directory = self.directory.take().expect("still there");
        runtime::reset(&directory.path().join("runtime")).expect("reset");
        assert_clean(directory.path());
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            // A failed test leaves nothing behind either.
            drop(runtime::reset(&directory.path().join("runtime")));
            remove_cgroups(directory.path());
        }
    }
}

pub(crate) fn assert_clean(directory: &Path) {
    assert!(!directory.join("runtime").exists(), "files are left");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&*directory.to_string_lossy()), "mounts are left");
    remove_cgroups(directory);
}

/// The root of the test's control groups must be empty by now: `rmdir` is the proof.
fn remove_cgroups(directory: &Path) {
    let name = cgroup_root(directory);
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).expect("cgroups").flatten().map(|entry| entry.path());
    // Version 1 has a directory for each hierarchy, version 2 is one itself.
    for hierarchy in hierarchies.filter(|path| path.is_dir()).chain([root.to_owned()]) {
        let path = hierarchy.join(name.trim_start_matches('/'));
        match std::fs::remove_dir(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            // One failure at a time.
            Err(_) if std::thread::panicking() => {}
            Err(e) => panic!("control groups are left in {}: {e}", path.display()),
        }
    }
}

/// The lines of a log without time, stream and tag.
pub(crate) fn log_text(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("read log");
    text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned() + "\n").collect()
}
