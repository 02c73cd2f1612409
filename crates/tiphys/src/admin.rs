//! The server's own socket in its data directory: what is about this machine and not about the cluster.
//!
//! HTTP/1.1 over a Unix socket that only root can open. Today it serves the node's images.

use std::{convert::Infallible, fs, io, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use images::{Credentials, Puller, Reference, Store};
use serde::{Deserialize, Serialize};
use supervisor::Supervisor;
use tokio::net::{UnixListener, UnixStream};
use tracing::{info, warn};

/// One command to the server, as the JSON body of a POST.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "camelCase")]
pub(crate) enum Command {
    /// All images.
    List,
    /// Reads an archive; the path is the caller's, made absolute.
    Import { path: std::path::PathBuf, names: Vec<String> },
    /// Removes names, or whole images by id.
    Remove { names: Vec<String> },
    /// Writes an archive.
    Export { path: std::path::PathBuf, names: Vec<String> },
    /// Asks a registry.
    Pull { name: String, username: String, password: String },
}

/// One line of an answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ImageRow {
    pub(crate) id: String,
    pub(crate) names: Vec<String>,
    pub(crate) size: u64,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    /// Images that the command is about.
    Images(Vec<ImageRow>),
    /// One line each.
    Lines(Vec<String>),
    /// What went wrong.
    Error(String),
}

/// What commands work on.
pub(crate) struct Images {
    pub(crate) store: Store,
    pub(crate) puller: Puller,
    /// Told when the set of images changes, so that the node's status can follow.
    pub(crate) changed: tokio::sync::watch::Sender<()>,
}

impl Images {
    /// Runs a command.
    pub(crate) async fn run(self: &Arc<Self>, command: Command) -> Answer {
        match self.try_run(command).await {
            Ok(answer) => answer,
            Err(error) => Answer::Error(format!("{error:#}")),
        }
    }

    /// Archives are read and layers unpacked for seconds: not on a thread that serves requests.
    async fn try_run(self: &Arc<Self>, command: Command) -> anyhow::Result<Answer> {
        let (this, handle) = (self.clone(), tokio::runtime::Handle::current());
        let work = move || match command {
            Command::Pull { name, username, password } => handle.block_on(this.pull(&name, username, password)),
            command => this.run_blocking(command),
        };
        tokio::task::spawn_blocking(work).await.context("the command panicked")?
    }

    async fn pull(&self, name: &str, username: String, password: String) -> anyhow::Result<Answer> {
        let reference: Reference = name.parse().with_context(|| format!("image name {name:?}"))?;
        let credentials =
            if username.is_empty() { Credentials::Anonymous } else { Credentials::Basic { username, password } };
        let outcome = self.puller.pull(&reference, &credentials).await?;
        let mut lines = vec![outcome.image.id.to_string()];
        if outcome.served_from_store {
            lines.push("the registry could not be reached; the image was on the node already".to_owned());
        }
        self.changed.send_replace(());
        Ok(Answer::Lines(lines))
    }

    fn run_blocking(&self, command: Command) -> anyhow::Result<Answer> {
        let row = |image: &images::Image| ImageRow {
            id: image.id.to_string(),
            names: image.names.iter().map(ToString::to_string).collect(),
            size: image.size,
        };
        match command {
            Command::List => Ok(Answer::Images(self.store.list().iter().map(|image| row(image)).collect())),
            Command::Import { path, names } => {
                let names = names.iter().map(|name| name.parse().with_context(|| format!("image name {name:?}")));
                let names = names.collect::<anyhow::Result<Vec<Reference>>>()?;
                let file = fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
                let images = self.store.import(&file, &names).with_context(|| format!("import {}", path.display()))?;
                self.changed.send_replace(());
                Ok(Answer::Images(images.iter().map(|image| row(image)).collect()))
            }
            Command::Remove { names } => {
                let mut lines = Vec::new();
                for name in names {
                    let removed = self.store.remove(&name)?;
                    lines.extend(removed.untagged.iter().map(|name| format!("Untagged: {name}")));
                    lines.extend(removed.deleted.iter().map(|id| format!("Deleted: {id}")));
                }
                self.changed.send_replace(());
                Ok(Answer::Lines(lines))
            }
            Command::Export { path, names } => {
                let file = fs::File::create(&path).with_context(|| format!("create {}", path.display()))?;
                let mut out = io::BufWriter::new(file);
                self.store.export(&names, &mut out)?;
                io::Write::flush(&mut out).with_context(|| format!("write {}", path.display()))?;
                Ok(Answer::Lines(Vec::new()))
            }
            Command::Pull { .. } => bail!("pulls do not run here"),
        }
    }
}

/// Serves commands until shutdown.
pub(crate) fn serve(path: &Path, images: Arc<Images>, supervisor: &Supervisor) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove the old {}", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("protect {}", path.display()))?;
    let owner = supervisor.clone();
    supervisor.spawn("admin socket", async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "admin socket does not accept");
                    return;
                }
            };
            let images = images.clone();
            owner.spawn("admin request", async move {
                let service = service_fn(move |request| {
                    let images = images.clone();
                    async move { Ok::<_, Infallible>(answer(&images, request).await) }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                if let Err(error) = connection.await {
                    info!(%error, "admin connection ended early");
                }
            });
        }
    });
    Ok(())
}

async fn answer(images: &Arc<Images>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let reply = |status: StatusCode, answer: &Answer| {
        let body = serde_json::to_vec(answer).unwrap_or_default();
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response
    };
    if request.method() != Method::POST || request.uri().path() != "/v1/images" {
        return reply(StatusCode::NOT_FOUND, &Answer::Error("POST /v1/images is all there is".to_owned()));
    }
    let body = match http_body_util::Limited::new(request.into_body(), 1 << 20).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return reply(StatusCode::BAD_REQUEST, &Answer::Error(error.to_string())),
    };
    match serde_json::from_slice(&body) {
        Ok(command) => reply(StatusCode::OK, &images.run(command).await),
        Err(error) => reply(StatusCode::BAD_REQUEST, &Answer::Error(error.to_string())),
    }
}

/// Sends a command to the running server; `None` where no server runs.
pub(crate) async fn ask(path: &Path, command: &Command) -> anyhow::Result<Option<Answer>> {
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| format!("connect to {}", path.display())),
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::post("/v1/images")
        .header("host", "tiphys")
        .body(Full::new(Bytes::from(serde_json::to_vec(command)?)))?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        anyhow::Ok(response.into_body().collect().await?.to_bytes())
    };
    let body = tokio::select! {
        body = exchange => body?,
        ended = connection => {
            ended?;
            bail!("the server closed the connection without an answer");
        }
    };
    serde_json::from_slice(&body).context("the server's answer").map(Some)
}
