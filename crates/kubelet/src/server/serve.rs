//! The HTTPS listener. Every request is authenticated and authorised before it is looked at.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authorize::needed;
use super::{Authorizer, Body, User, text};
use crate::kubelet::Kubelet;

const MAX_CONNECTIONS: usize = 1000;
const IN_PROCESS_BUFFER: usize = 64 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

impl Kubelet {
    /// Serves until the process shuts down. `tls` comes with the authorities of client certificates.
    pub fn serve(&self, listener: TcpListener, tls: Arc<ServerConfig>, authorizer: Arc<dyn Authorizer>) {
        let kubelet = self.clone();
        self.shared.supervisor.spawn("kubelet-server", async move {
            accept(kubelet, listener, TlsAcceptor::from(tls), authorizer).await;
        });
    }
}

impl Kubelet {
    /// A connection inside the process on which HTTP/1.1 can be spoken at once. Whoever holds it is authorised.
    pub fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(IN_PROCESS_BUFFER);
        let kubelet = self.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let kubelet = kubelet.clone();
            async move { Ok::<_, Infallible>(kubelet.handle(request).await) }
        });
        self.shared.supervisor.spawn("kubelet-in-process", async move {
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service);
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection inside the process ended");
            }
        });
        ours
    }
}

async fn accept(kubelet: Kubelet, listener: TcpListener, tls: TlsAcceptor, authorizer: Arc<dyn Authorizer>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, mostly: the next one may work, but not at once.
                tracing::warn!(%error, "connection to the kubelet not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (kubelet_of_connection, tls, authorizer) = (kubelet.clone(), tls.clone(), authorizer.clone());
        kubelet.shared.supervisor.spawn("kubelet-connection", async move {
            connection(kubelet_of_connection, stream, tls, authorizer).await;
            drop(slot);
        });
    }
}

async fn connection(kubelet: Kubelet, stream: TcpStream, tls: TlsAcceptor, authorizer: Arc<dyn Authorizer>) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await else { return };
    let certificate_user =
        stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).and_then(|leaf| user_of(leaf));
    let service = service_fn(move |request: Request<Incoming>| {
        let (kubelet, authorizer, user) = (kubelet.clone(), authorizer.clone(), certificate_user.clone());
        async move { Ok::<_, Infallible>(answer(kubelet, authorizer, user, request).await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    if let Err(error) = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(error = %error, "connection to the kubelet ended");
    }
}

async fn answer(
    kubelet: Kubelet,
    authorizer: Arc<dyn Authorizer>,
    user: Option<User>,
    request: Request<Incoming>,
) -> Response<Body> {
    let user = match user {
        Some(user) => Some(user),
        None => match bearer(&request) {
            Some(token) => authorizer.authenticate(&token).await,
            None => None,
        },
    };
    let Some(user) = user else { return text(StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()) };
    let (verb, subresource) = needed(request.method(), request.uri().path());
    if !authorizer.authorize(&user, verb, subresource).await {
        let message = format!("Forbidden (user={}, verb={verb}, resource=nodes, subresource={subresource})", user.name);
        return text(StatusCode::FORBIDDEN, message);
    }
    kubelet.handle(request).await
}

fn bearer<B>(request: &Request<B>) -> Option<String> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then(|| token.trim().to_owned())
}

/// The user that a verified client certificate names: common name and organisations.
fn user_of(certificate: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
    groups.push("system:authenticated".to_owned());
    Some(User { name, uid: String::new(), groups })
}
