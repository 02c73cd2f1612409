//! Links in namespaces of their own, checked through the kernel's own listing.

use std::os::fd::AsFd;

use super::*;
use crate::{Namespace, Protocol};

#[tokio::test]
async fn a_pod_network_is_made_and_unmade() {
    let host = Namespace::create().unwrap();
    let pod = Namespace::create().unwrap();
    let mut outside = Socket::open_in(&host, Protocol::Route).unwrap();
    let mut inside = Socket::open_in(&pod, Protocol::Route).unwrap();

    let mut requests = Requests::new();
    requests.add_bridge("br0", 1500, Some([2, 0, 0, 0, 0, 1]));
    requests.set_up("br0");
    outside.run(requests).await.unwrap();
    let bridge = find(&mut outside, "br0").await.unwrap().unwrap();
    assert!(bridge.up);

    let mut requests = Requests::new();
    requests.add_address(bridge.index, "10.9.0.1".parse().unwrap(), 24);
    let peer = Peer { name: "eth0", namespace: Some(pod.as_fd()), hardware_address: Some([2, 0, 10, 9, 0, 2]) };
    requests.add_veth("v0", 1500, peer);
    requests.enslave("v0", bridge.index);
    requests.set_hairpin("v0");
    outside.run(requests).await.unwrap();

    let eth0 = find(&mut inside, "eth0").await.unwrap().unwrap();
    assert_eq!(eth0.hardware_address, [2, 0, 10, 9, 0, 2]);
    let mut requests = Requests::new();
    requests.set_up("lo");
    requests.add_address(eth0.index, "10.9.0.2".parse().unwrap(), 24);
    requests.set_up("eth0");
    let gateway = "10.9.0.1".parse().unwrap();
    requests.add_route(&Route {
        destination: ("0.0.0.0".parse().unwrap(), 0),
        link: eth0.index,
        gateway: Some(gateway),
        on_link: false,
        source: None,
    });
    inside.run(requests).await.unwrap();

    let listed = addresses(&mut inside).await.unwrap();
    let wanted = Address { link: eth0.index, address: "10.9.0.2".parse().unwrap(), prefix: 24, scope: 0 };
    assert!(listed.contains(&wanted), "{listed:?}");
    let v0 = find(&mut outside, "v0").await.unwrap().unwrap();
    assert_eq!((v0.up, v0.master), (true, Some(bridge.index)));
    let hairpin = host.run(|| {
        std::process::Command::new("bridge").args(["-d", "link", "show", "dev", "v0"]).output().unwrap().stdout
    });
    assert!(String::from_utf8(hairpin.unwrap()).unwrap().contains("hairpin on"));

    let answered = host.run(|| {
        let server = pod.run(|| std::net::TcpListener::bind("10.9.0.2:80").unwrap()).unwrap();
        std::net::TcpStream::connect("10.9.0.2:80").unwrap();
        server.accept().is_ok()
    });
    assert!(answered.unwrap());

    let mut requests = Requests::new();
    requests.delete_link("v0");
    outside.run(requests).await.unwrap();
    assert_eq!(find(&mut inside, "eth0").await.unwrap(), None);
}

#[tokio::test]
async fn an_error_names_what_failed_and_the_rest_is_done() {
    let host = Namespace::create().unwrap();
    let mut socket = Socket::open_in(&host, Protocol::Route).unwrap();
    let mut requests = Requests::new();
    requests.delete_link("absent");
    requests.set_up("lo");
    let error = socket.run(requests).await.unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "delete link absent: No such device (os error 19)");
    assert!(find(&mut socket, "lo").await.unwrap().unwrap().up);
}

#[test]
fn a_new_address_is_heard_of() {
    let host = Namespace::create().unwrap();
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut monitor = crate::Monitor::open(crate::Topic::Addresses).unwrap();
            let mut socket = Socket::open(Protocol::Route).unwrap();
            let lo = find(&mut socket, "lo").await.unwrap().unwrap().index;
            let mut requests = Requests::new();
            requests.add_address(lo, "10.1.2.3".parse().unwrap(), 32);
            socket.run(requests).await.unwrap();
            monitor.changed().await.unwrap();
        });
    };
    host.run(work).unwrap();
}

#[test]
fn a_pinned_namespace_outlives_its_handle() {
    let directory = std::env::temp_dir().join(format!("netlink-pin-{}", std::process::id()));
    let path = directory.join("ns");
    Namespace::create().unwrap().pin(&path).unwrap();
    let links = Namespace::open(&path).unwrap().run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    assert!(!links.unwrap().contains("eth0"));
    Namespace::unpin(&path).unwrap();
    Namespace::unpin(&path).unwrap();
    assert!(!path.exists());
    std::fs::remove_dir_all(directory).unwrap();
}
