//! The ciphers themselves, as upstream lays out their output. No keys are chosen here, and nothing is stored.

use aes::cipher::{Block, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use poly1305::Poly1305;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk};
use ring::rand::{SecureRandom, SystemRandom};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use subtle::ConstantTimeEq as _;

use crate::SealError;

const BLOCK: usize = 16;
const XNONCE: usize = 24;
const TAG: usize = 16;
const SECRETBOX_KEY: usize = 32;
/// Of the extended nonce, and of the key that is derived with it.
pub(crate) const SEED: usize = 32;

/// One key, ready for use.
pub(crate) enum Cipher {
    /// `nonce ciphertext tag`, bound to the storage key.
    Gcm(Box<LessSafeKey>),
    /// `iv ciphertext`. Proves nothing: upstream keeps it for what is there already.
    Cbc(Box<Cbc>),
    /// `nonce tag ciphertext`.
    Secretbox(Box<[u8; SECRETBOX_KEY]>),
    /// `info nonce ciphertext tag`: a key of its own for each value, derived from the seed and `info`.
    Seed(Box<Prk>),
}

pub(crate) enum Cbc {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

struct Length(usize);

// === impl Cipher ===

impl Cipher {
    /// 16 or 32 bytes.
    pub(crate) fn gcm(key: &[u8]) -> Option<Cipher> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            32 => &AES_256_GCM,
            _ => return None,
        };
        Some(Cipher::Gcm(Box::new(LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?))))
    }

    /// 16, 24 or 32 bytes.
    pub(crate) fn cbc(key: &[u8]) -> Option<Cipher> {
        let cbc = match key.len() {
            16 => Cbc::Aes128(Aes128::new_from_slice(key).ok()?),
            24 => Cbc::Aes192(Aes192::new_from_slice(key).ok()?),
            _ => Cbc::Aes256(Aes256::new_from_slice(key).ok()?),
        };
        Some(Cipher::Cbc(Box::new(cbc)))
    }

    pub(crate) fn secretbox(key: &[u8]) -> Option<Cipher> {
        Some(Cipher::Secretbox(Box::new(key.try_into().ok()?)))
    }

    /// At least [`SEED`] bytes.
    pub(crate) fn seed(seed: &[u8]) -> Option<Cipher> {
        // As upstream: the seed is uniform already, so there is no extract step.
        (seed.len() >= SEED).then(|| Cipher::Seed(Box::new(Prk::new_less_safe(HKDF_SHA256, seed))))
    }

    pub(crate) fn seal(&self, plain: &[u8], bound_to: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        match self {
            Cipher::Gcm(key) => seal_gcm(key, plain, bound_to, out),
            Cipher::Seed(seed) => {
                let info: [u8; SEED] = random()?;
                out.extend_from_slice(&info);
                seal_gcm(&derive(seed, &info)?, plain, bound_to, out)
            }
            Cipher::Cbc(cbc) => {
                let mut last: [u8; BLOCK] = random()?;
                out.extend_from_slice(&last);
                let padding = BLOCK - plain.len() % BLOCK;
                let mut padded = plain.to_vec();
                padded.resize(plain.len() + padding, padding as u8);
                for block in padded.as_chunks::<BLOCK>().0 {
                    last = cbc.encrypt(xor(block, &last));
                    out.extend_from_slice(&last);
                }
                Ok(())
            }
            Cipher::Secretbox(key) => {
                let nonce: [u8; XNONCE] = random()?;
                out.extend_from_slice(&nonce);
                let (mut stream, mac_key) = secretbox(key, &nonce);
                let mut text = plain.to_vec();
                stream.apply_keystream(&mut text);
                out.extend_from_slice(&Poly1305::new(&mac_key.into()).compute_unpadded(&text));
                out.extend_from_slice(&text);
                Ok(())
            }
        }
    }

    /// `key` is what the key is called.
    pub(crate) fn open(&self, sealed: &[u8], bound_to: &[u8], key: &str) -> Result<Vec<u8>, SealError> {
        let refused = || SealError::Refused { key: key.to_owned() };
        match self {
            Cipher::Gcm(cipher) => open_gcm(cipher, sealed, bound_to)?.ok_or_else(refused),
            Cipher::Seed(seed) => {
                let (info, rest) = sealed.split_at_checked(SEED).ok_or(SealError::Form)?;
                open_gcm(&derive(seed, info)?, rest, bound_to)?.ok_or_else(refused)
            }
            Cipher::Cbc(cbc) => {
                let (blocks, rest) = sealed.as_chunks::<BLOCK>();
                let [iv, blocks @ ..] = blocks else { return Err(SealError::Form) };
                if blocks.is_empty() || !rest.is_empty() {
                    return Err(SealError::Form);
                }
                let (mut plain, mut last) = (Vec::with_capacity(sealed.len()), iv);
                for block in blocks {
                    plain.extend_from_slice(&xor(&cbc.decrypt(*block), last));
                    last = block;
                }
                let padding = usize::from(*plain.last().ok_or(SealError::Form)?);
                let text = plain.len().checked_sub(padding).filter(|_| (1..=BLOCK).contains(&padding));
                let text = text.filter(|text| plain[*text..].iter().all(|byte| usize::from(*byte) == padding));
                plain.truncate(text.ok_or_else(refused)?);
                Ok(plain)
            }
            Cipher::Secretbox(key) => {
                let (nonce, rest) = sealed.split_first_chunk::<XNONCE>().ok_or(SealError::Form)?;
                let (tag, text) = rest.split_at_checked(TAG).ok_or(SealError::Form)?;
                let (mut stream, mac_key) = secretbox(key, nonce);
                let expected = Poly1305::new(&mac_key.into()).compute_unpadded(text);
                if !bool::from(expected[..].ct_eq(tag)) {
                    return Err(refused());
                }
                let mut plain = text.to_vec();
                stream.apply_keystream(&mut plain);
                Ok(plain)
            }
        }
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SealError::Random)?;
    Ok(bytes)
}

