//! A pod's hostname and its `/etc/hosts`. Upstream: pkg/kubelet/kubelet_pods.go `GeneratePodHostNameAndDomain`,
//! `ensureHostsFile`.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::Pod;

/// Longest label of a DNS name.
const MAX_HOSTNAME: usize = 63;
/// Longest hostname that the kernel accepts.
const MAX_FQDN: usize = 64;

/// The pod's hostname and, with a subdomain, the domain it is in.
pub(super) fn hostname_and_domain(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let Some(spec) = &pod.spec else { return (String::new(), String::new()) };
    if let Some(name) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        return (name.to_owned(), String::new());
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let wanted = spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or(name);
    let cut: String = wanted.chars().take(MAX_HOSTNAME).collect();
    let hostname = cut.trim_end_matches(['-', '.']).to_owned();
    let domain = match spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty()) {
        Some(subdomain) => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            format!("{subdomain}.{namespace}.svc.{cluster_domain}")
        }
        None => String::new(),
    };
    (hostname, domain)
}

/// What `hostname` says inside the pod: the short name, or with `setHostnameAsFQDN` the full one.
pub(super) fn kernel_hostname(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    let (hostname, domain) = hostname_and_domain(pod, cluster_domain);
    let fqdn = pod.spec.as_ref().and_then(|spec| spec.set_hostname_as_fqdn) == Some(true);
    if !fqdn || domain.is_empty() {
        return Ok(hostname);
    }
    let full = format!("{hostname}.{domain}");
    if full.len() > MAX_FQDN {
        return Err(format!(
            "failed to construct FQDN from Pod hostname and cluster domain, FQDN {full} is too long ({MAX_FQDN} characters is the max, {} characters requested)",
            full.len()
        ));
    }
    Ok(full)
}

/// The content of the pod's `/etc/hosts`. With host network the host's own file comes first.
pub(crate) fn hosts_file(pod: &Pod, cluster_domain: &str, pod_ips: &[String], host_file: Option<&str>) -> String {
    let mut out = String::new();
    match host_file {
        Some(content) => {
            out.push_str("# Kubernetes-managed hosts file (host network).\n");
            out.push_str(content);
        }
        None => {
            out.push_str("# Kubernetes-managed hosts file.\n");
            out.push_str("127.0.0.1\tlocalhost\n");
            out.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
            out.push_str("fe00::0\tip6-localnet\n");
            out.push_str("fe00::0\tip6-mcastprefix\n");
            out.push_str("fe00::1\tip6-allnodes\n");
            out.push_str("fe00::2\tip6-allrouters\n");
            let (hostname, domain) = hostname_and_domain(pod, cluster_domain);
            for ip in pod_ips {
                if domain.is_empty() {
                    let _written = writeln!(out, "{ip}\t{hostname}");
                } else {
                    let _written = writeln!(out, "{ip}\t{hostname}.{domain}\t{hostname}");
                }
            }
        }
    }
    let aliases = pod.spec.as_ref().and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default();
    if !aliases.is_empty() {
        out.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
            let _written = writeln!(out, "{}\t{names}", alias.ip);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "ns"}, "spec": spec})).unwrap()
    }

    #[test]
    fn hostname_is_cut_to_a_label() {
        let mut long = pod(json!({"containers": []}));
        long.metadata.name = Some(format!("{}-{}", "a".repeat(62), "b".repeat(10)));
        assert_eq!(hostname_and_domain(&long, "cluster.local").0, "a".repeat(62));
    }

    #[test]
    fn full_names() {
        let pod = pod(json!({"containers": [], "subdomain": "web", "setHostnameAsFQDN": true}));
        assert_eq!(kernel_hostname(&pod, "cluster.local").unwrap(), "web-0.web.ns.svc.cluster.local");
        assert!(kernel_hostname(&pod, &"x".repeat(60)).unwrap_err().contains("is too long"));
    }

    #[test]
    fn file_lists_the_pod_and_its_aliases() {
        let pod = pod(
            json!({"containers": [], "subdomain": "web", "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["a", "b"]}]}),
        );
        expect![[r#"
            # Kubernetes-managed hosts file.
            127.0.0.1	localhost
            ::1	localhost ip6-localhost ip6-loopback
            fe00::0	ip6-localnet
            fe00::0	ip6-mcastprefix
            fe00::1	ip6-allnodes
            fe00::2	ip6-allrouters
            10.42.0.3	web-0.web.ns.svc.cluster.local	web-0

            # Entries added by HostAliases.
            192.0.2.7	a	b
        "#]]
        .assert_eq(&hosts_file(&pod, "cluster.local", &["10.42.0.3".to_owned()], None));
    }
}
