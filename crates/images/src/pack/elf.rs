//! Which shared libraries a program needs, read from its ELF headers. Nothing is executed for it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::tree::{Tree, relative};
use crate::{Error, Result};

const PT_DYNAMIC: u32 = 2;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

/// Where Debian's loader looks, with the multiarch directory of this machine.
const LIBRARY_DIRECTORIES: &[&str] = &[concat_arch("lib"), concat_arch("usr/lib"), "lib64", "lib", "usr/lib"];

/// Copies a program and everything its dynamic loader will want.
pub(super) fn copy_with_libraries(source: &Tree, image: &mut Tree, program: &str) -> Result<()> {
    let mut pending: Vec<PathBuf> = vec![relative(program)];
    let mut done: BTreeSet<PathBuf> = BTreeSet::new();
    while let Some(path) = pending.pop() {
        if !done.insert(path.clone()) {
            continue;
        }
        let (passed, bytes) =
            source.resolve(&path).ok_or_else(|| Error::Pack(format!("no package has /{}", path.display())))?;
        for path in &passed {
            image.copy_node(source, path);
        }
        let Some(needs) = Needs::parse(bytes) else { continue };
        if let Some(loader) = needs.loader {
            pending.push(relative(&loader));
        }
        for library in needs.libraries {
            let found = LIBRARY_DIRECTORIES.iter().map(|directory| Path::new(directory).join(&library));
            let found = found.into_iter().find(|path| source.get(path).is_some());
            pending
                .push(found.ok_or_else(|| {
                    Error::Pack(format!("/{} needs {library}, which no package has", path.display()))
                })?);
        }
    }
    Ok(())
}

/// What a 64-bit little-endian ELF file asks for.
struct Needs {
    loader: Option<String>,
    libraries: Vec<String>,
}

// === impl Needs ===

impl Needs {
    /// `None` for anything that is not such a file, or is malformed.
    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..6)? != [0x7f, b'E', b'L', b'F', 2, 1] {
            return None;
        }
        let table = usize::try_from(word(bytes, 32)?).ok()?;
        let entry_size = usize::from(half(bytes, 54)?);
        let count = usize::from(half(bytes, 56)?);
        let mut needs = Self { loader: None, libraries: Vec::new() };
        let mut loads = Vec::new();
        let mut dynamic = None;
        for i in 0..count {
            let at = table.checked_add(i.checked_mul(entry_size)?)?;
            let kind = u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?);
            let (offset, address, size) = (word(bytes, at + 8)?, word(bytes, at + 16)?, word(bytes, at + 32)?);
            match kind {
                PT_LOAD => loads.push((address, offset, size)),
                PT_INTERP => needs.loader = text(bytes, offset),
                PT_DYNAMIC => dynamic = Some((offset, size)),
                _ => {}
            }
        }
        let Some((offset, size)) = dynamic else { return Some(needs) };
        let offset = usize::try_from(offset).ok()?;
        let entries = bytes.get(offset..offset.checked_add(usize::try_from(size).ok()?)?)?;
        let tags = || {
            entries
                .chunks_exact(16)
                .map_while(|entry| Some((word(entry, 0)?, word(entry, 8)?)))
                .take_while(|(tag, _)| *tag != DT_NULL)
        };
        let (_, strings) = tags().find(|(tag, _)| *tag == DT_STRTAB)?;
        let (address, offset, _) =
            loads.iter().find(|(address, _, size)| (*address..address.saturating_add(*size)).contains(&strings))?;
        let strings = strings - address + offset;
        for (_, name) in tags().filter(|(tag, _)| *tag == DT_NEEDED) {
            needs.libraries.push(text(bytes, strings.checked_add(name)?)?);
        }
        Some(needs)
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn text(bytes: &[u8], at: u64) -> Option<String> {
    let rest = bytes.get(usize::try_from(at).ok()?..)?;
    let end = rest.iter().take(4096).position(|b| *b == 0)?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

const fn concat_arch(base: &'static str) -> &'static str {
    match (base.as_bytes(), std::env::consts::ARCH.as_bytes()) {
        (b"lib", b"aarch64") => "lib/aarch64-linux-gnu",
        (b"lib", _) => "lib/x86_64-linux-gnu",
        (_, b"aarch64") => "usr/lib/aarch64-linux-gnu",
        _ => "usr/lib/x86_64-linux-gnu",
    }
}
