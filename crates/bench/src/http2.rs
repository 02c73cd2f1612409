//! Many requests over one connection, as clients in Go make them: kube's own client opens one for each that is not
//! answered at once. Whose requests they are, the kubeconfig's certificate says.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::{Config, client::ConfigExt as _};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

/// A connection. Dropped, it ends.
pub(crate) struct Connection {
    sender: http2::SendRequest<Empty<Bytes>>,
    server: Uri,
    _driver: JoinSet<()>,
}

impl Connection {
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        let server = config.cluster_url.clone();
        let host = server.host().context("the cluster's address has no host")?;
        let port = server.port_u16().unwrap_or(443);
        let mut tls = config.rustls_client_config()?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let name = config.tls_server_name.clone().unwrap_or_else(|| host.trim_matches(['[', ']']).to_owned());
        let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(std::sync::Arc::new(tls)).connect(ServerName::try_from(name)?, stream).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_connection_window_size(16 << 20)
            .handshake(TokioIo::new(Box::new(stream)))
            .await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        Ok(Self { sender, server, _driver: driver })
    }

    /// The answer's body, once its head has come.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Incoming> {
        let authority = self.server.authority().context("the cluster's address has no authority")?;
        let request = Request::get(format!("https://{authority}{path}")).body(Empty::new())?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        ensure!(answer.status().is_success(), "{path} is answered with {}", answer.status());
        Ok(answer.into_body())
    }
}

/// The next piece of a body; none at its end.
pub(crate) async fn piece(body: &mut Incoming) -> anyhow::Result<Option<Bytes>> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
