//! Settings of rustls for the cluster's servers and clients. The provider is always ring.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig, SupportedCipherSuite,
    crypto::ring,
    server::{ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::PkiError;

fn pem_error(name: &str) -> impl Fn(rustls_pki_types::pem::Error) -> PkiError + '_ {
    move |error| PkiError::Pem { name: name.to_owned(), detail: error.to_string() }
}

fn certificates(name: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(pem_error(name))?;
    if certificates.is_empty() {
        return Err(PkiError::Pem { name: name.to_owned(), detail: "no certificate in it".to_owned() });
    }
    Ok(certificates)
}

/// A certificate chain and its key, from PEM, ready to serve.
pub fn serving_key(certificate: &str, key: &str) -> Result<CertifiedKey, PkiError> {
    let failed = |source| PkiError::Tls { name: "the server".to_owned(), source };
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(pem_error("the server's key"))?;
    let chain = certificates("the server's certificate", certificate)?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(failed)
}

/// A client's certificate chain and key, from PEM.
pub fn client_identity(
    certificate: &str,
    key: &str,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PkiError> {
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(pem_error("the client's key"))?;
    Ok((certificates("the client's certificate", certificate)?, key))
}

/// A client's settings: whom it trusts (PEM), and who it is (certificate chain and key, PEM).
pub fn client_config(authorities: &str, identity: Option<(&str, &str)>) -> Result<rustls::ClientConfig, PkiError> {
    let provider = Arc::new(ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| PkiError::Tls { name: "the client".to_owned(), source })?
        .with_root_certificates(trust_roots(authorities)?);
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let (chain, key) = client_identity(certificate, key)?;
    builder.with_client_auth_cert(chain, key).map_err(|source| PkiError::Tls { name: "the client".to_owned(), source })
}

/// Authorities to trust, from PEM.
pub fn trust_roots(pem: &str) -> Result<RootCertStore, PkiError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the authority's certificate", pem)? {
        roots.add(certificate).map_err(|source| PkiError::Tls { name: "the authority".to_owned(), source })?;
    }
    Ok(roots)
}

/// A server's settings: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1. With `client_authorities` (PEM) clients may show a
/// certificate, which must then be good; without one they are let in, to be asked for other credentials.
pub fn server_config(
    identity: Arc<dyn ResolvesServerCert>,
    client_authorities: Option<&str>,
) -> Result<ServerConfig, PkiError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|source| PkiError::Tls { name: "the server".to_owned(), source })?;
    let mut config = match client_authorities {
        Some(pem) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(trust_roots(pem)?), provider)
                .allow_unauthenticated()
                .build()?;
            builder.with_client_cert_verifier(verifier).with_cert_resolver(identity)
        }
        None => builder.with_no_client_auth().with_cert_resolver(identity),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// As [`server_config`], for a server that finds out at each request who a client is: any certificate is taken whose key
/// the client holds. Use it only together with [`crate::ClientAuthorities`].
pub fn server_config_for_any_client(identity: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, PkiError> {
    server_config_for_any_client_within(identity, &TlsLimits::default())
}

/// What of TLS is not spoken. Flags of upstream: `--tls-min-version`, `--tls-cipher-suites`, `--disable-http2-serving`.
#[derive(Clone, Debug, Default)]
pub struct TlsLimits {
    pub only_tls13: bool,
    /// IANA names of the suites of TLS 1.2; empty: all that are good. Those of TLS 1.3 cannot be chosen, as with Go.
    pub suites: Vec<String>,
    pub without_http2: bool,
}

/// As [`server_config_for_any_client`], within limits.
pub fn server_config_for_any_client_within(
    identity: Arc<dyn ResolvesServerCert>,
    limits: &TlsLimits,
) -> Result<ServerConfig, PkiError> {
    let mut provider = ring::default_provider();
    if !limits.suites.is_empty() {
        let name = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite());
        let known: Vec<String> = provider.cipher_suites.iter().map(name).collect();
        if let Some(unknown) = limits.suites.iter().find(|suite| !known.contains(suite)) {
            return Err(PkiError::UnknownSuite { suite: unknown.clone(), known: known.join(",") });
        }
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() || limits.suites.contains(&name(suite)));
    }
    let versions: &[&rustls::SupportedProtocolVersion] =
        if limits.only_tls13 { &[&rustls::version::TLS13] } else { rustls::DEFAULT_VERSIONS };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .map_err(|source| PkiError::Tls { name: "the server".to_owned(), source })?
        .with_client_cert_verifier(crate::clients::AnyClient::new())
        .with_cert_resolver(identity);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if limits.without_http2 {
        config.alpn_protocols.remove(0);
    }
    Ok(config)
}
