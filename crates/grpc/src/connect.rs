//! From an address to an HTTP/2 connection.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// How long connecting may take, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// A silent connection is asked whether it is alive so often. Upstream's etcd client: 30 s and 10 s.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);
/// What a peer may send before it is read.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `https` needs the channel's TLS configuration.
    Tcp {
        host: String,
        port: u16,
        tls: bool,
    },
    Unix(PathBuf),
}

/// Drives one connection. Ends with it.
pub(crate) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

// === impl Endpoint ===

impl Endpoint {
    /// `http://host:port`, `https://host:port`, `unix:///path` or `unix:///@abstract`; `host:port` is plain.
    #[must_use]
    pub fn parse(text: &str) -> Option<Endpoint> {
        if let Some(path) = text.strip_prefix("unix://") {
            return (path.len() > 1).then(|| Endpoint::Unix(PathBuf::from(path)));
        }
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return None,
            None => (false, text),
        };
        let authority: http::uri::Authority = rest.trim_end_matches('/').parse().ok()?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        (!host.is_empty() && !authority.as_str().contains('@')).then(|| Endpoint::Tcp {
            host,
            port: authority.port_u16().unwrap_or(2379),
            tls,
        })
    }

    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Endpoint::Tcp { tls: true, .. })
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.is_tls() { "https" } else { "http" }
    }

    pub(crate) fn authority(&self) -> String {
        match self {
            Endpoint::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Endpoint::Tcp { host, port, .. } => format!("{host}:{port}"),
            Endpoint::Unix(_) => "localhost".to_owned(),
        }
    }

    pub(crate) async fn connect(&self, tls: Option<&Arc<ClientConfig>>) -> io::Result<(SendRequest<Bytes>, Driver)> {
        let connected = tokio::time::timeout(CONNECT, self.connect_now(tls)).await;
        connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn connect_now(&self, tls: Option<&Arc<ClientConfig>>) -> io::Result<(SendRequest<Bytes>, Driver)> {
        match self {
            Endpoint::Unix(path) => {
                let stream = match path.to_str().and_then(|path| path.strip_prefix("/@")) {
                    Some(name) => abstract_socket(name)?,
                    None => UnixStream::connect(path).await?,
                };
                handshake(stream).await
            }
            Endpoint::Tcp { host, port, tls: secure } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                if !secure {
                    return handshake(stream).await;
                }
                let Some(config) = tls else {
                    return Err(io::Error::other("nothing says which authority to trust for https"));
                };
                let mut config = ClientConfig::clone(config);
                config.alpn_protocols = vec![b"h2".to_vec()];
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                handshake(TlsConnector::from(Arc::new(config)).connect(name, stream).await?).await
            }
        }
    }
}

fn abstract_socket(name: &str) -> io::Result<UnixStream> {
    use std::os::linux::net::SocketAddrExt as _;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> io::Result<(SendRequest<Bytes>, Driver)> {
    let (send, mut connection) = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(1 << 20)
        .enable_push(false)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(io::Error::other)?;
    let pings = connection.ping_pong();
    let driver = Box::pin(async move {
        let alive = async {
            let Some(mut pings) = pings else { return std::future::pending().await };
            loop {
                tokio::time::sleep(KEEPALIVE).await;
                match tokio::time::timeout(KEEPALIVE_ANSWER, pings.ping(h2::Ping::opaque())).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) | Err(_) => return,
                }
            }
        };
        tokio::select! {
            ended = connection => {
                if let Err(error) = ended {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a gRPC connection ended");
                }
            }
            () = alive => tracing::debug!("a gRPC connection does not answer any more"),
        }
    });
    Ok((send, driver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_understood() {
        let tcp = |host: &str, port, tls| Some(Endpoint::Tcp { host: host.to_owned(), port, tls });
        assert_eq!(Endpoint::parse("http://127.0.0.1:2379"), tcp("127.0.0.1", 2379, false));
        assert_eq!(Endpoint::parse("https://[::1]:4001/"), tcp("::1", 4001, true));
        assert_eq!(Endpoint::parse("etcd-0:2380"), tcp("etcd-0", 2380, false));
        assert_eq!(Endpoint::parse("unix:///run/kms.sock"), Some(Endpoint::Unix("/run/kms.sock".into())));
        for wrong in ["", "ftp://x", "http://", "unix://", "http://u:p@host:1"] {
            assert_eq!(Endpoint::parse(wrong), None, "{wrong}");
        }
    }
}
