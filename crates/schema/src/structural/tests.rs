//! The walkers over one schema each; facts from upstream's tables.

use apimachinery::field::Path;
use expect_test::expect;
use serde_json::{Value, json};

use super::*;
use crate::{Limits, StrictError, json as parser};

fn tree(schema: Value) -> Structural {
    Structural::new(&schema).unwrap()
}

fn errors(schema: Value, value: Value) -> String {
    let validated = validate(&value, &tree(schema), &Path::root());
    validated.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn unknown_fields_are_dropped_and_told() {
    let schema = tree(json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "a": {"type": "string"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"y": {"type": "string"}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                     "properties": {"strict": {"type": "object", "properties": {"k": {"type": "string"}}}}},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        }},
    }}));
    let mut value = json!({"apiVersion": "v1", "kind": "A", "metadata": {"anything": 1}, "top": 1, "spec": {
        "a": "b", "foo": 1,
        "list": [{"x": 1, "z": 2}, {"x": 2}],
        "map": {"k": {"y": "1", "n": "2"}},
        "free": {"kept": {"deep": 1}, "strict": {"k": "v", "gone": 1}},
        "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"q": 1}},
    }});
    let unknown = prune(&mut value, &schema, true);
    assert_eq!(unknown, ["spec.foo", "spec.free.strict.gone", "spec.list[0].z", "spec.map.k.n", "top"]);
    assert_eq!(
        value,
        json!({"apiVersion": "v1", "kind": "A", "metadata": {"anything": 1}, "spec": {
            "a": "b", "list": [{"x": 1}, {"x": 2}], "map": {"k": {"y": "1"}},
            "free": {"kept": {"deep": 1}, "strict": {"k": "v"}},
            "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"q": 1}},
        }})
    );
}

#[test]
fn defaults_fill_what_is_absent_and_nulls_that_may_not_be() {
    let schema = tree(json!({"type": "object", "properties": {
        "a": {"type": "string", "default": "A"},
        "b": {"type": "object", "default": {}, "properties": {"c": {"type": "string", "default": "C"}}},
        "n": {"type": "string", "nullable": true, "default": "N"},
        "plain": {"type": "string"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"d": {"type": "integer", "default": 1}}}},
        "map": {"type": "object", "additionalProperties": {"type": "string", "default": "M"}},
    }}));
    let mut value = json!({"a": null, "n": null, "plain": null, "list": [{}, {"d": 2}], "map": {"x": null, "y": "z"}});
    drop_nulls(&mut value, &schema);
    apply_defaults(&mut value, &schema);
    assert_eq!(
        value,
        json!({"a": "A", "b": {"c": "C"}, "n": null, "list": [{"d": 1}, {"d": 2}], "map": {"x": "M", "y": "z"}})
    );
}

