//! Reading what a group uses.

use std::fs;
use std::path::Path;

use super::Hierarchies;

/// Use of a group; zero where the kernel does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu_nanos: u64,
    pub(crate) memory_usage: u64,
    pub(crate) memory_working_set: u64,
    pub(crate) memory_rss: u64,
    pub(crate) page_faults: u64,
    pub(crate) major_page_faults: u64,
    pub(crate) processes: u64,
}

pub(super) fn read(hierarchies: &Hierarchies, group: &str) -> Usage {
    match hierarchies.v2_group(group) {
        Some(path) => read_v2(&path),
        None => read_v1(hierarchies, group),
    }
}

fn read_v2(path: &Path) -> Usage {
    let memory = text(path, "memory.stat");
    let usage = number(path, "memory.current");
    let of = |key| keyed(&memory, key).unwrap_or(0);
    Usage {
        cpu_nanos: keyed(&text(path, "cpu.stat"), "usage_usec").unwrap_or(0).saturating_mul(1000),
        memory_usage: usage,
        memory_working_set: usage.saturating_sub(of("inactive_file")),
        memory_rss: of("anon"),
        page_faults: of("pgfault"),
        major_page_faults: of("pgmajfault"),
        processes: number(path, "pids.current"),
    }
}

fn read_v1(hierarchies: &Hierarchies, group: &str) -> Usage {
    let mut found = Usage::default();
    if let Some(path) = hierarchies.v1_group("cpuacct", group) {
        found.cpu_nanos = number(&path, "cpuacct.usage");
    }
    if let Some(path) = hierarchies.v1_group("memory", group) {
        let memory = text(&path, "memory.stat");
        let of = |key| keyed(&memory, key).unwrap_or(0);
        found.memory_usage = number(&path, "memory.usage_in_bytes");
        found.memory_working_set = found.memory_usage.saturating_sub(of("total_inactive_file"));
        found.memory_rss = of("total_rss");
        found.page_faults = of("pgfault");
        found.major_page_faults = of("pgmajfault");
    }
    if let Some(path) = hierarchies.v1_group("pids", group) {
        found.processes = number(&path, "pids.current");
    }
    found
}

/// The number after `key` in a file of lines `key number`.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn text(path: &Path, name: &str) -> String {
    fs::read_to_string(path.join(name)).unwrap_or_default()
}

fn number(path: &Path, name: &str) -> u64 {
    text(path, name).trim().parse().unwrap_or(0)
}
