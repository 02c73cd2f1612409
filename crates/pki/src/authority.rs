//! A certificate authority that lives in two files.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use x509_parser::pem::Pem;

use crate::{
    PkiError, files,
    sign::{self, Content, Request},
};

/// How long an authority lasts.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 3600);
/// How long what it signs lasts.
const LEAF_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// Certificates count from a little earlier, for machines whose clocks are behind.
const BACKDATE: Duration = Duration::from_secs(300);

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// A server's.
    Server,
    /// A client's.
    Client,
    /// Both: a server that also calls its peers.
    Both,
}

impl Usage {
    /// As signing requests spell it.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Server => &["digital signature", "key encipherment", "server auth"],
            Self::Client => &["digital signature", "key encipherment", "client auth"],
            Self::Both => &["digital signature", "key encipherment", "server auth", "client auth"],
        }
    }
}

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct CertificateSpec {
    /// Common name: the user's name in a client certificate.
    pub common_name: String,
    /// Organizations: the user's groups.
    pub organizations: Vec<String>,
    /// DNS names of the server.
    pub dns_names: Vec<String>,
    /// Addresses of the server.
    pub addresses: Vec<IpAddr>,
    /// What it is for.
    pub usage: Usage,
}

impl CertificateSpec {
    /// A client's certificate.
    pub fn client(user: &str, group: Option<&str>) -> Self {
        Self {
            common_name: user.to_owned(),
            organizations: group.map(str::to_owned).into_iter().collect(),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            usage: Usage::Client,
        }
    }

    /// A server's certificate.
    pub fn server(name: &str, dns_names: Vec<String>, addresses: Vec<IpAddr>) -> Self {
        Self { common_name: name.to_owned(), organizations: Vec::new(), dns_names, addresses, usage: Usage::Server }
    }
}

fn set_validity(params: &mut CertificateParams, lifetime: Duration) {
    let now = SystemTime::now();
    params.not_before = time::OffsetDateTime::from(now - BACKDATE);
    params.not_after = time::OffsetDateTime::from(now + lifetime);
}

/// An authority and the directory in which what it signs is kept.
pub struct Authority {
    directory: PathBuf,
    certificate: String,
    key: KeyPair,
}

impl Authority {
    /// Opens `<directory>/<name>.crt` and `.key`, or makes them.
    pub fn open(directory: &Path, name: &str, common_name: &str) -> Result<Self, PkiError> {
        let failed = |source| PkiError::Certificate { name: name.to_owned(), source };
        let (certificate_path, key_path) = paths(directory, name);
        let (certificate, key) = match (files::read(&certificate_path)?, files::read(&key_path)?) {
            (Some(certificate), Some(key)) => (certificate, KeyPair::from_pem(&key).map_err(failed)?),
            _ => {
                let key = KeyPair::generate().map_err(failed)?;
                let mut params = CertificateParams::default();
                params.distinguished_name = rcgen::DistinguishedName::new();
                params.distinguished_name.push(DnType::CommonName, common_name);
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                params.key_usages =
                    vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
                set_validity(&mut params, AUTHORITY_LIFETIME);
                let certificate = params.self_signed(&key).map_err(failed)?.pem();
                // The key first: a certificate without its key would be taken for a complete authority.
                files::write_secret(&key_path, key.serialize_pem().as_bytes())?;
                files::write_secret(&certificate_path, certificate.as_bytes())?;
                (certificate, key)
            }
        };
        Ok(Self { directory: directory.to_owned(), certificate, key })
    }

    /// The authority's own certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The directory it lives in.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Certificate and key in PEM from `<name>.crt` and `.key`, made anew where there are none, where they do not
    /// say what `spec` says, where another authority signed them, or where less than a fifth of their time is left.
    pub fn ensure(&self, name: &str, spec: &CertificateSpec) -> Result<(String, String), PkiError> {
        let (certificate_path, key_path) = paths(&self.directory, name);
        if let (Some(certificate), Some(key)) = (files::read(&certificate_path)?, files::read(&key_path)?)
            && self.is_current(&certificate, spec)
        {
            return Ok((certificate, key));
        }
        let (certificate, key) = self.issue(name, spec)?;
        files::write_secret(&key_path, key.as_bytes())?;
        files::write_secret(&certificate_path, certificate.as_bytes())?;
        Ok((certificate, key))
    }

