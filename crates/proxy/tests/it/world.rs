//! A node with pods behind a bridge and a machine outside, each a network namespace of its own, gone with the test.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use api::core::v1::Service;
use api::discovery::v1::EndpointSlice;
use informer::{Cache, Object};
use netlink::link::{Peer, Route, find};
use netlink::nft::Table;
use netlink::socket::Requests;
use netlink::{Namespace, Protocol, Socket, namespace};
use proxy::{Config, Proxy};
use supervisor::Supervisor;

pub(crate) struct World {
    pub(crate) node: Namespace,
    pub(crate) outside: Namespace,
}

pub(crate) const NODE: &str = "192.0.2.1";
pub(crate) const OUTSIDE: &str = "192.0.2.2";

impl World {
    pub(crate) fn new() -> Self {
        let world = Self { node: Namespace::create().unwrap(), outside: Namespace::create().unwrap() };
        world.run(async || {
            let mut node = Socket::open(Protocol::Route).unwrap();
            namespace::set_sysctl("ipv6/conf/default/accept_dad", "0").unwrap();
            let mut requests = Requests::new();
            requests.set_up("lo");
            let peer = Peer { name: "eth0", namespace: Some(world.outside.as_fd()), hardware_address: None };
            requests.add_veth("eth0", 1500, peer);
            requests.set_up("eth0");
            requests.add_bridge("tiphys0", 1500, Some([2, 0, 0, 0, 0, 1]));
            requests.set_up("tiphys0");
            node.run(requests).await.unwrap();
            let eth0 = find(&mut node, "eth0").await.unwrap().unwrap().index;
            let bridge = find(&mut node, "tiphys0").await.unwrap().unwrap().index;
            let mut requests = Requests::new();
            requests.add_address(eth0, ip(NODE), 24);
            requests.add_address(eth0, ip("2001:db8::1"), 64);
            requests.add_address(bridge, ip("10.42.7.1"), 24);
            requests.add_address(bridge, ip("fd42::1"), 64);
            for (everything, gateway) in [("0.0.0.0", OUTSIDE), ("::", "2001:db8::2")] {
                requests.add_route(&route(everything, 0, eth0, Some(gateway)));
            }
            node.run(requests).await.unwrap();
            namespace::set_sysctl("ipv4/ip_forward", "1").unwrap();
            namespace::set_sysctl("ipv6/conf/all/forwarding", "1").unwrap();

            let mut outside = Socket::open_in(&world.outside, Protocol::Route).unwrap();
            let eth0 = find(&mut outside, "eth0").await.unwrap().unwrap().index;
            let mut requests = Requests::new();
            requests.set_up("lo");
            requests.set_up("eth0");
            requests.add_address(eth0, ip(OUTSIDE), 24);
            requests.add_address(eth0, ip("2001:db8::2"), 64);
            // What reaches the machine for a cluster IP goes to the node, as from a machine that routes them there.
            requests.add_route(&route("10.43.0.0", 16, eth0, Some(NODE)));
            // And it knows the way to pods, as another node.
            requests.add_route(&route("10.42.0.0", 16, eth0, Some(NODE)));
            outside.run(requests).await.unwrap();
        });
        world
    }

