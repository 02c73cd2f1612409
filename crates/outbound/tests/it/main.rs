//! Calls to real servers over TLS.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod server;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use outbound::{
    AddressRule, CallError, Client, ClientConfig, Credentials, Identity, Kubeconfig, Outbound, Place, Post, Protocols,
    ResolveError, ResolveService, ServiceReference, Settings, Target, Trust, empty,
};
use parking_lot::Mutex;
use server::{Server, authority};

/// One Service, whose endpoint can be moved.
struct One(Mutex<Option<SocketAddr>>);

impl ResolveService for One {
    fn resolve(&self, namespace: &str, name: &str, _port: u16) -> Result<Place, ResolveError> {
        assert_eq!((namespace, name), ("hooks", "echo"));
        self.0.lock().map(Place::Address).ok_or_else(|| ResolveError::NoEndpoints(name.to_owned()))
    }
}

fn at(address: SocketAddr) -> (Arc<One>, Outbound) {
    let resolver = Arc::new(One(Mutex::new(Some(address))));
    (resolver.clone(), Outbound::new(resolver, Kubeconfig::default()))
}

fn service(path: &str, ca_bundle: &str) -> ClientConfig {
    let reference =
        ServiceReference { namespace: "hooks".to_owned(), name: "echo".to_owned(), port: 443, path: path.to_owned() };
    ClientConfig { target: Target::Service(reference), ca_bundle: ca_bundle.as_bytes().to_vec() }
}

fn post(body: &str) -> Post {
    Post { body: Bytes::from(body.to_owned()), timeout: Duration::from_secs(10), max_answer: 1024, tell_timeout: true }
}

const NAME: &str = "echo.hooks.svc";

