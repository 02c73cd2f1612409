//! Public keys: from PEM of any kind that administrators have, from a JWK, and as a JWK.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use p521::ecdsa::signature::Verifier as _;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Value, json};
use x509_parser::{
    pem::Pem,
    prelude::{FromDer as _, SubjectPublicKeyInfo, X509Certificate},
    public_key::PublicKey as Parsed,
};

use super::{Algorithm, SigningKey};

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub String);

/// A key that checks signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// As tokens name it.
    pub id: String,
    material: Material,
    /// The one algorithm it is for, if it says so.
    only: Option<Algorithm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    /// Modulus and exponent, big endian, without leading zeros.
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    P384(Vec<u8>),
    P521(Vec<u8>),
}

/// What is said of a key on another curve.
pub(super) const WRONG_CURVE: &str = "only the curves P-256, P-384 and P-521 are supported";

const OID_EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const OID_P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
const OID_RSA_NULL: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

impl PublicKey {
    /// All keys of a PEM file: public keys, the public halves of private ones, and those of certificates.
    pub fn all_from_pem(pem: &str) -> Result<Vec<Self>, KeyError> {
        let mut keys = Vec::new();
        for block in Pem::iter_from_buffer(pem.as_bytes()) {
            let block = block.map_err(|error| KeyError(error.to_string()))?;
            let der = block.contents.as_slice();
            let bad = |error: &dyn std::fmt::Display| KeyError(error.to_string());
            keys.push(match block.label.as_str() {
                "PUBLIC KEY" => {
                    let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|error| bad(&error))?;
                    Self::of_info(&info)?
                }
                "RSA PUBLIC KEY" => {
                    let whole = info_of_rsa(der);
                    let (_, info) = SubjectPublicKeyInfo::from_der(&whole).map_err(|error| bad(&error))?;
                    Self::of_info(&info)?
                }
                "CERTIFICATE" => {
                    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| bad(&error))?;
                    Self::of_info(certificate.public_key())?
                }
                "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
                    SigningKey::from_der(&block.label, der)?.public_key().clone()
                }
                // Parameters of curves stand before keys in files of openssl.
                _ => continue,
            });
        }
        if keys.is_empty() {
            return Err(KeyError("data does not contain any valid RSA or ECDSA public keys".to_owned()));
        }
        Ok(keys)
    }

    /// An uncompressed point of P-256, P-384 or P-521, by its length.
    pub(super) fn of_point(point: &[u8]) -> Result<Self, KeyError> {
        let material = match point.len() {
            65 => Material::P256(point.to_vec()),
            97 => Material::P384(point.to_vec()),
            133 => Material::P521(point.to_vec()),
            _ => return Err(KeyError(WRONG_CURVE.to_owned())),
        };
        Ok(Self::with_own_id(material))
    }

    pub(super) fn of_rsa(modulus: &[u8], exponent: &[u8]) -> Self {
        let trim = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
        Self::with_own_id(Material::Rsa { modulus: trim(modulus), exponent: trim(exponent) })
    }

    fn of_info(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, KeyError> {
        match info.parsed().map_err(|error| KeyError(error.to_string()))? {
            Parsed::RSA(key) => Ok(Self::of_rsa(key.modulus, key.exponent)),
            Parsed::EC(point) => Self::of_point(point.data()),
            _ => Err(KeyError("only RSA and ECDSA keys are supported".to_owned())),
        }
    }

    /// Upstream names a key by a digest of its PKIX form (`keyIDFromPublicKey`).
    fn with_own_id(material: Material) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, &material.to_pkix());
        Self { id: BASE64.encode(digest), material, only: None }
    }

    /// From one key of a JWK set; `None`: not a key for signatures, or of a kind that is not known here.
    pub fn from_jwk(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk[name].as_str();
        if text("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        let bytes = |name: &str| text(name).and_then(|text| BASE64.decode(text.trim_end_matches('=')).ok());
        let key = match (text("kty")?, text("crv")) {
            ("RSA", _) => Self::of_rsa(&bytes("n")?, &bytes("e")?),
            ("EC", Some(curve @ ("P-256" | "P-384" | "P-521"))) => {
                let size: usize = match curve {
                    "P-256" => 32,
                    "P-384" => 48,
                    _ => 66,
                };
                let mut point = vec![4];
                for coordinate in [bytes("x")?, bytes("y")?] {
                    point.extend(std::iter::repeat_n(0, size.checked_sub(coordinate.len())?));
                    point.extend(coordinate);
                }
                Self::of_point(&point).ok()?
            }
            _ => return None,
        };
        let only = match text("alg") {
            Some(name) => Some(Algorithm::parse(name)?),
            None => None,
        };
        Some(Self { id: text("kid").unwrap_or_default().to_owned(), only, ..key })
    }

    /// As an entry of a JWK set.
    pub fn to_jwk(&self) -> Value {
        let common =
            |kty: &str| json!({"use": "sig", "kty": kty, "kid": self.id, "alg": self.default_algorithm().name()});
        match &self.material {
            Material::Rsa { modulus, exponent } => {
                let mut jwk = common("RSA");
                jwk["n"] = BASE64.encode(modulus).into();
                jwk["e"] = BASE64.encode(exponent).into();
                jwk
            }
            Material::P256(point) | Material::P384(point) | Material::P521(point) => {
                let mut jwk = common("EC");
                let (x, y) = point[1..].split_at(point.len() / 2);
                jwk["crv"] = match point.len() {
                    65 => "P-256",
                    97 => "P-384",
                    _ => "P-521",
                }
                .into();
                jwk["x"] = BASE64.encode(x).into();
                jwk["y"] = BASE64.encode(y).into();
                jwk
            }
        }
    }

    /// What a key of this kind signs with here.
    pub fn default_algorithm(&self) -> Algorithm {
        match self.material {
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::P384(_) => Algorithm::Es384,
            Material::P521(_) => Algorithm::Es512,
        }
    }

    /// Whether the signature is this key's.
    pub(super) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if self.only.is_some_and(|only| only != algorithm) {
            return false;
        }
        match (&self.material, algorithm) {
            (Material::P256(point), Algorithm::Es256) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            (Material::P384(point), Algorithm::Es384) => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok()
            }
            (Material::P521(point), Algorithm::Es512) => {
                let signature = p521::ecdsa::Signature::from_slice(signature);
                let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point);
                matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(message, &signature).is_ok())
            }
            (Material::Rsa { modulus, exponent }, algorithm) => {
                let parameters = match algorithm {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                    Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
                    Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 => return false,
                };
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(parameters, message, signature).is_ok()
            }
            _ => false,
        }
    }
}

