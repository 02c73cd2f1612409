//! Services through the hooks in the order in which the registry calls them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use expect_test::expect;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use parking_lot::Mutex;
use registry::{Companion, CompanionChange, PrintCx, ReadObjects, Reader, RequestCx, Strategy, UserInfo, Verb};
use serde_json::{Value, json};

use super::{Services, claims, spec};
use crate::optional::{Items, Text};

/// Records by what the store calls them and their name.
#[derive(Default)]
struct Records(Mutex<BTreeMap<(String, String), Bytes>>);

impl Records {
    fn apply(&self, companions: &[Companion]) {
        let mut records = self.0.lock();
        for companion in companions {
            let key = (companion.resource.to_owned(), companion.name.clone());
            match &companion.change {
                CompanionChange::Put(json) => {
                    let mut record: Value = serde_json::from_slice(json).expect("json");
                    record["metadata"]["resourceVersion"] = json!("1");
                    let before = records.insert(key, Bytes::from(record.to_string()));
                    assert!(before.is_none(), "{companion:?} was there");
                }
                CompanionChange::Delete { revision: 1 } => {
                    records.remove(&key).expect("what goes was there");
                }
                CompanionChange::Delete { .. } => panic!("{companion:?}"),
            }
        }
    }

    fn names(&self, resource: &str) -> Vec<String> {
        self.0.lock().keys().filter(|(known, _)| known == resource).map(|(_, name)| name.clone()).collect()
    }
}

impl ReadObjects for Records {
    fn get(&self, group: &str, plural: &str, _namespace: &str, name: &str) -> Option<Bytes> {
        self.record(&format!("{plural}.{group}"), name)
    }

    fn list(&self, group: &str, plural: &str, _namespace: Option<&str>) -> Vec<Bytes> {
        let resource = format!("{plural}.{group}");
        self.0.lock().iter().filter(|((known, _), _)| *known == resource).map(|(_, json)| json.clone()).collect()
    }

    fn record(&self, resource: &str, name: &str) -> Option<Bytes> {
        self.0.lock().get(&(resource.to_owned(), name.to_owned())).cloned()
    }
}

struct Cluster {
    services: Services,
    records: Arc<Records>,
}

impl Cluster {
    fn new(ranges: &[&str]) -> Self {
        let services = Services::new(ranges.iter().map(|range| range.parse().expect("a range")).collect());
        Self { services, records: Arc::default() }
    }

    fn cx(&self) -> RequestCx {
        let reader = Reader::new(self.records.clone());
        RequestCx::new(Arc::new(UserInfo::loopback()), Verb::Create, Timestamp::UNIX_EPOCH, reader)
    }

    fn delete(&self, service: &Service) {
        self.records.apply(&self.services.released(&self.cx(), service));
    }

    /// Another server over the same store.
    fn another(&self) -> Self {
        Self { records: self.records.clone(), ..Self::new(&["10.43.0.0/16"]) }
    }

    fn create(&self, spec: Value) -> Result<Service, String> {
        let value = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
        let mut service: Service = serde_json::from_value(value).expect("a service");
        let cx = self.cx();
        self.services.set_defaults(&mut service);
        let held = self.services.reserve(&cx, &mut service, None).map_err(|error| error.to_string())?;
        self.services.prepare_for_create(&cx, &mut service);
        let errors = self.services.validate(&cx, &service);
        if !errors.is_empty() {
            return Err(errors.aggregate());
        }
        self.records.apply(held.expect("a reservation").companions());
        Ok(service)
    }

    fn update(&self, old: &Service, patch: Value) -> Result<Service, String> {
        let mut value = json!(old);
        apimachinery::patch::merge_patch(&mut value, json!({"spec": patch}));
        let mut service: Service = serde_json::from_value(value).expect("a service");
        let cx = self.cx();
        self.services.set_defaults(&mut service);
        let held = self.services.reserve(&cx, &mut service, Some(old)).map_err(|error| error.to_string())?;
        self.services.prepare_for_update(&cx, &mut service, old);
        let errors = self.services.validate_update(&cx, &service, old);
        if !errors.is_empty() {
            return Err(errors.aggregate());
        }
        self.records.apply(held.expect("a reservation").companions());
        Ok(service)
    }
}

fn cluster() -> Cluster {
    Cluster::new(&["10.43.0.0/16"])
}

fn address(service: &Service) -> &str {
    spec(service).cluster_ip.text()
}

fn node_ports(service: &Service) -> Vec<Option<i32>> {
    spec(service).ports.items().iter().map(|port| port.node_port).collect()
}

