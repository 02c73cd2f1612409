//! The files that all containers of a sandbox see: `/etc/resolv.conf`, `/etc/hostname`, and `/etc/hosts` where the
//! kubelet brings none.

use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use cri::{DnsConfig, NamespaceMode, PodSandboxConfig};

use crate::error::{Result, RuntimeError};

/// Writes them into the sandbox's directory.
pub(crate) fn write_files(directory: &Path, config: &PodSandboxConfig, ips: &[IpAddr]) -> Result<()> {
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).map_err(RuntimeError::io("write", &path))
    };
    let resolv = match &config.dns_config {
        Some(dns) => resolv_conf(dns),
        // A host without the file has no resolver, and neither have its pods.
        None => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    write("resolv.conf", &resolv)?;
    if config.namespaces.network == NamespaceMode::Node {
        write("hostname", &fs::read_to_string("/etc/hostname").unwrap_or_default())?;
        return write("hosts", &fs::read_to_string("/etc/hosts").unwrap_or_default());
    }
    write("hostname", &format!("{}\n", config.hostname))?;
    write("hosts", &hosts(&config.hostname, ips))
}

fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    let mut line = |name: &str, values: &[String]| {
        if !values.is_empty() {
            text.push_str(name);
            for value in values {
                text.push(' ');
                text.push_str(value);
            }
            text.push('\n');
        }
    };
    line("search", &dns.searches);
    for server in &dns.servers {
        line("nameserver", std::slice::from_ref(server));
    }
    line("options", &dns.options);
    text
}

fn hosts(hostname: &str, ips: &[IpAddr]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    for ip in ips {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{ip}\t{hostname}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn resolv_conf_has_the_resolvers_order() {
        let dns = DnsConfig {
            servers: vec!["10.43.0.10".to_owned(), "1.1.1.1".to_owned()],
            searches: vec!["default.svc.cluster.local".to_owned(), "svc.cluster.local".to_owned()],
            options: vec!["ndots:5".to_owned()],
        };
        expect![[r#"
            search default.svc.cluster.local svc.cluster.local
            nameserver 10.43.0.10
            nameserver 1.1.1.1
            options ndots:5
        "#]]
        .assert_eq(&resolv_conf(&dns));
        assert_eq!(resolv_conf(&DnsConfig::default()), "");
    }
}
