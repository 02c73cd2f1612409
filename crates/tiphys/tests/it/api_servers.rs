//! Several `tiphys apiserver` over one etcd: they share nothing but it and the files that their flags name. etcd asks
//! for certificates and has three members, of which one is not there when the servers start.
//!
//! Where there is no etcd (`$TIPHYS_ETCD`, or `etcd` of the path), this says so and passes.

use std::{
    fs,
    io::Read as _,
    net::{IpAddr, Ipv4Addr},
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Endpoints, Secret, ServiceAccount},
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
    config::Kubeconfig,
};
use pki::{Authority, CertificateSpec};
use serde_json::json;
use tempfile::TempDir;

use crate::cluster::{PATIENCE, PROGRAM, create, free_port, wait, wait_for};

/// Files of the cluster, and who uses them.
struct World {
    directory: TempDir,
    members: Vec<Member>,
    servers: Vec<Server>,
}

struct Member {
    client: u16,
    peer: u16,
    process: Option<Child>,
}

struct Server {
    port: u16,
    process: Option<Child>,
}

fn etcd() -> Option<String> {
    let program = std::env::var("TIPHYS_ETCD").unwrap_or_else(|_| "etcd".to_owned());
    let found = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        eprintln!("skipped: there is no etcd here (TIPHYS_ETCD says where)");
    }
    found.is_ok().then_some(program)
}

