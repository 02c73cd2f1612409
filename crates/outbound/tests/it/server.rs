//! A server that tells what it was asked, and certificates for it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use pki::ServingIdentity;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// PEM of a certificate and its key.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

pub(crate) fn authority() -> Authority {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    Authority { pem: certificate.pem(), issuer: rcgen::Issuer::new(params, key) }
}

impl Authority {
    pub(crate) fn issue(&self, name: &str) -> Pair {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        Pair { certificate: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}

pub(crate) fn self_signed(name: &str) -> Pair {
    signed(rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap())
}

pub(crate) fn expired(name: &str) -> Pair {
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    signed(params)
}

fn signed(params: rcgen::CertificateParams) -> Pair {
    let key = rcgen::KeyPair::generate().unwrap();
    Pair { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connections: AtomicUsize,
    pub(crate) requests: AtomicUsize,
    pub(crate) client_certificates: AtomicUsize,
}

/// Ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    _end: DropGuard,
}

impl Server {
    pub(crate) async fn start(pair: Pair) -> Self {
        Self::with(pair, None, None).await
    }

    pub(crate) async fn redirecting(pair: Pair, to: &str) -> Self {
        Self::with(pair, None, Some(to.to_owned())).await
    }

    /// Asks clients for a certificate of this authority.
    pub(crate) async fn asking(pair: Pair, authority: &str) -> Self {
        Self::with(pair, Some(authority), None).await
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own server has no supervisor")]
    async fn with(pair: Pair, clients: Option<&str>, redirect: Option<String>) -> Self {
        let identity = ServingIdentity::new(&pair.certificate, &pair.key).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(pki::server_config(identity, clients).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, end) = (Arc::new(Seen::default()), CancellationToken::new());
        let (counted, ended) = (seen.clone(), end.clone());
        tokio::spawn(ended.run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, seen, redirect) = (acceptor.clone(), counted.clone(), redirect.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    if stream.get_ref().1.peer_certificates().is_some() {
                        seen.client_certificates.fetch_add(1, Ordering::SeqCst);
                    }
                    let service = service_fn(move |request| answer(request, seen.clone(), redirect.clone()));
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                });
            }
        }));
        Self { address, seen, _end: end.drop_guard() }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own server has no supervisor")]
async fn answer(
    mut request: Request<Incoming>,
    seen: Arc<Seen>,
    redirect: Option<String>,
) -> Result<Response<Full<bytes::Bytes>>, std::convert::Infallible> {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    let mut answer = Response::new(Full::default());
    if let Some(to) = redirect {
        *answer.status_mut() = StatusCode::FOUND;
        answer.headers_mut().insert(header::LOCATION, to.parse().unwrap());
        return Ok(answer);
    }
    match request.uri().path() {
        "/hang" => std::future::pending().await,
        "/fail" => {
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            *answer.body_mut() = Full::from("boom");
        }
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.unwrap());
                let mut bytes = [0; 4];
                tokio::io::AsyncReadExt::read_exact(&mut stream, &mut bytes).await.unwrap();
                tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.unwrap();
            });
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            answer.headers_mut().insert(header::UPGRADE, "test".parse().unwrap());
            answer.headers_mut().insert(header::CONNECTION, "Upgrade".parse().unwrap());
        }
        _ => {
            let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            let head = format!("{} {} host={host} {:?} ", request.method(), request.uri(), request.version());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            *answer.body_mut() = Full::from([head.as_bytes(), &body].concat());
        }
    }
    Ok(answer)
}
