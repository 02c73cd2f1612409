//! From canonical JSON to the other encodings, and back from what clients send.

use apimachinery::{ApiError, Gvk};
use bytes::Bytes;
use serde_json::Value;

use crate::negotiate::Media;

/// A body as JSON, whatever it was sent as. `default` is what an unnamed protobuf message is.
pub(crate) fn to_json(media: Media, body: Bytes, default: Option<&Gvk>) -> Result<Bytes, ApiError> {
    match media {
        Media::Json => Ok(body),
        Media::Yaml => yaml_to_json(&body),
        Media::Protobuf => registry::wire::from_protobuf(&body, default),
        Media::Cbor => registry::wire::from_cbor(&body),
    }
}

fn yaml_to_json(body: &[u8]) -> Result<Bytes, ApiError> {
    let wrong = |why: String| ApiError::bad_request(format!("error converting YAML to JSON: {why}"));
    let text = std::str::from_utf8(body).map_err(|error| wrong(error.to_string()))?;
    // The first line says what and where; what follows is a picture of the source.
    let first_line = |text: String| text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let value: Value = serde_saphyr::from_str(text).map_err(|error| wrong(first_line(error.to_string())))?;
    serde_json::to_vec(&value).map(Bytes::from).map_err(ApiError::internal)
}

pub(crate) fn yaml(json: &[u8]) -> Result<Bytes, ApiError> {
    let value: Value = serde_json::from_slice(json).map_err(ApiError::internal)?;
    serde_saphyr::to_string(&value).map(Bytes::from).map_err(ApiError::internal)
}

/// The protobuf envelope of an object, a list or a Status, named by its own `apiVersion` and `kind`.
pub(crate) fn protobuf(json: &[u8]) -> Result<Bytes, ApiError> {
    registry::wire::to_protobuf(json)
}

/// The CBOR document of an object, a list, a table or a Status.
pub(crate) fn cbor(json: &[u8]) -> Result<Bytes, ApiError> {
    registry::wire::to_cbor(json)
}

/// Indented JSON, for people. Keeps the order of fields.
pub(crate) fn pretty(json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let newline = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    let mut bytes = json.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if in_string {
            out.push(byte);
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => {
                in_string = true;
                out.push(byte);
            }
            b'{' | b'[' => {
                out.push(byte);
                if matches!(bytes.peek(), Some(b'}' | b']')) {
                    out.extend(bytes.next());
                } else {
                    depth += 1;
                    newline(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                newline(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => out.push(byte),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fixtures are not part of the project: where their folder is absent the test says so and passes.
    #[test]
    fn every_fixture_comes_back_from_every_encoding() {
        let root = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let folder = ["../../../shared/fixtures/api-v1.36", "../../../../shared/fixtures/api-v1.36"]
            .into_iter()
            .map(|path| root.join(path))
            .find(|path| path.is_dir());
        let Some(folder) = folder else {
            eprintln!("skipped: no folder shared/fixtures/api-v1.36 beside the project");
            return;
        };
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = std::fs::read(&path).unwrap();
            let expected: Value = serde_json::from_slice(&text).unwrap();
            if expected["kind"].is_null() {
                // A watch event travels without a kind.
                continue;
            }
            let json = serde_json::to_vec(&expected).unwrap();
            type Encode = fn(&[u8]) -> Result<Bytes, ApiError>;
            let encodings: [(Media, Encode); 4] = [
                (Media::Json, |json| Ok(pretty(json))),
                (Media::Yaml, yaml),
                (Media::Protobuf, protobuf),
                (Media::Cbor, cbor),
            ];
            for (media, encode) in encodings {
                let encoded = encode(&json).unwrap_or_else(|error| panic!("{}: {media:?}: {error}", path.display()));
                let back = to_json(media, encoded, None).unwrap();
                let back: Value = serde_json::from_slice(&back).unwrap();
                assert!(back == expected, "{}: {media:?}: {back}", path.display());
            }
            count += 1;
        }
        assert!(count >= 80, "only {count} fixtures");
    }

    #[test]
    fn pretty_json_is_the_same_json() {
        let json = br#"{"a":[],"b":{"c":"x:\"{,"},"d":[1,{}]}"#;
        let pretty = pretty(json);
        assert_eq!(
            std::str::from_utf8(&pretty).unwrap(),
            "{\n  \"a\": [],\n  \"b\": {\n    \"c\": \"x:\\\"{,\"\n  },\n  \"d\": [\n    1,\n    {}\n  ]\n}"
        );
    }

    #[test]
    fn yaml_becomes_json() {
        let json = to_json(Media::Yaml, Bytes::from_static(b"kind: A\nmetadata: {name: b}\n"), None).unwrap();
        assert_eq!(json, br#"{"kind":"A","metadata":{"name":"b"}}"#.as_slice());
        assert_eq!(to_json(Media::Yaml, Bytes::from_static(b"a: ["), None).unwrap_err().code, 400);
    }
}
