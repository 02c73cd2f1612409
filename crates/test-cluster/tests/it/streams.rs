//! exec, attach, port-forward, logs and proxies: what a kubelet gets to see of a client's request.

use std::{convert::Infallible, io, sync::Arc};

use apiserver::{NodeAddress, NodeDialer, NodeStream, Peer};
use futures::future::{BoxFuture, FutureExt};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use registry::UserInfo;
use serde_json::json;
use supervisor::Supervisor;
use test_cluster::{Options, TestCluster};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http::Client;

/// A node that tells what it was asked, and echoes upgraded streams.
struct EchoNode(Supervisor);

impl NodeDialer for EchoNode {
    fn dial<'a>(&'a self, address: &'a NodeAddress) -> BoxFuture<'a, io::Result<Box<dyn NodeStream>>> {
        assert_eq!(address.host.to_string(), "192.0.2.7");
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let tasks = self.0.clone();
        self.0.spawn("node", async move {
            let service = service_fn(move |request| answer(tasks.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service);
            connection.with_upgrades().await.unwrap();
        });
        async move { Ok(Box::new(ours) as Box<dyn NodeStream>) }.boxed()
    }
}

async fn answer(tasks: Supervisor, mut request: Request<Incoming>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let wanted = request.headers().get(header::UPGRADE).map(|value| value.as_bytes().to_vec());
    if wanted.as_ref().is_some_and(|protocol| protocol != b"tell") {
        let upgrade = hyper::upgrade::on(&mut request);
        tasks.spawn("echo", async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut buffer = [0; 5];
            stream.read_exact(&mut buffer).await.unwrap();
            stream.write_all(&buffer).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let response =
            Response::builder().status(101).header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "test");
        return Ok(response.body(Full::default()).unwrap());
    }
    let secrets =
        request.headers().contains_key(header::AUTHORIZATION) || request.headers().contains_key("impersonate-user");
    let text = format!("{} {} secrets={secrets}", request.method(), request.uri());
    // An upgrade can only be refused or taken.
    let status = if wanted.is_some() { 400 } else { 200 };
    Ok(Response::builder().status(status).body(Full::from(text)).unwrap())
}

async fn cluster() -> (TestCluster, Client) {
    let node = Arc::new(EchoNode(Supervisor::new()));
    let cluster = TestCluster::start_with(Options { node_dialer: Some(node), ..Options::default() }).await.unwrap();
    let client = Client::admin(&cluster);
    client.post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    client.post("/api/v1/nodes", &json!({"metadata": {"name": "n"}})).await;
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]}});
    let merge = [("content-type", "application/merge-patch+json")];
    let patched = client.send("PATCH", "/api/v1/nodes/n/status", &merge, status.to_string()).await;
    assert_eq!(patched.status, 200, "{}", patched.json());
    for (name, containers) in [
        ("one", json!([{"name": "a", "image": "x"}])),
        ("two", json!([{"name": "a", "image": "x"}, {"name": "b", "image": "x"}])),
    ] {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": containers}});
        let created = client.post("/api/v1/namespaces/default/pods", &pod).await;
        assert_eq!(created.status, 201, "{}", created.json());
        let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n"}});
        let bound = client.post(&format!("/api/v1/namespaces/default/pods/{name}/binding"), &binding).await;
        assert_eq!(bound.status, 201, "{}", bound.json());
    }
    (cluster, client)
}

