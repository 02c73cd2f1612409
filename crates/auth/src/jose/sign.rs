//! The key that signs.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use p521::{ecdsa::signature::Signer as _, elliptic_curve::sec1::ToSec1Point as _, pkcs8::DecodePrivateKey as _};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use serde_json::json;
use x509_parser::pem::Pem;

use super::{
    KeyError, PublicKey,
    key::{WRONG_CURVE, pkcs8_of_sec1},
};

/// A private key. Never printed.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
    random: SystemRandom,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    P521(p521::ecdsa::SigningKey),
}

impl SigningKey {
    /// The first private key of a PEM file: PKCS#8, PKCS#1 or SEC 1.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        for block in Pem::iter_from_buffer(pem.as_bytes()) {
            let block = block.map_err(|error| KeyError(error.to_string()))?;
            if block.label.ends_with("PRIVATE KEY") {
                return Self::from_der(&block.label, &block.contents);
            }
        }
        Err(KeyError("data does not contain a valid RSA or ECDSA private key".to_owned()))
    }

    pub(super) fn from_der(label: &str, der: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let bad = |error: &dyn std::fmt::Display| KeyError(error.to_string());
        if label == "RSA PRIVATE KEY" {
            return Ok(Self::of_rsa(RsaKeyPair::from_der(der).map_err(|error| bad(&error))?));
        }
        let wrapped = if label == "EC PRIVATE KEY" {
            Some(pkcs8_of_sec1(der).ok_or_else(|| KeyError(WRONG_CURVE.to_owned()))?)
        } else {
            None
        };
        let pkcs8 = wrapped.as_deref().unwrap_or(der);
        for algorithm in [&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING] {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &random) {
                let public = PublicKey::of_point(pair.public_key().as_ref())?;
                return Ok(Self { pair: Pair::Ecdsa(pair), public, random });
            }
        }
        if let Ok(secret) = p521::SecretKey::from_pkcs8_der(pkcs8) {
            let public = PublicKey::of_point(secret.public_key().to_sec1_point(false).as_bytes())?;
            return Ok(Self { pair: Pair::P521(secret.into()), public, random });
        }
        Ok(Self::of_rsa(RsaKeyPair::from_pkcs8(pkcs8).map_err(|error| bad(&error))?))
    }

    fn of_rsa(pair: RsaKeyPair) -> Self {
        let components = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
        let public = PublicKey::of_rsa(&components.n, &components.e);
        Self { pair: Pair::Rsa(pair), public, random: SystemRandom::new() }
    }

    /// What checks its signatures.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// A compact token of these claims.
    pub fn sign(&self, claims: &serde_json::Value) -> Result<String, KeyError> {
        let header = json!({"alg": self.public.default_algorithm().name(), "kid": self.public.id});
        let payload = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let failed = |_| KeyError("failed to sign the token".to_owned());
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => BASE64.encode(pair.sign(&self.random, payload.as_bytes()).map_err(failed)?),
            Pair::P521(key) => {
                let signature: p521::ecdsa::Signature =
                    key.try_sign(payload.as_bytes()).map_err(|_| KeyError("failed to sign the token".to_owned()))?;
                BASE64.encode(signature.to_bytes())
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, payload.as_bytes(), &mut signature).map_err(failed)?;
                BASE64.encode(signature)
            }
        };
        Ok(format!("{payload}.{signature}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    const RSA: &str = include_str!("testdata/rsa.pem");
    const RSA_PKCS1: &str = include_str!("testdata/rsa-pkcs1.pem");
    const RSA_PUBLIC: &str = include_str!("testdata/rsa.pub");
    const EC_SEC1: &str = include_str!("testdata/ec-sec1.pem");
    const EC384: &str = include_str!("testdata/ec384.pem");
    const EC521: &str = include_str!("testdata/ec521.pem");
    const EC521_SEC1: &str = include_str!("testdata/ec521-sec1.pem");

    #[test]
    fn every_kind_of_key_signs_and_is_found_again() {
        for (pem, algorithm) in [
            (RSA, Algorithm::Rs256),
            (RSA_PKCS1, Algorithm::Rs256),
            (EC_SEC1, Algorithm::Es256),
            (EC384, Algorithm::Es384),
            (EC521, Algorithm::Es512),
            (EC521_SEC1, Algorithm::Es512),
        ] {
            let key = SigningKey::from_pem(pem).unwrap();
            let token = key.sign(&json!({"sub": "a"})).unwrap();
            let parsed = Unverified::parse(&token).unwrap();
            assert_eq!((parsed.algorithm, &parsed.key_id), (Some(algorithm), &key.public_key().id));
            assert_eq!(parsed.claims, br#"{"sub":"a"}"#);
            assert!(parsed.is_signed_by(key.public_key(), &[algorithm]));
            assert!(!parsed.is_signed_by(key.public_key(), &[Algorithm::Ps256]), "an algorithm that is not allowed");
            let mut jwk = key.public_key().to_jwk();
            assert_eq!(PublicKey::from_jwk(&jwk).unwrap().to_jwk(), jwk);
            assert!(parsed.is_signed_by(&PublicKey::from_jwk(&jwk).unwrap(), &Algorithm::ALL));
            jwk["alg"] = "PS512".into();
            assert!(
                !parsed.is_signed_by(&PublicKey::from_jwk(&jwk).unwrap(), &Algorithm::ALL),
                "a key for another one"
            );
            jwk["use"] = "enc".into();
            assert!(PublicKey::from_jwk(&jwk).is_none());
            let public = PublicKey::all_from_pem(pem).unwrap();
            assert_eq!(public.len(), 1);
            assert_eq!(&public[0], key.public_key());
        }
        let both = PublicKey::all_from_pem(&format!("{RSA_PUBLIC}{EC384}")).unwrap();
        assert_eq!(both[0], *SigningKey::from_pem(RSA).unwrap().public_key());
        assert_eq!(both.len(), 2);
        assert!(PublicKey::all_from_pem("junk").is_err());
    }

    #[test]
    fn a_token_does_not_choose_how_it_is_checked() {
        let key = SigningKey::from_pem(EC_SEC1).unwrap();
        let token = key.sign(&json!({})).unwrap();
        let rest = token.split_once('.').unwrap().1;
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"es256"}"#, r#"{}"#] {
            let forged = format!("{}.{rest}", BASE64.encode(header));
            assert_eq!(Unverified::parse(&forged).unwrap().algorithm, None, "{header}");
        }
        let critical = format!("{}.{rest}", BASE64.encode(r#"{"alg":"ES256","crit":["b64"]}"#));
        assert!(Unverified::parse(&critical).is_none());
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert!(!Unverified::parse(&unsigned).unwrap().is_signed_by(key.public_key(), &Algorithm::ALL));
        for junk in ["", "a", "a.b", "a.b.c", "....", "e30.e30"] {
            assert!(Unverified::parse(junk).is_none(), "{junk}");
        }
    }
}
