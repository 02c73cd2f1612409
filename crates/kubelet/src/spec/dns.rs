//! A pod's resolver configuration. Upstream: pkg/kubelet/network/dns/dns.go.

use cri::DnsConfig;
use k8s_openapi::api::core::v1::Pod;

/// What the host's own `resolv.conf` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostResolver {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl HostResolver {
    /// Reads the format of resolv.conf(5); what is not understood is skipped, as the C library does.
    pub(crate) fn parse(text: &str) -> Self {
        let mut resolver = HostResolver::default();
        for line in text.lines() {
            let line = line.trim();
            if line.starts_with(['#', ';']) {
                continue;
            }
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => resolver.servers.extend(words.next().map(str::to_owned)),
                // The last of them counts.
                Some("search") => {
                    resolver.searches = words
                        .map(|word| if word == "." { word.to_owned() } else { word.trim_end_matches('.').to_owned() })
                        .collect();
                }
                Some("options") => resolver.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        resolver
    }
}

/// The resolver configuration; `None` when `ClusterFirst` was asked for and the cluster has no DNS, in which case
/// the host's is used and the user told.
pub(crate) fn dns_config(
    pod: &Pod,
    cluster_dns: &[String],
    cluster_domain: &str,
    host: &HostResolver,
) -> (DnsConfig, bool) {
    let spec = pod.spec.as_ref();
    let host_network = spec.and_then(|spec| spec.host_network) == Some(true);
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !host_network,
        _ => false,
    };
    let missing = cluster && cluster_dns.is_empty();
    let mut config = if policy == "None" {
        DnsConfig::default()
    } else if cluster && !missing {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut searches = vec![
            format!("{namespace}.svc.{cluster_domain}"),
            format!("svc.{cluster_domain}"),
            cluster_domain.to_owned(),
        ];
        searches.extend(host.searches.iter().cloned());
        dedup(&mut searches);
        DnsConfig { servers: cluster_dns.to_vec(), searches, options: vec!["ndots:5".to_owned()] }
    } else {
        DnsConfig { servers: host.servers.clone(), searches: host.searches.clone(), options: host.options.clone() }
    };
    if let Some(own) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        config.servers.extend(own.nameservers.iter().flatten().cloned());
        dedup(&mut config.servers);
        config.searches.extend(own.searches.iter().flatten().cloned());
        dedup(&mut config.searches);
        for option in own.options.iter().flatten() {
            let name = option.name.as_deref().unwrap_or_default();
            config.options.retain(|given| given.split(':').next() != Some(name));
            config.options.push(match option.value.as_deref() {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name.to_owned(),
            });
        }
    }
    // What the C library would not read anyway.
    config.servers.truncate(3);
    config.searches.truncate(32);
    (config, missing)
}

fn dedup(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    fn render(spec: serde_json::Value) -> String {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec})).unwrap();
        let host = HostResolver::parse("# c\nnameserver 192.0.2.53\nsearch lan.\noptions timeout:2\n");
        let (config, missing) = dns_config(&pod, &["10.43.0.10".to_owned()], "cluster.local", &host);
        format!("{:?} {:?} {:?} {missing}", config.servers, config.searches, config.options)
    }

    #[test]
    fn cluster_first() {
        expect![[
            r#"["10.43.0.10"] ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"] ["ndots:5"] false"#
        ]]
        .assert_eq(&render(json!({"containers": []})));
    }

    #[test]
    fn host_network_falls_back_to_the_host() {
        expect![[r#"["192.0.2.53"] ["lan"] ["timeout:2"] false"#]]
            .assert_eq(&render(json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirst"})));
    }

    #[test]
    fn own_settings_are_merged() {
        let own = json!({"nameservers": ["1.1.1.1", "10.43.0.10"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        expect![[r#"["10.43.0.10", "1.1.1.1"] ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"] ["ndots:2", "edns0"] false"#]]
            .assert_eq(&render(json!({"containers": [], "dnsConfig": own})));
    }

    #[test]
    fn none_is_only_what_the_pod_says() {
        expect![[r#"["1.1.1.1"] [] [] false"#]].assert_eq(&render(
            json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]}}),
        ));
    }
}
