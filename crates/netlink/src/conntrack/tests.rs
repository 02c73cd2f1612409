//! A UDP exchange over loopback is tracked, found and forgotten.

use std::net::UdpSocket;

use super::*;
use crate::nft::{BaseChain, Batch, ChainType, CtKey, Expr, Hook, Register, Table, priority};
use crate::{Namespace, Protocol};

#[tokio::test]
async fn only_the_stale_entries_are_forgotten() {
    let namespace = Namespace::create().unwrap();
    let mut route = Socket::open_in(&namespace, Protocol::Route).unwrap();
    let mut requests = Requests::new();
    requests.set_up("lo");
    route.run(requests).await.unwrap();

    // Tracking begins with the first rule that asks for it.
    let mut socket = Socket::open_in(&namespace, Protocol::Netfilter).unwrap();
    let table = Table::inet("t");
    let mut batch = Batch::new();
    batch.add_table(&table);
    let base = BaseChain { kind: ChainType::Filter, hook: Hook::Output, priority: priority::FILTER };
    batch.add_chain(&table, "out", Some(base));
    batch.add_rule(&table, "out", &[Expr::Ct { key: CtKey::State, direction: None, to: Register(0) }, Expr::Counter]);
    batch.send(&mut socket).await.unwrap();

    let send = |port: u16| {
        let server = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"x", ("127.0.0.1", port)).unwrap();
        server.recv(&mut [0; 8]).unwrap();
    };
    namespace
        .run(|| {
            send(7001);
            send(7002);
        })
        .unwrap();

    let ports = |connections: &[Connection]| {
        let mut ports: Vec<u16> = connections.iter().map(|connection| connection.original.destination_port).collect();
        ports.sort_unstable();
        ports
    };
    assert_eq!(ports(&list(&mut socket, 17).await.unwrap()), [7001, 7002]);
    assert_eq!(ports(&list(&mut socket, 6).await.unwrap()), [0_u16; 0]);
    let stale = |connection: &Connection| connection.original.destination_port == 7001;
    assert_eq!(forget(&mut socket, 17, stale).await.unwrap(), 1);
    assert_eq!(ports(&list(&mut socket, 17).await.unwrap()), [7002]);
}