// === impl World ===

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
        let loopback = || vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let of_etcd = Authority::open(&directory.path().join("etcd-pki"), "ca", "etcd-ca").expect("an authority");
        of_etcd.ensure("server", &CertificateSpec::server("etcd", vec!["localhost".into()], loopback())).expect("sign");
        of_etcd.ensure("client", &CertificateSpec::client("apiserver", None)).expect("sign");
        let pki = directory.path().join("pki");
        let own = Authority::open(&pki, "ca", "kubernetes-ca").expect("an authority");
        own.ensure("apiserver", &CertificateSpec::server("kube-apiserver", vec!["localhost".into()], loopback()))
            .expect("sign");
        own.ensure("admin", &CertificateSpec::client("admin", Some("system:masters"))).expect("sign");
        let front = Authority::open(&pki, "front-proxy-ca", "front-proxy-ca").expect("an authority");
        front.ensure("front-proxy-client", &CertificateSpec::client("front-proxy-client", None)).expect("sign");
        pki::signing_key(&pki).expect("a key");
        let member = || Member { client: free_port(), peer: free_port(), process: None };
        Self { members: (0..3).map(|_| member()).collect(), servers: Vec::new(), directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start_member(&mut self, index: usize) {
        let peer = |member: &Member| format!("http://127.0.0.1:{}", member.peer);
        let all: Vec<String> =
            self.members.iter().enumerate().map(|(index, member)| format!("m{index}={}", peer(member))).collect();
        let (own_peer, client) =
            (peer(&self.members[index]), format!("https://127.0.0.1:{}", self.members[index].client));
        let child = Command::new(etcd().expect("etcd"))
            .args(["--name", &format!("m{index}"), "--log-level", "error", "--initial-cluster", &all.join(",")])
            .arg("--data-dir")
            .arg(self.file(&format!("etcd{index}")))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &own_peer, "--initial-advertise-peer-urls", &own_peer])
            .args(["--client-cert-auth", "--trusted-ca-file"])
            .arg(self.file("etcd-pki/ca.crt"))
            .arg("--cert-file")
            .arg(self.file("etcd-pki/server.crt"))
            .arg("--key-file")
            .arg(self.file("etcd-pki/server.key"))
            .env("ETCD_UNSUPPORTED_ARCH", "arm64")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start etcd");
        self.members[index].process = Some(child);
    }

    fn kill_member(&mut self, index: usize) {
        let mut process = self.members[index].process.take().expect("a member");
        process.kill().expect("kill");
        process.wait().expect("wait");
    }

    /// Of the server with this number; `address` is what it tells others.
    fn command(&self, index: usize, port: u16) -> Command {
        let endpoints: Vec<String> =
            self.members.iter().map(|member| format!("https://127.0.0.1:{}", member.client)).collect();
        let mut command = Command::new(PROGRAM);
        command.arg("apiserver").arg("--cert-dir").arg(self.file(&format!("server{index}")));
        command.args(["--bind-address", "127.0.0.1", "--secure-port", &port.to_string()]);
        command.args(["--advertise-address", &format!("10.99.0.{}", index + 1)]);
        command.args(["--service-cluster-ip-range", "10.96.0.0/16", "--etcd-servers", &endpoints.join(",")]);
        command.args(["--service-account-issuer", "https://kubernetes.default.svc"]);
        command.args(["--requestheader-allowed-names", "front-proxy-client"]);
        // As kubeadm's manifest has it.
        command.args(["--kubelet-preferred-address-types", "InternalIP,ExternalIP,Hostname"]);
        command.args(["--enable-admission-plugins", "NodeRestriction", "--allow-privileged=true"]);
        command.args(["--authorization-mode", "Node,RBAC", "--enable-bootstrap-token-auth=true"]);
        command.args(["--requestheader-extra-headers-prefix", "X-Remote-Extra-"]);
        command.args(["--requestheader-group-headers", "X-Remote-Group"]);
        command.args(["--requestheader-username-headers", "X-Remote-User"]);
        for (flag, file) in [
            ("--etcd-cafile", "etcd-pki/ca.crt"),
            ("--etcd-certfile", "etcd-pki/client.crt"),
            ("--etcd-keyfile", "etcd-pki/client.key"),
            ("--client-ca-file", "pki/ca.crt"),
            ("--tls-cert-file", "pki/apiserver.crt"),
            ("--tls-private-key-file", "pki/apiserver.key"),
            ("--service-account-key-file", "pki/sa.pub"),
            ("--service-account-signing-key-file", "pki/sa.key"),
            ("--requestheader-client-ca-file", "pki/front-proxy-ca.crt"),
            ("--proxy-client-cert-file", "pki/front-proxy-client.crt"),
            ("--proxy-client-key-file", "pki/front-proxy-client.key"),
        ] {
            command.arg(flag).arg(self.file(file));
        }
        command
    }

    /// Starts so many servers at the same moment, and waits until all say that they are ready.
    fn start_servers(&mut self, count: usize) {
        let mut waits = Vec::new();
        for index in 0..count {
            let socket_path = self.file(&format!("notify{index}.sock"));
            let socket = UnixDatagram::bind(&socket_path).expect("listen");
            socket.set_read_timeout(Some(Duration::from_millis(50))).expect("set a timeout");
            let (port, log) = (free_port(), self.file(&format!("server{index}.log")));
            let log = fs::File::create(log).expect("make the log");
            let process = self
                .command(index, port)
                .env("NOTIFY_SOCKET", &socket_path)
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("clone"))
                .stderr(log)
                .spawn()
                .expect("start a server");
            self.servers.push(Server { port, process: Some(process) });
            waits.push(socket);
        }
        for (index, socket) in waits.into_iter().enumerate() {
            let (begun, mut buffer) = (Instant::now(), [0; 256]);
            loop {
                if let Ok(length) = socket.recv(&mut buffer)
                    && buffer[..length].starts_with(b"READY=1")
                {
                    break;
                }
                let process = self.servers[index].process.as_mut().expect("a server");
                let ended = process.try_wait().expect("wait");
                let log = fs::read_to_string(self.file(&format!("server{index}.log"))).unwrap_or_default();
                assert!(ended.is_none() && begun.elapsed() < PATIENCE, "server {index} ({ended:?}): {log}");
            }
        }
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.file(file)).expect("read")
    }

    /// The administrator's, or whoever's a token is.
    async fn client(&self, index: usize, token: Option<String>) -> Client {
        let identity = match token {
            Some(token) => json!({ "token": token }),
            None => json!({
                "client-certificate": self.file("pki/admin.crt"), "client-key": self.file("pki/admin.key"),
            }),
        };
        let server = format!("https://127.0.0.1:{}", self.servers[index].port);
        let kubeconfig = json!({
            "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": self.file("pki/ca.crt")}}],
            "users": [{"name": "u", "user": identity}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        });
        let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).expect("a kubeconfig");
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("a config");
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let servers = self.servers.iter_mut().map(|server| &mut server.process);
        for process in servers.chain(self.members.iter_mut().map(|member| &mut member.process)).flatten() {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

async fn says(client: &Client, path: &str) -> Result<String, kube::Error> {
    client.request_text(http::Request::get(path).body(Vec::new()).expect("a request")).await
}

fn addresses(endpoints: &Endpoints) -> Vec<String> {
    let subsets = endpoints.subsets.iter().flatten();
    subsets.flat_map(|subset| subset.addresses.iter().flatten()).map(|address| address.ip.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_share_nothing_but_etcd() {
    if etcd().is_none() {
        return;
    }
    let mut world = World::new();
    // The first in the list of endpoints is not there yet.
    world.start_member(1);
    world.start_member(2);
    world.start_servers(2);
    let (one, two) = (world.client(0, None).await, world.client(1, None).await);

    // What one writes the other has at once, be it secret or not.
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}});
    create::<Secret>(&one, secret).await;
    let read = Api::<Secret>::default_namespaced(two.clone()).get("s").await.expect("the other's secret");
    assert_eq!(read.data.expect("data")["a"].0, b"b");

    // Who signs in at one is known at the other.
    create::<ServiceAccount>(&two, json!({"metadata": {"name": "robot"}})).await;
    let request = serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 3600}})).expect("typed");
    let accounts = Api::<ServiceAccount>::default_namespaced(one.clone());
    let token = accounts.create_token_request("robot", &PostParams::default(), &request).await.expect("a token");
    let robot = world.client(1, token.status.and_then(|status| status.token)).await;
    let refusal = Api::<Secret>::default_namespaced(robot).get("s").await.expect_err("it may not");
    assert!(refusal.to_string().contains("system:serviceaccount:default:robot"), "{refusal}");

    // Both are in the endpoints of the Service, and both have a lease.
    let endpoints = Api::<Endpoints>::default_namespaced(one.clone());
    wait_for(&endpoints, "kubernetes", "two servers", |found| {
        (addresses(found) == ["10.99.0.1", "10.99.0.2"]).then_some(())
    })
    .await;
    let leases = Api::<Lease>::namespaced(two.clone(), "kube-system");
    let of_servers = ListParams::default().labels("apiserver.kubernetes.io/identity=kube-apiserver");
    wait(&leases, "two leases", &of_servers, |found| (found.len() == 2).then_some(())).await;

    // The member that was missing comes, and another one goes: nobody notices.
    world.start_member(0);
    world.kill_member(1);
    for (name, client) in [("a", &one), ("b", &two)] {
        let api = Api::<ConfigMap>::default_namespaced(client.clone());
        let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": name}})).expect("typed");
        // A write that was under way may fail, and the next one does not.
        let written = async {
            loop {
                match api.create(&PostParams::default(), &map).await {
                    Ok(_) => return,
                    Err(kube::Error::Api(status)) if status.code == 409 => return,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, written).await.expect("a write without one member");
    }

    // Without a majority the servers say so, and take nothing.
    world.kill_member(2);
    for endpoint in ["/readyz", "/livez"] {
        let error = says(&one, endpoint).await.expect_err("not ready");
        let kube::Error::Api(status) = error else { panic!("{error}") };
        assert_eq!(status.code, 500, "{endpoint}");
    }
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "c"}})).expect("typed");
    let maps = Api::<ConfigMap>::default_namespaced(one.clone());
    let error = maps.create(&PostParams::default(), &map).await.expect_err("no write");
    let kube::Error::Api(status) = error else { panic!("{error}") };
    assert!(matches!(status.code, 503 | 504), "{status:?}");
    // What is in memory is still read by who does not ask for the newest.
    let old = ListParams::default().match_any();
    assert_eq!(maps.list(&old).await.expect("a list from memory").items.len(), 2);
    world.start_member(1);
    world.start_member(2);
    let ready = async {
        while says(&one, "/readyz").await.is_err() || says(&two, "/readyz").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("ready again");

    // One server is killed: the other one goes on, and after its time it is alone in the endpoints.
    let mut killed = world.servers[0].process.take().expect("a server");
    killed.kill().expect("kill");
    killed.wait().expect("wait");
    create::<ConfigMap>(&two, json!({"metadata": {"name": "d"}})).await;
    let endpoints = Api::<Endpoints>::default_namespaced(two.clone());
    wait_for(&endpoints, "kubernetes", "one server", |found| (addresses(found) == ["10.99.0.2"]).then_some(())).await;

    // Nothing was asked of a directory that others have: each made its own.
    let authorities = ["server0", "server1"].map(|server| world.text(&format!("{server}/pki/ca.crt")));
    assert_ne!(authorities[0], authorities[1]);
}