impl Material {
    fn to_pkix(&self) -> Vec<u8> {
        let of_curve = |curve: &[u8], point: &[u8]| {
            let algorithm = tlv(0x30, &[OID_EC, curve].concat());
            tlv(0x30, &[algorithm, tlv(0x03, &[&[0], point].concat())].concat())
        };
        match self {
            Self::Rsa { modulus, exponent } => {
                let number = |bytes: &[u8]| {
                    let zero: &[u8] = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
                    tlv(0x02, &[zero, bytes].concat())
                };
                info_of_rsa(&tlv(0x30, &[number(modulus), number(exponent)].concat()))
            }
            Self::P256(point) => of_curve(OID_P256, point),
            Self::P384(point) => of_curve(OID_P384, point),
            Self::P521(point) => of_curve(OID_P521, point),
        }
    }
}

fn info_of_rsa(pkcs1: &[u8]) -> Vec<u8> {
    tlv(0x30, &[tlv(0x30, OID_RSA_NULL), tlv(0x03, &[&[0], pkcs1].concat())].concat())
}

/// DER of one value.
pub(super) fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(value.len()) {
        Ok(short @ 0..=127) => out.push(short),
        _ => {
            let bytes: Vec<u8> = value.len().to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or_default());
            out.extend(bytes);
        }
    }
    out.extend_from_slice(value);
    out
}

/// PKCS#8 of a key in SEC 1, whose curve is in it.
pub(super) fn pkcs8_of_sec1(sec1: &[u8]) -> Option<Vec<u8>> {
    let contains = |curve: &[u8]| sec1.windows(curve.len()).any(|window| window == curve);
    let curve = [OID_P256, OID_P384, OID_P521].into_iter().find(|curve| contains(curve))?;
    let algorithm = tlv(0x30, &[OID_EC, curve].concat());
    Some(tlv(0x30, &[tlv(0x02, &[0]), algorithm, tlv(0x04, sec1)].concat()))
}
