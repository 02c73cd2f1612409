//! HTTP probes and hooks: one GET, redirects followed only on the same host. Upstream: pkg/probe/http.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::connect;
use crate::pod::Outcome;

const MAX_REDIRECTS: usize = 10;
const MAX_BODY: usize = 10 * 1024;

/// What to ask for.
#[derive(Clone, Debug)]
pub(crate) struct Get {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// Path and query.
    pub path: String,
    pub headers: Vec<(String, String)>,
}

struct Answer {
    status: u16,
    location: Option<String>,
    body: Bytes,
}

impl Get {
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn url(&self) -> String {
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        format!("{}://{}{slash}{}", if self.tls { "https" } else { "http" }, self.authority(), self.path)
    }
}

/// One probe: 200 to 399 is success.
pub(crate) async fn probe(get: &Get, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, follow(get.clone(), timeout)).await {
        Err(_) => Outcome::Failure(format!(
            "Get {:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
            get.url()
        )),
        Ok(Err(error)) => Outcome::Failure(error),
        Ok(Ok(answer)) => match answer.status {
            200..=299 => Outcome::Success,
            300..=399 => Outcome::Warning(format!(
                "Probe terminated redirects, Response body: {}",
                String::from_utf8_lossy(&answer.body)
            )),
            status => Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
        },
    }
}

/// One GET for a hook: any answer will do.
pub(crate) async fn hook(get: &Get, timeout: Duration) -> Result<(), String> {
    match tokio::time::timeout(timeout, send(get, timeout)).await {
        Err(_) => Err(format!("Get {:?}: context deadline exceeded", get.url())),
        Ok(answer) => answer.map(|_| ()),
    }
}

async fn follow(mut get: Get, timeout: Duration) -> Result<Answer, String> {
    for _ in 0..MAX_REDIRECTS {
        let answer = send(&get, timeout).await?;
        let Some(location) = answer.location.as_deref().filter(|_| (300..400).contains(&answer.status)) else {
            return Ok(answer);
        };
        let Ok(target) = location.parse::<http::Uri>() else { return Ok(answer) };
        if target.host().is_some_and(|host| host != get.host) {
            return Ok(answer);
        }
        if let Some(scheme) = target.scheme_str() {
            get.tls = scheme == "https";
            get.port = target.port_u16().unwrap_or(if get.tls { 443 } else { 80 });
        }
        get.path = target.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    }
    Err(format!("Get {:?}: stopped after {MAX_REDIRECTS} redirects", get.url()))
}

async fn send(get: &Get, timeout: Duration) -> Result<Answer, String> {
    let failed = |error: String| format!("Get {:?}: {error}", get.url());
    let stream = connect(&get.host, get.port, timeout).await.map_err(failed)?;
    let request = request(get).map_err(|error| failed(error.to_string()))?;
    let response = if get.tls {
        let name = ServerName::try_from(get.host.clone()).map_err(|error| failed(error.to_string()))?;
        let config = insecure_tls().map_err(|error| failed(error.to_string()))?;
        let stream = tokio_rustls::TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| failed(error.to_string()))?;
        exchange(TokioIo::new(stream), request).await
    } else {
        exchange(TokioIo::new(stream), request).await
    };
    response.map_err(failed)
}

fn request(get: &Get) -> Result<Request<Empty<Bytes>>, http::Error> {
    let path = if get.path.starts_with('/') { get.path.clone() } else { format!("/{}", get.path) };
    let has = |name: &str| get.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    let mut request = Request::get(path);
    if !has("host") {
        request = request.header("Host", get.authority());
    }
    if !has("user-agent") {
        request = request.header("User-Agent", "kube-probe/1.36");
    }
    if !has("accept") {
        request = request.header("Accept", "*/*");
    }
    for (name, value) in get.headers.iter().filter(|(name, value)| {
        !(value.is_empty() && (name.eq_ignore_ascii_case("accept") || name.eq_ignore_ascii_case("user-agent")))
    }) {
        request = request.header(name, value);
    }
    request.header("Connection", "close").body(Empty::new())
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Answer, String>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(|error| error.to_string())?;
    let ask = async move {
        let response: Response<Incoming> = sender.send_request(request).await.map_err(|error| read_error(&error))?;
        let status = response.status().as_u16();
        let location = response.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        // A body that is too long or breaks off does not change the verdict.
        let body = Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        Ok(Answer { status, location, body })
    };
    // The connection is driven here, without a task of its own.
    let mut connection = std::pin::pin!(connection);
    let mut ask = std::pin::pin!(ask);
    tokio::select! {
        answer = &mut ask => answer,
        _ended = &mut connection => ask.await,
    }
}

fn read_error(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_canceled() { "EOF".to_owned() } else { error.to_string() }
}

/// Probes do not check certificates, as upstream's do not.
fn insecure_tls() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
