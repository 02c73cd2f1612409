//! Examples of RFC 8949 appendix A, with what upstream's decoder accepts and its encoder makes of them.

use super::*;
use crate::json::{Limits, parse};

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Decodes to `json`, and is encoded again as `again`, or as it was.
fn check(example: &str, json: &str, again: Option<&str>) {
    let node = decode(&bytes(example), &Limits::default()).unwrap_or_else(|error| panic!("{example}: {error}"));
    assert_eq!(String::from_utf8(node.to_json()).unwrap(), json, "{example}");
    assert_eq!(hex(&encode(&node, None)), again.unwrap_or(example), "{example}");
}

fn refused(example: &str) -> CborError {
    decode(&bytes(example), &Limits::default()).expect_err(example)
}

#[test]
fn appendix_a() {
    for (example, json) in [
        ("00", "0"),
        ("17", "23"),
        ("1818", "24"),
        ("1903e8", "1000"),
        ("1a000f4240", "1000000"),
        ("1b000000e8d4a51000", "1000000000000"),
        ("20", "-1"),
        ("3863", "-100"),
        ("3903e7", "-1000"),
        ("f90000", "0.0"),
        ("f98000", "-0.0"),
        ("f93c00", "1.0"),
        ("fb3ff199999999999a", "1.1"),
        ("f93e00", "1.5"),
        ("f97bff", "65504.0"),
        ("fa47c35000", "100000.0"),
        ("fa7f7fffff", "3.4028234663852886e38"),
        ("fb7e37e43c8800759c", "1e300"),
        ("f90001", "5.960464477539063e-8"),
        ("f90400", "6.103515625e-5"),
        ("f9c400", "-4.0"),
        ("fbc010666666666666", "-4.1"),
        ("f4", "false"),
        ("f5", "true"),
        ("f6", "null"),
        ("80", "[]"),
        ("83010203", "[1,2,3]"),
        ("8301820203820405", "[1,[2,3],[4,5]]"),
        ("a0", "{}"),
    ] {
        check(example, json, None);
    }
    // Texts become byte strings, indefinite lengths definite, maps sorted, tags forgotten.
    check("60", "\"\"", Some("40"));
    check("6161", "\"a\"", Some("4161"));
    check("62c3bc", "\"ü\"", Some("42c3bc"));
    check("a26161016162820203", r#"{"a":1,"b":[2,3]}"#, Some("a2416101416282 0203".replace(' ', "").as_str()));
    check("7f657374726561646d696e67ff", "\"streaming\"", Some("4973747265616d696e67"));
    check("9fff", "[]", Some("80"));
    check("9f018202039f0405ffff", "[1,[2,3],[4,5]]", Some("8301820203820405"));
    check("bf61610161629f0203ffff", r#"{"a":1,"b":[2,3]}"#, Some("a24161014162820203"));
    check(
        "c074323031332d30332d32315432303a30343a30305a",
        "\"2013-03-21T20:04:00Z\"",
        Some("54323031332d30332d32315432303a30343a30305a"),
    );
    check("c11a514b67b0", "\"2013-03-21T20:04:00Z\"", Some("54323031332d30332d32315432303a30343a30305a"));
    check("d74401020304", "\"01020304\"", Some("483031303230333034"));
    check("d64401020304", "\"AQIDBA==\"", Some("4841514944 42413d3d".replace(' ', "").as_str()));
    check("d818456449455446", "\"dIETF\"", Some("456449455446"));
    check("d9d9f7a0", "{}", Some("a0"));
}

#[test]
fn what_upstream_refuses_is_refused() {
    assert!(matches!(refused("1bffffffffffffffff"), CborError::Overflow { .. }));
    assert!(matches!(refused("3bffffffffffffffff"), CborError::Overflow { .. }));
    assert_eq!(refused("c249010000000000000000"), CborError::Bignum);
    for special in ["f97c00", "f97e00", "f9fc00", "fa7f800000", "fb7ff8000000000000"] {
        assert_eq!(refused(special), CborError::Float, "{special}");
    }
    assert!(matches!(refused("f7"), CborError::Simple { value: 23 }));
    assert!(matches!(refused("f0"), CborError::Simple { value: 16 }));
    assert_eq!(refused("a201020304"), CborError::Key);
    assert!(matches!(refused("a2416101416102"), CborError::Duplicate { .. }));
    assert_eq!(refused("61ff"), CborError::Utf8);
    assert!(matches!(refused("0000"), CborError::Trailing { at: 1, extra: 1 }));
    assert_eq!(refused(""), CborError::End);
    // Lengths that promise more than there is cost nothing.
    assert_eq!(refused("9bffffffffffffffff"), CborError::End);
    assert_eq!(refused("5bffffffffffffffff"), CborError::End);
    assert!(matches!(refused(&"81".repeat(1000)), CborError::Depth { .. }));
    assert!(matches!(refused(&"d818".repeat(1000)), CborError::Depth { .. }));
}

#[test]
fn keys_are_sorted_by_their_encoding_and_the_last_duplicate_counts() {
    let node = parse(br#"{"bb":1,"a":2,"aa":3,"a":4}"#, &Limits::default()).unwrap();
    assert_eq!(hex(&encode(&node, None)), "a34161044261610342626201");
}

#[test]
fn bytes_and_doubles_of_a_kind_are_known() {
    let secret = crate::builtin().kind("", "v1", "Secret").unwrap();
    let node = parse(br#"{"kind":"Secret","data":{"a":"AQIDBA=="}}"#, &Limits::default()).unwrap();
    let encoded = document(&node, Some(secret));
    assert_eq!(hex(&encoded), "d9d9f7a2446461 7461a14161d64401020304446b696e6446536563726574".replace(' ', ""));
    assert_eq!(decode(&encoded, &Limits::default()).unwrap().get("data"), node.get("data"));
    let schema =
        crate::builtin().named("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps").unwrap();
    let node = parse(br#"{"minimum":1,"items":{"maximum":2}}"#, &Limits::default()).unwrap();
    assert_eq!(hex(&encode(&node, Some(schema))), "a2456974656d73a1476d6178696d756df94000476d696e696d756df93c00");
}

#[test]
fn a_list_is_the_same_framed_or_whole() {
    let list = br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[{"a":1},{}]}"#;
    let node = parse(list, &Limits::default()).unwrap();
    let members: Vec<(&str, Node<'_>)> =
        ["kind", "apiVersion", "metadata"].map(|name| (name, node.get(name).unwrap().clone())).to_vec();
    let framing = list_framing(&members, "items", 2);
    let Some(Node::Array(items)) = node.get("items") else { panic!() };
    let items: Vec<u8> = items.iter().flat_map(|item| encode(item, None)).collect();
    assert_eq!([framing.head, items, framing.tail].concat(), document(&node, None));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(body: Vec<u8>) {
        if let Ok(node) = decode(&body, &Limits::default()) {
            // What was understood comes back.
            let again = decode(&encode(&node, None), &Limits::default()).unwrap();
            proptest::prop_assert_eq!(node.into_value(), again.into_value());
        }
    }
}
