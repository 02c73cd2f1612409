//! What the machine is and has. Upstream: pkg/kubelet/cadvisor, pkg/kubelet/nodestatus/setters.go.

use std::collections::BTreeMap;
use std::path::Path;

use apimachinery::Quantity;
use apimachinery::quantity::Format;
use k8s_openapi::api::core::v1::NodeSystemInfo;

use crate::config::Config;

/// Memory that pods do not get, so that eviction has room to act. Upstream: the default hard threshold.
const EVICTION_MEMORY: i64 = 100 << 20;

#[derive(Clone, Debug)]
pub(crate) struct MachineFacts {
    pub capacity: BTreeMap<String, Quantity>,
    pub allocatable: BTreeMap<String, Quantity>,
    pub memory: i64,
    pub info: NodeSystemInfo,
}

impl MachineFacts {
    pub(crate) fn read(config: &Config, runtime_version: &(String, String)) -> Self {
        let memory = memory_total().unwrap_or(0);
        let disk = nix::sys::statvfs::statvfs(&config.root_dir)
            .map(|stat| i64::try_from(stat.blocks() * stat.fragment_size()).unwrap_or(0))
            .unwrap_or(0);
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let mut capacity = BTreeMap::from([
            ("cpu".to_owned(), Quantity::from_units(i64::try_from(cpus).unwrap_or(1), Format::DecimalSi)),
            ("memory".to_owned(), Quantity::from_units(memory, Format::BinarySi)),
            ("ephemeral-storage".to_owned(), Quantity::from_units(disk, Format::BinarySi)),
            ("pods".to_owned(), Quantity::from_units(i64::from(config.max_pods), Format::DecimalSi)),
        ]);
        capacity.extend(huge_pages());
        for (name, text) in &config.capacity {
            if let Ok(quantity) = text.parse() {
                capacity.insert(name.clone(), quantity);
            }
        }
        let mut allocatable = capacity.clone();
        let mut keep_back = |name: &str, amount: Quantity| {
            if let Some(own) = allocatable.get_mut(name) {
                let rest = own.minus(&amount);
                *own = if rest.sign() < 0 { Quantity::ZERO } else { rest };
            }
        };
        keep_back("memory", Quantity::from_units(EVICTION_MEMORY, Format::BinarySi));
        let disk_capacity = capacity.get("ephemeral-storage").map_or(0, Quantity::value);
        keep_back("ephemeral-storage", Quantity::from_units(disk_capacity / 10, Format::DecimalSi));
        for (name, text) in &config.reserved {
            if let Ok(quantity) = text.parse() {
                keep_back(name, quantity);
            }
        }
        let memory = capacity.get("memory").map_or(memory, Quantity::value);
        MachineFacts { capacity, allocatable, memory, info: system_info(config, runtime_version) }
    }
}

fn memory_total() -> Option<i64> {
    meminfo("MemTotal:")
}

/// Bytes that processes could still get.
pub(super) fn memory_available() -> Option<i64> {
    meminfo("MemAvailable:")
}

fn meminfo(name: &str) -> Option<i64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<i64>().ok().map(|kib| kib * 1024)
}

fn huge_pages() -> Vec<(String, Quantity)> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kib = name
            .strip_prefix("hugepages-")
            .and_then(|rest| rest.strip_suffix("kB"))
            .and_then(|text| text.parse::<i64>().ok());
        let count = std::fs::read_to_string(entry.path().join("nr_hugepages"))
            .ok()
            .and_then(|text| text.trim().parse::<i64>().ok());
        if let (Some(kib), Some(count)) = (kib, count) {
            let size = Quantity::from_units(kib * 1024, Format::BinarySi);
            found.push((format!("hugepages-{size}"), Quantity::from_units(count * kib * 1024, Format::BinarySi)));
        }
    }
    found
}

fn system_info(config: &Config, (runtime, version): &(String, String)) -> NodeSystemInfo {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let release = read("/etc/os-release");
    let os_image = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .unwrap_or_else(|| "Linux".to_owned());
    let machine_id = read("/etc/machine-id");
    let uuid = if Path::new("/sys/class/dmi/id/product_uuid").exists() {
        read("/sys/class/dmi/id/product_uuid")
    } else {
        String::new()
    };
    NodeSystemInfo {
        machine_id: machine_id.clone(),
        system_uuid: if uuid.is_empty() { machine_id } else { uuid },
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        kernel_version: read("/proc/sys/kernel/osrelease"),
        os_image,
        container_runtime_version: format!("{runtime}://{version}"),
        kubelet_version: config.version.clone(),
        kube_proxy_version: String::new(),
        operating_system: "linux".to_owned(),
        architecture: architecture().to_owned(),
        ..NodeSystemInfo::default()
    }
}

/// As Go names it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