fn seal_gcm(key: &LessSafeKey, plain: &[u8], bound_to: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
    let nonce: [u8; NONCE_LEN] = random()?;
    out.extend_from_slice(&nonce);
    let start = out.len();
    out.extend_from_slice(plain);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag =
        key.seal_in_place_separate_tag(nonce, Aad::from(bound_to), &mut out[start..]).map_err(|_| SealError::Form)?;
    out.extend_from_slice(tag.as_ref());
    Ok(())
}

/// `None` when it does not authenticate.
fn open_gcm(key: &LessSafeKey, sealed: &[u8], bound_to: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Form)?;
    let mut text = rest.to_vec();
    let opened = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(bound_to), &mut text);
    let Ok(length) = opened.map(|plain| plain.len()) else { return Ok(None) };
    text.truncate(length);
    Ok(Some(text))
}

fn derive(seed: &Prk, info: &[u8]) -> Result<LessSafeKey, SealError> {
    let mut key = [0; SEED];
    let info = [info];
    let derived = seed.expand(&info, Length(SEED)).and_then(|key_material| key_material.fill(&mut key));
    derived.and_then(|()| UnboundKey::new(&AES_256_GCM, &key)).map(LessSafeKey::new).map_err(|_| SealError::Form)
}

/// The stream behind the part that becomes the key of the authenticator.
fn secretbox(key: &[u8; SECRETBOX_KEY], nonce: &[u8; XNONCE]) -> (XSalsa20, [u8; 32]) {
    let mut stream = XSalsa20::new(&(*key).into(), &(*nonce).into());
    let mut mac_key = [0; 32];
    stream.apply_keystream(&mut mac_key);
    (stream, mac_key)
}

fn xor(one: &[u8; BLOCK], other: &[u8; BLOCK]) -> [u8; BLOCK] {
    std::array::from_fn(|at| one[at] ^ other[at])
}

