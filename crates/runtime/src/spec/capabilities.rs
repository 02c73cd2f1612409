//! Which capabilities a container has. Upstream: containerd `specOpts.WithCapabilities`, moby `DefaultCapabilities`.

use cri::ContainerSecurityContext;

use crate::error::{Result, RuntimeError};

/// All that Linux has, by number.
const ALL: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const DEFAULT: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The set, as `CAP_…` names. What this process does not have itself cannot be given.
pub(super) fn for_container(security: &ContainerSecurityContext) -> Result<Vec<String>> {
    Ok(choose(security)?.into_iter().filter(|name| available(name)).map(|name| format!("CAP_{name}")).collect())
}

fn choose(security: &ContainerSecurityContext) -> Result<Vec<&'static str>> {
    let lists = |names: &[String], name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
    let named = |names: &[String], name: &str| names.iter().any(|other| bare(other).eq_ignore_ascii_case(name));
    for name in security.add_capabilities.iter().chain(&security.drop_capabilities) {
        if !name.eq_ignore_ascii_case("ALL") && !ALL.iter().any(|known| bare(name).eq_ignore_ascii_case(known)) {
            return Err(RuntimeError::Invalid(format!("unknown capability {:?}", format!("CAP_{}", bare(name)))));
        }
    }
    if security.privileged {
        return Ok(ALL.to_vec());
    }
    let (add, drop) = (&security.add_capabilities, &security.drop_capabilities);
    // `ALL` first, then the single ones, so that "drop ALL, add X" and "add ALL, drop X" mean what they say.
    let base: &[&str] = match (lists(add, "ALL"), lists(drop, "ALL")) {
        (true, _) => ALL,
        (false, true) => &[],
        (false, false) => DEFAULT,
    };
    Ok(ALL.iter().filter(|name| (base.contains(name) || named(add, name)) && !named(drop, name)).copied().collect())
}

fn bare(name: &str) -> &str {
    match name.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("CAP_") => &name[4..],
        _ => name,
    }
}

fn available(name: &str) -> bool {
    static PERMITTED: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bounding =
            status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok());
        bounding.unwrap_or(u64::MAX)
    });
    ALL.iter().position(|known| *known == name).is_some_and(|bit| *PERMITTED & (1 << bit) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str]) -> Vec<&'static str> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let security = ContainerSecurityContext {
            add_capabilities: owned(add),
            drop_capabilities: owned(drop),
            ..ContainerSecurityContext::default()
        };
        choose(&security).expect("known capabilities")
    }

    #[test]
    fn adding_and_dropping() {
        assert_eq!(check(&[], &[]).len(), 14);
        assert_eq!(check(&["NET_BIND_SERVICE"], &["ALL"]), ["NET_BIND_SERVICE"]);
        assert_eq!(check(&["ALL"], &["SYS_ADMIN"]).len(), ALL.len() - 1);
        assert_eq!(check(&["CAP_SYS_TIME", "net_admin"], &[]).len(), 16);
        assert!(!check(&[], &["KILL"]).contains(&"KILL"));
        let unknown = ContainerSecurityContext {
            add_capabilities: vec!["NOPE".to_owned()],
            ..ContainerSecurityContext::default()
        };
        assert!(choose(&unknown).is_err());
    }
}
