//! Faults of texts, in the words of upstream's `parser/parser_test.go`.

use super::parse;

fn fault(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

const OPERAND: &str =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

#[test]
fn syntax_errors_have_upstreams_words() {
    assert_eq!(
        fault("1 + $"),
        format!(
            "ERROR: <input>:1:5: Syntax error: token recognition error at: '$'\n | 1 + $\n | ....^\nERROR: <input>:1:6: \
             Syntax error: mismatched input '<EOF>' expecting {OPERAND}\n | 1 + $\n | .....^"
        )
    );
    for (text, message) in [
        ("a | b", "1:3: Syntax error: token recognition error at: '| '"),
        ("a | b", "1:5: Syntax error: extraneous input 'b' expecting <EOF>"),
        ("1 + 2\n3 +", "2:1: Syntax error: mismatched input '3' expecting <EOF>"),
        ("TestAllTypes(){}", "1:15: Syntax error: mismatched input '{' expecting <EOF>"),
        ("{\"a\": 1}.\"a\"", "1:10: Syntax error: no viable alternative at input '.\"a\"'"),
        ("self.true == 1", "1:6: Syntax error: mismatched input 'true' expecting IDENTIFIER"),
        ("{a}", "1:3: Syntax error: mismatched input '}' expecting ':'"),
        ("if", "1:1: reserved identifier: if"),
        ("1.99e90000009", "1:1: invalid double literal"),
        ("0xFFFFFFFFFFFFFFFFFu", "1:1: invalid uint literal"),
        ("99999999999999999999", "1:1: invalid int literal"),
        ("has(m)", "1:5: invalid argument to has() macro"),
        ("[1, 2, 3].map(var, var * var)", "1:15: argument is not an identifier"),
        ("[].all(1, true)", "1:8: argument must be a simple name"),
        ("f(a", "1:4: Syntax error: missing ')' at '<EOF>'"),
    ] {
        assert!(fault(text).contains(message), "{text}: {}", fault(text));
    }
}

#[test]
fn what_is_too_deep_or_too_long_is_refused() {
    for text in [
        "(".repeat(100_000),
        "[".repeat(90_000),
        format!("a{}", ".b".repeat(300)),
        format!("1{}", "+1".repeat(300)),
        format!("{}a", "!(".repeat(40_000)),
        "a.optMap(x, x)".to_owned() + &".optMap(x, x)".repeat(200),
    ] {
        assert!(parse(&text).is_err());
    }
    assert!(fault(&"a".repeat(100_001)).contains("expression code point size exceeds limit: size: 100001"));
    assert!(parse(&format!("true{}", " && true".repeat(5_000))).is_ok());
}
