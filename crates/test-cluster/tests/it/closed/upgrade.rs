//! An upgrade that the kubelet refuses must not leave a pipe to it behind (CVE-2018-1002105), and a redirect of it is not
//! followed (CVE-2020-8559).

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use apiserver::{NodeAddress, NodeDialer, NodeStream};
use futures::future::{BoxFuture, FutureExt as _};
use rustls::{ClientConfig, crypto::ring, pki_types::ServerName};
use serde_json::json;
use supervisor::Supervisor;
use test_cluster::{Options, TestCluster};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::http::Client;

/// A kubelet that refuses every upgrade, and notes whatever comes after.
struct Refusing {
    answer: &'static str,
    requests: Arc<AtomicUsize>,
    tasks: Supervisor,
}

impl NodeDialer for Refusing {
    fn dial<'a>(&'a self, _address: &'a NodeAddress) -> BoxFuture<'a, io::Result<Box<dyn NodeStream>>> {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let (answer, requests) = (self.answer, self.requests.clone());
        self.tasks.spawn("refusing kubelet", async move {
            let mut seen = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = theirs.read(&mut buffer).await {
                seen.extend_from_slice(&buffer[..read]);
                while let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
                    seen.drain(..end + 4);
                    requests.fetch_add(1, Ordering::Relaxed);
                    if theirs.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        });
        async move { Ok(Box::new(ours) as Box<dyn NodeStream>) }.boxed()
    }
}

async fn cluster(answer: &'static str) -> (TestCluster, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let node = Arc::new(Refusing { answer, requests: requests.clone(), tasks: Supervisor::new() });
    let cluster = TestCluster::start_with(Options { node_dialer: Some(node), ..Options::default() }).await.unwrap();
    let admin = Client::admin(&cluster);
    admin.post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    admin.post("/api/v1/nodes", &json!({"metadata": {"name": "n"}})).await;
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]}});
    let merge = [("content-type", "application/merge-patch+json")];
    admin.send("PATCH", "/api/v1/nodes/n/status", &merge, status.to_string()).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
    assert_eq!(admin.post("/api/v1/namespaces/default/pods", &pod).await.status, 201);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    assert_eq!(admin.post("/api/v1/namespaces/default/pods/p/binding", &binding).await.status, 201);
    // He may exec into that pod, and nothing else.
    let role = json!({"metadata": {"name": "r"}, "rules": [
        {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]}]});
    admin.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", &role).await;
    let binding = json!({"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "eve"}],
        "roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}});
    admin.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding).await;
    (cluster, requests)
}

const EXEC: &str = "GET /api/v1/namespaces/default/pods/p/exec?command=ls&stdout=1 HTTP/1.1\r\nHost: localhost\r\n\
    Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";
const SMUGGLED: &str = "GET /runningpods/ HTTP/1.1\r\nHost: n\r\n\r\n";

/// Sends text over TLS as eve, and reads what comes back until it has been quiet.
async fn exchange(cluster: &TestCluster, parts: &[&str]) -> String {
    let (certificate, key) = cluster.issue("eve", &[]).unwrap();
    let (chain, key) = pki::client_identity(&certificate, &key).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(pki::trust_roots(cluster.authority()).unwrap())
        .with_client_auth_cert(chain, key)
        .unwrap();
    let tcp = TcpStream::connect(cluster.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let mut text = String::new();
    for part in parts {
        if stream.write_all(part.as_bytes()).await.is_err() {
            break;
        }
        let mut buffer = vec![0; 64 * 1024];
        let quiet = std::time::Duration::from_millis(500);
        while let Ok(Ok(read @ 1..)) = tokio::time::timeout(quiet, stream.read(&mut buffer)).await {
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }
    text
}

#[tokio::test]
async fn cve_2018_1002105_a_refused_upgrade_leaves_no_pipe_to_the_kubelet() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let (cluster, requests) = cluster(refusal).await;
    let text = exchange(&cluster, &[EXEC, SMUGGLED]).await;
    assert!(text.starts_with("HTTP/1.1 403"), "{text}");
    assert_eq!(requests.load(Ordering::Relaxed), 1, "the kubelet saw the second request: {text}");
    // Sent at once, before the refusal is there.
    let together = format!("{EXEC}{SMUGGLED}");
    exchange(&cluster, &[&together]).await;
    assert_eq!(requests.load(Ordering::Relaxed), 2, "the kubelet saw what was sent behind the upgrade");
}

#[tokio::test]
async fn cve_2020_8559_a_redirected_upgrade_is_not_followed() {
    let (cluster, requests) =
        cluster("HTTP/1.1 302 Found\r\nLocation: https://other-node:10250/exec/x\r\nContent-Length: 0\r\n\r\n").await;
    let text = exchange(&cluster, &[EXEC, SMUGGLED]).await;
    assert!(!text.contains("101 Switching") && !text.starts_with("HTTP/1.1 2"), "{text}");
    assert!(!text.contains("other-node"), "the client is not sent there either: {text}");
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}