#[tokio::test]
async fn requests_become_the_kubelets() {
    let (_cluster, client) = cluster().await;
    for (path, expected) in [
        (
            "pods/one/log?follow=true&tailLines=5",
            "GET /containerLogs/default/one/a?tailLines=5&follow=true secrets=false",
        ),
        ("pods/two/log?container=b", "GET /containerLogs/default/two/b secrets=false"),
        (
            "pods/one/exec?command=ls&command=-l&stdout=true&stderr=true&tty=true",
            "GET /exec/default/one/a?output=1&tty=1&command=ls&command=%2Dl secrets=false",
        ),
        ("pods/one/attach?stdin=true&stdout=1", "GET /attach/default/one/a?input=1&output=1 secrets=false"),
        ("pods/one/portforward?ports=80,81", "GET /portForward/default/one?port=80&port=81 secrets=false"),
    ] {
        let mut headers = vec![("authorization", "Bearer secret")];
        if !path.contains("/log") {
            headers.extend([("connection", "upgrade"), ("upgrade", "tell")]);
        }
        let answer = client.send("GET", &format!("/api/v1/namespaces/default/{path}"), &headers, "").await;
        assert_eq!(String::from_utf8_lossy(&answer.body), expected, "{path}");
    }
    let answer = client.get("/api/v1/nodes/n/proxy/stats/summary?x=y").await;
    assert_eq!(answer.body, "GET /stats/summary?x=y secrets=false");
}

#[tokio::test]
async fn what_cannot_be_streamed_is_said() {
    let (_cluster, client) = cluster().await;
    for (path, code, message) in [
        ("pods/two/log", 400, "a container name must be specified for pod two, choose one of: [a b]"),
        ("pods/one/log?container=z", 400, "container z is not valid for pod one"),
        ("pods/one/log?tailLines=-1", 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("pods/one/exec?command=ls", 400, "you must specify at least one of stdin, stdout, stderr"),
        ("pods/one/exec?stdout=1", 400, "you must specify a command"),
        ("pods/one/exec?stdout=1&command=ls", 400, "Upgrade request required"),
        ("pods/one/portforward", 400, "Upgrade request required"),
        ("pods/none/log?limitBytes=0", 422, "limitBytes: Invalid value: 0: must be greater than 0"),
        ("pods/one/log?tailLines=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("pods/one/log?sinceTime=x", 400, "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\""),
        ("pods/one/log?stream=Foo", 422, "stream: Unsupported value: \"Foo\""),
        ("pods/one/log?stream=Stdout&tailLines=1", 422, "mutually exclusive for now"),
        ("pods/none/log", 404, "pods \"none\" not found"),
    ] {
        let answer = client.get(&format!("/api/v1/namespaces/default/{path}")).await;
        assert_eq!(answer.status, code, "{path}");
        assert!(answer.message().contains(message), "{path}: {}", answer.message());
    }
}

#[tokio::test]
async fn an_upgraded_stream_is_carried_both_ways() {
    let (cluster, _) = cluster().await;
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let server = cluster.server().clone();
    let peer = Peer::inside(UserInfo::new("admin", [UserInfo::MASTERS_GROUP]));
    cluster.supervisor().spawn("connection", async move {
        let service = service_fn(move |request: Request<Incoming>| {
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            let answer = server.handle(request, peer.clone());
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service);
        connection.with_upgrades().await.unwrap();
    });
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.unwrap();
    cluster.supervisor().spawn("client", async move { connection.with_upgrades().await.unwrap() });
    let request = Request::post("/api/v1/namespaces/default/pods/one/exec?command=cat&stdin=1")
        .header(header::HOST, "x")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "test")
        .body(Full::<bytes::Bytes>::default())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"hello");
}

#[tokio::test]
async fn eviction_asks_the_budget() {
    let (_cluster, client) = cluster().await;
    let running = json!({"status": {"phase": "Running"}});
    let merge = [("content-type", "application/merge-patch+json")];
    client.send("PATCH", "/api/v1/namespaces/default/pods/one/status", &merge, running.to_string()).await;
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {}}});
    let created = client.post("/apis/policy/v1/namespaces/default/poddisruptionbudgets", &budget).await;
    assert_eq!(created.status, 201, "{}", created.json());
    let eviction = json!({"metadata": {"name": "one"}});
    let path = "/api/v1/namespaces/default/pods/one/eviction";
    let refused = client.post(path, &eviction).await;
    assert_eq!(refused.status, 429, "{}", refused.json());
    assert_eq!(refused.message(), "Cannot evict pod as it would violate the pod's disruption budget.");
    let deleted = client.send("DELETE", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b", &[], "").await;
    assert_eq!(deleted.status, 200);
    assert_eq!(client.post(path, &eviction).await.status, 201);
}
