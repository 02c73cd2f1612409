//! Certificates signed by an authority, encoded here: a subject with several organizations, a signing request's subject
//! byte by byte, and the extensions that Kubernetes' signers give.
//!
//! `rcgen` makes keys and the authorities themselves; its names hold one value of a kind, and it gives a request's
//! subject back with the rest lost, so that a user of two groups would become a user of one.
//! Upstream counterpart: `pkg/controller/certificates/authority`.

use std::time::{Duration, SystemTime};

use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate, X509CertificationRequest};

use crate::{CertificateSpec, PkiError};

/// Certificates count from a little earlier, for machines whose clocks are behind. Upstream: five minutes.
const BACKDATE: Duration = Duration::from_secs(300);

const OID_COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const OID_ORGANIZATION: &[u64] = &[2, 5, 4, 10];
const OID_SUBJECT_KEY: &[u64] = &[2, 5, 29, 14];
const OID_KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const OID_ALTERNATIVE_NAMES: &[u64] = &[2, 5, 29, 17];
const OID_BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const OID_AUTHORITY_KEY: &[u64] = &[2, 5, 29, 35];
const OID_EXTENDED_USAGE: &[u64] = &[2, 5, 29, 37];
/// Purposes by the names that signing requests use. Upstream: `certificates.ExtKeyUsagesFromStrings`.
const PURPOSES: &[(&str, &[u64])] = &[
    ("any", &[2, 5, 29, 37, 0]),
    ("server auth", &[1, 3, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[1, 3, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[1, 3, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[1, 3, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[1, 3, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[1, 3, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[1, 3, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[1, 3, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
    ("netscape sgc", &[2, 16, 840, 1, 113_730, 4, 1]),
];
/// What a key may do, with the number of its bit.
const KEY_USAGES: &[(&str, u32)] = &[
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];
const OID_ECDSA_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];
const OID_ECDSA_SHA384: &[u64] = &[1, 2, 840, 10045, 4, 3, 3];
const OID_RSA_SHA256: &[u64] = &[1, 2, 840, 113_549, 1, 1, 11];
const OID_ED25519: &[u64] = &[1, 3, 101, 112];

/// What a certificate is to say, in DER.
pub(crate) struct Content {
    subject: Vec<u8>,
    public_key: Vec<u8>,
    /// The value of the extension, empty: none.
    alternative_names: Vec<u8>,
}

/// A signing request whose own signature is good.
pub(crate) struct Request(Vec<u8>);

// === impl Content ===

impl Content {
    pub(crate) fn of_spec(spec: &CertificateSpec, key: &KeyPair) -> Self {
        let organizations = spec.organizations.iter().map(|name| (OID_ORGANIZATION, name.as_str()));
        let names = organizations.chain([(OID_COMMON_NAME, spec.common_name.as_str())]);
        let subject: Vec<u8> =
            names.flat_map(|(oid, text)| set(&sequence(&[object(oid), tlv(0x0c, text.as_bytes())].concat()))).collect();
        let names = spec.dns_names.iter().map(|name| tlv(0x82, name.as_bytes()));
        let addresses = spec.addresses.iter().map(|address| match address {
            std::net::IpAddr::V4(address) => tlv(0x87, &address.octets()),
            std::net::IpAddr::V6(address) => tlv(0x87, &address.octets()),
        });
        let all: Vec<u8> = names.chain(addresses).flatten().collect();
        Self {
            subject: sequence(&subject),
            public_key: key.subject_public_key_info(),
            alternative_names: if all.is_empty() { all } else { sequence(&all) },
        }
    }
}

// === impl Request ===

impl Request {
    /// From PEM.
    pub(crate) fn parse(pem: &str) -> Result<Self, PkiError> {
        let bad = |detail: String| PkiError::Pem { name: "the signing request".to_owned(), detail };
        let block = x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes())
            .next()
            .and_then(Result::ok)
            .filter(|block| matches!(block.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST"))
            .ok_or_else(|| bad("PEM block type must be CERTIFICATE REQUEST".to_owned()))?;
        let (_, request) =
            X509CertificationRequest::from_der(&block.contents).map_err(|error| bad(error.to_string()))?;
        request.verify_signature().map_err(|error| bad(error.to_string()))?;
        Ok(Self(block.contents))
    }

    /// Its subject, key and names, for a certificate.
    pub(crate) fn content(&self) -> Result<Content, PkiError> {
        let bad = |detail: String| PkiError::Pem { name: "the signing request".to_owned(), detail };
        let (_, request) = X509CertificationRequest::from_der(&self.0).map_err(|error| bad(error.to_string()))?;
        let info = &request.certification_request_info;
        let mut names = Vec::new();
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(found) = extension {
                for name in &found.general_names {
                    names.extend(match name {
                        GeneralName::DNSName(text) => tlv(0x82, text.as_bytes()),
                        GeneralName::RFC822Name(text) => tlv(0x81, text.as_bytes()),
                        GeneralName::URI(text) => tlv(0x86, text.as_bytes()),
                        GeneralName::IPAddress(bytes) => tlv(0x87, bytes),
                        _ => return Err(bad("a subject alternative name of an unknown kind".to_owned())),
                    });
                }
            }
        }
        Ok(Content {
            subject: info.subject.as_raw().to_vec(),
            public_key: info.subject_pki.raw.to_vec(),
            alternative_names: if names.is_empty() { names } else { sequence(&names) },
        })
    }
}

/// What a signing request says of itself. Its signature is good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub emails: Vec<String>,
    pub uris: Vec<String>,
    /// Four or sixteen bytes each.
    pub addresses: Vec<Vec<u8>>,
}

impl RequestFacts {
    /// From PEM.
    pub fn read(pem: &[u8]) -> Result<Self, PkiError> {
        let bad = |detail: String| PkiError::Pem { name: "the signing request".to_owned(), detail };
        let text = std::str::from_utf8(pem).map_err(|error| bad(error.to_string()))?;
        let request = Request::parse(text)?;
        let (_, request) = X509CertificationRequest::from_der(&request.0).map_err(|error| bad(error.to_string()))?;
        let subject = &request.certification_request_info.subject;
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().unwrap_or_default().to_owned();
        let mut facts = Self {
            common_name: subject.iter_common_name().last().map(text).unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            ..Self::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(found) = extension else { continue };
            for name in &found.general_names {
                match name {
                    GeneralName::DNSName(text) => facts.dns_names.push((*text).to_owned()),
                    GeneralName::RFC822Name(text) => facts.emails.push((*text).to_owned()),
                    GeneralName::URI(text) => facts.uris.push((*text).to_owned()),
                    GeneralName::IPAddress(bytes) => facts.addresses.push(bytes.to_vec()),
                    _ => return Err(bad("a subject alternative name of an unknown kind".to_owned())),
                }
            }
        }
        Ok(facts)
    }
}

/// When a certificate (PEM) ends, in seconds since 1970.
pub fn expires(pem: &str) -> Option<i64> {
    let block = x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()).next()?.ok()?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// A certificate in PEM: from a little before `now` for `lifetime`, never beyond the authority's own end.
pub(crate) fn certificate(
    content: &Content,
    usages: &[&str],
    lifetime: Duration,
    authority: &str,
    key: &KeyPair,
    now: SystemTime,
) -> Result<String, PkiError> {
    let failed = |source| PkiError::Certificate { name: "to be signed".to_owned(), source };
    let bad = |detail: String| PkiError::Pem { name: "the authority's certificate".to_owned(), detail };
    let pem = x509_parser::pem::Pem::iter_from_buffer(authority.as_bytes())
        .next()
        .and_then(Result::ok)
        .ok_or_else(|| bad("no certificate in it".to_owned()))?;
    let (_, issuer) = X509Certificate::from_der(&pem.contents).map_err(|error| bad(error.to_string()))?;
    let seconds = |time: SystemTime| {
        i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
    };
    let end = seconds(now + lifetime).min(issuer.validity().not_after.timestamp());
    let algorithm = signature_algorithm(key)?;
    let body = sequence(
        &[
            tlv(0xa0, &integer(&[2])),
            integer(&serial()?),
            algorithm.clone(),
            issuer.subject().as_raw().to_vec(),
            sequence(&[time(seconds(now - BACKDATE)), time(end)].concat()),
            content.subject.clone(),
            content.public_key.clone(),
            tlv(0xa3, &sequence(&extensions(content, usages, &issuer))),
        ]
        .concat(),
    );
    let signature = key.sign(&body).map_err(failed)?;
    let whole = sequence(&[body, algorithm, bits(&signature, 0)].concat());
    Ok(pem_text("CERTIFICATE", &whole))
}

fn extensions(content: &Content, usages: &[&str], issuer: &X509Certificate<'_>) -> Vec<u8> {
    let extension = |oid: &[u64], critical: bool, value: &[u8]| {
        let critical = if critical { tlv(0x01, &[0xff]) } else { Vec::new() };
        sequence(&[object(oid), critical, tlv(0x04, value)].concat())
    };
    let mut all = Vec::new();
    let wanted = KEY_USAGES.iter().filter(|(name, _)| usages.contains(name));
    let allowed = wanted.fold(0_u16, |bits, (_, number)| bits | (0x8000 >> number));
    if allowed != 0 {
        let unused = u8::try_from(allowed.trailing_zeros()).unwrap_or_default();
        let bytes = allowed.to_be_bytes();
        let value = if unused >= 8 { bits(&bytes[..1], unused - 8) } else { bits(&bytes, unused) };
        all.extend(extension(OID_KEY_USAGE, true, &value));
    }
    let purposes: Vec<u8> =
        PURPOSES.iter().filter(|(name, _)| usages.contains(name)).flat_map(|(_, oid)| object(oid)).collect();
    if !purposes.is_empty() {
        all.extend(extension(OID_EXTENDED_USAGE, false, &sequence(&purposes)));
    }
    all.extend(extension(OID_BASIC_CONSTRAINTS, true, &sequence(&[])));
    let own = issuer.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
        _ => None,
    });
    if let Some(identifier) = own {
        all.extend(extension(OID_AUTHORITY_KEY, false, &sequence(&tlv(0x80, identifier))));
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, &content.public_key);
    all.extend(extension(OID_SUBJECT_KEY, false, &tlv(0x04, &digest.as_ref()[..20])));
    if !content.alternative_names.is_empty() {
        all.extend(extension(OID_ALTERNATIVE_NAMES, false, &content.alternative_names));
    }
    all
}

fn signature_algorithm(key: &KeyPair) -> Result<Vec<u8>, PkiError> {
    let algorithm = key.algorithm();
    let ecdsa = |oid: &[u64]| Ok(sequence(&object(oid)));
    if algorithm == &rcgen::PKCS_ECDSA_P256_SHA256 {
        ecdsa(OID_ECDSA_SHA256)
    } else if algorithm == &rcgen::PKCS_ECDSA_P384_SHA384 {
        ecdsa(OID_ECDSA_SHA384)
    } else if algorithm == &rcgen::PKCS_ED25519 {
        ecdsa(OID_ED25519)
    } else if algorithm == &rcgen::PKCS_RSA_SHA256 {
        Ok(sequence(&[object(OID_RSA_SHA256), tlv(0x05, &[])].concat()))
    } else {
        Err(PkiError::Pem { name: "the authority's key".to_owned(), detail: "unknown kind of key".to_owned() })
    }
}

/// Sixteen random bytes, positive.
fn serial() -> Result<Vec<u8>, PkiError> {
    let mut bytes = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).map_err(|_| PkiError::Pem {
        name: "a serial number".to_owned(),
        detail: "the system gives no random numbers".to_owned(),
    })?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(bytes.to_vec())
}

// === DER ===

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = value.len();
    if let Ok(short @ 0..=127) = u8::try_from(length) {
        out.push(short);
    } else {
        let bytes = length.to_be_bytes();
        let significant: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        out.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
        out.extend(significant);
    }
    out.extend_from_slice(value);
    out
}

fn sequence(value: &[u8]) -> Vec<u8> {
    tlv(0x30, value)
}

fn set(value: &[u8]) -> Vec<u8> {
    tlv(0x31, value)
}

/// A positive number that needs no zero before it.
fn integer(bytes: &[u8]) -> Vec<u8> {
    tlv(0x02, bytes)
}

fn bits(bytes: &[u8], unused: u8) -> Vec<u8> {
    tlv(0x03, &[&[unused], bytes].concat())
}

fn object(parts: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let [first, second, rest @ ..] = parts else { return bytes };
    for part in std::iter::once(&(first * 40 + second)).chain(rest) {
        let groups = (64 - part.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let more = if group > 0 { 0x80 } else { 0 };
            bytes.push(u8::try_from((part >> (7 * group)) & 0x7f).unwrap_or_default() | more);
        }
    }
    tlv(0x06, &bytes)
}

/// Seconds since 1970: two digits of the year before 2050, four from then on.
fn time(seconds: i64) -> Vec<u8> {
    let Ok(at) = time::OffsetDateTime::from_unix_timestamp(seconds) else { return tlv(0x18, b"99991231235959Z") };
    let rest =
        format!("{:02}{:02}{:02}{:02}{:02}Z", u8::from(at.month()), at.day(), at.hour(), at.minute(), at.second());
    match at.year() {
        year @ 1950..2050 => tlv(0x17, format!("{:02}{rest}", year % 100).as_bytes()),
        year => tlv(0x18, format!("{year:04}{rest}").as_bytes()),
    }
}

fn pem_text(label: &str, der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let encoded = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}
