//! Keys and values of sets: typed, concatenated, padded to registers.

use std::fmt;
use std::net::IpAddr;

/// What a part of a key or value is. The kernel only needs its length; `nft` shows it by its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    Ipv4,
    Ipv6,
    /// Layer-4 protocol number.
    Protocol,
    /// A port.
    Service,
    /// A number in the machine's byte order.
    Mark,
    /// An interface's name, 16 bytes.
    Interface,
}

impl Type {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Protocol => 12,
            Self::Service => 13,
            Self::Mark => 19,
            Self::Interface => 41,
        }
    }

    pub(crate) fn length(self) -> u32 {
        match self {
            Self::Protocol => 1,
            Self::Service => 2,
            Self::Ipv4 | Self::Mark => 4,
            Self::Ipv6 | Self::Interface => 16,
        }
    }

    pub(crate) fn padded(self) -> u32 {
        (self.length() + 3) & !3
    }

    /// The number `nft` knows a concatenation by: six bits a part.
    pub(crate) fn concatenated(types: &[Self]) -> u32 {
        types.iter().fold(0, |number, part| number << 6 | part.number())
    }

    /// Length of a concatenation; a single part is not padded.
    pub(crate) fn total(types: &[Self]) -> u32 {
        match types {
            [single] => single.length(),
            several => several.iter().map(|part| part.padded()).sum(),
        }
    }
}

/// The bytes of a key or a value, built part by part in the order of the set's types.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Key {
    bytes: Vec<u8>,
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl Key {
    pub fn new() -> Self {
        Self::default()
    }

    /// A key as the kernel listed it.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec() }
    }

    fn part(mut self, bytes: &[u8]) -> Self {
        self.bytes.resize((self.bytes.len() + 3) & !3, 0);
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.part(&address.octets()),
            IpAddr::V6(address) => self.part(&address.octets()),
        }
    }

    pub fn protocol(self, protocol: u8) -> Self {
        self.part(&[protocol])
    }

    pub fn port(self, port: u16) -> Self {
        self.part(&port.to_be_bytes())
    }

    pub fn mark(self, mark: u32) -> Self {
        self.part(&mark.to_ne_bytes())
    }

    pub fn interface(self, name: &str) -> Self {
        let mut bytes = [0; 16];
        let name = &name.as_bytes()[..name.len().min(15)];
        bytes[..name.len()].copy_from_slice(name);
        self.part(&bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, padded as the kernel compares them in a concatenation.
    pub(crate) fn padded(&self, length: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(length, 0);
        bytes
    }

    /// The next key in order, or none past the last.
    pub(crate) fn successor(&self) -> Option<Self> {
        let mut bytes = self.bytes.clone();
        for byte in bytes.iter_mut().rev() {
            let (next, overflow) = byte.overflowing_add(1);
            *byte = next;
            if !overflow {
                return Some(Self { bytes });
            }
        }
        None
    }
}