    /// Runs the work on the node, as a process there would.
    pub(crate) fn run<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work())
        };
        self.node.run(run).unwrap()
    }

    /// A pod with that last part of its address.
    pub(crate) async fn pod(&self, number: u8) -> Namespace {
        let pod = Namespace::create().unwrap();
        pod.run(|| namespace::set_sysctl("ipv6/conf/default/accept_dad", "0").unwrap()).unwrap();
        let mut node = Socket::open(Protocol::Route).unwrap();
        let mut inside = Socket::open_in(&pod, Protocol::Route).unwrap();
        let bridge = find(&mut node, "tiphys0").await.unwrap().unwrap().index;
        let name = format!("pod{number}");
        let mut requests = Requests::new();
        requests.add_veth(&name, 1500, Peer { name: "eth0", namespace: Some(pod.as_fd()), hardware_address: None });
        requests.enslave(&name, bridge);
        requests.set_hairpin(&name);
        node.run(requests).await.unwrap();
        let eth0 = find(&mut inside, "eth0").await.unwrap().unwrap().index;
        let mut requests = Requests::new();
        requests.set_up("lo");
        requests.add_address(eth0, ip(&format!("10.42.7.{number}")), 32);
        requests.add_address(eth0, ip(&format!("fd42::{number}")), 128);
        requests.set_up("eth0");
        for (gateway, full, everything) in [("10.42.7.1", 32, "0.0.0.0"), ("fd42::1", 128, "::")] {
            requests.add_route(&route(gateway, full, eth0, None));
            requests.add_route(&route(everything, 0, eth0, Some(gateway)));
        }
        inside.run(requests).await.unwrap();
        pod
    }

    pub(crate) fn nft(&self, arguments: &[&str]) -> String {
        self.command("nft", arguments)
    }

    pub(crate) fn ip(&self, arguments: &[&str]) -> String {
        self.command("ip", arguments)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.node.run(|| std::process::Command::new(program).args(arguments).output().unwrap()).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn route(destination: &str, prefix: u8, link: u32, gateway: Option<&str>) -> Route {
    Route { destination: (ip(destination), prefix), link, gateway: gateway.map(ip), on_link: false, source: None }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn config() -> Config {
    let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Config {
        table: Table::inet("tiphys"),
        ..Config::new("node-1", ranges(&["10.42.0.0/16", "fd42::/48"]), ranges(&["10.43.0.0/16", "fd43::/112"]))
    }
}

// === the cluster's side ===

/// A proxy over caches that the test fills.
pub(crate) struct Cluster {
    pub(crate) services: Cache<Service>,
    pub(crate) slices: Cache<EndpointSlice>,
    pub(crate) proxy: Proxy,
    pub(crate) supervisor: Supervisor,
    revision: u64,
}

impl Cluster {
    pub(crate) async fn start(config: Config, objects: &[(Service, EndpointSlice)]) -> Self {
        let (services, slices) = (Cache::unfed(), Cache::unfed());
        let supervisor = Supervisor::new();
        let proxy = Proxy::start(config, services.clone(), slices.clone(), &supervisor).unwrap();
        services.replace(objects.iter().map(|(service, _)| service.clone()), 1);
        slices.replace(objects.iter().map(|(_, slice)| slice.clone()), 1);
        proxy.synced().await;
        Self { services, slices, proxy, supervisor, revision: 1 }
    }

    /// Takes objects in and waits until the kernel has them.
    pub(crate) async fn apply(&mut self, service: Option<&Service>, slice: Option<&EndpointSlice>) {
        let mut transactions = self.proxy.transactions();
        let before = *transactions.borrow_and_update();
        self.revision += 1;
        if let Some(service) = service {
            self.services.apply(&service.key(), Some(service.clone()), self.revision);
        }
        if let Some(slice) = slice {
            self.slices.apply(&slice.key(), Some(slice.clone()), self.revision);
        }
        transactions.wait_for(|now| *now > before).await.unwrap();
    }

    pub(crate) async fn delete(&mut self, service: &Service) {
        let mut transactions = self.proxy.transactions();
        let before = *transactions.borrow_and_update();
        self.revision += 1;
        self.services.apply(&service.key(), None, self.revision);
        transactions.wait_for(|now| *now > before).await.unwrap();
    }
}

/// A Service named `web` on port 80, changed by what is merged into its `spec`.
pub(crate) fn service(spec: serde_json::Value) -> Service {
    let mut whole = serde_json::json!({
        "clusterIPs": ["10.43.0.10"], "clusterIP": "10.43.0.10", "type": "ClusterIP",
        "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080 }],
    });
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let metadata = serde_json::json!({ "name": "web", "namespace": "default" });
    serde_json::from_value(serde_json::json!({ "metadata": metadata, "spec": whole })).unwrap()
}

pub(crate) fn with_ingress(mut service: Service, ip: &str) -> Service {
    let status = serde_json::json!({ "loadBalancer": { "ingress": [{ "ip": ip, "ipMode": "VIP" }] } });
    service.status = Some(serde_json::from_value(status).unwrap());
    service
}

/// The slice of `web` with ready endpoints, each on `node-1` unless `address@node` says otherwise.
pub(crate) fn slice(endpoints: &[&str]) -> EndpointSlice {
    slice_with(endpoints, "TCP", serde_json::json!({ "ready": true, "serving": true, "terminating": false }))
}

pub(crate) fn slice_with(endpoints: &[&str], protocol: &str, conditions: serde_json::Value) -> EndpointSlice {
    let endpoint = |text: &&str| {
        let (address, node) = text.split_once('@').unwrap_or((text, "node-1"));
        serde_json::json!({ "addresses": [address], "nodeName": node, "conditions": conditions })
    };
    let ipv6 = endpoints.first().is_some_and(|endpoint| endpoint.contains(':'));
    serde_json::from_value(serde_json::json!({
        "metadata": {
            "name": if ipv6 { "web-6" } else { "web-4" }, "namespace": "default",
            "labels": { "kubernetes.io/service-name": "web" },
        },
        "addressType": if ipv6 { "IPv6" } else { "IPv4" },
        "ports": [{ "name": "http", "port": 8080, "protocol": protocol }],
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    }))
    .unwrap()
}

// === servers and clients ===

/// Answers every connection with its name and the client's address; a line sent is sent back.
pub(crate) fn serve(namespace: &Namespace, name: &'static str) {
    let listener = namespace.run(|| TcpListener::bind("[::]:8080").unwrap()).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let from = stream.peer_addr().unwrap().ip().to_canonical();
                stream.write_all(format!("{name} {from}\n").as_bytes()).unwrap();
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    stream.write_all(&buffer[..length]).unwrap();
                }
            });
        }
    });
}

