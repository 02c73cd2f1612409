//! Images: archives in and out, and pulls from real registries (Debian's `docker-registry`), open, with a password, and
//! with a certificate of an authority of their own.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use api::core::v1::{ContainerStatus, Event, Pod, Secret};
use images::Store;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{Cluster, archive, create, free_port, wait, wait_for};

/// `user` with password `secret`.
const HTPASSWD: &str = "user:$2b$04$4.UWhxe/YiZfARn4pVYoSOw8gJLxF0.Nl4agzXbk1UCSB3oSC/ePe\n";

/// A running registry that has busybox, under the name `tools/busybox:1`.
struct Registry {
    process: Child,
    host: String,
    /// The authority of its certificate.
    authority: Option<PathBuf>,
    _directory: TempDir,
}

/// How a registry is spoken to.
struct Access {
    tls: bool,
    password: bool,
}

// === impl Registry ===

impl Registry {
    fn start(access: &Access) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| directory.path().join(name);
        fill(&path("data"));
        let host = format!("127.0.0.1:{}", free_port());
        let mut config = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": path("data")}},
            "http": {"addr": host},
        });
        let mut authority = None;
        if access.tls {
            let own = pki::Authority::open(directory.path(), "ca", "registry-ca").expect("an authority");
            let spec = pki::CertificateSpec::server("registry", vec!["localhost".into()], vec![[127, 0, 0, 1].into()]);
            let (certificate, key) = own.ensure("registry", &spec).expect("a certificate");
            fs::write(path("cert.pem"), certificate).expect("write");
            fs::write(path("key.pem"), key).expect("write");
            fs::write(path("authority.pem"), own.certificate()).expect("write");
            config["http"]["tls"] = json!({"certificate": path("cert.pem"), "key": path("key.pem")});
            authority = Some(path("authority.pem"));
        }
        if access.password {
            fs::write(path("htpasswd"), HTPASSWD).expect("write");
            config["auth"] = json!({"htpasswd": {"realm": "test", "path": path("htpasswd")}});
        }
        // JSON is YAML.
        fs::write(path("config.yml"), config.to_string()).expect("write");
        let mut process = Command::new(program())
            .arg("serve")
            .arg(path("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start a registry");
        let mut lines = BufReader::new(process.stderr.take().expect("stderr")).lines();
        let listens = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("listening on")));
        listens.expect("it listens").expect("a line");
        // Somebody has to read what it goes on to say.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, host, authority, _directory: directory }
    }

    fn image(&self) -> String {
        format!("{}/tools/busybox:1", self.host)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The registry's program, unpacked once from its Debian package.
fn program() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker-registry");
    let program = target.join("usr/bin/docker-registry");
    if program.exists() {
        return program;
    }
    let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("temporary directory");
    let run = |command: &mut Command| assert!(command.status().expect("run").success(), "{command:?}");
    run(Command::new("apt-get")
        .args(["-qq", "-o", "APT::Sandbox::User=root", "download", "docker-registry"])
        .current_dir(&work));
    let package = fs::read_dir(&work).expect("list").flatten().next().expect("the package").path();
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(work.path().join("root")));
    fs::rename(work.path().join("root"), &target).expect("rename");
    program
}

/// Puts busybox into a registry's directory as the registry itself would: blobs, and links to them.
fn fill(data: &Path) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = Store::open(directory.path().to_owned()).expect("open a store");
    let archive = fs::File::open(archive("busybox")).expect("open");
    let image = store.import(&archive, &[]).expect("import").remove(0);
    let root = data.join("docker/registry/v2");
    let link = |place: String, digest: &images::Digest| {
        let path = root.join("repositories/tools/busybox").join(place);
        fs::create_dir_all(&path).expect("create");
        fs::write(path.join("link"), digest.to_string()).expect("write");
    };
    let layers = image.layers.iter().map(|layer| &layer.digest);
    for digest in layers.clone().chain([&image.id, &image.manifest]) {
        let hex = digest.hex();
        let target = root.join("blobs/sha256").join(&hex[..2]).join(hex);
        fs::create_dir_all(&target).expect("create");
        fs::copy(store.root().join("blobs/sha256").join(hex), target.join("data")).expect("copy");
    }
    for digest in layers.chain([&image.id]) {
        link(format!("_layers/sha256/{}", digest.hex()), digest);
    }
    let manifest = image.manifest.hex();
    link(format!("_manifests/revisions/sha256/{manifest}"), &image.manifest);
    link("_manifests/tags/1/current".to_owned(), &image.manifest);
    link(format!("_manifests/tags/1/index/sha256/{manifest}"), &image.manifest);
}

