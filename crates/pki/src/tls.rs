//! Settings of rustls for the cluster's servers and clients. The provider is always ring.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
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
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| PkiError::Tls { name: "the server".to_owned(), source })?
        .with_client_cert_verifier(crate::clients::AnyClient::new())
        .with_cert_resolver(identity);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