// === impl Cbc ===

impl Cbc {
    fn encrypt(&self, block: [u8; BLOCK]) -> [u8; BLOCK] {
        let mut block = Block::<Aes256>::from(block);
        match self {
            Cbc::Aes128(aes) => aes.encrypt_block(&mut block),
            Cbc::Aes192(aes) => aes.encrypt_block(&mut block),
            Cbc::Aes256(aes) => aes.encrypt_block(&mut block),
        }
        block.into()
    }

    fn decrypt(&self, block: [u8; BLOCK]) -> [u8; BLOCK] {
        let mut block = Block::<Aes256>::from(block);
        match self {
            Cbc::Aes128(aes) => aes.decrypt_block(&mut block),
            Cbc::Aes192(aes) => aes.decrypt_block(&mut block),
            Cbc::Aes256(aes) => aes.decrypt_block(&mut block),
        }
        block.into()
    }
}

impl ring::hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn all() -> Vec<(&'static str, Cipher)> {
        vec![
            ("gcm 128", Cipher::gcm(&[1; 16]).unwrap()),
            ("gcm 256", Cipher::gcm(&[2; 32]).unwrap()),
            ("cbc 128", Cipher::cbc(&[3; 16]).unwrap()),
            ("cbc 192", Cipher::cbc(&[3; 24]).unwrap()),
            ("cbc 256", Cipher::cbc(&[3; 32]).unwrap()),
            ("secretbox", Cipher::secretbox(&[4; 32]).unwrap()),
            ("seed", Cipher::seed(&[5; 32]).unwrap()),
        ]
    }

    #[test]
    fn what_is_sealed_opens_again_and_never_looks_the_same() {
        for (name, cipher) in all() {
            for length in [0, 1, 15, 16, 17, 31, 32, 33, 1000] {
                let plain: Vec<u8> = (0..length).map(|at| at as u8).collect();
                let (mut one, mut two) = (Vec::new(), Vec::new());
                cipher.seal(&plain, b"/registry/secrets/a/b", &mut one).unwrap();
                cipher.seal(&plain, b"/registry/secrets/a/b", &mut two).unwrap();
                assert_ne!(one, two, "{name}");
                assert_eq!(cipher.open(&one, b"/registry/secrets/a/b", "k").unwrap(), plain, "{name} {length}");
            }
        }
    }

    #[test]
    fn what_authenticates_refuses_any_flipped_bit_and_another_place() {
        for (name, cipher) in all().into_iter().filter(|(name, _)| !name.starts_with("cbc")) {
            let mut sealed = Vec::new();
            cipher.seal(b"some secret text", b"here", &mut sealed).unwrap();
            for bit in 0..sealed.len() * 8 {
                let mut damaged = sealed.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(cipher.open(&damaged, b"here", "k").is_err(), "{name} bit {bit}");
            }
            for short in 0..sealed.len() {
                assert!(cipher.open(&sealed[..short], b"here", "k").is_err());
            }
            // NaCl's box has no associated data; upstream's record is not bound there either.
            assert_eq!(cipher.open(&sealed, b"there", "k").is_ok(), name == "secretbox");
        }
    }

    /// From the documentation of NaCl (`tests/secretbox.c`), as every implementation of it is checked.
    #[test]
    fn secretbox_is_that_of_nacl() {
        let key = hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
        let nonce = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
        let plain = hex(concat!(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc",
            "e5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb31",
            "0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde",
            "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f93776384864",
            "5e0705"
        ));
        let sealed = hex(concat!(
            "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce",
            "48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c972",
            "71d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae",
            "90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b3",
            "7973f622a43d14a6599b1f654cb45a74e355a5"
        ));
        let cipher = Cipher::secretbox(&key).unwrap();
        assert_eq!(cipher.open(&[nonce, sealed].concat(), b"", "k").unwrap(), plain);
    }
}
