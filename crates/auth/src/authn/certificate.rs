//! Users from client certificates: the common name is the user, organizations are groups.
//! Upstream: `k8s.io/apiserver/pkg/authentication/request/x509.CommonNameUserConversion`.

use registry::{UserInfo, auth::AuthenticationError};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Reads certificates that TLS has verified already.
pub struct CertificateAuthenticator;

impl CertificateAuthenticator {
    /// The user of a leaf certificate (DER); `None` where it has no common name.
    pub fn user(leaf: &[u8]) -> Result<Option<UserInfo>, AuthenticationError> {
        let (_, certificate) = X509Certificate::from_der(leaf)
            .map_err(|error| AuthenticationError(format!("client certificate: {error}")))?;
        let client = certificate
            .extended_key_usage()
            .ok()
            .flatten()
            .is_some_and(|usage| usage.value.client_auth || usage.value.any);
        if !client {
            return Err(AuthenticationError("the client certificate is not meant for clients".to_owned()));
        }
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().ok().map(str::to_owned);
        let subject = certificate.subject();
        let Some(name) = subject.iter_common_name().find_map(text).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let mut user = UserInfo::new(name, subject.iter_organization().filter_map(text));
        let digest = ring::digest::digest(&ring::digest::SHA256, leaf);
        let fingerprint: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        user.extra
            .insert("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("X509SHA256={fingerprint}")]);
        Ok(Some(user))
    }
}

#[cfg(test)]
mod tests {
    use pki::{Authority, CertificateSpec, Usage};

    use super::*;

    fn leaf(spec: &CertificateSpec) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), "ca", "kubernetes").unwrap();
        let (certificate, key) = authority.issue("x", spec).unwrap();
        pki::client_identity(&certificate, &key).unwrap().0[0].to_vec()
    }

    #[test]
    fn names_and_groups() {
        let user = CertificateAuthenticator::user(&leaf(&CertificateSpec::client("ada", Some("a")))).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.groups.as_slice()), ("ada", &["a".to_owned()][..]));
        assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
    }

    #[test]
    fn a_server_is_no_client() {
        let mut spec = CertificateSpec::client("ada", None);
        spec.usage = Usage::Server;
        assert!(CertificateAuthenticator::user(&leaf(&spec)).is_err());
        assert!(CertificateAuthenticator::user(b"junk").is_err());
    }
}
