//! Parsing and writing JSON: order, duplicates, errors, bounds.

use super::*;
use expect_test::expect;

fn round(text: &str) -> String {
    match parse(text.as_bytes(), &Limits::default()) {
        Ok(node) => String::from_utf8(node.to_json()).unwrap(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn keeps_order_duplicates_and_number_text() {
    expect![[r#"{"b":1e3,"a":[true,null,"x\u003c\n\u2028é"],"b":-0.50}"#]]
        .assert_eq(&round(" {\"b\" : 1e3 , \"a\":[true,null,\"x<\\n\\u2028\\u00e9\"],\"b\":-0.50} "));
    expect![[r#""😀""#]].assert_eq(&round(r#""\ud83d\ude00""#));
    expect![[r#""�x""#]].assert_eq(&round(r#""\ud83dx""#));
}

#[test]
fn errors_are_worded_as_upstream() {
    let cases = [
        "",
        "{",
        "{\"a\"",
        "{\"a\":1",
        "{\"a\":1,}",
        "[1,]",
        "{a:1}",
        "tru",
        "trux",
        "nope",
        "01",
        "1.",
        "1e",
        "-",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"a\nb\"",
        "{} {}",
        "'x'",
    ];
    let lines: Vec<String> = cases.iter().map(|case| format!("{case:?}: {}", round(case))).collect();
    expect![[r#"
        "": unexpected end of JSON input
        "{": unexpected end of JSON input
        "{\"a\"": unexpected end of JSON input
        "{\"a\":1": unexpected end of JSON input
        "{\"a\":1,}": invalid character '}' looking for beginning of object key string
        "[1,]": invalid character ']' looking for beginning of value
        "{a:1}": invalid character 'a' looking for beginning of object key string
        "tru": unexpected end of JSON input
        "trux": invalid character 'x' in literal true (expecting 'e')
        "nope": invalid character 'o' in literal null (expecting 'u')
        "01": invalid character '1' after top-level value
        "1.": unexpected end of JSON input
        "1e": unexpected end of JSON input
        "-": unexpected end of JSON input
        "\"\\x\"": invalid character 'x' in string escape code
        "\"\\u12g4\"": invalid character 'g' in \u hexadecimal character escape
        "\"a\nb\"": invalid character '\n' in string literal
        "{} {}": invalid character '{' after top-level value
        "'x'": invalid character '\'' looking for beginning of value"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn depth_and_count_are_bounded() {
    assert_eq!(round(&"[".repeat(100_000)), "exceeded max depth");
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    assert_eq!(round(&deep), deep);
    let limits = Limits { nodes: 10, ..Limits::default() };
    assert_eq!(parse(b"[1,2,3,4,5,6,7,8,9,10]", &limits), Err(JsonError::Nodes { limit: 10 }));
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        if let Ok(node) = parse(&bytes, &Limits::default()) {
            let again = node.to_json();
            proptest::prop_assert_eq!(parse(&again, &Limits::default()), Ok(node));
        }
    }

    #[test]
    fn any_string_survives(text: String) {
        let written = Node::string(text.as_str()).to_json();
        proptest::prop_assert_eq!(parse(&written, &Limits::default()), Ok(Node::string(text.as_str())));
    }
}
