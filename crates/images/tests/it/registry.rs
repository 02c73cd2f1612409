//! Pulls from a real registry: Debian's `docker-registry` on loopback, with and without TLS and credentials.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use images::pull::PullErrorKind;
use images::{Credentials, Error, Puller, PullerConfig, Reference, Store, pack};
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;
use tempfile::TempDir;

use crate::packing::cache;

/// `user` with password `secret`.
const HTPASSWD: &str = "user:$2b$04$4.UWhxe/YiZfARn4pVYoSOw8gJLxF0.Nl4agzXbk1UCSB3oSC/ePe\n";

struct Registry {
    process: Child,
    host: String,
    certificate: Option<Vec<u8>>,
    directory: TempDir,
}

#[derive(Clone, Copy, PartialEq)]
enum Access {
    Open,
    Password,
}

#[derive(Clone, Copy, PartialEq)]
enum Transport {
    Plain,
    Tls,
}

/// The registry's program, unpacked once from its Debian package.
fn program() -> PathBuf {
    let cache = cache();
    let target = cache.join("docker-registry");
    let program = target.join("usr/bin/docker-registry");
    if program.exists() {
        return program;
    }
    std::fs::create_dir_all(&cache).expect("create cache");
    let run = |command: &mut Command| assert!(command.status().expect("run").success(), "{command:?}");
    run(Command::new("apt-get")
        .args(["-qq", "-o", "APT::Sandbox::User=root", "download", "docker-registry"])
        .current_dir(&cache));
    let package = std::fs::read_dir(&cache)
        .expect("list")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("docker-registry_")))
        .expect("the package");
    // Into a place of its own first: tests run side by side.
    let temporary = tempfile::tempdir_in(&cache).expect("temporary directory");
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(temporary.path()));
    std::fs::rename(temporary.keep(), &target).ok();
    program
}

