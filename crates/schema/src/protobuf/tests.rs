//! Messages of every kind there and back, errors, bounds.

use super::*;
use crate::{builtin, decode as json_decode};
use expect_test::expect;

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| if byte.is_ascii_graphic() { char::from(*byte).to_string() } else { format!("\\{byte:02x}") })
        .collect()
}

/// JSON to protobuf, and what comes back.
fn round(json: &str) -> String {
    let limits = Limits::default();
    let parsed = crate::json::parse(json.as_bytes(), &limits).unwrap();
    let kind = builtin()
        .kind_of(parsed.get("apiVersion").unwrap().as_str().unwrap(), parsed.get("kind").unwrap().as_str().unwrap())
        .unwrap();
    let canonical = json_decode::decode_node(kind, parsed, &limits).unwrap().object;
    let bytes = encode(builtin(), &canonical).unwrap();
    let back = decode(builtin(), &bytes, None, &limits).unwrap();
    assert_eq!(String::from_utf8(back.to_json()).unwrap(), String::from_utf8(canonical.to_json()).unwrap());
    hex(&bytes)
}

#[test]
fn values_without_pointer_are_always_written() {
    expect![[r#"k8s\00\0a\0f\0a\02v1\12\09ConfigMap\12!\0a\19\0a\01a\12\00\1a\00"\00*\002\008\00B\00Z\06\0a\01l\12\01v\12\04\0a\00\12\00\1a\00"\00"#]]
        .assert_eq(&round(r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","labels":{"l":"v"}},"data":{"":""}}"#));
}

#[test]
fn forms_of_their_own() {
    round(
        r#"{"kind":"Service","apiVersion":"v1","metadata":{"creationTimestamp":"2008-01-01T01:01:01Z"},"spec":{"ports":[{"port":80,"targetPort":"http"},{"port":-1,"targetPort":-5}]}}"#,
    );
    round(
        r#"{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{},"spec":{"renewTime":"2008-01-01T01:01:01.5Z","acquireTime":"1960-01-01T01:01:01.000001Z"}}"#,
    );
    round(
        r#"{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{},"spec":{"group":"g","versions":[{"name":"v1","schema":{"openAPIV3Schema":{
            "maximum":1.5,"minimum":0,"default":{"z":[1,"<"]},"properties":{"a":{"items":{"type":"string"}},"b":{"additionalProperties":true},"c":{"additionalProperties":{}},
            "d":{"dependencies":{"x":["y"],"z":{"type":"object"}}}}}}}]}}"#,
    );
    round(
        r#"{"kind":"ControllerRevision","apiVersion":"apps/v1","metadata":{},"data":{"spec":{"b":1,"a":[]}},"revision":3}"#,
    );
    round(
        r#"{"kind":"Pod","apiVersion":"v1","spec":{"containers":[{"resources":{"limits":{"cpu":"0.5"}}}],"volumes":[{"name":"a","emptyDir":{"sizeLimit":"1Gi"}}],"terminationGracePeriodSeconds":0}}"#,
    );
}

