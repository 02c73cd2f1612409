//! The authorities that clients' certificates are checked against, replaceable while the server runs.
//!
//! A connection is let in with whatever certificate it shows, as long as it holds the key; who it is is decided at each
//! request, against the authorities as they are then. So an authority that is taken out of the bundle is out for open
//! connections too, and a bad certificate is answered with 401 and not with a broken handshake.
//! Upstream counterpart: `dynamiccertificates.DynamicFileCAContent` and `authentication/request/x509`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use arc_swap::ArcSwap;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::{PkiError, trust_roots};

/// Longest chain of a client that is looked at.
const MAX_CHAIN: usize = 16;

/// A bundle of authorities.
#[derive(Debug)]
pub struct ClientAuthorities {
    current: ArcSwap<Bundle>,
    generation: AtomicU64,
}

#[derive(Debug)]
struct Bundle {
    pem: String,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientAuthorities {
    /// From PEM; several certificates are several authorities.
    pub fn new(pem: &str) -> Result<Arc<Self>, PkiError> {
        Ok(Arc::new(Self { current: ArcSwap::new(Arc::new(Bundle::new(pem)?)), generation: AtomicU64::new(0) }))
    }

    /// Replaces the bundle for all requests from now on. What cannot be used changes nothing.
    pub fn replace(&self, pem: &str) -> Result<(), PkiError> {
        self.current.store(Arc::new(Bundle::new(pem)?));
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Counts replacements, for those who keep what they found out.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The bundle, PEM.
    pub fn pem(&self) -> String {
        self.current.load().pem.clone()
    }

    /// Whether a chain (DER, leaf first) leads to one of the authorities and is good for a client now.
    pub fn verify(&self, chain: &[Vec<u8>], now: SystemTime) -> Result<(), PkiError> {
        let failed = |source| PkiError::Tls { name: "a client".to_owned(), source };
        let Some((leaf, rest)) = chain.split_first() else {
            return Err(failed(Error::NoCertificatesPresented));
        };
        let intermediates: Vec<_> =
            rest.iter().take(MAX_CHAIN).map(|der| CertificateDer::from(der.as_slice())).collect();
        let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let leaf = CertificateDer::from(leaf.as_slice());
        self.current.load().verifier.verify_client_cert(&leaf, &intermediates, now).map(|_| ()).map_err(failed)
    }
}

impl Bundle {
    fn new(pem: &str) -> Result<Self, PkiError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(trust_roots(pem)?), provider).build()?;
        Ok(Self { pem: pem.to_owned(), verifier })
    }
}

/// Takes any certificate whose key the client holds. Whoever serves with this has to ask [`ClientAuthorities`] at each
/// request.
#[derive(Debug)]
pub(crate) struct AnyClient(WebPkiSupportedAlgorithms);

impl AnyClient {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(ring::default_provider().signature_verification_algorithms))
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: clients then show what they have, whichever authority it is of.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Authority, CertificateSpec, Usage, client_identity};

    #[test]
    fn an_authority_that_is_replaced_counts_no_longer() {
        let directory = tempfile::tempdir().unwrap();
        let old = Authority::open(&directory.path().join("old"), "ca", "kubernetes").unwrap();
        let new = Authority::open(&directory.path().join("new"), "ca", "kubernetes").unwrap();
        let chain = |authority: &Authority, usage| -> Vec<Vec<u8>> {
            let mut spec = CertificateSpec::client("ada", None);
            spec.usage = usage;
            let (certificate, key) = authority.issue("x", &spec).unwrap();
            client_identity(&certificate, &key).unwrap().0.iter().map(|der| der.to_vec()).collect()
        };
        let (of_old, of_new) = (chain(&old, Usage::Client), chain(&new, Usage::Client));
        let now = SystemTime::now();
        let clients = ClientAuthorities::new(old.certificate()).unwrap();
        assert!(clients.verify(&of_old, now).is_ok() && clients.verify(&of_new, now).is_err());
        assert!(clients.verify(&chain(&old, Usage::Server), now).is_err(), "a server is no client");
        assert!(clients.verify(&of_old, now + Duration::from_secs(3 * 365 * 24 * 3600)).is_err(), "expired");
        clients.replace(&format!("{}{}", old.certificate(), new.certificate())).unwrap();
        assert!(clients.verify(&of_old, now).is_ok() && clients.verify(&of_new, now).is_ok());
        assert!(clients.replace("junk").is_err());
        clients.replace(new.certificate()).unwrap();
        assert!(clients.verify(&of_old, now).is_err() && clients.verify(&of_new, now).is_ok());
        assert_eq!(clients.generation(), 2);
        assert!(clients.verify(&[], now).is_err() && clients.verify(&[b"junk".to_vec()], now).is_err());
    }
}
