//! Exec and attach over SPDY, one stream for each of standard input, output, error, the terminal's size and the result.
//! Upstream: kubelet/pkg/cri/streaming/remotecommand/httpstream.go.

use std::time::Duration;

use cri::{CriResult, Session, TerminalSize};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use super::channels::Codec;
use super::exec::{CHUNK, DRAIN, Kind, SessionError, Size, Wanted, failure, read, result_bytes};
use super::spdy::{self, Stream, Writer};
use super::upgrade::Pending;

pub(super) const PROTOCOLS: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// How long a client may take to open its streams. Upstream: `DefaultStreamCreationTimeout`.
const OPENING: Duration = Duration::from_secs(30);
const MAX_STREAMS: usize = 5;

#[derive(Default)]
struct Streams {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

pub(super) async fn serve(
    pending: Pending,
    codec: Codec,
    wanted: Wanted,
    kind: Kind,
    open: impl Future<Output = CriResult<Session>> + Send,
) -> Result<(), SessionError> {
    let (opened, mut incoming) = mpsc::channel(MAX_STREAMS);
    let session = async {
        let streams = tokio::time::timeout(OPENING, collect(&mut incoming, wanted))
            .await
            .map_err(|_| SessionError::Streams)??;
        run(streams, codec, kind, open).await;
        // Dropped only now: without a receiver the connection is closed.
        drop(incoming);
        Ok::<(), SessionError>(())
    };
    let connection = async {
        let raw = pending.raw().await?;
        Ok::<(), SessionError>(spdy::serve(raw, opened).await?)
    };
    let mut session = std::pin::pin!(session);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // The client has gone; dropping the session ends the process.
        ended = &mut connection => ended,
        ended = &mut session => {
            ended?;
            connection.await
        }
    }
}

async fn collect(incoming: &mut mpsc::Receiver<Stream>, wanted: Wanted) -> Result<Streams, SessionError> {
    let mut streams = Streams::default();
    loop {
        // A terminal has no separate error stream, and its size comes on a stream of its own.
        let complete = streams.error.is_some()
            && (streams.stdin.is_some() || !wanted.stdin)
            && (streams.stdout.is_some() || !wanted.stdout)
            && (streams.stderr.is_some() || !wanted.stderr || wanted.tty);
        if complete && (streams.resize.is_some() || !wanted.tty) {
            return Ok(streams);
        }
        let stream = incoming.recv().await.ok_or(SessionError::Streams)?;
        match stream.headers.get("streamtype").map(String::as_str) {
            Some("error") => streams.error = Some(stream),
            Some("stdin") => streams.stdin = Some(stream),
            Some("stdout") => streams.stdout = Some(stream),
            Some("stderr") => streams.stderr = Some(stream),
            Some("resize") => streams.resize = Some(stream),
            _ => return Err(SessionError::Streams),
        }
    }
}

async fn run(streams: Streams, codec: Codec, kind: Kind, open: impl Future<Output = CriResult<Session>> + Send) {
    let Streams { error, stdin, stdout, stderr, resize } = streams;
    let status = match open.await {
        Ok(session) => {
            let Session { stdin: input, stdout: output, stderr: errors, resize: sizes, exit } = session;
            let feeding = async {
                if let (Some(mut stream), Some(mut writer)) = (stdin, input) {
                    while let Some(data) = stream.reader.recv().await {
                        if writer.write_all(&data).await.is_err() || writer.flush().await.is_err() {
                            break;
                        }
                    }
                    let _closed = writer.shutdown().await;
                }
                std::future::pending::<()>().await;
            };
            let sizing = async {
                if let Some(mut stream) = resize {
                    while let Some(data) = stream.reader.recv().await {
                        for size in sizes_in(&data) {
                            let _ended = sizes.send(TerminalSize { width: size.width, height: size.height }).await;
                        }
                    }
                }
                std::future::pending::<()>().await;
            };
            let writer = |stream: &Option<Stream>| stream.as_ref().map(|stream| stream.writer.clone());
            let running = async {
                let copying = async {
                    tokio::join!(copy(output, writer(&stdout)), copy(errors, writer(&stderr)));
                };
                let mut copying = std::pin::pin!(copying);
                let mut exit = exit;
                tokio::select! {
                    code = &mut exit => {
                        // A process that left its output open to a child is not waited for.
                        let _drained = tokio::time::timeout(DRAIN, copying).await;
                        code
                    }
                    () = &mut copying => exit.await,
                }
            };
            let code = tokio::select! {
                code = running => code,
                () = feeding => return,
                () = sizing => return,
            };
            kind.result(Some(code))
        }
        Err(error) => failure(&format!("error executing command in container: {error}")),
    };
    for stream in [stdout, stderr].into_iter().flatten() {
        stream.writer.close().await;
    }
    if let Some(error) = error {
        error.writer.write(&result_bytes(codec, &status)).await;
        error.writer.close().await;
    }
}

/// Sizes come as JSON objects, one after the other.
fn sizes_in(data: &[u8]) -> Vec<Size> {
    serde_json::Deserializer::from_slice(data).into_iter::<Size>().flatten().collect()
}

async fn copy(mut from: Option<cri::Reader>, to: Option<Writer>) {
    let Some(to) = to else { return };
    let mut buffer = vec![0; CHUNK];
    loop {
        match read(&mut from, &mut buffer).await {
            0 => return,
            count => {
                if !to.write(&buffer[..count]).await {
                    return;
                }
            }
        }
    }
}
