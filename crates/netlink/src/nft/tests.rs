//! Bytes as they are written, and what the kernel's own tool makes of them in a namespace of its own.

use expect_test::{Expect, expect};

use super::*;
use crate::{Namespace, Protocol, Socket};

fn table() -> Table {
    Table::inet("tiphys")
}

/// One line a message: kind, flags, then the bytes after the header in groups of four.
fn dump(batch: &Batch) -> String {
    let mut text = String::new();
    for bytes in batch.operations() {
        let groups: Vec<String> =
            bytes[16..].chunks(4).map(|group| group.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        text.push_str(&format!("{:02x} {:02x}{:02x}: {}\n", bytes[4], bytes[7], bytes[6], groups.join(" ")));
    }
    text
}

fn check(fill: impl FnOnce(&mut Batch), expect: Expect) {
    let mut batch = Batch::new();
    fill(&mut batch);
    expect.assert_eq(&dump(&batch));
}

#[test]
fn a_base_chain() {
    let base = BaseChain { kind: ChainType::Nat, hook: Hook::Output, priority: priority::DSTNAT };
    check(
        |batch| batch.add_chain(&table(), "out", Some(base)),
        expect![[r#"
        03 0401: 01000000 0b000100 74697068 79730000 08000300 6f757400 14000480 08000100 00000003 08000200 ffffff9c 08000500 00000001 08000700 6e617400
    "#]],
    );
}

#[test]
fn a_rule() {
    let expressions = [
        load::destination(false, Register(0)),
        Expr::equal(Register(0), [10, 43, 0, 1]),
        Expr::Verdict(Verdict::Goto("there".to_owned())),
    ];
    check(
        |batch| batch.add_rule(&table(), "out", &expressions),
        expect![[r#"
        06 0c01: 01000000 0b000100 74697068 79730000 08000200 6f757400 a0000480 34000180 0c000100 7061796c 6f616400 24000280 08000100 00000008 08000200 00000001 08000300 00000010 08000400 00000004 2c000180 08000100 636d7000 20000280 08000100 00000008 08000200 00000000 0c000380 08000100 0a2b0001 3c000180 0e000100 696d6d65 64696174 65000000 28000280 08000100 00000000 1c000280 18000280 08000100 fffffffc 0a000200 74686572 65000000
    "#]],
    );
}

#[test]
fn a_map_and_an_element() {
    let map = Set::map("m", &[Type::Mark, Type::Mark], &[Type::Ipv4, Type::Service]);
    let element = Element::data(Key::new().mark(2).mark(0), Key::new().address([10, 42, 0, 7].into()).port(80));
    check(
        |batch| {
            batch.add_set(&table(), &map);
            batch.add_elements(&table(), &map, [&element]);
            batch.delete_elements(&table(), &map, [&element]);
        },
        expect![[r#"
            09 0401: 01000000 0b000100 74697068 79730000 06000200 6d000000 08000300 00000008 08000400 000004d3 08000500 00000008 08000600 000001cd 08000700 00000008 08000a00 00000001
            0c 0401: 01000000 0b000100 74697068 79730000 06000200 6d000000 28000380 24000180 10000180 0c000100 02000000 00000000 10000280 0c000100 0a2a0007 00500000
            0e 0001: 01000000 0b000100 74697068 79730000 06000200 6d000000 18000380 14000180 10000180 0c000100 02000000 00000000
        "#]],
    );
}

struct Fixture {
    namespace: Namespace,
    socket: Socket,
}

impl Fixture {
    fn new() -> Self {
        let namespace = Namespace::create().unwrap();
        let socket = Socket::open_in(&namespace, Protocol::Netfilter).unwrap();
        Self { namespace, socket }
    }

    fn nft(&self, arguments: &[&str]) -> String {
        let output =
            self.namespace.run(|| std::process::Command::new("nft").args(arguments).output().unwrap()).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    async fn check(&mut self, fill: impl FnOnce(&mut Batch), expect: Expect) {
        let mut batch = Batch::new();
        fill(&mut batch);
        batch.send(&mut self.socket).await.unwrap();
        // The tool's JSON must be readable too; its text is what people look at.
        let json: serde_json::Value = serde_json::from_str(&self.nft(&["-j", "list", "ruleset"])).unwrap();
        assert!(json["nftables"].as_array().unwrap().len() > 1);
        expect.assert_eq(&self.nft(&["-s", "list", "ruleset"]));
    }
}

#[tokio::test]
async fn every_expression_is_accepted_and_shown() {
    let table = table();
    let r = Register;
    let base = |kind, hook, priority| Some(BaseChain { kind, hook, priority });
    let verdicts = Set::verdict_map("verdicts", &[Type::Ipv4, Type::Protocol, Type::Service]);
    let data = Set::map("data", &[Type::Mark], &[Type::Ipv4, Type::Service]);
    let ranges = Set::of("ranges", &[Type::Ipv4]).with_intervals();
    let wide = Set::of("wide", &[Type::Ipv4, Type::Service]).with_intervals();
    let learned = Set::map("learned", &[Type::Ipv4], &[Type::Ipv4]).with_dynamic_elements(1000);
    let address = |text: &str| Key::new().address(text.parse().unwrap());
    let mut fixture = Fixture::new();
    fixture
        .check(
            |batch| {
                batch.add_table(&table);
                for set in [&verdicts, &data, &ranges, &wide, &learned] {
                    batch.add_set(&table, set);
                }
                batch.add_chain(&table, "target", None);
                batch.add_chain(&table, "pre", base(ChainType::Nat, Hook::Prerouting, priority::DSTNAT));
                batch.add_chain(&table, "post", base(ChainType::Nat, Hook::Postrouting, priority::SRCNAT));
                batch.add_chain(&table, "in", base(ChainType::Filter, Hook::Input, priority::FILTER));
                let verdict =
                    Element::verdict(address("10.43.0.1").protocol(6).port(443), Verdict::Goto("target".into()));
                batch.add_elements(&table, &verdicts, [&verdict]);
                let value = Element::data(Key::new().mark(2), address("10.42.0.2").port(80));
                batch.add_elements(&table, &data, [&value]);
                let range = Element::range(address("10.0.0.0"), address("10.0.255.255"));
                let last = Element::range(address("255.0.0.0"), address("255.255.255.255"));
                batch.add_elements(&table, &ranges, [&range, &last]);
                let wide_range = Element::range(address("10.0.0.0").port(80), address("10.0.0.255").port(90));
                batch.add_elements(&table, &wide, [&wide_range]);

                let mut rule =
                    |chain: &str, expressions: &[&[Expr]]| batch.add_rule(&table, chain, &expressions.concat());
                let key = [load::destination(false, r(0)), load::protocol(r(1)), load::destination_port(r(2))];
                let vmap = [Expr::VerdictMap { map: "verdicts".into(), key: r(0) }];
                rule("pre", &[&Expr::family(false), &key, &vmap]);
                rule("pre", &[&Expr::or_mark(0x4000), &[Expr::Counter]]);
                let sets = [
                    load::source(false, r(0)),
                    Expr::InSet { set: "ranges".into(), key: r(0), inverted: true },
                    Expr::Verdict(Verdict::Return),
                ];
                rule("pre", &[&Expr::family(false), &sets]);
                let fib = [
                    Expr::Fib { flags: fib_flags::DESTINATION, result: FibResult::AddressType, to: r(0) },
                    Expr::equal(r(0), 2_u32.to_ne_bytes()),
                    Expr::Verdict(Verdict::Jump("target".into())),
                ];
                rule("pre", &[&fib]);
                let dnat = [
                    Expr::Random { modulus: 3, offset: 0, to: r(0) },
                    Expr::Map { map: "data".into(), key: r(0), to: r(4) },
                    Expr::Nat { kind: NatKind::Destination, ipv6: false, address: Some(r(4)), port: Some(r(5)) },
                ];
                rule("target", &[&Expr::family(false), &dnat]);
                let hash = [
                    load::source(false, r(0)),
                    Expr::Hash { from: r(0), length: 4, modulus: 3, seed: 1, to: r(1) },
                    Expr::SetMeta { key: MetaKey::Mark, from: r(1) },
                ];
                rule("target", &[&Expr::family(false), &hash]);
                let learn = [
                    load::source(false, r(0)),
                    load::destination(false, r(1)),
                    Expr::Dynset {
                        set: "learned".into(),
                        op: DynsetOp::Update,
                        key: r(0),
                        data: Some(r(1)),
                        timeout: Some(Duration::from_secs(60)),
                    },
                ];
                rule("target", &[&Expr::family(false), &learn]);
                let status = [
                    Expr::Ct { key: CtKey::Status, direction: None, to: r(0) },
                    Expr::Bitwise { from: r(0), to: r(0), mask: 32_u32.to_ne_bytes().into(), xor: vec![0; 4] },
                    Expr::not_equal(r(0), [0; 4]),
                ];
                rule("post", &[&status, &[Expr::Masquerade { random_ports: true }]]);
                rule(
                    "post",
                    &[
                        &Expr::interface(MetaKey::OutputName, Cmp::Equal, "br0"),
                        &[Expr::Masquerade { random_ports: false }],
                    ],
                );
                let limit =
                    [Expr::Limit { rate: 5, unit: LimitUnit::Second, burst: 10 }, Expr::Log { prefix: "x ".into() }];
                rule("in", &[&limit, &[Expr::Reject(Reject::PortUnreachable)]]);
                rule("in", &[&[load::protocol(r(0)), Expr::equal(r(0), [6]), Expr::Reject(Reject::TcpReset)]]);
                let original = [
                    Expr::Ct { key: CtKey::DestinationV4, direction: Some(Direction::Original), to: r(0) },
                    Expr::equal(r(0), [10, 43, 0, 1]),
                    Expr::Verdict(Verdict::Drop),
                ];
                rule("in", &[&original]);
            },
            expect![[r#"
                table inet tiphys {
                	map verdicts {
                		type ipv4_addr . inet_proto . inet_service : verdict
                		elements = { 10.43.0.1 . tcp . 443 : goto target }
                	}

                	map data {
                		type mark : ipv4_addr . inet_service
                		elements = { 0x00000002 : 10.42.0.2 . 80 }
                	}

                	set ranges {
                		type ipv4_addr
                		flags interval
                		elements = { 10.0.0.0/16, 255.0.0.0/8 }
                	}

                	set wide {
                		type ipv4_addr . inet_service
                		flags interval
                		elements = { 10.0.0.0/24 . 80-90 }
                	}

                	map learned {
                		type ipv4_addr : ipv4_addr
                		size 1000
                		flags dynamic,timeout
                	}

                	chain target {
                		meta nfproto ipv4 dnat ip to numgen random mod 3 map @data
                		meta mark set jhash ip saddr mod 3 seed 0x1
                		update @learned { ip saddr timeout 1m : ip daddr }
                	}

                	chain pre {
                		type nat hook prerouting priority dstnat; policy accept;
                		ip daddr . meta l4proto . th dport vmap @verdicts
                		meta mark set meta mark | 0x00004000 counter
                		ip saddr != @ranges return
                		fib daddr type local jump target
                	}

                	chain post {
                		type nat hook postrouting priority srcnat; policy accept;
                		ct status dnat masquerade fully-random
                		oifname "br0" masquerade
                	}

                	chain in {
                		type filter hook input priority filter; policy accept;
                		limit rate 5/second burst 10 packets log prefix "x " reject
                		meta l4proto tcp reject with tcp reset
                		ct original ip daddr 10.43.0.1 drop
                	}
                }
            "#]],
        )
        .await;
}

#[tokio::test]
async fn a_failing_batch_changes_nothing_and_names_the_operation() {
    let mut fixture = Fixture::new();
    let map = Set::verdict_map("m", &[Type::Service]);
    let mut batch = Batch::new();
    batch.add_table(&table());
    batch.add_set(&table(), &map);
    batch.add_elements(&table(), &map, [&Element::verdict(Key::new().port(1), Verdict::Goto("absent".into()))]);
    batch.add_chain(&table(), "c", None);
    let error = batch.send(&mut fixture.socket).await.unwrap_err();
    assert_eq!(error.to_string(), "add elements tiphys m: No such file or directory (os error 2)");
    assert_eq!(fixture.nft(&["list", "ruleset"]), "");

    let mut batch = Batch::new();
    batch.add_table(&table());
    batch.send(&mut fixture.socket).await.unwrap();
    assert_eq!(fixture.nft(&["list", "ruleset"]), "table inet tiphys {\n}\n");
}

#[tokio::test]
async fn a_large_batch_is_split_into_messages_but_not_into_transactions() {
    let mut fixture = Fixture::new();
    let map = Set::map("m", &[Type::Mark], &[Type::Mark]);
    let elements: Vec<Element> =
        (0..20_000).map(|number| Element::data(Key::new().mark(number), Key::new().mark(number))).collect();
    let mut batch = Batch::new();
    batch.add_table(&table());
    batch.add_set(&table(), &map);
    batch.add_elements(&table(), &map, &elements);
    assert!(batch.len() > 3);
    batch.send(&mut fixture.socket).await.unwrap();
    let listed = list(&mut fixture.socket, &table()).await.unwrap();
    assert_eq!(listed.sets, [ListedSet { name: "m".into(), flags: 8, key_length: 4, data_length: 4 }]);

    let mut batch = Batch::new();
    batch.flush_set(&table(), "m");
    batch.add_elements(&table(), &map, &elements[..1]);
    batch.send(&mut fixture.socket).await.unwrap();
    assert!(fixture.nft(&["list", "map", "inet", "tiphys", "m"]).contains("elements = { 0x00000000 : 0x00000000 }"));
}

/// A value is replaced inside one transaction: no packet sees the key missing.
#[tokio::test]
async fn an_element_is_replaced_in_one_transaction() {
    let mut fixture = Fixture::new();
    let map = Set::map("m", &[Type::Mark], &[Type::Mark]);
    let [old, new] = [1, 2].map(|value| Element::data(Key::new().mark(7), Key::new().mark(value)));
    let mut batch = Batch::new();
    batch.add_table(&table());
    batch.add_set(&table(), &map);
    batch.add_elements(&table(), &map, [&old]);
    batch.send(&mut fixture.socket).await.unwrap();
    let mut batch = Batch::new();
    batch.delete_elements(&table(), &map, [&old]);
    batch.add_elements(&table(), &map, [&new]);
    batch.send(&mut fixture.socket).await.unwrap();
    let shown = fixture.nft(&["list", "map", "inet", "tiphys", "m"]);
    assert!(shown.contains("0x00000007 : 0x00000002"), "{shown}");
}

/// Not a test of behaviour: what one element costs in sets of different sizes.
#[tokio::test]
#[ignore = "measures"]
async fn figures() {
    let verdicts = Set::verdict_map("verdicts", &[Type::Mark]);
    let data = Set::map("data", &[Type::Mark], &[Type::Ipv4, Type::Service]);
    let value = |number: u32| Element::data(Key::new().mark(number), Key::new().address([10, 0, 0, 1].into()).port(1));
    let verdict = |number: u32| Element::verdict(Key::new().mark(number), Verdict::Goto("target".into()));
    for size in [1_000_u32, 10_000, 100_000] {
        let mut fixture = Fixture::new();
        let mut batch = Batch::new();
        batch.add_table(&table());
        batch.add_chain(&table(), "target", None);
        batch.add_set(&table(), &verdicts);
        batch.add_set(&table(), &data);
        let base = BaseChain { kind: ChainType::Filter, hook: Hook::Input, priority: 0 };
        batch.add_chain(&table(), "in", Some(base));
        let mark = Expr::Meta { key: MetaKey::Mark, to: Register(0) };
        batch.add_rule(&table(), "in", &[mark, Expr::VerdictMap { map: "verdicts".into(), key: Register(0) }]);
        batch.send(&mut fixture.socket).await.unwrap();
        for (set, make) in [(&data, &value as &dyn Fn(u32) -> Element), (&verdicts, &verdict)] {
            let elements: Vec<Element> = (0..size).map(make).collect();
            let start = std::time::Instant::now();
            let mut batch = Batch::new();
            batch.add_elements(&table(), set, &elements);
            batch.send(&mut fixture.socket).await.unwrap();
            let bulk = start.elapsed();
            let mut times: Vec<_> = Vec::new();
            for number in 0..500 {
                let start = std::time::Instant::now();
                let mut batch = Batch::new();
                batch.delete_elements(&table(), set, [&make(number)]);
                batch.add_elements(&table(), set, [&make(number)]);
                batch.send(&mut fixture.socket).await.unwrap();
                times.push(start.elapsed());
            }
            times.sort();
            println!("{} of {size}: bulk {bulk:?}, replace one p50 {:?} p90 {:?}", set.name, times[250], times[450]);
        }
    }
}
