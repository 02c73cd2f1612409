//! `/exec`, `/attach` and `/run`. Upstream: kubelet/pkg/cri/streaming/remotecommand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cri::{AttachRequest, CriResult, ExecRequest, Session, TerminalSize};
use futures::{SinkExt as _, StreamExt as _, stream::SplitSink};
use http::{Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::channels::{Codec, ERROR, Incoming, PROTOCOLS, RESIZE, STDERR, STDIN, STDOUT};
use super::exec_spdy;
use super::upgrade::{self, Pending, Socket, Transport};
use super::{Body, MAX_COMMAND, Query, Refused, flag, refuse, text};
use crate::shared::{ContainerView, Shared, View};

pub(super) const CHUNK: usize = 32 * 1024;
/// A process that left its output open to a child is not waited for longer than this.
pub(super) const DRAIN: Duration = Duration::from_secs(2);

/// Which streams a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// What a session is of, for the words of its result.
pub(super) enum Kind {
    Exec(Vec<String>),
    Attach,
}

#[derive(Deserialize)]
pub(super) struct Size {
    #[serde(rename = "Width")]
    pub width: u16,
    #[serde(rename = "Height")]
    pub height: u16,
}

pub(super) fn exec<B: Send + 'static>(
    shared: &Arc<Shared>,
    request: Request<B>,
    _view: &View,
    container: &ContainerView,
    query: &Query,
) -> Result<Response<Body>, Refused> {
    let command = command(query)?;
    let wanted = wanted(query)?;
    let request_to_runtime = ExecRequest {
        container_id: container.id.clone().unwrap_or_default(),
        command: command.clone(),
        tty: wanted.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr && !wanted.tty,
    };
    let runtime = shared.runtime.clone();
    let open = async move { runtime.exec(&request_to_runtime).await };
    start(shared, request, wanted, Kind::Exec(command), open)
}

pub(super) fn attach<B: Send + 'static>(
    shared: &Arc<Shared>,
    request: Request<B>,
    _view: &View,
    container: &ContainerView,
    query: &Query,
) -> Result<Response<Body>, Refused> {
    let asked = wanted(query)?;
    // What the container has decides; a client that asks for a terminal the container lacks gets plain streams.
    let wanted = Wanted { tty: container.tty, stdin: asked.stdin && container.stdin, ..asked };
    let request_to_runtime = AttachRequest {
        container_id: container.id.clone().unwrap_or_default(),
        tty: wanted.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr && !wanted.tty,
    };
    let runtime = shared.runtime.clone();
    let open = async move { runtime.attach(&request_to_runtime).await };
    start(shared, request, wanted, Kind::Attach, open)
}

