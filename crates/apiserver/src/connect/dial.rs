//! How a connection to a kubelet is made: over TLS, or inside the process.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use futures::future::{BoxFuture, FutureExt as _};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Upstream dials for 30 seconds.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Both directions of a connection.
pub trait NodeStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> NodeStream for T {}

/// Where a node's kubelet listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    pub node: String,
    pub host: IpAddr,
    pub port: u16,
    /// Set where the client says that it takes anybody's word: `insecureSkipTLSVerifyBackend`.
    pub unverified: bool,
}

/// Makes connections on which the kubelet's HTTP/1.1 can be spoken at once.
pub trait NodeDialer: Send + Sync {
    fn dial<'a>(&'a self, address: &'a NodeAddress) -> BoxFuture<'a, io::Result<Box<dyn NodeStream>>>;
}

/// Over TLS, with the API server's own client certificate.
pub struct TlsDialer {
    verified: TlsConnector,
    unverified: TlsConnector,
}

impl TlsDialer {
    /// `unverified` is for those who say that they do not care who answers.
    pub fn new(verified: Arc<rustls::ClientConfig>, unverified: Arc<rustls::ClientConfig>) -> Self {
        Self { verified: TlsConnector::from(verified), unverified: TlsConnector::from(unverified) }
    }
}

impl NodeDialer for TlsDialer {
    fn dial<'a>(&'a self, address: &'a NodeAddress) -> BoxFuture<'a, io::Result<Box<dyn NodeStream>>> {
        async move {
            let connect = async {
                let tcp = TcpStream::connect((address.host, address.port)).await?;
                tcp.set_nodelay(true)?;
                let connector = if address.unverified { &self.unverified } else { &self.verified };
                connector.connect(ServerName::IpAddress(address.host.into()), tcp).await
            };
            let stream = tokio::time::timeout(DIAL_TIMEOUT, connect)
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "i/o timeout"))??;
            Ok(Box::new(stream) as Box<dyn NodeStream>)
        }
        .boxed()
    }
}
