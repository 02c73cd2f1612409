//! What no two Services may have, where several servers write to one store: addresses and node ports, claimed by records
//! that come and go with their Service.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use engine::{
    Layout, Template,
    etcd::{EtcdFactory, EtcdOptions},
    memory::Memory,
};
use grpc::Endpoint;
use registry::{
    Registry, RequestCx, UpdateKind, UserInfo, Verb,
    options::{DeleteOptions, WriteOptions},
    pipeline::{Change, Patch, PatchKind},
};
use resources::core::service::claims;
use serde_json::{Value, json};
use store::{Expect, Key, Store, StoreOptions, Txn};
use supervisor::Supervisor;

/// Fourteen addresses.
const RANGE: &str = "10.43.0.0/28";

/// One server: a registry with allocators of its own.
#[derive(Clone)]
struct Server(Registry);

impl Server {
    fn over(store: &Store) -> Self {
        let options = resources::Options { service_ranges: vec![RANGE.parse().unwrap()] };
        Self(Registry::builder(store.clone()).resources(resources::all(&options)).build())
    }

    fn cx(&self, verb: Verb, name: &str) -> RequestCx {
        let mut cx = self.0.context(Arc::new(UserInfo::loopback()), verb);
        cx.namespace = "default".to_owned();
        cx.name = name.to_owned();
        cx
    }

    async fn create(&self, name: &str, spec: Value) -> Result<Value, String> {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
        let kind = self.0.kind("", "v1", "services").unwrap();
        let body = Bytes::from(object.to_string());
        let written = self.0.create(&kind, &self.cx(Verb::Create, ""), &body, &WriteOptions::default()).await;
        written.map(|written| serde_json::from_slice(&written.bytes).unwrap()).map_err(|error| error.message)
    }

    async fn patch(&self, name: &str, update: UpdateKind<'_>, patch: Value) -> Result<Value, String> {
        let kind = self.0.kind("", "v1", "services").unwrap();
        let patch = Patch::new(PatchKind::Merge, patch);
        let cx = self.cx(Verb::Patch, name);
        let written = self.0.modify(&kind, &cx, update, Change::Patch(&patch), &WriteOptions::default()).await;
        written.map(|written| serde_json::from_slice(&written.bytes).unwrap()).map_err(|error| error.message)
    }

    async fn delete(&self, name: &str) {
        let kind = self.0.kind("", "v1", "services").unwrap();
        self.0.delete(&kind, &self.cx(Verb::Delete, name), &DeleteOptions::default()).await.unwrap();
    }

    /// Who has what, by the records: addresses and node ports with the name of their Service.
    fn records(&self) -> BTreeMap<String, String> {
        let store = self.0.store();
        let addresses = store.resource(claims::ADDRESSES);
        let ports = store.resource(claims::NODE_PORTS);
        let addresses = addresses.snapshot().iter().map(|entry| {
            let object: Value = serde_json::from_slice(entry.bytes()).unwrap();
            assert!(
                object["metadata"]["uid"].is_string() && object["metadata"]["managedFields"].is_array(),
                "{object}"
            );
            (entry.key().name().to_owned(), object["spec"]["parentRef"]["name"].as_str().unwrap().to_owned())
        });
        let ports = ports
            .snapshot()
            .iter()
            .map(|entry| (entry.key().name().to_owned(), claims::port_claim(entry.bytes()).unwrap().holder.1));
        addresses.chain(ports).collect()
    }
}

/// The same, as the Services say it.
fn held(services: &[Value]) -> BTreeMap<String, String> {
    let mut held = BTreeMap::new();
    for service in services {
        let name = service["metadata"]["name"].as_str().unwrap();
        let spec = &service["spec"];
        let addresses = spec["clusterIPs"].as_array().into_iter().flatten().map(|ip| ip.as_str().unwrap().to_owned());
        let ports = spec["ports"].as_array().into_iter().flatten().map(|port| &port["nodePort"]);
        let ports = ports.chain([&spec["healthCheckNodePort"]]).filter_map(Value::as_i64).map(|port| port.to_string());
        for what in addresses.chain(ports) {
            let other = held.insert(what.clone(), name.to_owned());
            assert!(other.is_none(), "{what} is {name}'s and {other:?}'s");
        }
    }
    held
}