#[test]
fn what_servers_cannot_each_make_for_themselves_has_to_be_given() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let refused = |flags: &[&str]| {
        let output = Command::new(PROGRAM)
            .args(["apiserver", "--cert-dir"])
            .arg(directory.path())
            .args(flags)
            .output()
            .expect("run the server");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused(&[]);
    for flag in ["--etcd-servers", "service-account-issuer", "--service-account-key-file"] {
        assert!(said.contains(flag), "{said}");
    }
    let said = refused(&["--service-cluster-ip-range", "10.0.0.0/16,10.1.0.0/16"]);
    assert!(said.contains("must be of different IP family"), "{said}");
    assert!(!Path::new(&directory.path().join("pki")).exists(), "nothing was made");
}

/// Each of these would make a key for Secrets of its own: the second one refuses to begin, instead of writing what the
/// first one cannot read.
#[test]
fn a_server_with_another_key_does_not_begin() {
    let Some(program) = etcd() else { return };
    let directory = tempfile::tempdir().expect("temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
    let (client, peer) = (format!("http://127.0.0.1:{}", free_port()), format!("http://127.0.0.1:{}", free_port()));
    let mut etcd = Command::new(program)
        .arg("--data-dir")
        .arg(directory.path().join("etcd"))
        .args(["--log-level", "error", "--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .env("ETCD_UNSUPPORTED_ARCH", "arm64")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start etcd");
    let command = |name: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["server", "--disable-agent", "--bind-address", "127.0.0.1", "--node-ip", "10.99.0.1"]);
        command.args(["--etcd-servers", &client, "--secure-port", &free_port().to_string(), "--data-dir"]);
        command.arg(directory.path().join(name)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let socket_path = directory.path().join("notify.sock");
    let socket = UnixDatagram::bind(&socket_path).expect("listen");
    socket.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
    let mut first = loop {
        // As soon as etcd answers.
        let mut first = command("first").env("NOTIFY_SOCKET", &socket_path).spawn().expect("start a server");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("set a timeout");
        let begun = loop {
            if socket.recv(&mut [0; 256]).is_ok() {
                break true;
            }
            if first.try_wait().expect("wait").is_some() {
                break false;
            }
        };
        if begun {
            break first;
        }
    };
    let mut second = command("second").spawn().expect("run another");
    let begun = Instant::now();
    let ended = loop {
        let ended = second.try_wait().expect("wait");
        if ended.is_some() || begun.elapsed() > PATIENCE {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    for process in [&mut first, &mut second, &mut etcd] {
        drop(process.kill());
        drop(process.wait());
    }
    let mut said = String::new();
    second.stderr.take().expect("its words").read_to_string(&mut said).expect("text");
    assert!(ended.is_some_and(|status| !status.success()), "{ended:?}: {said}");
    assert!(said.contains("another server of this cluster encrypts"), "{said}");
}