fn cells(service: &Service) -> String {
    let cx = PrintCx { now: Timestamp::UNIX_EPOCH };
    let cells = Services::COLUMNS.iter().map(|column| match (column.cell)(service, &cx) {
        Value::String(text) => text,
        other => other.to_string(),
    });
    cells.collect::<Vec<_>>().join("|")
}

#[test]
fn a_minimal_service_gets_upstreams_defaults() {
    let service = cluster().create(json!({"clusterIP": "10.43.0.10", "ports": [{"port": 80}]})).expect("created");
    expect![[r#"
        {
          "clusterIP": "10.43.0.10",
          "clusterIPs": [
            "10.43.0.10"
          ],
          "internalTrafficPolicy": "Cluster",
          "ipFamilies": [
            "IPv4"
          ],
          "ipFamilyPolicy": "SingleStack",
          "ports": [
            {
              "port": 80,
              "protocol": "TCP",
              "targetPort": 80
            }
          ],
          "sessionAffinity": "None",
          "type": "ClusterIP"
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&json!(service.spec)).expect("json"));
    assert_eq!(json!(service.status), json!({"loadBalancer": {}}));
}

#[test]
fn addresses_are_given_once() {
    let cluster = Cluster::new(&["10.43.0.0/28"]);
    let spec = || json!({"ports": [{"port": 80}]});
    let mut services: Vec<Service> = (0..14).map(|_| cluster.create(spec()).expect("created")).collect();
    let addresses: BTreeSet<_> = services.iter().map(address).collect();
    assert_eq!(addresses.len(), 14);
    assert!(!addresses.contains("10.43.0.0") && !addresses.contains("10.43.0.15"), "{addresses:?}");
    let error = cluster.create(spec()).expect_err("no address is left");
    assert!(error.contains("failed to allocate a serviceIP: range is full"), "{error}");

    let last = services.pop().expect("a service");
    cluster.delete(&last);
    assert_eq!(address(&cluster.create(spec()).expect("created")), address(&last));
}

#[test]
fn wanted_addresses_are_checked() {
    let cluster = cluster();
    let wanted = |address: &str| cluster.create(json!({"clusterIP": address, "ports": [{"port": 80}]}));
    wanted("10.43.1.1").expect("created");
    expect![[r#"Service "web" is invalid: spec.clusterIPs: Invalid value: ["10.43.1.1"]: failed to allocate IP 10.43.1.1: provided IP is already allocated"#]]
        .assert_eq(&wanted("10.43.1.1").expect_err("taken"));
    expect![[r#"Service "web" is invalid: spec.clusterIPs: Invalid value: ["10.44.1.1"]: failed to allocate IP 10.44.1.1: the provided IP (10.44.1.1) is not in the valid range. The range of valid IPs is 10.43.0.0/16"#]]
        .assert_eq(&wanted("10.44.1.1").expect_err("out of range"));
}

#[test]
fn a_refused_service_keeps_nothing() {
    let cluster = cluster();
    let spec = |name: &str| json!({"type": "NodePort", "clusterIP": "10.43.1.1", "ports": [{"name": name, "port": 80, "nodePort": 30080}]});
    cluster.create(spec("not a name")).expect_err("invalid");
    cluster.create(spec("web")).expect("nothing was kept");
}

#[test]
fn what_is_stored_says_what_is_taken() {
    let before = cluster();
    let stored = before.create(json!({"type": "NodePort", "ports": [{"port": 80}]})).expect("created");
    let after = before.another();
    let again = after.create(json!({"clusterIP": address(&stored), "ports": [{"port": 80}]}));
    assert!(again.expect_err("taken").contains("provided IP is already allocated"));
    let again = after.create(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": node_ports(&stored)[0]}]}));
    assert!(again.expect_err("taken").contains("provided port is already allocated"));
}

#[test]
fn writes_under_way_keep_off_each_other() {
    let cluster = cluster();
    let wanted = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"type": "NodePort", "clusterIP": "10.43.1.1", "ports": [{"port": 80, "nodePort": 30_001}]}});
    let mut first: Service = serde_json::from_value(wanted.clone()).expect("a service");
    let mut second = first.clone();
    let cx = cluster.cx();
    let held = cluster.services.reserve(&cx, &mut first, None).expect("reserved");
    let error = cluster.services.reserve(&cx, &mut second, None).err().expect("under way").to_string();
    assert!(error.contains("provided IP is already allocated"), "{error}");
    drop(held);
    cluster.services.reserve(&cx, &mut second, None).expect("free again");
}

#[test]
fn records_come_and_go_with_their_service() {
    let cluster = cluster();
    let spec = json!({
        "type": "LoadBalancer", "clusterIP": "10.43.1.1", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30_009,
        "ports": [{"name": "a", "port": 80, "nodePort": 30_001}, {"name": "b", "port": 81, "nodePort": 30_002}],
    });
    let service = cluster.create(spec).expect("created");
    assert_eq!(cluster.records.names(claims::ADDRESSES), ["10.43.1.1"]);
    assert_eq!(cluster.records.names(claims::NODE_PORTS), ["30001", "30002", "30009"]);
    let record = cluster.records.record(claims::NODE_PORTS, "30001").expect("a record");
    let claim = claims::port_claim(&record).expect("a claim");
    assert_eq!(claim.holder, ("default".to_owned(), "web".to_owned()));
    assert_eq!(claim.since, Some(Timestamp::UNIX_EPOCH));

    let patch = json!({"externalTrafficPolicy": "Cluster", "ports": [{"name": "a", "port": 80, "nodePort": 30_001}]});
    let service = cluster.update(&service, patch).expect("updated");
    assert_eq!(cluster.records.names(claims::NODE_PORTS), ["30001"]);
    cluster.delete(&service);
    assert!(cluster.records.0.lock().is_empty());
}

#[test]
fn records_of_others_stay() {
    let cluster = cluster();
    let service = cluster.create(json!({"clusterIP": "10.43.1.1", "ports": [{"port": 80}]})).expect("created");
    let mut other = service.clone();
    other.metadata.name = Some("other".to_owned());
    cluster.delete(&other);
    assert_eq!(cluster.records.names(claims::ADDRESSES), ["10.43.1.1"]);
}

#[test]
fn node_ports_are_given_and_checked() {
    let cluster = cluster();
    let ports = json!([
        {"name": "a", "port": 53, "protocol": "UDP"},
        {"name": "b", "port": 53, "protocol": "TCP"},
        {"name": "c", "port": 80},
    ]);
    let service = cluster.create(json!({"type": "NodePort", "ports": ports})).expect("created");
    let given = node_ports(&service);
    assert_eq!(given[0], given[1], "one number for both protocols");
    assert_ne!(given[0], given[2]);
    assert!(given.iter().flatten().all(|port| (30_086..=32_767).contains(port)), "{given:?}");

    let wanted = |port: i32| cluster.create(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}));
    wanted(30_000).expect("created");
    expect![[
        r#"Service "web" is invalid: spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated"#
    ]]
    .assert_eq(&wanted(30_000).expect_err("taken"));
    expect![[r#"Service "web" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"#]]
        .assert_eq(&wanted(80).expect_err("out of range"));
}

#[test]
fn a_new_type_brings_and_takes() {
    let cluster = cluster();
    let first = cluster.create(json!({"ports": [{"port": 80}]})).expect("created");
    let second = cluster.update(&first, json!({"type": "NodePort"})).expect("updated");
    assert_eq!(address(&first), address(&second));
    let port = node_ports(&second)[0].expect("a node port");

    let third = cluster.update(&second, json!({"type": "ClusterIP"})).expect("updated");
    assert_eq!(node_ports(&third), [None], "dropped, since the user did not change it");
    cluster
        .create(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}))
        .expect("the node port is free again");

    let held = address(&third).to_owned();
    let fourth =
        cluster.update(&third, json!({"type": "ExternalName", "externalName": "example.com"})).expect("updated");
    assert_eq!(address(&fourth), "");
    cluster.create(json!({"clusterIP": held, "ports": [{"port": 80}]})).expect("the address is free again");
}

#[test]
fn a_put_without_address_keeps_it() {
    let cluster = cluster();
    let service = cluster.create(json!({"type": "NodePort", "ports": [{"port": 80}]})).expect("created");
    let ports = json!([{"port": 80, "protocol": "TCP", "targetPort": 8080}]);
    let same =
        cluster.update(&service, json!({"clusterIP": null, "clusterIPs": null, "ports": ports})).expect("updated");
    assert_eq!(address(&same), address(&service));
    assert_eq!(node_ports(&same), node_ports(&service));
    expect![[r#"spec.clusterIPs[0]: Invalid value: ["10.43.9.9"]: may not change once set"#]].assert_eq(
        &cluster
            .update(&service, json!({"clusterIP": "10.43.9.9", "clusterIPs": ["10.43.9.9"]}))
            .expect_err("the address is fixed"),
    );
}

#[test]
fn two_families_get_two_addresses() {
    let cluster = Cluster::new(&["10.43.0.0/16", "fd00:43::/112"]);
    let service =
        cluster.create(json!({"ipFamilyPolicy": "PreferDualStack", "ports": [{"port": 80}]})).expect("created");
    assert_eq!(spec(&service).ip_families.items(), ["IPv4", "IPv6"]);
    assert!(spec(&service).cluster_ips.items()[1].starts_with("fd00:43::"), "{:?}", spec(&service).cluster_ips);
    let single = cluster.update(&service, json!({"ipFamilyPolicy": "SingleStack"})).expect("updated");
    assert_eq!(spec(&single).cluster_ips.items(), [address(&service)]);
    let error = self::cluster().create(json!({"ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]}));
    expect![[r#"Service "web" is invalid: spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#]]
        .assert_eq(&error.expect_err("one family"));
}

#[test]
fn mistakes_are_reported_as_upstream_reports_them() {
    let cluster = cluster();
    let error = |spec: Value| cluster.create(spec).expect_err("invalid");
    expect![[r#"spec.ports: Required value"#]].assert_eq(&error(json!({})));
    expect![[r#"[spec.ports[0].name: Required value, spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive, spec.ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP", spec.ports[1].name: Invalid value: "B": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')]"#]]
        .assert_eq(&error(json!({"ports": [{"port": 0, "protocol": "X", "targetPort": 1}, {"name": "B", "port": 1}]})));
    expect![[r#"spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}"#]]
        .assert_eq(&error(json!({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]})));
    expect!["spec.externalName: Required value"].assert_eq(&error(json!({"type": "ExternalName"})));
    expect![[r#"spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for LoadBalancer services"#]]
        .assert_eq(&error(json!({"type": "LoadBalancer", "clusterIP": "None", "ports": [{"port": 80}]})));
    expect!["spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400"].assert_eq(&error(
        json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}, "ports": [{"port": 80}]}),
    ));
}

#[test]
fn the_table_reads_as_upstreams() {
    let cluster = cluster();
    let row = |spec: Value| cells(&cluster.create(spec).expect("created"));
    let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 53, "protocol": "UDP"}]);
    expect![[r#"web|ClusterIP|10.43.0.20|<none>|80/TCP,53/UDP|<unknown>|app=web"#]]
        .assert_eq(&row(json!({"clusterIP": "10.43.0.20", "ports": ports, "selector": {"app": "web"}})));
    expect![[r#"web|ClusterIP|None|<none>|80/TCP|<unknown>|<none>"#]]
        .assert_eq(&row(json!({"clusterIP": "None", "ports": [{"port": 80}]})));
    expect![[r#"web|LoadBalancer|10.43.0.21|<pending>|80:30081/TCP|<unknown>|<none>"#]].assert_eq(&row(
        json!({"type": "LoadBalancer", "clusterIP": "10.43.0.21", "ports": [{"port": 80, "nodePort": 30081}]}),
    ));
    expect![[r#"web|ExternalName|<none>|example.com|<none>|<unknown>|<none>"#]]
        .assert_eq(&row(json!({"type": "ExternalName", "externalName": "example.com"})));
}

#[test]
fn what_is_ignored_or_odd_is_warned_about() {
    let service =
        |spec: Value| serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).expect("a service");
    let headless = service(json!({
        "type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "sessionAffinity": "ClientIP",
        "externalIPs": ["010.1.1.1"], "loadBalancerIP": "1.2.3.4", "trafficDistribution": "PreferClose",
    }));
    expect![[r#"
        spec.loadBalancerIP is ignored for headless services
        spec.externalIPs is ignored for headless services
        spec.SessionAffinity is ignored for headless services
        spec.externalIPs[0]: non-standard IP address "010.1.1.1" is invalid: use "10.1.1.1"
        spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone""#]]
    .assert_eq(&super::warnings(&headless).join("\n"));
    let balanced = service(json!({
        "type": "LoadBalancer", "clusterIP": "fd00:0::1", "clusterIPs": ["fd00:0::1"],
        "loadBalancerSourceRanges": ["10.1.0.0/8"],
    }));
    expect![[r#"
        spec.clusterIPs[0]: IPv6 address "fd00:0::1" should be in RFC 5952 canonical format ("fd00::1")
        spec.loadBalancerSourceRanges[0]: CIDR value "10.1.0.0/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.1.0.0/32"?)"#]]
    .assert_eq(&super::warnings(&balanced).join("\n"));
}