fn pod(name: &str, image: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": image, "imagePullPolicy": "Always", "command": ["sleep", "100000"]}],
        },
    })
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

async fn runs(client: &Client, name: &str) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    wait_for(&pods, name, "running", |pod| container(pod)?.state.as_ref()?.running.clone()).await;
    pods.delete(name, &DeleteParams::default().grace_period(0)).await.expect("delete");
}

/// What the pod and its events say of a pull that failed.
async fn cannot_be_pulled(client: &Client, name: &str) -> String {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let message = wait_for(&pods, name, "ErrImagePull", |pod| {
        let waiting = container(pod)?.state.as_ref()?.waiting.as_ref()?;
        (waiting.reason.as_deref() == Some("ErrImagePull")).then(|| waiting.message.clone().unwrap_or_default())
    })
    .await;
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let failed = ListParams::default().fields(&format!("involvedObject.name={name},reason=Failed"));
    let expected = ["Failed to pull image ", "Error: ErrImagePull"];
    wait(&events, "events of the failed pull", &failed, |events| {
        let said = |start: &&str| events.iter().flat_map(|event| &event.message).any(|text| text.starts_with(*start));
        expected.iter().all(said).then_some(())
    })
    .await;
    pods.delete(name, &DeleteParams::default().grace_period(0)).await.expect("delete");
    message
}

