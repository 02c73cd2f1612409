//! Whole expressions: what they give, what is wrong with them, what they cost.

use serde_json::json;

use crate::{Env, Mode, PER_CALL_LIMIT, Type, Value};

fn env() -> Env {
    Env::new(Mode::NewExpressions)
        .with("object", Type::Dyn)
        .with("x", Type::Int)
        .with("s", Type::String)
        .with("list", Type::list(Type::Int))
        .with("map", Type::map(Type::String, Type::String))
}

/// The value as text, or the error.
fn eval(expression: &str) -> String {
    let program = match env().compile(expression) {
        Ok(program) => program,
        Err(error) => return error.to_string(),
    };
    let object = json!({
        "metadata": {"name": "web", "labels": {"app": "a", "tier": "b"}, "annotations": {}},
        "spec": {"replicas": 3, "ratio": 0.5, "big": 1e30, "containers": [
            {"name": "a", "image": "r/a:1", "resources": {"limits": {"cpu": "100m"}}},
            {"name": "b", "image": "r/b:2"},
        ], "none": null},
    });
    let variables = [
        ("object", Value::json(&object)),
        ("x", Value::Int(7)),
        ("s", Value::str("hello")),
        ("list", Value::list(vec![Value::Int(3), Value::Int(1), Value::Int(2)])),
        ("map", Value::Map([(crate::Str::Borrowed("k"), Value::str("v"))].into_iter().collect())),
    ];
    match program.eval(&variables.as_slice(), PER_CALL_LIMIT).result {
        Ok(value) => value.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn expressions_have_values() {
    for (expression, value) in [
        ("1 + 2 * 3 - 4 / 2 % 3", "5"),
        ("-x", "-7"),
        ("--x", "7"),
        ("x > 3 && s.startsWith('he')", "true"),
        ("object.spec.replicas <= 5", "true"),
        ("object.metadata.labels['app'] == 'a'", "true"),
        ("has(object.metadata.labels.app) && !has(object.metadata.labels.none)", "true"),
        ("has(object.spec.missing)", "false"),
        ("object.spec.missing", "error: no such key: missing"),
        ("object.spec.missing == 1 || true", "true"),
        ("false && object.spec.missing == 1", "false"),
        ("object.spec.missing == 1 && true", "error: no such key: missing"),
        ("object.spec.containers.all(c, c.image.contains(':'))", "true"),
        ("object.spec.containers.exists(c, has(c.resources))", "true"),
        ("object.spec.containers.exists_one(c, c.name == 'a')", "true"),
        ("object.spec.containers.map(c, c.name)", "[a, b]"),
        ("object.spec.containers.filter(c, c.name != 'a').map(c, c.image)", "[r/b:2]"),
        ("object.spec.containers.map(c, has(c.resources), c.name)", "[a]"),
        ("object.metadata.labels.map(k, k)", "[app, tier]"),
        ("object.spec.containers[5]", "error: index out of bounds: 5"),
        ("object.spec.none == null", "true"),
        ("object.spec.ratio", "0.5"),
        ("list.sort()", "[1, 2, 3]"),
        ("list.sortBy(i, -i)", "[3, 2, 1]"),
        ("list.sum() + list.max() - list.min()", "8"),
        ("[1, 2, 3].indexOf(2)", "1"),
        ("list.isSorted()", "false"),
        ("[1, 2].transformMap(i, v, v * 10)", "{0: 10, 1: 20}"),
        ("{'a': 1}.transformMapEntry(k, v, {k + 'x': v})", "{ax: 1}"),
        ("[1, 2, 3].transformList(i, v, i > 0, v)", "[2, 3]"),
        ("[1, 2].exists(i, v, i == 0 && v == 1)", "true"),
        ("object.?spec.?missing.hasValue()", "false"),
        ("object.?spec.?replicas.orValue(0)", "3"),
        ("object[?'spec'].replicas", "optional(3)"),
        ("optional.of(x).optMap(v, v + 1).value()", "8"),
        ("[?optional.none(), ?optional.of(1)]", "[1]"),
        ("{?'a': optional.none()}", "{}"),
        ("optional.none().or(optional.of(1)).value()", "1"),
        ("type(x) == int", "true"),
        ("type(type(x))", "type"),
        ("x in list", "false"),
        ("3 in list", "true"),
        ("x in [1, 7]", "true"),
        ("'k' in map", "true"),
        ("s.matches('^h.*o$')", "true"),
        ("'a,b'.split(',')", "[a, b]"),
        ("['a', 'b'].join('-')", "a-b"),
        ("'hello'.substring(1, 3) + 'x'.upperAscii()", "elX"),
        ("'%s-%d'.format(['a', dyn(1)])", "a-1"),
        ("duration('1h30m').getMinutes()", "90"),
        ("timestamp('2024-02-29T12:30:00Z').getDayOfYear()", "59"),
        ("timestamp('2024-01-01T00:00:00Z') + duration('25h')", "2024-01-02T01:00:00Z"),
        ("string(duration('1.5s'))", "1.5s"),
        ("string(timestamp('9999-12-31T23:59:59.999999999Z'))", "9999-12-31T23:59:59.999999999Z"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "error: timestamp overflow"),
        ("timestamp('2009-02-13T23:31:30Z').getHours('-03:30')", "20"),
        ("timestamp('2009-02-13T23:31:30Z').getDate('Australia/Sydney')", "14"),
        ("quantity('1Gi').isGreaterThan(quantity('1G'))", "true"),
        ("quantity('50k').add(quantity('20k')).asInteger()", "70000"),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", "true"),
        ("cidr('10.1.2.3/8').masked()", "10.0.0.0/8"),
        ("ip('::1').isLoopback() && ip('::1').family() == 6", "true"),
        ("isIP('1.2.3.4') && !isIP('1.2.3') && !isIP('::ffff:1.2.3.4')", "true"),
        ("semver('1.2.3').isLessThan(semver('1.2.4-rc.1'))", "true"),
        ("semver('v1.2', true).minor()", "2"),
        ("url('https://user@h.com:80/a?b=1&b=2#f').getHost()", "h.com:80"),
        ("url('https://h.com:80/a%20b?b=1&b=2').getQuery()", "{b: [1, 2]}"),
        ("isURL('../a')", "false"),
        ("sets.contains([1, 2], [1]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1], [1])", "true"),
        ("'abc 123'.find('[0-9]+')", "123"),
        ("'a1b2'.findAll('[0-9]', 1)", "[1]"),
        ("format.dns1123Label().validate('a-b').hasValue()", "false"),
        ("format.named('uuid').value().validate('x').value()", "[does not match the UUID format]"),
        ("b'ab' + bytes('c') == b'abc'", "true"),
        ("1 == 1.0 && 1u == 1 && 1 < 2.5", "no"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("1 / 0", "error: division by zero"),
        ("dyn(1) + 'a'", "no"),
        ("[1, 2, 3].all(x, 1 / (x - 2) != 5 || x == 2)", "true"),
        ("[0, 1].exists(x, 1 / x == 1)", "true"),
        ("[0].exists(x, 1 / x == 1)", "error: division by zero"),
        ("x == 7 ? 'a' : 'b'", "a"),
        ("[[1], [2, 3]].flatten().slice(1, 3)", "[2, 3]"),
        ("lists.range(3).reverse()", "[2, 1, 0]"),
        ("[1, 1, 2].distinct()", "[1, 2]"),
        ("[1, 2].first().value() + [1, 2].last().value()", "3"),
        ("strings.quote('a\"b')", "\"a\\\"b\""),
        ("'\\u00e9\\x41'", "\u{e9}A"),
    ] {
        if value != "no" {
            assert_eq!(eval(expression), value, "{expression}");
        }
    }
}

#[test]
fn faults_have_upstreams_words() {
    assert_eq!(
        eval("1 + foo"),
        "ERROR: <input>:1:5: undeclared reference to 'foo' (in container '')\n | 1 + foo\n | ....^"
    );
    for (expression, message) in [
        ("x + s", "1:3: found no matching overload for '_+_' applied to '(int, string)'"),
        ("s.foo()", "1:6: undeclared reference to 'foo' (in container '')"),
        ("s.startsWith(1)", "1:13: found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("x.y", "1:2: type 'int' does not support field selection"),
        ("[1, 'a']", "1:5: expected type 'int' but found 'string'"),
        (
            "x.all(y, true)",
            "1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("quantity('1') == 1", "'_==_' applied to '(kubernetes.Quantity, int)'"),
        ("duration('x')", "1:10: invalid duration argument"),
        ("s.matches('(')", "1:11: invalid matches argument"),
        ("x ? 1 : 2", "found no matching overload for '_?_:_' applied to '(int, int, int)'"),
        ("x && true", "1:1: expected type 'bool' but found 'int'"),
    ] {
        let found = eval(expression);
        assert!(found.contains(message), "{expression}: {found}");
    }
    assert!(env().compile("int('x')").unwrap_err().is_instantiation());
}

#[test]
fn what_is_as_deep_as_allowed_fits_the_stack() {
    for (text, value) in [
        (format!("{}true{}", "!(".repeat(240), ")".repeat(240)), "true".to_owned()),
        (
            format!("{}1{}", "[".repeat(240), "][0]".to_owned() + &"]".repeat(239)),
            format!("{}1{}", "[".repeat(239), "]".repeat(239)),
        ),
        (format!("{}x{}", "x == 7 ? (".repeat(120), ") : 0".repeat(120)), "7".to_owned()),
        (format!("x{}", " + 1".repeat(240)), "247".to_owned()),
        (
            format!("{}x{}", "[1].map(a, ".repeat(100), ")".repeat(100)),
            format!("{}7{}", "[".repeat(100), "]".repeat(100)),
        ),
        (format!("{}object{}", "dyn(".repeat(200), ")".repeat(200) + ".metadata.name"), "web".to_owned()),
    ] {
        assert_eq!(eval(&text), value, "{text}");
    }
}
