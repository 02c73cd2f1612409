//! A node, a machine outside and pods: each a network namespace of its own, gone with the test.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use cri::{PodNetwork, PodNetworkRequest};
use netlink::link::{Peer, Route, find};
use netlink::socket::Requests;
use netlink::{Namespace, Protocol, Socket};
use network::{BridgeNetwork, Config};

pub(crate) struct World {
    pub(crate) node: Namespace,
    pub(crate) outside: Namespace,
    directory: tempfile::TempDir,
}

pub(crate) struct Pod {
    pub(crate) namespace: Namespace,
    pub(crate) request: PodNetworkRequest,
}

impl Drop for Pod {
    fn drop(&mut self) {
        Namespace::unpin(&self.request.netns).unwrap();
    }
}

impl World {
    /// A node with an address and a default route to a machine outside of the cluster.
    pub(crate) fn new() -> Self {
        let world = Self {
            node: Namespace::create().unwrap(),
            outside: Namespace::create().unwrap(),
            directory: tempfile::tempdir().unwrap(),
        };
        world.run(async || {
            let mut node = Socket::open(Protocol::Route).unwrap();
            let mut requests = Requests::new();
            requests.set_up("lo");
            let peer = Peer { name: "eth0", namespace: Some(world.outside.as_fd()), hardware_address: None };
            requests.add_veth("eth0", 1500, peer);
            requests.set_up("eth0");
            node.run(requests).await.unwrap();
            let index = find(&mut node, "eth0").await.unwrap().unwrap().index;
            let mut requests = Requests::new();
            requests.add_address(index, ip("192.0.2.1"), 24);
            requests.add_route(&Route {
                destination: (ip("0.0.0.0"), 0),
                link: index,
                gateway: Some(ip("192.0.2.2")),
                on_link: false,
                source: None,
            });
            node.run(requests).await.unwrap();

            let mut outside = Socket::open_in(&world.outside, Protocol::Route).unwrap();
            let index = find(&mut outside, "eth0").await.unwrap().unwrap().index;
            let mut requests = Requests::new();
            requests.set_up("lo");
            requests.set_up("eth0");
            requests.add_address(index, ip("192.0.2.2"), 24);
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

    pub(crate) fn config(&self) -> Config {
        Config::new(self.directory.path().join("network"), vec!["10.42.0.0/16".parse().unwrap()])
    }

    pub(crate) async fn network(&self) -> BridgeNetwork {
        let network = BridgeNetwork::new(self.config());
        network.configure(&["10.42.7.0/24".parse().unwrap()]).await.unwrap();
        network
    }

    /// A namespace as the runtime makes it for a pod.
    pub(crate) fn pod(&self, name: &str) -> Pod {
        let namespace = Namespace::create().unwrap();
        let netns: PathBuf = self.directory.path().join(name);
        namespace.pin(&netns).unwrap();
        let request = PodNetworkRequest {
            sandbox_id: format!("sandbox-{name}"),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            netns,
            ..PodNetworkRequest::default()
        };
        Pod { namespace, request }
    }

    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> String {
        command_in(&self.node, program, arguments)
    }
}

/// What the program prints when it runs in the namespace.
pub(crate) fn command_in(namespace: &Namespace, program: &str, arguments: &[&str]) -> String {
    let output = namespace.run(|| std::process::Command::new(program).args(arguments).output().unwrap()).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) async fn attach(network: &BridgeNetwork, pod: &Pod) -> IpAddr {
    network.attach(&pod.request).await.unwrap().ips[0]
}

/// Opens a server in the namespace, connects to `to` from `client`, and answers the address the server saw.
pub(crate) fn seen_by(server: &Namespace, listen: &str, client: &Namespace, to: &str) -> IpAddr {
    let listener = server.run(|| TcpListener::bind(listen).unwrap()).unwrap();
    let to: SocketAddr = to.parse().unwrap();
    let serve = move || {
        let (mut stream, from) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
        from.ip()
    };
    let server = std::thread::spawn(serve);
    let text = client
        .run(|| {
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
        .unwrap();
    assert_eq!(text, "hello");
    server.join().unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
