//! A connection outlives refusals: an answer may be ready before the request's body has come.

use std::sync::Arc;

use rustls::{ClientConfig, crypto::ring, pki_types::ServerName};
use test_cluster::TestCluster;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

async fn connect(cluster: &TestCluster) -> TlsStream<TcpStream> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(pki::trust_roots(cluster.authority()).unwrap())
        .with_no_client_auth();
    let tcp = TcpStream::connect(cluster.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}

fn head(length: usize, more: &str) -> String {
    format!(
        "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{more}\r\n"
    )
}

/// The head of an answer, in lower case; its body is read, too.
async fn answer(stream: &mut TlsStream<TcpStream>) -> String {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        let read = stream.read_buf(&mut bytes).await.unwrap_or_default();
        assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&bytes));
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut rest = vec![0; length.parse::<usize>().unwrap() - (bytes.len() - end)];
    stream.read_exact(&mut rest).await.unwrap();
    head
}

#[tokio::test]
async fn a_body_that_comes_after_its_head_is_read_although_nobody_wants_it() {
    let cluster = TestCluster::start().await.unwrap();
    let mut stream = connect(&cluster).await;
    for _ in 0..20 {
        stream.write_all(head(5, "").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        // Time for the server to have its answer ready: nobody without a name may create anything.
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
        stream.write_all(b"[1,2]").await.unwrap();
        let head = answer(&mut stream).await;
        assert!(head.starts_with("http/1.1 403 ") && !head.contains("connection: close"), "{head}");
    }
}

#[tokio::test]
async fn what_is_too_much_to_read_ends_the_connection_and_says_so() {
    let cluster = TestCluster::start().await.unwrap();
    for more in ["", "Expect: 100-continue\r\n"] {
        let mut stream = connect(&cluster).await;
        let length = if more.is_empty() { 1 << 30 } else { 5 };
        stream.write_all(head(length, more).as_bytes()).await.unwrap();
        let head = answer(&mut stream).await;
        assert!(head.starts_with("http/1.1 403 ") && head.contains("connection: close"), "{head}");
    }
}
