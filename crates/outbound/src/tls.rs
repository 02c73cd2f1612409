//! TLS of outgoing calls: whom to trust, and what upstream calls it when trust fails.
//!
//! A bundle may hold the server's own certificate instead of an authority's (what a self-signed issuer gives), as Go
//! accepts it: then that very certificate is what is trusted, still only for its names and its time.

use std::sync::{Arc, LazyLock};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};

/// What may be spoken over a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocols {
    /// Webhooks: several connections spread over several endpoints, one would not (upstream's issue 75791).
    #[default]
    Http1,
    Http1AndHttp2,
}

/// Whom to take for the server that is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// These certificates, in PEM.
    Bundle(Vec<u8>),
    /// The system's authorities.
    System,
    /// Anybody. Only where a configuration says so by its name (`insecureSkipTLSVerify`).
    Anybody,
}

impl Trust {
    /// The bundle, or the system's authorities when it is empty.
    pub fn bundle(pem: &[u8]) -> Self {
        if pem.iter().all(u8::is_ascii_whitespace) { Self::System } else { Self::Bundle(pem.to_vec()) }
    }
}

static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::debug!(%error, "system certificates");
    }
    let (added, ignored) = roots.add_parsable_certificates(loaded.certs);
    tracing::debug!(added, ignored, "system certificates loaded");
    Arc::new(roots)
});

/// Settings of TLS for a connection that is made by other means than a [`crate::Client`].
pub fn client_config(
    trust: &Trust,
    identity: Option<Arc<dyn ResolvesClientCert>>,
    protocols: Protocols,
) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Anybody => {
            Arc::new(Verifier { inner: None, pinned: Vec::new(), anybody: true, provider: provider.clone() })
        }
        Trust::System => verifier(SYSTEM.clone(), Vec::new(), &provider)?,
        Trust::Bundle(pem) => {
            let (roots, pinned) = parse(pem)?;
            verifier(Arc::new(roots), pinned, &provider)?
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match protocols {
        Protocols::Http1 => vec![b"http/1.1".to_vec()],
        Protocols::Http1AndHttp2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(config)
}

fn parse(pem: &[u8]) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), String> {
    let unusable = || "unable to load root certificates: unable to parse bytes as PEM block".to_owned();
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| unusable())?;
    if certificates.is_empty() {
        return Err(unusable());
    }
    let mut roots = RootCertStore::empty();
    // What is no authority is still good as the server's own.
    roots.add_parsable_certificates(certificates.iter().cloned());
    Ok((roots, certificates))
}

fn verifier(
    roots: Arc<RootCertStore>,
    pinned: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let inner = if roots.is_empty() {
        None
    } else {
        let built = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
        Some(built.map_err(|error| error.to_string())?)
    };
    Ok(Arc::new(Verifier { inner, pinned, anybody: false, provider: provider.clone() }))
}

#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    pinned: Vec<CertificateDer<'static>>,
    anybody: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// The server shows a certificate of the bundle itself.
    fn verify_pinned(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if parsed.validity().not_after.timestamp() < seconds {
            return Err(CertificateError::Expired.into());
        }
        if parsed.validity().not_before.timestamp() > seconds {
            return Err(CertificateError::NotValidYet.into());
        }
        Ok(())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.anybody {
            return Ok(ServerCertVerified::assertion());
        }
        if self.pinned.iter().any(|pinned| pinned == certificate) {
            return self.verify_pinned(certificate, name, now).map(|()| ServerCertVerified::assertion());
        }
        match &self.inner {
            Some(inner) => inner.verify_server_cert(certificate, intermediates, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A failed connection or handshake as Go's `net`, `crypto/tls` and `crypto/x509` put it.
pub fn words(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(error) = inner else { return io_words(error) };
    let certificate = |why: &str| format!("tls: failed to verify certificate: x509: {why}");
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::InvalidPurpose => {
                certificate("certificate signed by unknown authority")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                certificate("certificate has expired or is not yet valid: current time is after the certificate's end")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => certificate(
                "certificate has expired or is not yet valid: current time is before the certificate's beginning",
            ),
            CertificateError::NotValidForNameContext { expected, presented } => {
                let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
                let expected = expected.to_str();
                if names.is_empty() {
                    certificate(&format!("certificate is not valid for any names, but wanted to match {expected}"))
                } else {
                    certificate(&format!("certificate is valid for {}, not {expected}", names.join(", ")))
                }
            }
            other => certificate(&other.to_string()),
        },
        rustls::Error::InvalidMessage(_) => "http: server gave HTTP response to HTTPS client".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("remote error: tls: {}", alert_words(*alert)),
        other => format!("tls: {other}"),
    }
}

/// The name in rustls's `DnsName("x")` and `IpAddress(x)`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, rest)| rest.trim_end_matches(')'));
    inner.trim_matches('"')
}

fn alert_words(alert: rustls::AlertDescription) -> String {
    use rustls::AlertDescription as Alert;
    match alert {
        Alert::BadCertificate => "bad certificate".to_owned(),
        Alert::CertificateRequired => "certificate required".to_owned(),
        Alert::UnknownCA => "unknown certificate authority".to_owned(),
        Alert::HandshakeFailure => "handshake failure".to_owned(),
        Alert::CertificateExpired => "expired certificate".to_owned(),
        other => format!("{other:?}"),
    }
}

/// A failed connection as Go puts it: without Rust's `(os error 111)`.
pub(crate) fn io_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
        ErrorKind::TimedOut => "i/o timeout".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::UnexpectedEof => "EOF".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }
    }
}
