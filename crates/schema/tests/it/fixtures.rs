//! The fixtures are not part of the project: where their folder is absent the tests say so and pass.

use std::path::PathBuf;

use schema::protobuf;
use schema::{Limits, Node, builtin};

struct Fixture {
    name: String,
    json: Vec<u8>,
    protobuf: Vec<u8>,
}

fn fixtures() -> Vec<Fixture> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let candidates =
        [root.join("../../../shared/fixtures/api-v1.36"), root.join("../../../../shared/fixtures/api-v1.36")];
    let Some(folder) = candidates.into_iter().find(|folder| folder.is_dir()) else {
        eprintln!("skipped: no folder shared/fixtures/api-v1.36 beside the project");
        return Vec::new();
    };
    let mut fixtures = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            fixtures.push(Fixture {
                name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
                json: std::fs::read(&path).unwrap(),
                protobuf: std::fs::read(path.with_extension("pb")).unwrap(),
            });
        }
    }
    fixtures.sort_by(|left, right| left.name.cmp(&right.name));
    assert!(fixtures.len() >= 80, "only {} fixtures", fixtures.len());
    fixtures
}

fn compact(json: &[u8]) -> String {
    String::from_utf8(schema::json::parse(json, &Limits::default()).unwrap().to_json()).unwrap()
}

fn text(node: &Node<'_>) -> String {
    String::from_utf8(node.to_json()).unwrap()
}

/// The type that the name of a fixture tells: `apps.v1.Deployment`, `core.v1.WatchEvent`.
fn kind_of(fixture: &Fixture) -> schema::Type<'static> {
    let (rest, kind) = fixture.name.rsplit_once('.').unwrap();
    let (group, version) = rest.rsplit_once('.').unwrap();
    let group = if group == "core" { "" } else { group };
    builtin().kind(group, version, kind).unwrap_or_else(|| panic!("{} is not in the table", fixture.name))
}

/// Collects what differs, so that one run shows everything.
fn compare(check: impl Fn(&Fixture) -> Result<(), String>) {
    let failures: Vec<String> = fixtures()
        .iter()
        .filter_map(|fixture| check(fixture).err().map(|error| format!("{}: {error}", fixture.name)))
        .collect();
    assert!(failures.is_empty(), "{} fixtures differ:\n{}", failures.len(), failures.join("\n"));
}

fn same(left: &str, right: &str) -> Result<(), String> {
    if left == right {
        return Ok(());
    }
    let at =
        left.bytes().zip(right.bytes()).position(|(left, right)| left != right).unwrap_or(left.len().min(right.len()));
    let part = |text: &str| text.get(at.saturating_sub(60)..(at + 60).min(text.len())).unwrap_or_default().to_owned();
    Err(format!("\n  got      …{}…\n  expected …{}…", part(left), part(right)))
}

#[test]
fn json_is_canonical_already() {
    compare(|fixture| {
        let decoded =
            schema::decode(kind_of(fixture), &fixture.json, &Limits::default()).map_err(|error| error.to_string())?;
        if let Some(error) = decoded.strict_error() {
            return Err(error);
        }
        same(&text(&decoded.object), &compact(&fixture.json))
    });
}

#[test]
fn protobuf_to_json() {
    compare(|fixture| {
        let node = protobuf::decode(builtin(), &fixture.protobuf, Some(kind_of(fixture)), &Limits::default())
            .map_err(|error| error.to_string())?;
        same(&text(&node), &compact(&fixture.json))
    });
}

#[test]
fn json_to_protobuf() {
    compare(|fixture| {
        let kind = kind_of(fixture);
        let node = schema::json::parse(&fixture.json, &Limits::default()).map_err(|error| error.to_string())?;
        let raw = protobuf::encode_message(kind, &node).map_err(|error| error.to_string())?;
        let field = |name| node.get(name).and_then(Node::as_str).unwrap_or_default();
        // Only a watch event travels without a kind.
        let meta = kind.def().type_meta;
        let bytes =
            if meta { protobuf::seal(field("apiVersion"), field("kind"), &raw) } else { protobuf::seal("", "", &raw) };
        if bytes == fixture.protobuf {
            return Ok(());
        }
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .map(
                    |byte| {
                        if byte.is_ascii_graphic() { char::from(*byte).to_string() } else { format!("\\{byte:02x}") }
                    },
                )
                .collect::<String>()
        };
        same(&hex(&bytes), &hex(&fixture.protobuf))
    });
}

/// To CBOR, with its bytes under a tag, and back to the same JSON; the encoding of what was decoded is the same again.
#[test]
fn cbor_and_back() {
    compare(|fixture| {
        let node = schema::json::parse(&fixture.json, &Limits::default()).map_err(|error| error.to_string())?;
        let encoded = schema::cbor::document(&node, Some(kind_of(fixture)));
        let back = schema::cbor::decode(&encoded, &Limits::default()).map_err(|error| error.to_string())?;
        if schema::cbor::document(&back, Some(kind_of(fixture))) != encoded {
            return Err("not deterministic".to_owned());
        }
        // Members of what no type describes come back in another order.
        let decoded = schema::decode_node(kind_of(fixture), back, &Limits::default());
        let decoded = decoded.map_err(|error| error.to_string())?.object.into_value();
        if decoded == node.into_value() { Ok(()) } else { Err(format!("came back as {decoded}")) }
    });
}