#[test]
fn values_are_refused_in_upstreams_words() {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": {
        "type": "object", "required": ["name", "withDefault"],
        "properties": {
            "replicas": {"type": "integer", "minimum": 1, "maximum": 10},
            "name": {"type": "string", "maxLength": 3, "pattern": "^[a-z]+$"},
            "short": {"type": "string", "minLength": 2},
            "port": {"x-kubernetes-int-or-string": true},
            "mode": {"type": "string", "enum": ["A", "B"]},
            "list": {"type": "array", "maxItems": 1, "items": {"type": "integer"}},
            "none": {"type": "array", "minItems": 1, "items": {"type": "integer"}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 1},
            "even": {"type": "integer", "multipleOf": 2},
            "open": {"type": "number", "exclusiveMinimum": true, "minimum": 0.5},
            "when": {"type": "string", "format": "date-time"},
            "null": {"type": "string"},
            "withDefault": {"type": "string", "default": "x"},
        },
    }}});
    let value = json!({"spec": {
        "replicas": 11, "name": "ABCD", "short": "x", "port": 1.5, "mode": "C", "list": [1, "a"], "none": [],
        "map": {"a": "x", "b": "y"}, "even": 3, "open": 0.5, "when": "tomorrow", "null": null,
    }});
    expect![[r#"
        spec.even: Invalid value: 3: spec.even in body should be a multiple of 2
        spec.list[1]: Invalid value: "string": spec.list[1] in body must be of type integer: "string"
        spec.list: Too many: 2: must have at most 1 item
        spec.map: Too many: 2: must have at most 1 item
        spec.mode: Unsupported value: "C": supported values: "A", "B"
        spec.name: Too long: may not be more than 3 bytes
        spec.name: Invalid value: "ABCD": spec.name in body should match '^[a-z]+$'
        spec.none: Invalid value: 0: spec.none in body should have at least 1 items
        spec.null: Invalid value: "null": spec.null in body must be of type string: "null"
        spec.open: Invalid value: 0.5: spec.open in body should be greater than 0.5
        spec.port: Invalid value: "number": spec.port in body must be of type integer,string: "number"
        spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10
        spec.short: Invalid value: "x": spec.short in body should be at least 2 chars long
        spec.when: Invalid value: "tomorrow": spec.when in body must be of type date-time: "tomorrow""#]]
    .assert_eq(&errors(schema.clone(), value));
    assert_eq!(errors(schema.clone(), json!({})), "spec: Required value");
    assert_eq!(errors(schema, json!({"spec": {}})), "spec.name: Required value");
}

#[test]
fn alternatives_are_told_of_the_whole_object() {
    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
    }}});
    assert_eq!(errors(schema.clone(), json!({"spec": {"a": "x"}})), "");
    expect![[r#"
        <nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid
        spec.a: Required value"#]]
    .assert_eq(&errors(schema.clone(), json!({"spec": {}})));
    expect![[
        r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives"#
    ]]
    .assert_eq(&errors(schema, json!({"spec": {"a": "x", "b": "y"}})));
    let any = json!({"type": "object", "properties": {"x": {
        "x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}],
    }}});
    assert_eq!(errors(any.clone(), json!({"x": "10%"})), "");
    assert!(errors(any, json!({"x": true})).contains("must validate at least one schema (anyOf)"));
    let not = json!({"type": "object", "properties": {"x": {"type": "string", "not": {"enum": ["bad"]}}}});
    assert_eq!(
        errors(not, json!({"x": "bad"})),
        "<nil>: Invalid value: \"\": \"x\" must not validate the schema (not)"
    );
}

#[test]
fn what_did_not_change_is_forgiven() {
    let schema = tree(json!({"type": "object", "properties": {
        "a": {"type": "integer", "maximum": 1}, "b": {"type": "integer", "maximum": 1},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                 "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 1}}}},
    }}));
    let old = json!({"a": 5, "b": 1, "list": [{"k": "x", "v": 9}, {"k": "y", "v": 0}]});
    let new = json!({"a": 5, "b": 7, "list": [{"k": "y", "v": 8}, {"k": "x", "v": 9}]});
    let found = validate_update(&new, &old, &schema, &Path::root());
    let fields: Vec<&str> = found.errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["b", "list[0].v"]);
}

#[test]
fn lists_keep_their_promises() {
    let schema = tree(json!({"type": "object", "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
                "items": {"type": "object"}},
    }}));
    let found = check_lists(
        &json!({"set": ["x", "y", "x", "x"], "map": [{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2}, {"a": 1}]}),
        &schema,
        &Path::root(),
    );
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, [r#"map[1]: Duplicate value: {"a":1,"b":2}"#, r#"set[2]: Duplicate value: "x""#]);
}

