//! Objects between JSON, protobuf and CBOR, by the schema.

use apimachinery::{ApiError, Gvk};
use bytes::Bytes;
use schema::{Limits, Node, builtin, cbor, json, protobuf};

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

/// The message inside an envelope that this server has made.
pub fn unwrap_envelope(enveloped: &[u8]) -> Result<&[u8], ApiError> {
    protobuf::open(enveloped, &OWN).map(|envelope| envelope.raw).map_err(ApiError::internal)
}

/// What stands around the items of a protobuf list, whose messages have these lengths.
pub fn protobuf_list(
    api_version: &str,
    list_kind: &str,
    metadata: &[u8],
    lengths: impl Iterator<Item = usize>,
) -> Result<(Vec<u8>, Vec<u8>), ApiError> {
    let kind = builtin().kind_of(api_version, list_kind).ok_or_else(no_protobuf)?;
    let metadata = parse(metadata)?;
    let framing = protobuf::list_framing(kind, api_version, &metadata, lengths).map_err(not_encodable)?;
    Ok((framing.head, framing.tail.to_vec()))
}

/// What stands before an item of a protobuf list.
pub fn protobuf_item_head(length: usize) -> Vec<u8> {
    protobuf::item_head(length)
}

/// Whether objects of a kind have a protobuf form at all.
pub fn has_protobuf(group: &str, version: &str, kind: &str) -> bool {
    builtin().kind(group, version, kind).is_some()
}

/// JSON of an object that came as CBOR.
pub fn from_cbor(body: &[u8]) -> Result<Bytes, ApiError> {
    let node = cbor::decode(body, &Limits::default())
        .map_err(|error| ApiError::bad_request(format!("error decoding CBOR: {error}")))?;
    Ok(node.to_json().into())
}

/// The CBOR document of an object, a list, a table or a Status.
pub fn to_cbor(json: &[u8]) -> Result<Bytes, ApiError> {
    let node = parse(json)?;
    Ok(cbor::document(&node, kind_of(&node)).into())
}

/// A CBOR watch event around an object's document.
pub fn cbor_frame(event: &str, document: &[u8]) -> Bytes {
    cbor::frame(event, document).into()
}

/// A document as an item of a list: without the tag that begins a document.
pub fn cbor_item(document: &[u8]) -> &[u8] {
    document.strip_prefix(&cbor::SELF_DESCRIBED).unwrap_or(document)
}

/// What stands around the `items` of a CBOR list or table; `outer` is JSON of its object without them.
pub fn cbor_list(outer: &[u8], items: &str, count: usize) -> Result<(Vec<u8>, Vec<u8>), ApiError> {
    let Node::Object(outer) = parse(outer)? else { return Err(ApiError::internal("a list is an object")) };
    let members: Vec<(&str, Node<'_>)> = outer.0.iter().map(|(name, node)| (&**name, node.clone())).collect();
    let framing = cbor::list_framing(&members, items, count);
    Ok((framing.head, framing.tail))
}

fn kind_of(node: &Node<'_>) -> Option<schema::Type<'static>> {
    let text = |name| node.get(name).and_then(Node::as_str).unwrap_or_default();
    builtin().kind_of(text("apiVersion"), text("kind"))
}

fn parse(json: &[u8]) -> Result<Node<'_>, ApiError> {
    json::parse(json, &OWN).map_err(ApiError::internal)
}

/// A kind without protobuf form: the client has to ask for another.
fn not_encodable(error: protobuf::ProtobufError) -> ApiError {
    match error {
        protobuf::ProtobufError::Kind { .. } => no_protobuf(),
        other => ApiError::internal(other),
    }
}

fn no_protobuf() -> ApiError {
    ApiError::not_acceptable(&["application/json", "application/yaml", cbor::MEDIA_TYPE])
}