/// Answers every datagram with its name.
pub(crate) fn serve_udp(namespace: &Namespace, name: &'static str) {
    let socket = namespace.run(|| UdpSocket::bind("0.0.0.0:8080").unwrap()).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(name.as_bytes(), from).unwrap();
        }
    });
}

/// Connects; what the server says is its name and the address it saw.
pub(crate) fn connect(from: &Namespace, to: &str) -> io::Result<TcpStream> {
    let to: SocketAddr = to.parse().unwrap();
    from.run(|| TcpStream::connect_timeout(&to, Duration::from_millis(1500))).unwrap()
}

pub(crate) fn ask(from: &Namespace, to: &str) -> io::Result<(String, IpAddr)> {
    let mut stream = connect(from, to)?;
    let line = read_line(&mut stream)?;
    let (name, address) = line.split_once(' ').unwrap();
    Ok((name.to_owned(), address.parse().unwrap()))
}

pub(crate) fn read_line(stream: &mut TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    Ok(String::from_utf8(line).unwrap())
}

/// Who answers in so many tries.
pub(crate) fn answering(from: &Namespace, to: &str, tries: usize) -> BTreeSet<String> {
    (0..tries).map(|_| ask(from, to).unwrap().0).collect()
}

pub(crate) fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

pub(crate) fn refused(from: &Namespace, to: &str) -> bool {
    connect(from, to).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Nothing comes back at all.
pub(crate) fn dropped(from: &Namespace, to: &str) -> bool {
    let to: SocketAddr = to.parse().unwrap();
    let result = from.run(|| TcpStream::connect_timeout(&to, Duration::from_millis(300))).unwrap();
    result.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
}