#[tokio::test]
async fn a_service_is_called_by_its_name_over_one_connection() {
    let authority = authority();
    let server = Server::start(authority.issue(NAME)).await;
    let (_, outbound) = at(server.address);
    let client = outbound.client(&service("/echo", &authority.pem)).unwrap();
    for _ in 0..3 {
        let answer = client.post(post("{\"a\":1}")).await.unwrap();
        assert_eq!(answer, "POST /echo?timeout=10s host=echo.hooks.svc:443 HTTP/1.1 {\"a\":1}");
    }
    assert_eq!(server.seen.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_endpoint_that_moved_is_called_where_it_is_now() {
    let authority = authority();
    let (first, second) = (Server::start(authority.issue(NAME)).await, Server::start(authority.issue(NAME)).await);
    let (resolver, outbound) = at(first.address);
    let client = outbound.client(&service("/echo", &authority.pem)).unwrap();
    client.post(post("{}")).await.unwrap();
    *resolver.0.lock() = Some(second.address);
    client.post(post("{}")).await.unwrap();
    assert_eq!(first.seen.requests.load(Ordering::SeqCst), 1);
    assert_eq!(second.seen.requests.load(Ordering::SeqCst), 1);
    *resolver.0.lock() = None;
    let error = client.post(post("{}")).await.unwrap_err().to_string();
    let expected = "Post \"https://echo.hooks.svc:443/echo?timeout=10s\": no endpoints available for service \"echo\"";
    assert_eq!(error, expected);
}

/// CVE-2020-8561.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let authority = authority();
    let target = Server::start(authority.issue(NAME)).await;
    let server = Server::redirecting(authority.issue(NAME), &format!("https://{}/secret", target.address)).await;
    let (_, outbound) = at(server.address);
    let client = outbound.client(&service("/x", &authority.pem)).unwrap();
    let error = client.post(post("{}")).await.unwrap_err();
    assert_eq!(error.status().unwrap().code, 302);
    assert_eq!(error.to_string(), "the server responded with the status code 302 but did not return more information");
    assert_eq!(target.seen.connections.load(Ordering::SeqCst), 0);
}

/// CVE-2020-8562: the name is resolved by who dials, and what it means is checked there.
#[tokio::test]
async fn a_name_that_means_the_server_itself_is_not_dialled() {
    let authority = authority();
    let server = Server::start(authority.issue("localhost")).await;
    let settings =
        |rule| Settings { rule, trust: Trust::Bundle(authority.pem.clone().into_bytes()), ..Settings::default() };
    let url = format!("https://localhost:{}/echo", server.address.port());
    let client = Client::for_url(&url, settings(AddressRule::Proxyable)).unwrap();
    let error = client.post(post("{}")).await.unwrap_err();
    assert!(error.to_string().ends_with("address not allowed"), "{error}");
    assert_eq!(server.seen.connections.load(Ordering::SeqCst), 0);
    Client::for_url(&url, settings(AddressRule::Any)).unwrap().post(post("{}")).await.unwrap();
}

#[tokio::test]
async fn only_who_is_meant_is_trusted() {
    let (authority, other) = (authority(), authority());
    let refused = async |certificate, bundle: &str, why: &str| {
        let server = Server::start(certificate).await;
        let (_, outbound) = at(server.address);
        let error = outbound.client(&service("/echo", bundle)).unwrap().post(post("{}")).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(server.seen.requests.load(Ordering::SeqCst), 0);
    };
    let unknown = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    refused(other.issue(NAME), &authority.pem, unknown).await;
    // Without a bundle, the system's authorities are asked.
    refused(authority.issue(NAME), "", unknown).await;
    let named = "x509: certificate is valid for other.hooks.svc, not echo.hooks.svc";
    refused(authority.issue("other.hooks.svc"), &authority.pem, named).await;
    let pinned = server::self_signed("other.hooks.svc");
    refused(pinned.clone(), &pinned.certificate, "not echo.hooks.svc").await;
}

/// What a self-signed issuer puts into a bundle is no authority.
#[tokio::test]
async fn a_certificate_of_the_bundle_itself_is_trusted() {
    let certificate = server::self_signed(NAME);
    let server = Server::start(certificate.clone()).await;
    let (_, outbound) = at(server.address);
    outbound.client(&service("/echo", &certificate.certificate)).unwrap().post(post("{}")).await.unwrap();
    let expired = server::expired(NAME);
    let server = Server::start(expired.clone()).await;
    let (_, outbound) = at(server.address);
    let error = outbound.client(&service("/", &expired.certificate)).unwrap().post(post("{}")).await.unwrap_err();
    assert!(error.to_string().contains("certificate has expired or is not yet valid"), "{error}");
}

#[tokio::test]
async fn a_call_ends_in_its_time_and_an_answer_has_its_size() {
    let authority = authority();
    let server = Server::start(authority.issue(NAME)).await;
    let (_, outbound) = at(server.address);
    let client = outbound.client(&service("/hang", &authority.pem)).unwrap();
    let error = client.post(Post { timeout: Duration::from_millis(1500), ..post("{}") }).await.unwrap_err();
    let expected = "Post \"https://echo.hooks.svc:443/hang?timeout=2s\": context deadline exceeded";
    assert_eq!(error.to_string(), expected);
    let client = outbound.client(&service("/echo", &authority.pem)).unwrap();
    let error = client.post(post(&"x".repeat(2000))).await.unwrap_err();
    assert!(matches!(error, CallError::TooLarge(1024)), "{error}");
    let client = outbound.client(&service("/fail", &authority.pem)).unwrap();
    let error = client.post(post("{}")).await.unwrap_err();
    assert_eq!(error.to_string(), "an error on the server (\"boom\") has prevented the request from succeeding");
}

#[tokio::test]
async fn a_port_without_a_server_reads_as_upstream() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (_, outbound) = at(address);
    let error = outbound.client(&service("/", &authority().pem)).unwrap().post(post("{}")).await.unwrap_err();
    let expected =
        format!("Post \"https://echo.hooks.svc:443/?timeout=10s\": dial tcp {address}: connect: connection refused");
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_wanted_and_the_client_shows_who_it_is() {
    let authority = authority();
    let server = Server::asking(authority.issue(NAME), &authority.pem).await;
    let (_, outbound) = at(server.address);
    let own = authority.issue("front-proxy-client");
    let identity = Identity::Pem { certificate: own.certificate, key: own.key };
    let settings = Settings {
        trust: Trust::Bundle(authority.pem.clone().into_bytes()),
        protocols: Protocols::Http1AndHttp2,
        credentials: Credentials::certificate(Arc::new(identity)),
        ..Settings::default()
    };
    let reference = ServiceReference { namespace: "hooks".into(), name: "echo".into(), port: 443, path: String::new() };
    let client = outbound.service(reference, settings).unwrap();
    let answer = client.send(Request::get("/echo?a=b").body(empty()).unwrap()).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, http::Version::HTTP_2));
    assert_eq!(server.seen.client_certificates.load(Ordering::SeqCst), 1);
    // An upgrade goes over HTTP/1.1.
    let request = Request::get("/upgrade").header("connection", "Upgrade").header("upgrade", "test").body(empty());
    let mut answer = client.send(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    let upgraded = hyper::upgrade::on(&mut answer).await.unwrap();
    let mut stream = hyper_util::rt::TokioIo::new(upgraded);
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"ping").await.unwrap();
    let mut back = [0; 4];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut back).await.unwrap();
    assert_eq!(&back, b"ping");
}