impl Registry {
    fn start(transport: Transport, access: Access) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let mut config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            path("data")
        );
        let mut certificate = None;
        if transport == Transport::Tls {
            let signed = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
                .expect("certificate");
            std::fs::write(path("cert.pem"), signed.cert.pem()).expect("write");
            std::fs::write(path("key.pem"), signed.signing_key.serialize_pem()).expect("write");
            config += &format!("  tls:\n    certificate: {}\n    key: {}\n", path("cert.pem"), path("key.pem"));
            certificate = Some(signed.cert.pem().into_bytes());
        }
        if access == Access::Password {
            std::fs::write(path("htpasswd"), HTPASSWD).expect("write");
            config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path("htpasswd"));
        }
        std::fs::write(path("config.yml"), config).expect("write");
        let mut process = Command::new(program())
            .args(["serve", &path("config.yml")])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start registry");
        let stderr = BufReader::new(process.stderr.take().expect("stderr"));
        let mut lines = stderr.lines();
        lines
            .find(|line| line.as_ref().is_ok_and(|line| line.contains("listening on")))
            .expect("it listens")
            .expect("a line");
        // Somebody has to read what it goes on to say.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, host: format!("127.0.0.1:{port}"), certificate, directory }
    }

    fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host).parse().expect("a reference")
    }

    async fn push(&self, name: &str, archive: &[u8]) {
        let store = Store::open(self.directory.path().join("pushed")).expect("open store");
        let image = store.import_stream(archive, &[]).expect("import").remove(0);
        let blob = |digest: &images::Digest| {
            std::fs::read(store.root().join("blobs/sha256").join(digest.hex())).expect("a blob")
        };
        let protocol = if self.certificate.is_some() { ClientProtocol::Https } else { ClientProtocol::Http };
        let client = oci_client::Client::new(ClientConfig {
            protocol,
            accept_invalid_certificates: true,
            ..ClientConfig::default()
        });
        let layers: Vec<ImageLayer> = image
            .layers
            .iter()
            .map(|layer| ImageLayer::new(blob(&layer.digest), layer.media_type.clone(), None))
            .collect();
        let config = Config::new(blob(&image.id), "application/vnd.oci.image.config.v1+json".to_owned(), None);
        let reference: oci_client::Reference = self.reference(name).to_string().parse().expect("a reference");
        let auth = RegistryAuth::Basic("user".to_owned(), "secret".to_owned());
        client.push(&reference, &layers, config, &auth, None).await.expect("push");
    }

    fn puller(&self, directory: &Path) -> Puller {
        let store = Store::open(directory.join("images")).expect("open store");
        let extra_roots = self.certificate.iter().cloned().collect();
        Puller::new(store, PullerConfig { extra_roots, ..PullerConfig::default() })
    }

    fn stop(&mut self) {
        self.process.kill().expect("kill");
        self.process.wait().expect("wait");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn busybox() -> Vec<u8> {
    pack::pack(&pack::busybox(), &cache()).expect("pack busybox").archive
}

fn kind(error: &Error) -> PullErrorKind {
    match error {
        Error::Pull(error) => error.kind,
        other => panic!("not an error of the pull: {other}"),
    }
}

fn password(password: &str) -> Credentials {
    Credentials::Basic { username: "user".to_owned(), password: password.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_once_and_served_when_the_registry_is_gone() {
    rustls_provider();
    let mut registry = Registry::start(Transport::Plain, Access::Open);
    registry.push("team/app:1", &busybox()).await;
    let directory = tempfile::tempdir().expect("temporary directory");
    let puller = registry.puller(directory.path());
    let reference = registry.reference("team/app:1");

    let first = puller.pull(&reference, &Credentials::Anonymous).await.expect("pull");
    assert!(!first.up_to_date && !first.served_from_store);
    assert_eq!(first.image.names, [reference.to_string()]);
    assert_eq!(first.image.repo_digests.len(), 1);
    assert!(!first.image.pinned, "what can be pulled again may be collected");
    assert!(puller.store().lower_directories(&first.image)[0].join("bin/busybox").exists());

    let second = puller.pull(&reference, &Credentials::Anonymous).await.expect("pull again");
    assert!(second.up_to_date && !second.served_from_store, "it was fetched again");
    let by_digest = first.image.repo_digests[0].parse().expect("a reference");
    let third = puller.pull(&by_digest, &Credentials::Anonymous).await.expect("pull by digest");
    assert_eq!(third.image.id, first.image.id);

    let missing =
        puller.pull(&registry.reference("team/none:1"), &Credentials::Anonymous).await.expect_err("no such image");
    assert_eq!(kind(&missing), PullErrorKind::NotFound);
    let name = registry.reference("team/none:1");
    assert_eq!(
        missing.to_string(),
        format!(
            "failed to pull and unpack image \"{name}\": failed to resolve reference \"{name}\": {name}: not found"
        )
    );

    registry.stop();
    let served = puller.pull(&reference, &Credentials::Anonymous).await.expect("the node's copy");
    assert!(served.served_from_store);
    let gone =
        puller.pull(&registry.reference("team/other:1"), &Credentials::Anonymous).await.expect_err("unreachable");
    assert_eq!(kind(&gone), PullErrorKind::Unreachable);
    assert!(gone.to_string().contains("failed to do request: Head \"http"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_tls_and_password_decides_even_when_the_node_has_a_copy() {
    rustls_provider();
    let registry = Registry::start(Transport::Tls, Access::Password);
    registry.push("app:1", &busybox()).await;
    let directory = tempfile::tempdir().expect("temporary directory");
    let puller = registry.puller(directory.path());
    let reference = registry.reference("app:1");
    for refused in [Credentials::Anonymous, password("wrong")] {
        let error = puller.pull(&reference, &refused).await.expect_err("denied");
        assert_eq!(kind(&error), PullErrorKind::Denied, "{error}");
        assert!(!error.to_string().contains("wrong"), "the password is in the message");
    }
    puller.pull(&reference, &password("secret")).await.expect("pull");
    let error = puller.pull(&reference, &Credentials::Anonymous).await.expect_err("denied");
    assert_eq!(kind(&error), PullErrorKind::Denied, "a copy must not stand in for a denial: {error}");

    // An unknown authority is no reason to fall back either.
    let stranger = Puller::new(puller.store().clone(), PullerConfig::default());
    let error = stranger.pull(&reference, &password("secret")).await.expect_err("untrusted");
    assert_eq!(kind(&error), PullErrorKind::Failed, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_transfer_is_resumed_and_forged_content_refused() {
    rustls_provider();
    let registry = Registry::start(Transport::Plain, Access::Open);
    registry.push("app:1", &busybox()).await;
    let directory = tempfile::tempdir().expect("temporary directory");
    let puller = registry.puller(directory.path());
    let reference = registry.reference("app:1");
    let pushed = Store::open(registry.directory.path().join("pushed")).expect("open store").list().remove(0);
    let layer = pushed.layers[0].digest.clone();
    let blob = std::fs::read(registry.directory.path().join("pushed/blobs/sha256").join(layer.hex())).expect("blob");

    // What an earlier attempt left is not fetched again: half of the blob is there.
    let partial = directory.path().join("images/ingest").join(format!("{}.partial", layer.hex()));
    std::fs::write(&partial, &blob[..blob.len() / 2]).expect("write");
    puller.pull(&reference, &Credentials::Anonymous).await.expect("pull");
    assert!(!partial.exists());

    // What was left was something else: the digest tells, and the next attempt is clean.
    puller.store().remove_image(&reference.to_string()).expect("remove");
    let mut forged = blob[..blob.len() / 2].to_vec();
    forged[100] ^= 1;
    std::fs::write(&partial, &forged).expect("write");
    let error = puller.pull(&reference, &Credentials::Anonymous).await.expect_err("forged");
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert!(puller.store().list().is_empty());
    puller.pull(&reference, &Credentials::Anonymous).await.expect("pull");
}

fn rustls_provider() {
    rustls::crypto::ring::default_provider().install_default().ok();
}
