//! HTTP/2 as no client speaks it: streams that are reset as soon as they begin (CVE-2023-44487), headers without an end
//! (CVE-2024-27316), spoken frame by frame.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, crypto::ring, pki_types::ServerName};
use test_cluster::TestCluster;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Longer than any of it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

async fn connect(cluster: &TestCluster) -> TlsStream<TcpStream> {
    let roots = pki::trust_roots(cluster.authority()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(cluster.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `GET /version`, as HPACK without tables.
fn get() -> Vec<u8> {
    let mut block = vec![0x82, 0x87];
    for (name, value) in [(":path", "/version"), (":authority", "localhost")] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// Reads frames until the server closes; whether it said goodbye with an error.
async fn goodbye(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<u32> {
    let mut head = [0; 9];
    let mut error = None;
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
        if head[3] == GOAWAY {
            error = payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().unwrap()));
        }
    }
    error
}

/// Writes until the server takes no more; how much it took.
async fn flood(
    mut writer: impl tokio::io::AsyncWrite + Unpin,
    mut next: impl FnMut(usize) -> Vec<u8>,
    most: usize,
) -> usize {
    let mut written = 0;
    for round in 0..most {
        let bytes = next(round);
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            break;
        }
        written += 1;
    }
    written
}

/// Others are still served.
async fn is_well(cluster: &TestCluster) {
    let client = cluster.https_client().await.unwrap();
    let version = timeout(PATIENCE, client.apiserver_version()).await.expect("an answer in time").unwrap();
    assert_eq!(version.major, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2023_44487_rapid_reset_ends_the_connection() {
    let cluster = TestCluster::start().await.unwrap();
    let (mut reader, writer) = tokio::io::split(connect(&cluster).await);
    let block = get();
    let attack = flood(
        writer,
        |round| {
            let stream = u32::try_from(round).unwrap() * 2 + 1;
            let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
            bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            bytes
        },
        1_000_000,
    );
    let read = async {
        goodbye(&mut reader).await;
    };
    // The server lets go long before the client is done: a million resets would take it minutes.
    let (written, ()) = timeout(PATIENCE, futures::future::join(attack, read)).await.expect("the server lets go");
    assert!(written < 200_000, "{written} resets were taken");
    is_well(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2024_27316_headers_without_an_end_close_the_connection() {
    let cluster = TestCluster::start().await.unwrap();
    for size in [1, 16, 16_000] {
        let (mut reader, mut writer) = tokio::io::split(connect(&cluster).await);
        writer.write_all(&frame(HEADERS, END_STREAM, 1, &get())).await.unwrap();
        // A header with a long value, a piece at a time.
        let attack = flood(
            writer,
            |_| {
                let mut block = vec![0x00, 0x01, b'x'];
                let value = vec![b'a'; size];
                block.push(0x7f);
                let mut rest = value.len().saturating_sub(127);
                if value.len() < 127 {
                    block.pop();
                    block.push(u8::try_from(value.len()).unwrap());
                } else {
                    while rest >= 128 {
                        block.push(u8::try_from(rest % 128).unwrap() | 0x80);
                        rest /= 128;
                    }
                    block.push(u8::try_from(rest).unwrap());
                }
                block.extend(value);
                frame(CONTINUATION, 0, 1, &block)
            },
            2_000_000,
        );
        let read = goodbye(&mut reader);
        let (written, _) = timeout(PATIENCE, futures::future::join(attack, read)).await.expect("the server lets go");
        assert!(written < 200_000, "{written} frames of {size} bytes were taken");
    }
    is_well(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_changes_its_mind_now_and_then_is_served() {
    let cluster = TestCluster::start().await.unwrap();
    let client = cluster.https_client().await.unwrap();
    for _ in 0..100 {
        let request = ::http::Request::get("/version").body(Vec::new()).unwrap();
        // Begun and dropped, at whatever point it is by then.
        timeout(Duration::from_micros(200), client.request_text(request)).await.ok();
    }
    assert_eq!(client.apiserver_version().await.unwrap().major, "1");
}

/// Reads until so many answers have begun or the server closes: how many have, and how it said goodbye.
async fn answers(stream: &mut (impl tokio::io::AsyncRead + Unpin), wanted: usize) -> (usize, Option<u32>) {
    let (mut head, mut begun, mut error) = ([0; 9], 0, None);
    while begun < wanted && stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
        begun += usize::from(head[3] == HEADERS);
        if head[3] == GOAWAY {
            error = payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().unwrap()));
        }
    }
    (begun, error)
}

/// `--goaway-chance`: no attack, but as visible only frame by frame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_sent_to_other_connections_by_chance() {
    let with = async |goaway_chance: f64| {
        let server = apiserver::ServerOptions { goaway_chance, ..Default::default() };
        TestCluster::start_with(test_cluster::Options { server, ..Default::default() }).await.unwrap()
    };
    let request = |stream: u32| frame(HEADERS, END_STREAM | END_HEADERS, stream, &get());
    let cluster = with(1.0).await;
    let mut stream = connect(&cluster).await;
    stream.write_all(&request(1)).await.unwrap();
    let outcome = timeout(PATIENCE, answers(&mut stream, usize::MAX)).await.expect("the connection ends");
    assert_eq!(outcome, (1, Some(0)), "what was asked is answered, and the goodbye is no error");
    let cluster = with(0.0).await;
    let mut stream = connect(&cluster).await;
    for number in [1, 3, 5] {
        stream.write_all(&request(number)).await.unwrap();
    }
    assert_eq!(timeout(PATIENCE, answers(&mut stream, 3)).await.expect("answers"), (3, None));
}
