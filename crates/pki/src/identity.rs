//! A server's certificate that can be replaced while the server runs, and the key that signs tokens.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{PkiError, files, tls::serving_key};

/// The certificate a server shows. Handshakes take whatever was set last.
#[derive(Debug)]
pub struct ServingIdentity(ArcSwap<CertifiedKey>);

impl ServingIdentity {
    /// From PEM.
    pub fn new(certificate: &str, key: &str) -> Result<Arc<Self>, PkiError> {
        Ok(Arc::new(Self(ArcSwap::new(Arc::new(serving_key(certificate, key)?)))))
    }

    /// Replaces it for all handshakes from now on.
    pub fn replace(&self, certificate: &str, key: &str) -> Result<(), PkiError> {
        self.0.store(Arc::new(serving_key(certificate, key)?));
        Ok(())
    }
}

impl ResolvesServerCert for ServingIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// The key that signs service account tokens (`sa.key`, PKCS#8 PEM, ECDSA P-256), made where there is none; and its
/// public half (`sa.pub`).
pub fn signing_key(directory: &Path) -> Result<(String, String), PkiError> {
    let failed = |source| PkiError::Certificate { name: "sa".to_owned(), source };
    let key = files::read_or_create_secret(&directory.join("sa.key"), || {
        Ok(rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?.serialize_pem())
    })?;
    let public = rcgen::KeyPair::from_pem(&key).map_err(failed)?.public_key_pem();
    files::read_or_create_secret(&directory.join("sa.pub"), || Ok(public.clone()))?;
    Ok((key, public))
}