    /// A new certificate and key in PEM, not kept anywhere.
    pub fn issue(&self, name: &str, spec: &CertificateSpec) -> Result<(String, String), PkiError> {
        let failed = |source| PkiError::Certificate { name: name.to_owned(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let content = Content::of_spec(spec, &key);
        let certificate = self.certify(&content, spec.usage.names(), LEAF_LIFETIME)?;
        Ok((certificate, key.serialize_pem()))
    }

    /// Signs a request (PEM) for `lifetime`, with its own subject, key and names, all of them as they are, and for the
    /// usages that are said, as signing requests spell them (`client auth`). The request's own signature is checked;
    /// whether it may say what it says is the caller's to decide. Never beyond the authority's own end.
    pub fn sign_request(&self, request: &str, usages: &[&str], lifetime: Duration) -> Result<String, PkiError> {
        self.certify(&Request::parse(request)?.content()?, usages, lifetime)
    }

    fn certify(&self, content: &Content, usages: &[&str], lifetime: Duration) -> Result<String, PkiError> {
        sign::certificate(content, usages, lifetime, &self.certificate, &self.key, SystemTime::now())
    }

    fn is_current(&self, certificate: &str, spec: &CertificateSpec) -> bool {
        let (Some(leaf), Some(authority)) = (first_pem(certificate), first_pem(&self.certificate)) else {
            return false;
        };
        let (Ok(leaf), Ok(authority)) = (leaf.parse_x509(), authority.parse_x509()) else { return false };
        if leaf.verify_signature(Some(authority.public_key())).is_err() {
            return false;
        }
        let now = i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
            .unwrap_or(i64::MAX);
        let left = leaf.validity().not_after.timestamp() - now;
        let whole = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
        left > whole / 5 && Names::of(&leaf) == Names::wanted(spec)
    }
}

/// What two certificates have to agree in.
#[derive(PartialEq, Eq)]
struct Names {
    common_name: String,
    organizations: Vec<String>,
    alternatives: std::collections::BTreeSet<String>,
}

impl Names {
    fn of(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Self {
        use x509_parser::extensions::GeneralName;
        let subject = certificate.subject();
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().unwrap_or_default().to_owned();
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        Self {
            common_name: subject.iter_common_name().next().map(text).unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            alternatives: alternatives
                .iter()
                .flat_map(|extension| &extension.value.general_names)
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    GeneralName::IPAddress([a, b, c, d]) => Some(IpAddr::from([*a, *b, *c, *d]).to_string()),
                    GeneralName::IPAddress(bytes) => {
                        <[u8; 16]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string())
                    }
                    _ => None,
                })
                .collect(),
        }
    }

    fn wanted(spec: &CertificateSpec) -> Self {
        Self {
            common_name: spec.common_name.clone(),
            organizations: spec.organizations.clone(),
            alternatives: spec
                .dns_names
                .iter()
                .cloned()
                .chain(spec.addresses.iter().map(ToString::to_string))
                .collect(),
        }
    }
}

fn first_pem(text: &str) -> Option<Pem> {
    Pem::iter_from_buffer(text.as_bytes()).next()?.ok()
}

fn paths(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(dns: &str) -> CertificateSpec {
        CertificateSpec::server("web", vec![dns.to_owned()], vec![IpAddr::from([127, 0, 0, 1])])
    }

    #[test]
    fn a_certificate_is_kept_until_something_about_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), "ca", "kubernetes").unwrap();
        let first = authority.ensure("web", &web("a.example")).unwrap();
        let again = Authority::open(directory.path(), "ca", "kubernetes").unwrap();
        assert_eq!(again.certificate(), authority.certificate());
        assert_eq!(again.ensure("web", &web("a.example")).unwrap(), first);
        let second = again.ensure("web", &web("b.example")).unwrap();
        assert_ne!(second, first, "another name needs another certificate");
        std::fs::remove_file(directory.path().join("ca.key")).unwrap();
        let other = Authority::open(directory.path(), "ca", "kubernetes").unwrap();
        assert_ne!(other.ensure("web", &web("b.example")).unwrap(), second, "another authority signs anew");
    }

    #[test]
    fn every_group_of_a_name_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), "ca", "kubernetes").unwrap();
        let mut spec = CertificateSpec::client("ada", None);
        spec.organizations = vec!["system:masters".to_owned(), "dev".to_owned(), "ops".to_owned()];
        let (certificate, _) = authority.issue("x", &spec).unwrap();
        let leaf = first_pem(&certificate).unwrap();
        let leaf = leaf.parse_x509().unwrap();
        let organizations: Vec<_> = leaf.subject().iter_organization().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(organizations, ["system:masters", "dev", "ops"]);
        assert!(authority.is_current(&certificate, &spec));
        assert!(leaf.extended_key_usage().unwrap().unwrap().value.client_auth);
        let usage = leaf.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
    }

    /// Made with `openssl req -new -subj /O=system:masters/O=dev/CN=ada -addext subjectAltName=DNS:a.example,IP:10.0.0.1`
    #[test]
    fn a_request_keeps_its_name_and_gives_no_authority() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), "ca", "kubernetes").unwrap();
        let request = include_str!("testdata/two-groups.csr");
        let signed = authority.sign_request(request, &["digital signature", "client auth"], LEAF_LIFETIME).unwrap();
        let leaf = first_pem(&signed).unwrap();
        let leaf = leaf.parse_x509().unwrap();
        let names = Names::of(&leaf);
        assert_eq!(names.organizations, ["system:masters", "dev"]);
        assert_eq!(names.common_name, "ada");
        assert!(names.alternatives.contains("a.example") && names.alternatives.contains("10.0.0.1"));
        assert!(!leaf.is_ca());
        let ca = first_pem(authority.certificate()).unwrap();
        assert!(leaf.verify_signature(Some(ca.parse_x509().unwrap().public_key())).is_ok());
        // One character of the name changed: the request's own signature no longer fits.
        let body: String = request.lines().filter(|line| !line.starts_with('-')).collect();
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let mut der = STANDARD.decode(body).unwrap();
        let at = der.windows(3).position(|window| window == b"ada").unwrap();
        der[at] = b'e';
        let forged = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            STANDARD.encode(der)
        );
        assert!(authority.sign_request(&forged, &["client auth"], LEAF_LIFETIME).is_err());
    }

    #[test]
    fn only_the_owner_can_read_keys() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("pki");
        Authority::open(&inner, "ca", "kubernetes").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&inner), 0o700);
        assert_eq!(mode(&inner.join("ca.key")), 0o600);
    }
}
