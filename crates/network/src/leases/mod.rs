//! Which sandbox has which addresses, kept in one small file a sandbox.
//!
//! Nothing is synced: leases have to survive the process, not the machine, whose restart ends every pod.
//! Addresses go round, so that one just released is the last to be given again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What one sandbox holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) sandbox: String,
    pub(crate) addresses: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ports: Vec<cri::PortMapping>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    #[error("no free address in {0}")]
    Exhausted(IpNet),
    #[error("sandbox id {0:?} cannot be the name of a file")]
    Name(String),
    #[error("keep a lease in {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

#[derive(Debug)]
pub(crate) struct Leases {
    directory: PathBuf,
    ranges: Vec<IpNet>,
    leases: BTreeMap<String, Lease>,
    used: BTreeSet<IpAddr>,
    last: Vec<IpAddr>,
}

const LAST: &str = "last.json";

impl Leases {
    /// Reads what an earlier process left. A file that cannot be read is of a lease that was never answered.
    pub(crate) fn load(directory: &Path, ranges: Vec<IpNet>) -> Result<Self, LeaseError> {
        let wrap = |source| LeaseError::Io { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(wrap)?;
        let mut loaded = Self {
            directory: directory.to_owned(),
            ranges,
            leases: BTreeMap::new(),
            used: BTreeSet::new(),
            last: Vec::new(),
        };
        for entry in fs::read_dir(directory).map_err(wrap)? {
            let path = entry.map_err(wrap)?.path();
            let bytes = fs::read(&path).map_err(wrap)?;
            if path.file_name().is_some_and(|name| name == LAST) {
                loaded.last = serde_json::from_slice(&bytes).unwrap_or_default();
                continue;
            }
            match serde_json::from_slice::<Lease>(&bytes) {
                Ok(lease) => {
                    loaded.used.extend(&lease.addresses);
                    loaded.leases.insert(lease.sandbox.clone(), lease);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "removing an unreadable lease");
                    fs::remove_file(&path).map_err(wrap)?;
                }
            }
        }
        Ok(loaded)
    }

    pub(crate) fn ranges(&self) -> &[IpNet] {
        &self.ranges
    }

    pub(crate) fn get(&self, sandbox: &str) -> Option<&Lease> {
        self.leases.get(sandbox)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// Gives the sandbox an address of every range, or what it has.
    pub(crate) fn acquire(&mut self, sandbox: &str, ports: &[cri::PortMapping]) -> Result<Lease, LeaseError> {
        if let Some(lease) = self.leases.get(sandbox) {
            return Ok(lease.clone());
        }
        let path = self.path(sandbox)?;
        let mut addresses = Vec::with_capacity(self.ranges.len());
        for range in &self.ranges {
            let last = self.last.iter().copied().find(|last| range.contains(last));
            let free = next_free(range, last, |address| self.used.contains(&address));
            addresses.push(free.ok_or(LeaseError::Exhausted(*range))?);
        }
        let lease = Lease { sandbox: sandbox.to_owned(), addresses, ports: ports.to_vec() };
        write(&path, &lease)?;
        self.last.clone_from(&lease.addresses);
        write(&self.directory.join(LAST), &self.last)?;
        self.used.extend(&lease.addresses);
        self.leases.insert(sandbox.to_owned(), lease.clone());
        Ok(lease)
    }

    pub(crate) fn release(&mut self, sandbox: &str) -> Result<(), LeaseError> {
        let Some(lease) = self.leases.get(sandbox) else { return Ok(()) };
        let path = self.path(sandbox)?;
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(LeaseError::Io { path, source }),
            _ => {}
        }
        for address in &lease.addresses {
            self.used.remove(address);
        }
        self.leases.remove(sandbox);
        Ok(())
    }

    fn path(&self, sandbox: &str) -> Result<PathBuf, LeaseError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let plain =
            !sandbox.is_empty() && sandbox.len() <= 200 && !sandbox.starts_with('.') && sandbox.bytes().all(allowed);
        if plain {
            Ok(self.directory.join(format!("{sandbox}.lease")))
        } else {
            Err(LeaseError::Name(sandbox.to_owned()))
        }
    }
}

/// The gateway of a range: its first address.
pub(crate) fn gateway(range: &IpNet) -> IpAddr {
    offset(range, 1)
}

/// The first free address after `last`, going round. Network, gateway and broadcast address are never given.
fn next_free(range: &IpNet, last: Option<IpAddr>, used: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let bits = u32::from(range.max_prefix_len() - range.prefix_len());
    // More than a node can ever hold; also keeps an IPv6 range from being walked.
    let size = 1_u128 << bits.min(16);
    let last_offset = if range.addr().is_ipv4() && bits <= 16 { size.checked_sub(2)? } else { size - 1 };
    let usable = last_offset.checked_sub(1)?;
    let start = last.and_then(|last| number(last).checked_sub(number(range.network()))).unwrap_or(1).max(1);
    // Offsets 2..=last_offset, beginning after the last one given.
    (0..usable)
        .map(|step| 2 + (start - 1 + step) % usable)
        .map(|index| offset(range, index))
        .find(|address| !used(*address))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn offset(range: &IpNet, index: u128) -> IpAddr {
    match range {
        IpNet::V4(range) => {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            IpAddr::V4(u32::from(range.network()).saturating_add(index).into())
        }
        IpNet::V6(range) => IpAddr::V6(u128::from(range.network()).saturating_add(index).into()),
    }
}

/// Writes beside and renames: a reader finds the old file or the new one.
fn write(path: &Path, value: &impl Serialize) -> Result<(), LeaseError> {
    let wrap = |source| LeaseError::Io { path: path.to_owned(), source };
    let beside = path.with_extension("new");
    let bytes = serde_json::to_vec(value).map_err(|error| wrap(error.into()))?;
    fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path)).map_err(wrap)
}

#[cfg(test)]
mod tests;