async fn nothing_is_given_twice(servers: &[Server]) {
    let spec = json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local",
        "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}],
    });
    let tries = (0..24).map(|index| {
        let (server, spec) = (&servers[index % servers.len()], spec.clone());
        async move { server.create(&format!("s-{index}"), spec).await }
    });
    let outcomes = futures::future::join_all(tries).await;
    let created: Vec<Value> = outcomes.iter().filter_map(|outcome| outcome.clone().ok()).collect();
    assert_eq!(created.len(), 14, "{outcomes:?}");
    for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(refused.contains("range is full"), "{refused}");
    }
    for server in servers {
        server.0.store().refresh().await.unwrap();
        assert_eq!(server.records(), held(&created));
    }
    // One wanted port, wanted by all at once, is one's.
    let fixed = |port: i32| json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80, "nodePort": port}]});
    assert!(servers[0].create("x", fixed(30_050)).await.is_err(), "headless Services have no node ports");
    let names: Vec<&str> = created.iter().map(|service| service["metadata"]["name"].as_str().unwrap()).collect();
    let wants = names.iter().enumerate().map(|(index, name)| {
        let server = &servers[index % servers.len()];
        let patch = json!({"spec": {"ports": [{"name": "a", "port": 80, "nodePort": 30_050}]}});
        async move { server.patch(name, UpdateKind::Object, patch).await }
    });
    let outcomes = futures::future::join_all(wants).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(refused.contains("provided port is already allocated"), "{refused}");
    }
    // They go with their Services, whoever deletes those.
    for (index, name) in names.iter().enumerate() {
        servers[(index + 1) % servers.len()].delete(name).await;
    }
    for server in servers {
        server.0.store().refresh().await.unwrap();
        assert_eq!(server.records(), BTreeMap::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_over_one_store_give_nothing_twice() {
    let store = Store::open(Memory::new(), StoreOptions::default()).unwrap();
    nothing_is_given_twice(&[Server::over(&store), Server::over(&store), Server::over(&store)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_over_one_etcd_give_nothing_twice() {
    let Some(etcd) = Etcd::start() else { return };
    nothing_is_given_twice(&[Server::over(&etcd.open().await), Server::over(&etcd.open().await)]).await;
}

/// More than fit one transaction of etcd.
async fn a_service_with_many_ports(server: &Server) {
    let ports: Vec<Value> = (0..250).map(|index| json!({"name": format!("p{index}"), "port": 1000 + index})).collect();
    let service = server.create("wide", json!({"type": "NodePort", "ports": ports})).await.unwrap();
    let records = server.records();
    assert_eq!(records.len(), 251);
    assert_eq!(records, held(std::slice::from_ref(&service)));
    let fewer = json!({"spec": {"type": "ClusterIP", "ports": [{"name": "p0", "port": 1000}]}});
    let service = server.patch("wide", UpdateKind::Object, fewer).await.unwrap();
    assert_eq!(server.records(), held(std::slice::from_ref(&service)));
    let taken = server.create("one", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30_001}]})).await;
    taken.unwrap();
    // One port of many is another's: none of them is kept.
    let before = server.records();
    let mut ports = ports;
    for (index, port) in ports.iter_mut().enumerate() {
        port["nodePort"] = json!(30_100 + index);
    }
    ports[249]["nodePort"] = json!(30_001);
    let refused = server.create("late", json!({"type": "NodePort", "ports": ports})).await.unwrap_err();
    assert!(refused.contains("provided port is already allocated"), "{refused}");
    assert_eq!(server.records(), before);
}

#[tokio::test]
async fn services_with_many_ports_claim_them_all() {
    let store = Store::open(Memory::new(), StoreOptions::default()).unwrap();
    a_service_with_many_ports(&Server::over(&store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_with_many_ports_claim_them_all_in_etcd() {
    let Some(etcd) = Etcd::start() else { return };
    a_service_with_many_ports(&Server::over(&etcd.open().await)).await;
}

#[tokio::test]
async fn a_status_claims_nothing() {
    let server = Server::over(&Store::open(Memory::new(), StoreOptions::default()).unwrap());
    let service = server.create("web", json!({"ports": [{"port": 80}]})).await.unwrap();
    let patch = json!({"spec": {"type": "NodePort"}, "status": {"loadBalancer": {}}});
    server.patch("web", UpdateKind::Status, patch).await.unwrap();
    assert_eq!(server.records(), held(&[service]));
}

async fn put(store: &Store, resource: &str, namespace: &str, name: &str, json: &str) {
    let value = Template::from_json(&Bytes::from(json.to_owned())).unwrap();
    let key = Key::new(namespace, name).unwrap();
    store.commit(Txn::new().put(&store.resource(resource), key, Expect::Any, value)).await.unwrap();
}

#[tokio::test]
async fn what_others_left_is_mended() {
    let store = Store::open(Memory::new(), StoreOptions::default()).unwrap();
    let server = Server::over(&store);
    // Of a store that knew no such records.
    let spec = json!({
        "type": "NodePort", "clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"],
        "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30_009}],
    });
    let service = format!(
        r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"old","namespace":"default","uid":"u"}},"spec":{spec}}}"#
    );
    put(&store, "services", "default", "old", &service).await;
    let gone = ("default".to_owned(), "gone".to_owned());
    let now = jiff::Timestamp::now();
    for (port, since) in [(30_011, jiff::Timestamp::UNIX_EPOCH), (30_012, now)] {
        let record = claims::port_record(port, &gone, since);
        put(&store, claims::NODE_PORTS, "", &port.to_string(), std::str::from_utf8(&record).unwrap()).await;
    }
    let supervisor = Supervisor::new();
    apiserver::service_addresses::keep(&server.0, &supervisor).await;
    let records = server.records();
    let held = |names: &[(&str, &str)]| -> BTreeMap<String, String> {
        names.iter().map(|(what, who)| ((*what).to_owned(), (*who).to_owned())).collect()
    };
    // A record that is young may be that of a Service which is being written.
    assert_eq!(records, held(&[("10.43.0.9", "old"), ("30009", "old"), ("30012", "gone")]));

    // Who deletes them finds them again.
    for (resource, name) in [(claims::ADDRESSES, "10.43.0.9"), (claims::NODE_PORTS, "30009")] {
        let delete = Txn::new().delete(&store.resource(resource), Key::new("", name).unwrap(), Expect::Any);
        store.commit(delete).await.unwrap();
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while server.records() != records {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", server.records());
        tokio::task::yield_now().await;
    }
    let ports: BTreeSet<String> = server.records().into_keys().collect();
    assert!(ports.contains("30009"));
    supervisor.shutdown().await;
}

