//! Objects between JSON and protobuf, by the schema.

use apimachinery::{ApiError, Gvk};
use bytes::Bytes;
use schema::{Limits, Node, builtin, json, protobuf};

/// For JSON that this server has made itself, and that may be larger than any request.
const OWN: Limits = Limits { bytes: usize::MAX, depth: 256, nodes: usize::MAX };

/// JSON of an object that came as a protobuf envelope. `default` is the kind where the envelope tells none.
pub fn from_protobuf(body: &[u8], default: Option<&Gvk>) -> Result<Bytes, ApiError> {
    let limits = Limits::default();
    let default = default.and_then(|gvk| builtin().kind(&gvk.group, &gvk.version, &gvk.kind));
    let node = protobuf::decode(builtin(), body, default, &limits)
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(node.to_json().into())
}

/// The protobuf envelope of an object, a list or a Status, named by its own `apiVersion` and `kind`.
pub fn to_protobuf(json: &[u8]) -> Result<Bytes, ApiError> {
    let node = parse(json)?;
    protobuf::encode(builtin(), &node).map(Bytes::from).map_err(not_encodable)
}

/// A watch event in protobuf around an enveloped object, with its length in front.
pub fn watch_frame(event: &str, enveloped: &[u8]) -> Bytes {
    protobuf::watch_frame(event, enveloped).into()
}

/// A list around items that are enveloped each for itself.
pub fn list(api_version: &str, list_kind: &str, metadata: &[u8], items: &[Bytes]) -> Result<Bytes, ApiError> {
    let kind = builtin()
        .kind_of(api_version, list_kind)
        .ok_or_else(|| ApiError::not_acceptable(&["application/json", "application/yaml"]))?;
    let metadata = parse(metadata)?;
    let raw: Vec<&[u8]> = items
        .iter()
        .map(|item| protobuf::open(item, &OWN).map(|envelope| envelope.raw))
        .collect::<Result<_, _>>()
        .map_err(ApiError::internal)?;
    let lengths = raw.iter().map(|raw| raw.len());
    let framing = protobuf::list_framing(kind, api_version, &metadata, lengths).map_err(not_encodable)?;
    let total: usize = raw.iter().map(|raw| raw.len() + 6).sum();
    let mut out = Vec::with_capacity(framing.head.len() + total + framing.tail.len());
    out.extend_from_slice(&framing.head);
    for raw in raw {
        out.extend_from_slice(&protobuf::item_head(raw.len()));
        out.extend_from_slice(raw);
    }
    out.extend_from_slice(framing.tail);
    Ok(out.into())
}

fn parse(json: &[u8]) -> Result<Node<'_>, ApiError> {
    json::parse(json, &OWN).map_err(ApiError::internal)
}

/// A kind without protobuf form: the client has to ask for another.
fn not_encodable(error: protobuf::ProtobufError) -> ApiError {
    match error {
        protobuf::ProtobufError::Kind { .. } => ApiError::not_acceptable(&["application/json", "application/yaml"]),
        other => ApiError::internal(other),
    }
}
