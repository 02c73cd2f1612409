//! JSON Web Tokens and Keys: what a token says, which keys can check it, and the one that signs.
//!
//! A token is taken apart here and nowhere else. The algorithm is never the token's choice: a key checks only what it
//! is for, and only what the caller allows. Knows nothing of issuers, audiences or times.
//! Upstream counterpart: `gopkg.in/go-jose/go-jose.v2`.

mod key;
mod sign;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::Deserialize;

pub use key::{KeyError, PublicKey};
pub use sign::SigningKey;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
}

/// A token in its parts. Nothing in it is to be believed before a key has checked it.
pub struct Unverified<'a> {
    /// As the header says; `None`: an algorithm that nobody here checks, `none` among them.
    pub algorithm: Option<Algorithm>,
    /// The algorithm's name.
    pub algorithm_name: String,
    /// Which key is said to have signed; empty: it does not say.
    pub key_id: String,
    /// JSON of the claims.
    pub claims: Vec<u8>,
    signed: &'a [u8],
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    alg: String,
    #[serde(default)]
    kid: String,
    /// What a reader must understand; nothing of it is understood here.
    #[serde(default)]
    crit: Vec<String>,
}

impl Algorithm {
    /// All that upstream takes (`oidc.AllValidSigningAlgorithms`).
    pub const ALL: [Self; 9] = [
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
    ];

    /// As in a header: `RS256`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }

    /// Names are case-sensitive.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl<'a> Unverified<'a> {
    /// Takes a compact token apart; `None`: it is no such token.
    pub fn parse(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let (header, claims) = (BASE64.decode(header).ok()?, BASE64.decode(claims).ok()?);
        let header: Header = serde_json::from_slice(&header).ok()?;
        if !header.crit.is_empty() {
            return None;
        }
        Some(Self {
            algorithm: Algorithm::parse(&header.alg),
            algorithm_name: header.alg,
            key_id: header.kid,
            claims,
            signed: signed.as_bytes(),
            signature: BASE64.decode(signature).ok()?,
        })
    }

    /// Whether the key has signed it, with one of the algorithms that are allowed.
    pub fn is_signed_by(&self, key: &PublicKey, allowed: &[Algorithm]) -> bool {
        self.algorithm
            .filter(|algorithm| allowed.contains(algorithm))
            .is_some_and(|algorithm| key.verify(algorithm, self.signed, &self.signature))
    }
}
