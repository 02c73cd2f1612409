//! Costs of single expressions: upstream's table (`k8s.io/apiserver/pkg/cel/library/cost_test.go`), but that lists and
//! maps of constants cost nothing when they are evaluated, as in upstream's server, which folds constants.

use serde_json::json;

use super::{CostRange, NoSizes};
use crate::{Env, EvalError, Mode, PER_CALL_LIMIT, Type, Value, schema::DeclType};

#[test]
fn costs_are_upstreams() {
    let env = Env::new(Mode::NewExpressions);
    for (expression, min, max, actual) in [
        (r#"quantity("12Mi")"#, 1, 1, 1),
        (r#"isQuantity("20")"#, 1, 1, 1),
        (r#"isQuantity("20M")"#, 1, 1, 1),
        (r#"quantity("200M") == quantity("200M")"#, 3, 3, 3),
        (r#"quantity("200M") == quantity("0.2G") && quantity("0.2G") == quantity("200M")"#, 3, 6, 6),
        (
            r#"quantity("2M") == quantity("0.002G") && quantity("2000k") == quantity("2M") && quantity("0.002G") == quantity("2000k")"#,
            3,
            9,
            9,
        ),
        (r#"quantity("50M").isLessThan(quantity("50Mi"))"#, 3, 3, 3),
        (r#"quantity("50Mi").isGreaterThan(quantity("50M"))"#, 3, 3, 3),
        (r#"quantity("200M").compareTo(quantity("0.2G")) > 0"#, 4, 4, 4),
        (r#"quantity("50k").add(quantity("20")) == quantity("50.02k")"#, 5, 5, 5),
        (r#"quantity("50k").sub(quantity("20")) == quantity("49.98k")"#, 5, 5, 5),
        (r#"quantity("50k").sub(20) == quantity("49980")"#, 4, 4, 4),
        (r#"quantity("50k").add(20).sub(quantity("100k")).asInteger() > 0"#, 6, 6, 6),
        (r#"quantity("50k").add(20).sub(quantity("100k")).sub(-50000).asInteger() > 0"#, 7, 7, 7),
        (r#"quantity("50k").asInteger() > 0"#, 3, 3, 3),
        (r#"quantity("50").isInteger()"#, 2, 2, 2),
        (r#"quantity("50.703k").asApproximateFloat() > 0.0"#, 3, 3, 3),
        (r#"format.named("dns1123subdomain")"#, 1, 1, 1),
        (r#"format.named("dns1123Label").value().validate("my-name")"#, 34, 34, 10),
        (r#"format.named("dns1123Label").value() == format.named("dns1123Label").value()"#, 5, 11, 5),
        (r#"sets.contains([], [])"#, 21, 21, 1),
        (r#"semver("1.0.0")"#, 1, 1, 1),
        (r#"semver("1234.56789012345.67890123456789")"#, 4, 4, 4),
        (r#"isSemver("1.0.0")"#, 1, 1, 1),
        (r#"isSemver("1234.56789012345.67890123456789")"#, 4, 4, 4),
        (r#"semver("1.2.3").major()"#, 2, 2, 2),
        (r#"semver("1.2.3").minor()"#, 2, 2, 2),
        (r#"semver("1.2.3").patch()"#, 2, 2, 2),
        (r#"semver("1.0.0").isLessThan(semver("1.1.0"))"#, 3, 3, 3),
        (r#"semver("1.1.0").isGreaterThan(semver("1.0.0"))"#, 3, 3, 3),
        (r#"semver("1.0.0").compareTo(semver("1.2.3"))"#, 3, 3, 3),
        (r#"{'a': 1, 'b': 2}.all(k, v, v > 0)"#, 37, 41, 11),
        (r#"{'a': 1, 'b': 2}.exists(k, v, v > 0)"#, 39, 43, 10),
        (r#"{'a': 1, 'b': 2}.existsOne(k, v, v > 0)"#, 38, 40, 10),
        (r#"{'a': 1, 'b': 2}.transformMap(k, v, v + 1)"#, 71, 71, 11),
        (r#"{'a': 1, 'b': 2}.transformMap(k, v, v < 5, v + 1)"#, 67, 75, 15),
        (r#"{'a': 1, 'b': 2}.transformMapEntry(k, v, {k: v + 1})"#, 131, 131, 71),
        (r#"{'a': 1, 'b': 2}.transformMapEntry(k, v, v < 5, {k: v + 1})"#, 67, 135, 75),
        (r#"[1, 2].all(i, v, v > 0)"#, 17, 21, 11),
        (r#"[1, 2].exists(i, v, v > 0)"#, 19, 23, 10),
        (r#"[1, 2].existsOne(i, v, v > 0)"#, 18, 20, 10),
        (r#"[1, 2].transformList(i, v, v + 1)"#, 49, 49, 29),
        (r#"[1, 2].transformList(i, v, v < 5, v + 1)"#, 27, 53, 33),
    ] {
        let program = env.compile(expression).unwrap();
        assert_eq!(program.estimate(&NoSizes), CostRange::new(min, max), "estimate of {expression}");
        let none: &[(&str, Value<'_>)] = &[];
        let outcome = program.eval(&none, PER_CALL_LIMIT);
        assert!(outcome.result.is_ok(), "{expression}");
        assert_eq!(outcome.cost, actual, "cost of {expression}");
    }
}

#[test]
fn variables_and_fields_cost_one_each() {
    let env = Env::new(Mode::NewExpressions).with("a", Type::Dyn).with("i", Type::Int);
    let object = json!({"b": {"c": [1, 2, 3]}, "s": "x"});
    let variables = [("a", Value::json(&object)), ("i", Value::Int(1))];
    for (expression, actual) in [
        ("1", 0),
        ("a", 1),
        ("a.b.c", 3),
        ("a['b'].c[i]", 4),
        ("has(a.b)", 1),
        ("has(a.b.c)", 2),
        ("has(a.x)", 1),
        ("a.s == 'x'", 3),
        ("i == 1 && i == 2", 4),
        ("i == 2 && i == 2", 2),
        ("i == 1 ? a.s : 'y'", 3),
        ("!(i == 1)", 3),
        ("[i, i]", 12),
        ("{'a': i}", 31),
        ("i in [1, 2]", 1),
        ("a.b.c.all(x, x > 0)", 3 + 3 * 5 + 1),
        ("a.b.c.map(x, x + 1)", 3 + 3 * 14 + 1),
        ("a.b.c.exists(x, x == 1)", 3 + 6 + 3 + 1),
        ("a.?b.?c[?i].orValue(0)", 4),
        ("dyn(i)", 2),
    ] {
        let outcome = env.compile(expression).map(|program| {
            let outcome = program.eval(&variables.as_slice(), PER_CALL_LIMIT);
            (outcome.result.is_ok(), outcome.cost)
        });
        assert_eq!(outcome, Ok((true, actual)), "{expression}");
    }
}

#[test]
fn a_limit_ends_what_nothing_absorbs() {
    let env = Env::new(Mode::NewExpressions).with("n", Type::list(Type::Int));
    let program = env.compile("n.all(a, n.all(b, n.all(c, a + b + c >= 0))) || true").unwrap();
    let many = json!((0..200).collect::<Vec<i32>>());
    let outcome = program.eval(&[("n", Value::json(&many))].as_slice(), PER_CALL_LIMIT);
    assert_eq!(outcome.result.unwrap_err(), EvalError::CostLimit);
    assert_eq!(EvalError::CostLimit.to_string(), "operation cancelled: actual cost limit exceeded");
    assert!(outcome.cost > PER_CALL_LIMIT && outcome.cost < PER_CALL_LIMIT + 1000);
}

#[test]
fn estimates_follow_declared_sizes() {
    let schema = json!({"type": "object", "properties": {
        "names": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 10}},
        "any": {"type": "array", "items": {"type": "string"}},
        "map": {"type": "object", "maxProperties": 3, "additionalProperties": {"type": "string", "maxLength": 4}},
    }});
    let ty = DeclType::from_schema("self", &schema, false).unwrap();
    let env = Env::new(Mode::NewExpressions).with("self", ty.ty.clone());
    let max = |expression: &str| env.compile(expression).unwrap().estimate(&ty).max;
    // The list (2); five times the condition (2), the accumulator (1), the item (1) and the comparison of 4 characters
    // (1); the result (1).
    assert_eq!(max("self.names.all(n, n != 'abcd')"), 2 + 5 * (2 + 1 + 1 + 1) + 1);
    assert_eq!(max("self.names[0].contains('ab')"), 3 + 4);
    assert!(max("self.any.all(a, self.any.all(b, a != b))") > crate::OBJECT_BUDGET);
    assert_eq!(max("self.map.all(k, self.map[k] == 'x')"), 2 + 3 * (2 + 1 + 4 + 1) + 1);
}