/// Runs a command and answers with its output.
pub(super) async fn run(
    shared: &Arc<Shared>,
    container: &ContainerView,
    query: &Query,
) -> Result<Response<Body>, Refused> {
    let line = query.iter().find(|(name, _)| name == "cmd").map(|(_, value)| value.clone()).unwrap_or_default();
    let command: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if command.is_empty() {
        return Err(refuse(StatusCode::BAD_REQUEST, "you must specify a command"));
    }
    let id = container.id.as_deref().unwrap_or_default();
    match shared.runtime.exec_sync(id, &command, None).await {
        Ok(result) => {
            let mut output = result.stdout;
            output.extend_from_slice(&result.stderr);
            let status = if result.exit_code == 0 { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
            Ok(text(status, String::from_utf8_lossy(&output).into_owned()))
        }
        Err(error) => Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

fn command(query: &Query) -> Result<Vec<String>, Refused> {
    let command: Vec<String> =
        query.iter().filter(|(name, _)| name == "command").map(|(_, value)| value.clone()).collect();
    if command.is_empty() {
        return Err(refuse(StatusCode::BAD_REQUEST, "you must specify at least one command"));
    }
    if command.iter().map(String::len).sum::<usize>() > MAX_COMMAND {
        return Err(refuse(StatusCode::BAD_REQUEST, "command is too long"));
    }
    Ok(command)
}

fn wanted(query: &Query) -> Result<Wanted, Refused> {
    let wanted = Wanted {
        stdin: flag(query, ["input", "stdin"]),
        stdout: flag(query, ["output", "stdout"]),
        stderr: flag(query, ["error", "stderr"]),
        tty: flag(query, ["tty", "tty"]),
    };
    if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        return Err(refuse(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(wanted)
}

fn start<B: Send + 'static>(
    shared: &Arc<Shared>,
    request: Request<B>,
    wanted: Wanted,
    kind: Kind,
    open: impl Future<Output = CriResult<Session>> + Send + 'static,
) -> Result<Response<Body>, Refused> {
    let upgrade = upgrade::accept(request, &PROTOCOLS, &exec_spdy::PROTOCOLS)?;
    let codec = Codec::of(&upgrade.protocol);
    let (pending, transport) = (upgrade.pending, upgrade.transport);
    shared.supervisor.spawn("session", async move {
        let served = match transport {
            Transport::WebSocket => serve(pending, codec, wanted, kind, open).await,
            Transport::Spdy => exec_spdy::serve(pending, codec, wanted, kind, open).await,
        };
        if let Err(error) = served {
            tracing::debug!(%error, "session ended early");
        }
    });
    Ok(upgrade.response)
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("upgrade of the connection")]
    Upgrade(#[from] hyper::Error),
    #[error("the client's connection")]
    Socket(#[from] tokio_tungstenite::tungstenite::Error),
    #[error(transparent)]
    Spdy(#[from] super::spdy::SpdyError),
    #[error("the client did not open all its streams in time")]
    Streams,
}

async fn serve(
    pending: Pending,
    codec: Codec,
    wanted: Wanted,
    kind: Kind,
    open: impl Future<Output = CriResult<Session>> + Send,
) -> Result<(), SessionError> {
    let mut socket = pending.websocket().await?;
    // An empty message tells the client that the connection stands.
    let lowest = if wanted.stdout {
        STDOUT
    } else if wanted.stderr {
        STDERR
    } else {
        ERROR
    };
    socket.send(codec.encode(lowest, b"")).await?;
    match open.await {
        Ok(session) => {
            let outlives = wanted.stdin && !wanted.tty && matches!(kind, Kind::Exec(_));
            pump(socket, codec, session, &kind, outlives).await
        }
        Err(error) => {
            let status = failure(&format!("error executing command in container: {error}"));
            socket.send(codec.encode(ERROR, &result_bytes(codec, &status))).await?;
            socket.close(Some(upgrade::normal_closure())).await?;
            Ok(())
        }
    }
}

/// Moves bytes until the process has ended or the client has gone. What has got its input outlives the client: many
/// write an archive and close the connection at once, and count on its being unpacked (upstream: the end of the
/// connection is the end of the input, nothing more).
async fn pump(socket: Socket, codec: Codec, session: Session, kind: &Kind, outlives: bool) -> Result<(), SessionError> {
    let Session { mut stdin, stdout, stderr, resize, exit } = session;
    let (sink, mut stream) = socket.split();
    let mut told = Told { sink, gone: false, outlives };
    // Both directions in one task but each waiting for itself only: a process that echoes what it reads must be able
    // to fill its output while its input is still being written.
    let inbound = async {
        let mut outcome = Ok(());
        while let Some(message) = stream.next().await {
            let message = match message {
                Ok(Message::Close(_)) => break,
                Ok(message) => message,
                Err(error) => {
                    outcome = Err(error.into());
                    break;
                }
            };
            match codec.decode(message) {
                Incoming::Data { channel: STDIN, data } => {
                    if let Some(writer) = &mut stdin {
                        let written = async {
                            writer.write_all(&data).await?;
                            writer.flush().await
                        }
                        .await;
                        // A process that closed its input does not end the session.
                        if written.is_err() {
                            stdin = None;
                        }
                    }
                }
                Incoming::Data { channel: RESIZE, data } => {
                    if let Ok(size) = serde_json::from_slice::<Size>(&data) {
                        // The session may have ended; then there is no terminal to size.
                        let _ended = resize.send(TerminalSize { width: size.width, height: size.height }).await;
                    }
                }
                Incoming::CloseChannel(STDIN) => {
                    if let Some(mut writer) = stdin.take() {
                        let _closed = writer.shutdown().await;
                    }
                }
                _ => {}
            }
        }
        if let Some(mut writer) = stdin.take() {
            let _closed = writer.shutdown().await;
        }
        outcome
    };
    let outbound = async {
        let mut stdout = stdout;
        let mut stderr = stderr;
        let mut exit = exit;
        let mut code = None;
        let (mut first, mut second) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut drained = None;
        loop {
            if code.is_some() && stdout.is_none() && stderr.is_none() {
                break;
            }
            tokio::select! {
                count = read(&mut stdout, &mut first), if stdout.is_some() => match count {
                    0 => stdout = None,
                    count => told.tell(codec.encode(STDOUT, &first[..count])).await?,
                },
                count = read(&mut stderr, &mut second), if stderr.is_some() => match count {
                    0 => stderr = None,
                    count => told.tell(codec.encode(STDERR, &second[..count])).await?,
                },
                ended = &mut exit, if code.is_none() => {
                    code = Some(ended);
                    drained = Some(tokio::time::Instant::now() + DRAIN);
                }
                () = tokio::time::sleep_until(drained.unwrap_or_else(tokio::time::Instant::now)), if drained.is_some() => break,
            }
        }
        let status = kind.result(code);
        told.tell(codec.encode(ERROR, &result_bytes(codec, &status))).await?;
        told.tell(Message::Close(Some(upgrade::normal_closure()))).await?;
        told.end().await
    };
    let mut outbound = std::pin::pin!(outbound);
    let received = tokio::select! {
        sent = &mut outbound => return sent,
        received = inbound => received,
    };
    if outlives { outbound.await } else { received }
}

/// Where output goes, as long as somebody is there.
struct Told {
    sink: SplitSink<Socket, Message>,
    gone: bool,
    /// That the client has gone is no reason to end.
    outlives: bool,
}

impl Told {
    async fn tell(&mut self, message: Message) -> Result<(), SessionError> {
        if self.gone {
            return Ok(());
        }
        match self.sink.send(message).await {
            Err(_) if self.outlives => {
                self.gone = true;
                Ok(())
            }
            sent => Ok(sent?),
        }
    }

    async fn end(&mut self) -> Result<(), SessionError> {
        if !self.gone {
            self.sink.close().await?;
        }
        Ok(())
    }
}

impl Kind {
    /// The result as a Status.
    pub(super) fn result(&self, code: Option<CriResult<i32>>) -> Value {
        match (code, self) {
            (Some(Ok(0)) | None, _) | (Some(Ok(_)), Kind::Attach) => json!({"metadata": {}, "status": "Success"}),
            (Some(Ok(code)), Kind::Exec(command)) => non_zero(command, code),
            (Some(Err(error)), _) => failure(&error.to_string()),
        }
    }
}

pub(super) async fn read(reader: &mut Option<cri::Reader>, buffer: &mut [u8]) -> usize {
    match reader {
        // A broken stream has nothing more to give; how the process ended is told by its exit.
        Some(reader) => reader.read(buffer).await.unwrap_or(0),
        None => 0,
    }
}

fn non_zero(command: &[String], code: i32) -> Value {
    let message = format!(
        "command terminated with non-zero exit code: error executing command {}, exit code {code}",
        crate::format::go_list(command)
    );
    json!({"metadata": {}, "status": "Failure", "message": message, "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}})
}

pub(super) fn failure(message: &str) -> Value {
    json!({"metadata": {}, "status": "Failure", "message": format!("Internal error occurred: {message}"), "reason": "InternalError",
        "details": {"causes": [{"message": message}]}, "code": 500})
}

/// Old protocols carry the message alone, and nothing for success.
pub(super) fn result_bytes(codec: Codec, status: &Value) -> Bytes {
    if codec.status {
        return Bytes::from(status.to_string());
    }
    Bytes::from(status.get("message").and_then(Value::as_str).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results() {
        let status = non_zero(&["sh".to_owned(), "-c".to_owned()], 3);
        assert_eq!(
            status["message"],
            "command terminated with non-zero exit code: error executing command [sh -c], exit code 3"
        );
        assert_eq!(status["details"]["causes"][0]["message"], "3");
        assert_eq!(result_bytes(Codec::of("channel.k8s.io"), &json!({"status": "Success"})), Bytes::new());
    }
}
