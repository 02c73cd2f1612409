//! Users from client certificates: the common name is the user, organizations are groups.
//!
//! A chain is checked against the authorities as they are at the request; what was found is remembered for that bundle
//! and for as long as the certificate lasts.
//! Upstream: `k8s.io/apiserver/pkg/authentication/request/x509`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use pki::ClientAuthorities;
use registry::{UserInfo, auth::AuthenticationError};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::cache::{Digest, ExpiringMap};

/// Certificates that are remembered.
const MAX_REMEMBERED: usize = 8192;
/// Longest that one is, so that its end is seen in time.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Users by their certificates.
pub(super) struct Certificates {
    authorities: Arc<ClientAuthorities>,
    remembered: ExpiringMap<(u64, Arc<UserInfo>)>,
}

impl Certificates {
    pub(super) fn new(authorities: Arc<ClientAuthorities>) -> Self {
        Self { authorities, remembered: ExpiringMap::new(MAX_REMEMBERED) }
    }

    /// The user of a chain (DER, leaf first); `Ok(None)`: there is no certificate, or no name in it.
    pub(super) fn user(&self, chain: &[Vec<u8>]) -> Result<Option<Arc<UserInfo>>, AuthenticationError> {
        let Some(leaf) = chain.first() else { return Ok(None) };
        let digest = Digest::of(&[leaf]);
        let generation = self.authorities.generation();
        if let Some((seen, user)) = self.remembered.get(&digest)
            && seen == generation
        {
            return Ok(Some(user));
        }
        let now = SystemTime::now();
        verify(&self.authorities, chain, now)?;
        let (user, end) = subject(leaf)?;
        let Some(mut user) = user else { return Ok(None) };
        super::authenticated(&mut user);
        let user = Arc::new(user);
        let left = (SystemTime::UNIX_EPOCH + end).duration_since(now).unwrap_or_default();
        self.remembered.insert(digest, (generation, user.clone()), left.min(REMEMBERED));
        Ok(Some(user))
    }
}

/// Whether the chain leads to one of the authorities.
pub(super) fn verify(
    authorities: &ClientAuthorities,
    chain: &[Vec<u8>],
    now: SystemTime,
) -> Result<(), AuthenticationError> {
    authorities.verify(chain, now).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        AuthenticationError(format!("client certificate: {error}: {cause}"))
    })
}

/// The common name of a leaf (DER).
pub(super) fn common_name(leaf: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    certificate.subject().iter_common_name().find_map(|value| value.as_str().ok()).map(str::to_owned)
}

/// The user of a leaf (DER), and the end of the certificate since 1970.
fn subject(leaf: &[u8]) -> Result<(Option<UserInfo>, Duration), AuthenticationError> {
    let (_, certificate) =
        X509Certificate::from_der(leaf).map_err(|error| AuthenticationError(format!("client certificate: {error}")))?;
    let end = Duration::from_secs(u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default());
    let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().ok().map(str::to_owned);
    let subject = certificate.subject();
    let Some(name) = subject.iter_common_name().find_map(text).filter(|name| !name.is_empty()) else {
        return Ok((None, end));
    };
    let mut user = UserInfo::new(name, subject.iter_organization().filter_map(text));
    // Upstream: `x509request.CommonNameUserConversion` with the attribute of KEP-5030.
    const UID_ATTRIBUTE: &str = "1.3.6.1.4.1.57683.2";
    let uids: Vec<String> = subject
        .iter_attributes()
        .filter(|attribute| attribute.attr_type().to_id_string() == UID_ATTRIBUTE)
        .filter_map(text)
        .collect();
    match uids.as_slice() {
        [] => {}
        [uid] if !uid.is_empty() => user.uid.clone_from(uid),
        [_] => return Err(AuthenticationError("UID cannot be an empty string".to_owned())),
        _ => return Err(AuthenticationError("expected 1 UID, but found multiple".to_owned())),
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, leaf);
    let fingerprint: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    user.extra
        .insert("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("X509SHA256={fingerprint}")]);
    Ok((Some(user), end))
}

#[cfg(test)]
mod tests {
    use pki::{Authority, CertificateSpec, Usage};

    use super::*;

    fn chain(authority: &Authority, spec: &CertificateSpec) -> Vec<Vec<u8>> {
        let (certificate, key) = authority.issue("x", spec).unwrap();
        pki::client_identity(&certificate, &key).unwrap().0.iter().map(|der| der.to_vec()).collect()
    }

    #[test]
    fn names_groups_and_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(&directory.path().join("a"), "ca", "kubernetes").unwrap();
        let other = Authority::open(&directory.path().join("b"), "ca", "kubernetes").unwrap();
        let bundle = ClientAuthorities::new(authority.certificate()).unwrap();
        let certificates = Certificates::new(bundle.clone());
        let mut spec = CertificateSpec::client("ada", Some("a"));
        spec.organizations.push("system:masters".into());
        let ada = chain(&authority, &spec);
        for _ in 0..2 {
            let user = certificates.user(&ada).unwrap().unwrap();
            assert_eq!(user.name, "ada");
            assert_eq!(user.groups, ["a", "system:masters", "system:authenticated"]);
            assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
        }
        bundle.replace(other.certificate()).unwrap();
        assert!(certificates.user(&ada).is_err(), "remembered of the old bundle");
        assert!(certificates.user(&chain(&other, &spec)).unwrap().is_some());
        let mut server = spec.clone();
        server.usage = Usage::Server;
        assert!(certificates.user(&chain(&other, &server)).is_err(), "a server is no client");
        assert!(certificates.user(&[b"junk".to_vec()]).is_err());
        assert!(certificates.user(&[]).unwrap().is_none());
        let nobody = CertificateSpec::client("", Some("a"));
        assert!(certificates.user(&chain(&other, &nobody)).unwrap().is_none());
    }
}
