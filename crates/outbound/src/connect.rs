//! Makes connections for the pool: resolve once, check, dial, TLS.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper::rt::ReadBufCursor;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{AddressRule, error::CallError, tls};

/// Upstream's dialers wait as long.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// What goes wrong before a connection stands. `Display` is upstream's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConnectError(pub(crate) String);

/// A `tower` service from a URI to a connection, as the pool wants it.
#[derive(Clone)]
pub(crate) struct Connector {
    inner: Arc<Inner>,
}

struct Inner {
    tls: Arc<ClientConfig>,
    /// Whose certificate is wanted; without one, the URI's host.
    server_name: Option<ServerName<'static>>,
    rule: AddressRule,
}

impl Connector {
    pub(crate) fn new(config: ClientConfig, server_name: Option<&str>, rule: AddressRule) -> Result<Self, CallError> {
        let server_name = server_name
            .map(|name| ServerName::try_from(name.to_owned()))
            .transpose()
            .map_err(|_| CallError::Config(format!("invalid server name {server_name:?}")))?;
        Ok(Self { inner: Arc::new(Inner { tls: Arc::new(config), server_name, rule }) })
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            match tokio::time::timeout(DIAL_TIMEOUT, inner.connect(&uri)).await {
                Ok(connected) => connected,
                Err(_) => {
                    Err(ConnectError(format!("dial tcp {}: i/o timeout", uri.authority().map_or("", |a| a.as_str()))))
                }
            }
        })
    }
}

impl Inner {
    async fn connect(&self, uri: &Uri) -> Result<Stream, ConnectError> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tcp = self.dial(host, port).await?;
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "set nodelay");
        }
        if !secure {
            return Ok(Stream::Plain(TokioIo::new(tcp)));
        }
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => {
                ServerName::try_from(host.to_owned()).map_err(|_| ConnectError(format!("invalid host {host:?}")))?
            }
        };
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await;
        stream
            .map(|stream| Stream::Tls(Box::new(TokioIo::new(stream))))
            .map_err(|error| ConnectError(tls::words(&error)))
    }

    /// The name is resolved here and nowhere else; what was checked is what is dialled.
    async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => tokio::net::lookup_host((host, port))
                .await
                .map_err(|_| ConnectError(format!("dial tcp: lookup {host}: no such host")))?
                .take(MAX_ADDRESSES)
                .collect(),
        };
        // One forbidden address is enough: a name that mixes them is trying something.
        if addresses.iter().any(|address| !self.rule.allows(address.ip())) {
            return Err(ConnectError("address not allowed".to_owned()));
        }
        let mut last = format!("dial tcp: lookup {host}: no such host");
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = format!("dial tcp {address}: {}", tls::io_words(&error)),
            }
        }
        Err(ConnectError(last))
    }
}

/// A connection, with or without TLS.
pub(crate) enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Tls(stream) if stream.inner().get_ref().1.alpn_protocol() == Some(b"h2") => {
                Connected::new().negotiated_h2()
            }
            _ => Connected::new(),
        }
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
        }
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, buffers),
        }
    }
}