#[test]
fn errors() {
    let limits = Limits::default();
    let show = |body: &[u8]| {
        decode(builtin(), body, None, &limits)
            .map_or_else(|error| error.to_string(), |node| String::from_utf8(node.to_json()).unwrap())
    };
    let cases: Vec<String> = vec![
        show(b""),
        show(b"{}"),
        show(b"k8s\0"),
        show(&seal("v1", "Nope", b"")),
        show(&seal("v1", "Pod", b"\x0a\x05a")),
        show(&seal("v1", "Pod", b"\x08\x01")),
        show(&seal("v1", "Pod", b"\x0b")),
        show(&seal("v1", "Pod", b"\x00")),
        show(&seal("v1", "Pod", &[0xff; 11])),
        show(&seal("v1", "Pod", b"\xfa\x7f\x00")),
    ];
    expect![[r#"
        empty data
        provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]
        no kind "" is registered for version ""
        no kind "Nope" is registered for version "v1"
        unexpected EOF
        proto: wrong wireType = 0 for field Metadata
        proto: illegal wireType 3
        proto: illegal tag 0 (wire type 0)
        proto: integer overflow
        {"kind":"Pod","apiVersion":"v1","metadata":{},"spec":{"containers":null},"status":{}}"#]]
    .assert_eq(&cases.join("\n"));
}

#[test]
fn depth_and_count_are_bounded() {
    // A schema in a schema in a schema: field 28 is `not`.
    let kind = builtin().named("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps").unwrap();
    let mut raw = Vec::new();
    for _ in 0..200 {
        let inner = std::mem::take(&mut raw);
        wire::bytes(28, &inner, &mut raw);
    }
    assert_eq!(decode_message(kind, &raw, &Limits::default()), Err(ProtobufError::Depth));
    let pod = builtin().kind("", "v1", "Pod").unwrap();
    let mut spec = Vec::new();
    for _ in 0..1000 {
        wire::bytes(2, b"", &mut spec);
    }
    let mut raw = Vec::new();
    wire::bytes(2, &spec, &mut raw);
    assert_eq!(
        decode_message(pod, &raw, &Limits { nodes: 1000, ..Limits::default() }),
        Err(ProtobufError::Nodes { limit: 1000 })
    );
}

#[test]
fn lists_are_framed_around_items() {
    let limits = Limits::default();
    let schema = builtin();
    let kind = schema.kind("", "v1", "ConfigMap").unwrap();
    let list = schema.kind("", "v1", "ConfigMapList").unwrap();
    let json = br#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}"#;
    let whole = json_decode::decode(list, json, &limits).unwrap().object;
    let Some(Node::Array(items)) = whole.get("items") else { panic!("items") };
    let items: Vec<Vec<u8>> = items.iter().map(|item| encode_message(kind, item).unwrap()).collect();
    let framing = list_framing(list, "v1", whole.get("metadata").unwrap(), items.iter().map(Vec::len)).unwrap();
    let mut streamed = framing.head;
    for item in &items {
        streamed.extend(item_head(item.len()));
        streamed.extend(item);
    }
    streamed.extend(framing.tail);
    assert_eq!(streamed, encode(schema, &whole).unwrap());
}

#[test]
fn watch_frames_hold_enveloped_objects() {
    let limits = Limits::default();
    let object =
        crate::json::parse(br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}"#, &limits).unwrap();
    let frame = watch_frame("ADDED", &encode(builtin(), &object).unwrap());
    let (length, event) = frame.split_first_chunk::<4>().unwrap();
    assert_eq!(u32::from_be_bytes(*length) as usize, event.len());
    let kind = builtin().kind("", "v1", "WatchEvent").unwrap();
    expect![[r#"{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}}"#]]
        .assert_eq(&String::from_utf8(decode_message(kind, event, &limits).unwrap().to_json()).unwrap());
}

proptest::proptest! {
    #[test]
    fn arbitrary_messages_never_panic(raw: Vec<u8>, which in 0..700usize) {
        let kind = builtin().types().nth(which).unwrap();
        if let Ok(node) = decode_message(kind, &raw, &Limits::default()) {
            encode_message(kind, &node).unwrap();
        }
    }

    #[test]
    fn mutated_messages_never_panic(position: usize, byte: u8) {
        let limits = Limits::default();
        let object = crate::json::parse(br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","labels":{"x":"y"},"creationTimestamp":"2008-01-01T01:01:01Z"},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"1"}},"ports":[{"containerPort":80,"protocol":"TCP"}]}]}}"#, &limits).unwrap();
        let mut bytes = encode(builtin(), &object).unwrap();
        let length = bytes.len();
        bytes[position % length] = byte;
        if let Ok(node) = decode(builtin(), &bytes, None, &limits) {
            let again = encode(builtin(), &node).unwrap();
            let back = decode(builtin(), &again, None, &limits).unwrap();
            proptest::prop_assert_eq!(back.to_json(), node.to_json());
        }
    }
}

/// A value of this shape with everything set.
fn sample(schema: &crate::Schema, shape: &crate::Shape, depth: usize) -> Node<'static> {
    use crate::json::Object;
    use crate::table::{Form, Shape};
    match shape {
        Shape::Bool => Node::Bool(true),
        Shape::Int32 => Node::Number("-7".into()),
        Shape::Int64 => Node::Number("9007199254740993".into()),
        Shape::Double => Node::Number("1.5".into()),
        Shape::String => Node::string("text"),
        Shape::Bytes => Node::string("AAH/"),
        Shape::Any => Node::Null,
        Shape::List(inner) => Node::Array(vec![sample(schema, inner, depth), sample(schema, inner, depth)]),
        Shape::Map(inner) => {
            let mut object = Object::default();
            object.push("", sample(schema, inner, depth));
            object.push("key", sample(schema, inner, depth));
            Node::Object(object)
        }
        Shape::Ref(id) => {
            let kind = schema.by_id(*id).unwrap();
            match kind.def().form {
                Form::Quantity => Node::string("1500m"),
                Form::IntOrString => Node::string("25%"),
                Form::Time => Node::string("1969-12-31T23:59:59Z"),
                Form::MicroTime => Node::string("1969-12-31T23:59:59.999999Z"),
                Form::Duration => Node::string("1m30s"),
                Form::Raw => {
                    let mut object = Object::default();
                    object.push("z", Node::Array(vec![Node::Null, Node::Number("1e3".into())]));
                    Node::Object(object)
                }
                Form::Strings => Node::Array(vec![Node::string("a"), Node::string("b")]),
                Form::SchemaOrBool => Node::Bool(true),
                Form::SchemaOrArray | Form::SchemaOrStrings | Form::Struct => {
                    let mut object = Object::default();
                    if kind.def().form == Form::Struct && depth > 0 {
                        for field in kind.fields() {
                            object.push(field.name.clone(), sample(schema, &field.shape, depth - 1));
                        }
                    }
                    Node::Object(object)
                }
            }
        }
    }
}

#[test]
fn every_type_survives() {
    let limits = Limits::TRUSTED;
    for kind in builtin().types() {
        let shape = crate::Shape::Ref(kind.id());
        if kind.def().form != crate::table::Form::Struct {
            continue;
        }
        let object = sample(builtin(), &shape, 4);
        let decoded =
            json_decode::decode_node(kind, object, &limits).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!(decoded.strict, [], "{kind:?}");
        let raw = encode_message(kind, &decoded.object).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let back = decode_message(kind, &raw, &limits).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!(
            String::from_utf8(back.to_json()).unwrap(),
            String::from_utf8(decoded.object.to_json()).unwrap(),
            "{kind:?}"
        );
    }
}