#[test]
fn metadata_is_typed() {
    let parse = |text: &'static str| parser::parse(text.as_bytes(), &Limits::default()).unwrap();
    let mut strict = Vec::new();
    let typed = metadata(parse(r#"{"name":"a","foo":1,"labels":{"x":"y"}}"#), "", &mut strict).unwrap();
    assert_eq!(typed, json!({"name": "a", "labels": {"x": "y"}}));
    assert_eq!(strict, [StrictError::Unknown("metadata.foo".to_owned())]);
    let error = metadata(parse(r#"{"labels":{"x":1}}"#), "", &mut strict).unwrap_err();
    assert_eq!(
        error.to_string(),
        "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string"
    );

    let schema = tree(json!({"type": "object", "properties": {"t": {
        "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
    }}}));
    let found =
        check_embedded(&json!({"t": {"kind": "A b", "metadata": {"name": "x/y"}}}), &schema, &Path::root(), false);
    let found: Vec<&str> = found.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(found, ["t.apiVersion", "t.kind", "t.metadata.name"]);
}

#[test]
fn what_cannot_be_a_tree_says_why() {
    let why = |schema: Value| Structural::new(&schema).unwrap_err();
    assert_eq!(why(json!({"$ref": "#/x"})), "OpenAPIV3Schema '$ref' is not supported");
    assert_eq!(
        why(json!({"type": "array", "items": [{}]})),
        "OpenAPIV3Schema 'items' must be a schema, but is an array"
    );
}

#[test]
fn formats_are_checked() {
    // Facts of upstream's `formats_test.go` and `strfmt`.
    for (format, good, bad) in [
        ("bsonobjectid", "507f1f77bcf86cd799439011", "507f1f77"),
        ("uri", "https://example.com/a?b=c", "not a uri"),
        ("email", "a.b@example.com", "a@@"),
        ("hostname", "somewhere.com", "some where.com"),
        ("ipv4", "192.168.254.1", "192.168.254"),
        ("ipv6", "::1", "1.2.3.4"),
        ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
        ("mac", "01:02:03:04:05:06", "01:02"),
        ("uuid", "a8098c1a-f86e-11da-bd1a-00112444be1e", "a8098c1a"),
        ("uuid3", "6fa459ea-ee8a-3ca4-894e-db77e160355e", "6fa459ea-ee8a-4ca4-894e-db77e160355e"),
        ("uuid4", "025b0d74-00a2-4048-bf57-227c5111bb34", "6fa459ea-ee8a-3ca4-894e-db77e160355e"),
        ("uuid5", "886313e1-3b8a-5372-9b90-0c9aee199e5d", "025b0d74-00a2-4048-bf57-227c5111bb34"),
        ("isbn", "0321751043", "0321751044"),
        ("isbn10", "0321751043", "978-0321751041"),
        ("isbn13", "978-0321751041", "978-0321751042"),
        ("creditcard", "4111-1111-1111-1111", "4111-1111-1111-1112"),
        ("ssn", "111-11-1111", "111-1-1111"),
        ("hexcolor", "#FFFFFF", "#FFF0"),
        ("rgbcolor", "rgb(255,255,255)", "rgb(300,255,255)"),
        ("byte", "ZWxpemFiZXRocG9zZXk=", "%"),
        ("date", "2014-12-15", "2014-13-15"),
        ("duration", "1h", "1 parsec"),
        ("duration", "22 ns", ""),
        ("date-time", "2014-12-15T19:30:20.000Z", "2014-12-15"),
        ("datetime", "2014-12-15T19:30:20+01:00", "2014-12-15T25:30:20Z"),
        ("k8s-short-name", "abc-1", "Abc"),
        ("k8s-long-name", "a.b-c.d", "a..b"),
    ] {
        let format_of = Format::parse(format).unwrap_or_else(|| panic!("{format}"));
        assert!(format_of.is_match(good), "{format} {good}");
        assert!(!format_of.is_match(bad), "{format} {bad}");
    }
    assert_eq!(Format::parse("int-or-string"), None);
}

/// What upstream's predicates say of the odd ones, as its tests of `strfmt` and its patterns have them.
#[test]
fn formats_are_as_lax_and_as_strict_as_upstreams() {
    let check = |format: &str, good: &[&str], bad: &[&str]| {
        let format_of = Format::parse(format).unwrap();
        let wrong = |texts: &[&str], expected: bool| -> Vec<String> {
            let texts = texts.iter().filter(|text| format_of.is_match(text) != expected);
            texts.map(|text| format!("{format} {text:?} should be {expected}")).collect()
        };
        assert_eq!([wrong(good, true), wrong(bad, false)].concat(), [""; 0]);
    };
    check(
        "date-time",
        &[
            "2014-12-15T19:30:20Z",
            "2014-12-15t19:30:20.5z",
            "2014-12-15T19:30:20-99:99",
            "2014-12-15T19:30:20,123+01:00",
        ],
        &[
            "2014-12-15 19:30:20Z",
            "2014-12-15T19:30Z",
            "2014-12-15T19:30:20",
            "2014-12-15T24:00:00Z",
            "2014-12-15T19:30:60Z",
            "2014-12-15T19:30:20+0100",
            "2014-12-15T19:30:20.Z",
            "2014-02-30T19:30:20Z",
            "",
        ],
    );
    check(
        "duration",
        &["1h2m3.5s", "22 ns", "1 hour 3 minutes", "PT5M", "P3D", "3 weeks", "in 5 minutes", "0"],
        &["", "hour", "12", "1 parsec", "99999999999999999999 s", "five seconds"],
    );
    check(
        "hostname",
        &["localhost", "x-y", "888.com", "xn--ls8h.la", "www.詹姆斯.london", "☁→❄.ws", "ex$ample", "<foo>", "ôlà.ôlà"],
        &[
            "1.1.1.1",
            "my-long-host",
            "a.b.c.d",
            "www.-d.org",
            "_www.example.org",
            "x.",
            "www-",
            "www.example_underscored.org",
            "user@email.domain",
            "a b.com",
        ],
    );
    check("ipv4", &["192.168.1.01", "::ffff:1.2.3.4"], &["198.168.254.2.2", "256.1.1.1", "1.2.3", "::1", "1..2.3"]);
    check("ipv6", &["::1", "2001:db8::1", "::ffff:1.2.3.4"], &["127.0.0.1", "fe80::1%eth0", "::01.2.3.4"]);
    check(
        "cidr",
        &["192.0.02.1/24", "2001:db8:a0b:12f0::1/32", "10.0.0.0/08"],
        &["1.2.3.4", "1.2.3.4/", "1.2.3.4/33", "::/129"],
    );
    check(
        "uri",
        &[
            "http://somewhere.com",
            "mailto:",
            "/a b",
            "a:b",
            "http://a/%7a",
            "*",
            "http://u:p@h:80/",
            "http://[::1]:1/",
            "http://",
        ],
        &[
            "somewhere.com",
            "",
            ":a",
            "http://a b/",
            "http://a:b/",
            "http://[::1/",
            "/%z1",
            "http://%41/",
            "http://u^@h/",
        ],
    );
    check(
        "email",
        &[
            "blah@gmail.com",
            "\" \"@example.com",
            "\"Fred Bloggs\"@example.com",
            "customer/department=shipping@example.com",
            "!#$%&'*+-/=?^_`{}|~@example.com",
            "postmaster@☁→❄.ws",
            "root@localhost",
            "Fred <fred@example.com>",
        ],
        &["somebody@somewhere@com", "a", "@b", "a@", "a b@c"],
    );
    check("ssn", &["111-11-1111", "999 99 9999"], &["111111111", "111-111111", "999 99 999"]);
    check("rgbcolor", &["rgb( 0 , 10,255 )"], &["rgb(10%,0,0)", "rgb(01,0,0)", "rgb(300,0,0)", "rgb(1,2)"]);
    check("byte", &["YQ==", "YWI=", "YWJj"], &["", "YQ", "YQ=", "Y===", "Y-Q="]);
    check("creditcard", &["4012-8888-8888-1881", "30569309025904"], &["9999-9999-9999-999", "30669309025904"]);
    check("uuid", &["A8098C1AF86E11DABD1A00112444BE1E"], &["a8098c1a--f86e-11da-bd1a-00112444be1e", "not-a-uuid"]);
    check("isbn10", &["080442957X", "0-321-75104-3"], &["0804X29570", "836217463"]);
    check("mac", &["0102.0304.0506", "01-02-03-04-05-06-07-08"], &["01:02:03:04:05", "01:02-03:04:05:06"]);
}

#[test]
fn the_tree_is_a_schema_for_every_other_walker() {
    let tree = tree(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                 "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
        "port": {"x-kubernetes-int-or-string": true},
        "atomic": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}}},
    }}}}));
    let schema = typed::schema(Some(&tree), typed::Named { group: "example.com", version: "v1", kind: "Foo" });
    let kind = schema.kind("example.com", "v1", "Foo").unwrap();
    assert_eq!(kind.name(), "com.example.v1.Foo");
    assert_eq!(kind.at(&["spec", "list"]).unwrap().field.unwrap().list_map_keys(), ["k"]);
    assert!(kind.at(&["spec", "atomic"]).unwrap().field.unwrap().atomic);
    assert!(kind.at(&["metadata", "ownerReferences"]).is_some());
    let body = br#"{"apiVersion":"example.com/v1","kind":"Foo","metadata":{"name":"a"},"spec":{"port":"x","q":1}}"#;
    let decoded = crate::decode(kind, body, &Limits::default()).unwrap();
    assert_eq!(decoded.strict_error().unwrap(), "strict decoding error: unknown field \"spec.q\"");
}

proptest::proptest! {
    #[test]
    fn any_value_is_survived(text in "[\\[\\]{}a-c0-9\":,]{0,40}") {
        let schema = tree(json!({"type": "object", "properties": {
            "a": {"type": "array", "x-kubernetes-list-type": "set", "items": {"x-kubernetes-int-or-string": true}},
            "b": {"type": "object", "additionalProperties": {"type": "string", "default": "x"}, "x-kubernetes-embedded-resource": true},
        }}));
        if let Ok(mut value) = serde_json::from_str::<Value>(&text) {
            prune(&mut value, &schema, true);
            drop_nulls(&mut value, &schema);
            apply_defaults(&mut value, &schema);
            validate(&value, &schema, &Path::root());
            check_lists(&value, &schema, &Path::root());
            check_embedded(&value, &schema, &Path::root(), false);
        }
    }
}