async fn secret(client: &Client, name: &str, host: &str, password: &str) {
    let config = json!({"auths": {host: {"username": "user", "password": password}}}).to_string();
    let data: BTreeMap<&str, String> = BTreeMap::from([(".dockerconfigjson", config)]);
    let secret = json!({"metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson", "stringData": data});
    create::<Secret>(client, secret).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_come_from_archives_and_registries() {
    let open = Registry::start(&Access { tls: false, password: false });
    let guarded = Registry::start(&Access { tls: false, password: true });
    let encrypted = Registry::start(&Access { tls: true, password: false });
    let mut cluster = Cluster::with_images(&["busybox"]);
    let authority = encrypted.authority.as_deref().expect("an authority");
    let registries = json!({"configs": {&encrypted.host: {"tls": {"ca_file": authority}}}});
    fs::write(cluster.data.join("registries.yaml"), registries.to_string()).expect("write");
    cluster.start();
    let client = cluster.client().await;

    // Nobody answers at this name's registry: the archive's image is as good.
    create::<Pod>(&client, pod("imported", "busybox")).await;
    runs(&client, "imported").await;

    // A registry that is open, and one with a certificate.
    create::<Pod>(&client, pod("plain", &open.image())).await;
    create::<Pod>(&client, pod("tls", &encrypted.image())).await;
    runs(&client, "plain").await;
    runs(&client, "tls").await;

    credentials(&client, &guarded).await;

    // It is asked although the node has the image, and its no is a no.
    let missing = format!("{}/tools/missing:1", open.host);
    cluster.must_run(&["image", "import", "--tag", &missing, archive("busybox").to_str().expect("a path")]);
    create::<Pod>(&client, pod("missing", &missing)).await;
    let said = cannot_be_pulled(&client, "missing").await;
    assert!(said.contains("not found"), "{said}");

    // When it is gone the copy does.
    let gone = open.image();
    drop(open);
    create::<Pod>(&client, pod("gone", &gone)).await;
    runs(&client, "gone").await;

    by_hand(&cluster, &guarded);
    attacks(&cluster);
    // Unchanged archives are imported once.
    let imports = cluster.log().matches("imported image archive").count();
    cluster.kill();
    cluster.start();
    assert_eq!((imports, cluster.log().matches("imported image archive").count()), (1, 1));
    cluster.reset();
}

async fn credentials(client: &Client, registry: &Registry) {
    secret(client, "right", &registry.host, "secret").await;
    secret(client, "wrong", &registry.host, "guess").await;
    let with = |name: &str, secret: Option<&str>| {
        let mut pod = pod(name, &registry.image());
        if let Some(secret) = secret {
            pod["spec"]["imagePullSecrets"] = json!([{"name": secret}]);
        }
        pod
    };
    create::<Pod>(client, with("anonymous", None)).await;
    create::<Pod>(client, with("wrong", Some("wrong"))).await;
    for name in ["anonymous", "wrong"] {
        let said = cannot_be_pulled(client, name).await;
        assert!(said.contains("401") || said.to_lowercase().contains("authorization failed"), "{name}: {said}");
    }
    create::<Pod>(client, with("right", Some("right"))).await;
    runs(client, "right").await;
    // Now that it is on the node it still is nobody's who has no credentials.
    create::<Pod>(client, with("later", None)).await;
    let said = cannot_be_pulled(client, "later").await;
    assert!(said.contains("401") || said.to_lowercase().contains("authorization failed"), "{said}");
}

/// `tiphys image`.
fn by_hand(cluster: &Cluster, guarded: &Registry) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let exported = directory.path().join("busybox.tar");
    let exported = exported.to_str().expect("a path");
    let list = || cluster.must_run(&["image", "list"]);
    let has = |name: &str| list().lines().any(|line| line.starts_with(name));
    assert!(has("docker.io/library/busybox "), "{}", list());
    cluster.must_run(&["image", "export", "--output", exported, "busybox"]);
    cluster.must_run(&["image", "import", "--tag", "copy:1", exported]);
    assert!(has("docker.io/library/copy "), "{}", list());
    let removed = cluster.must_run(&["image", "rm", "copy:1"]);
    assert_eq!(removed.trim(), "Untagged: docker.io/library/copy:1");
    assert!(!has("docker.io/library/copy "));
    let refused = cluster.run(&["image", "pull", "--creds", "user:guess", &guarded.image()]);
    assert!(!refused.status.success());
    cluster.must_run(&["image", "pull", "--creds", "user:secret", &guarded.image()]);
    let unknown = cluster.run(&["image", "rm", "nothing:1"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("nothing:1"));
}

/// A tar archive, its names as given.
fn tar(entries: &[(&str, u8, &str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, kind, link, content) in entries {
        let mut header = [0; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000644");
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", content.len()));
        put(136, "00000000000");
        put(148, "        ");
        put(157, link);
        put(257, "ustar");
        put(263, "00");
        header[156] = *kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// A docker archive of one layer.
fn docker_archive(layer: &[u8]) -> Vec<u8> {
    let diff_id = images::Digest::of(layer).to_string();
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}});
    let manifest = json!([{"Config": "config.json", "RepoTags": ["evil:1"], "Layers": ["layer.tar"]}]);
    let (config, manifest) = (config.to_string(), manifest.to_string());
    let file = |name, content| (name, b'0', "", content);
    tar(&[file("manifest.json", manifest.as_bytes()), file("config.json", config.as_bytes()), file("layer.tar", layer)])
}

/// Archives that want out of their place, or are none, are refused with a reason, and the store stays as it was.
fn attacks(cluster: &Cluster) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let before = cluster.must_run(&["image", "list"]);
    let victim = directory.path().join("victim");
    fs::write(&victim, "untouched").expect("write");
    let through = victim.to_str().expect("a path");
    let up = format!("{}{}", "../".repeat(16), &through[1..]);
    let attacks = [
        ("garbage", b"not an archive at all".to_vec()),
        ("empty", Vec::new()),
        ("traversal", docker_archive(&tar(&[(up.as_str(), b'0', "", b"overwritten")]))),
        (
            "link",
            docker_archive(&tar(&[
                ("way", b'2', through, b""),
                ("way", b'0', "", b""),
                ("hard", b'1', up.as_str(), b""),
            ])),
        ),
    ];
    for (name, bytes) in attacks {
        let path = directory.path().join(format!("{name}.tar"));
        fs::write(&path, bytes).expect("write");
        let refused = cluster.run(&["image", "import", path.to_str().expect("a path")]);
        assert!(!refused.status.success(), "{name} was taken");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(name) && !said.contains("panicked"), "{said}");
    }
    assert_eq!(fs::read_to_string(&victim).expect("read"), "untouched");
    assert_eq!(cluster.must_run(&["image", "list"]), before);
}
