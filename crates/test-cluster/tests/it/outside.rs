//! Servers outside of the API server, over TLS: what webhooks and extension servers are made of.

use std::{
    collections::HashMap,
    future::Future,
    net::{IpAddr, SocketAddr, UdpSocket},
    pin::Pin,
    sync::{Arc, Mutex},
};

use ::http::{Request, Response};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use pki::ServingIdentity;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) type Reply = Response<Full<Bytes>>;
type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// What a connection was found to be from: the common name of the client's certificate.
#[derive(Clone, Default)]
pub(crate) struct Shown(pub(crate) Option<Vec<u8>>);

/// A server with a certificate of its own authority. Ends when it is dropped.
pub(crate) struct Outside {
    pub(crate) address: SocketAddr,
    /// PEM.
    pub(crate) authority: String,
    _end: DropGuard,
}

/// An address of this machine that is not loopback, which endpoints may not be.
pub(crate) fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent: the kernel only looks up the route.
    socket.connect("198.51.100.1:9").unwrap();
    socket.local_addr().unwrap().ip()
}

impl Outside {
    /// `names` are those of its certificate; `clients` the authority (PEM) whose certificates it asks for.
    #[expect(clippy::disallowed_methods, reason = "a test's own server has no supervisor")]
    pub(crate) async fn serve(
        names: &[&str],
        clients: Option<&str>,
        answer: impl Fn(Request<Incoming>, Shown) -> Answering + Clone + Send + Sync + 'static,
    ) -> Self {
        let (authority, issuer) = authority();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        names.extend(["127.0.0.1".to_owned(), own_address().to_string()]);
        let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let identity = ServingIdentity::new(&certificate.pem(), &key.serialize_pem()).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(pki::server_config(identity, clients).unwrap()));
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let end = CancellationToken::new();
        let ended = end.clone();
        tokio::spawn(end.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, ended) = (acceptor.clone(), answer.clone(), ended.clone());
                tokio::spawn(ended.run_until_cancelled_owned(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    let shown = Shown(certificates.first().map(|certificate| certificate.to_vec()));
                    let service = service_fn(move |request| {
                        let reply = answer(request, shown.clone());
                        async move { Ok::<_, std::convert::Infallible>(reply.await) }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                    served.ok();
                }));
            }
        }));
        Self { address, authority, _end: end.drop_guard() }
    }

    /// As `caBundle` wants it.
    pub(crate) fn bundle(&self) -> String {
        BASE64_STANDARD.encode(&self.authority)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.address.port())
    }
}

fn authority() -> (String, rcgen::Issuer<'static, rcgen::KeyPair>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), rcgen::Issuer::new(params, key))
}

/// Counts by name.
#[derive(Clone, Default)]
pub(crate) struct Counts(Arc<Mutex<HashMap<String, usize>>>);

impl Counts {
    pub(crate) fn add(&self, name: &str) {
        *self.0.lock().unwrap().entry(name.to_owned()).or_default() += 1;
    }

    pub(crate) fn of(&self, name: &str) -> usize {
        self.0.lock().unwrap().get(name).copied().unwrap_or_default()
    }
}