/// A real etcd: `$TIPHYS_ETCD`, or `etcd` of the path. Where there is none, its tests say so and pass.
struct Etcd {
    process: Child,
    port: u16,
    #[expect(dead_code, reason = "holds the directory")]
    directory: tempfile::TempDir,
}

impl Etcd {
    #[expect(clippy::print_stderr, reason = "a test that was not done says so")]
    fn start() -> Option<Self> {
        let program = std::env::var("TIPHYS_ETCD").unwrap_or_else(|_| "etcd".to_owned());
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, peer) = (free(), free());
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
        let directory = tempfile::tempdir().unwrap();
        let process = Command::new(&program)
            .args(["--data-dir", directory.path().to_str().unwrap(), "--log-level", "error"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .env("ETCD_UNSUPPORTED_ARCH", "arm64")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match process {
            Ok(process) => Some(Self { process, port, directory }),
            Err(_) => {
                eprintln!("skipped: there is no etcd here (TIPHYS_ETCD says where)");
                None
            }
        }
    }

    /// A store over it, as one server has it.
    async fn open(&self) -> Store {
        let names = ["services", claims::ADDRESSES, "servicecidrs.networking.k8s.io", "namespaces"];
        let layout = Arc::new(Layout::new(Layout::DEFAULT_PREFIX, names.map(str::to_owned)));
        let endpoint = Endpoint::parse(&format!("http://127.0.0.1:{}", self.port)).unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let endpoints = vec![endpoint.clone()];
            let options = EtcdOptions { endpoints, tls: None, layout: layout.clone(), compaction: None };
            let opened =
                tokio::task::spawn_blocking(move || Store::open(EtcdFactory::new(options), StoreOptions::default()));
            match opened.await.unwrap() {
                Ok(store) => return store,
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
            }
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
