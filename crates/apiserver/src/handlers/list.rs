//! LIST: a header, the stored bytes with commas between, a footer; made as the client reads.
//!
//! Nothing here holds a list as a whole, but for those that want YAML, indented JSON or an audited answer. Upstream:
//! `endpoints/handlers/get.go`, and the streaming encoders of collections.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use apimachinery::ApiError;
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use registry::{
    Kind,
    options::ListOptions,
    pipeline::{Items, ListPage, Selection},
    wire,
};
use serde_json::{Map, Value};
use store::Entry;

use super::{freshness, read};
use crate::{
    body::{Body, BoxError},
    encode,
    negotiate::{Media, Output, View},
    respond::{self, Answer},
    server::{ApiServer, Call},
    slots,
    table::{Include, Printer, metadata_only},
};

/// How much is spliced together before it is handed to the connection.
const CHUNK: usize = 128 * 1024;
/// Lists of so many objects at most keep the encodings they make with the objects: agents ask for them again and again.
const KEEP: usize = 2_000;
/// So many objects are measured before others get a turn.
const MEASURE: usize = 512;

pub(super) async fn list(server: &ApiServer, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let output = read::output_of(call, kind)?;
    let options = ListOptions::from_query(&call.query)?;
    let fields = super::with_name(call, options.fields.clone())?;
    let selection = Selection::new(kind, options.labels.clone(), fields)?;
    freshness::for_list(server, &options).await?;
    let include = match output.view {
        View::Table => Include::parse(call.param("includeObject"))?,
        View::Metadata => {
            let name = kind.info().list_kind_name();
            return Err(ApiError::not_convertible(format!(
                "you requested PartialObjectMetadata, but the requested object is a list ({})",
                read::go_type(&kind.gvk, kind.resource.custom().is_some(), &name)
            )));
        }
        View::Object | View::MetadataList => Include::Metadata,
    };
    let shape = Shape { kind: Arc::clone(kind), output, include, now: jiff::Timestamp::now() };
    let (registry, namespace) = (server.registry(), &call.info.namespace);
    if kind.converts_outside() || kind.selects_presented(&selection) {
        // A webhook converts a page at once.
        let (page, made) = registry.list_presented(kind, namespace, &selection, &options).await?;
        let made: Vec<Bytes> = made.into_iter().map(|one| one.bytes).collect();
        return answer(shape, &metadata(&page), Entries::Made(made.into_iter())).await;
    }
    let page = registry.list(kind, namespace, &selection, &options)?;
    let metadata = metadata(&page);
    answer(shape, &metadata, Entries::Walked(page.items)).await
}

fn metadata(page: &ListPage) -> Value {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".to_owned(), page.revision.0.to_string().into());
    if !page.continue_token.is_empty() {
        metadata.insert("continue".to_owned(), page.continue_token.clone().into());
    }
    if let Some(remaining) = page.remaining {
        metadata.insert("remainingItemCount".to_owned(), remaining.into());
    }
    Value::Object(metadata)
}

fn head(kind: &str, api_version: &str, metadata: &Value) -> Vec<u8> {
    format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata}").into_bytes()
}

/// JSON of a list whose items are at hand.
pub(super) fn whole(kind: &Kind, revision: u64, items: &[Bytes]) -> Bytes {
    let metadata = serde_json::json!({ "resourceVersion": revision.to_string() });
    let mut out = head(&kind.info().list_kind_name(), &kind.info().api_version(), &metadata);
    out.extend_from_slice(b",\"items\":[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item);
    }
    out.extend_from_slice(b"]}");
    out.into()
}

async fn answer(shape: Shape, metadata: &Value, items: Entries) -> Result<Answer, ApiError> {
    let output = shape.output;
    let streamed = !output.keep && !output.pretty;
    let mut body = match output.media {
        Media::Protobuf if streamed => counted_protobuf(shape, metadata, items).await?,
        Media::Cbor if streamed => counted_cbor(shape, metadata, items)?,
        _ => {
            let mut head = shape.outer(metadata);
            head.extend_from_slice(if output.view == View::Table { b",\"rows\":[" } else { b",\"items\":[" });
            let shape = Shape { output: Output { media: Media::Json, ..output }, ..shape };
            ListBody { head: Some(head), items, tail: Some(b"]}".to_vec()), between: b",", shape, begun: false }
        }
    };
    if streamed && output.media != Media::Yaml {
        // A short list gets a length; a long one is streamed.
        let content_type = respond::media_type(output.media);
        let first = body.fill()?.unwrap_or_default();
        if body.tail.is_none() {
            return Ok(respond::with_type(200, content_type, Body::whole(first)));
        }
        return Ok(respond::with_type(200, content_type, Body::long(Primed { first: Some(first), body })));
    }
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.fill()? {
        whole.extend_from_slice(&chunk);
        tokio::task::yield_now().await;
    }
    respond::object(200, whole.freeze(), output)
}

/// A protobuf list says its length first: everything is measured before anything is sent.
async fn counted_protobuf(shape: Shape, metadata: &Value, items: Entries) -> Result<ListBody, ApiError> {
    let (entries, keep) = items.counted();
    let mut lengths: Vec<u32> = Vec::with_capacity(entries.len());
    for (index, item) in entries.iter().enumerate() {
        let envelope = shape.encoded(item, keep)?;
        lengths.push(u32::try_from(wire::unwrap_envelope(&envelope)?.len()).unwrap_or(u32::MAX));
        if index % MEASURE == MEASURE - 1 {
            tokio::task::yield_now().await;
        }
    }
    let (list_kind, api_version) = shape.list_kind();
    let lengths = lengths.iter().map(|length| *length as usize);
    let (head, tail) = wire::protobuf_list(&api_version, &list_kind, metadata.to_string().as_bytes(), lengths)?;
    let items = Entries::Counted { entries: entries.into_iter(), keep };
    Ok(ListBody { head: Some(head), items, tail: Some(tail), between: b"", shape, begun: false })
}

/// A CBOR list says how many items there are.
fn counted_cbor(shape: Shape, metadata: &Value, items: Entries) -> Result<ListBody, ApiError> {
    let (entries, keep) = items.counted();
    let mut outer = shape.outer(metadata);
    outer.push(b'}');
    let name = if shape.output.view == View::Table { "rows" } else { "items" };
    let (head, tail) = wire::cbor_list(&outer, name, entries.len())?;
    let items = Entries::Counted { entries: entries.into_iter(), keep };
    Ok(ListBody { head: Some(head), items, tail: Some(tail), between: b"", shape, begun: false })
}

/// What becomes of each object.
struct Shape {
    kind: Arc<Kind>,
    output: Output,
    include: Include,
    now: jiff::Timestamp,
}

impl Shape {
    fn list_kind(&self) -> (String, String) {
        match self.output.view {
            View::Metadata | View::MetadataList => {
                ("PartialObjectMetadataList".to_owned(), self.output.meta_version().to_owned())
            }
            View::Object | View::Table => (self.kind.info().list_kind_name(), self.kind.info().api_version()),
        }
    }

    /// JSON of the list's object without its items, and without the brace that ends it.
    fn outer(&self, metadata: &Value) -> Vec<u8> {
        if self.output.view == View::Table {
            return self.printer().head(metadata, true);
        }
        let (list_kind, api_version) = self.list_kind();
        head(&list_kind, &api_version, metadata)
    }

    fn printer(&self) -> Printer<'_> {
        Printer::new(&self.kind, self.include, self.now, self.output.meta_version())
    }

    /// JSON of one item.
    fn json(&self, item: &Bytes) -> Result<Bytes, ApiError> {
        match self.output.view {
            View::Object => self.kind.present(item),
            View::Metadata | View::MetadataList => Ok(metadata_only(item, self.output.meta_version()).into()),
            View::Table => Ok(self.printer().row(item)?.into()),
        }
    }

    /// One item as a protobuf envelope or a CBOR document.
    fn encoded(&self, item: &Item, keep: bool) -> Result<Bytes, ApiError> {
        type Encode = fn(&[u8]) -> Result<Bytes, ApiError>;
        let (slot, make): (_, Encode) = match self.output.media {
            Media::Protobuf => (slots::PROTOBUF, encode::protobuf),
            _ => (slots::CBOR, encode::cbor),
        };
        let is_shared = self.output.view == View::Object && self.kind.is_stored_as_served();
        match item {
            Item::Stored(entry) if is_shared && keep => entry.encoding(slot, || make(entry.bytes())),
            Item::Stored(entry) => match entry.encoded(slot).filter(|_| is_shared) {
                Some(known) => Ok(known),
                None => make(&self.json(entry.bytes())?),
            },
            Item::Made(bytes) => make(&self.json(bytes)?),
        }
    }

    fn push(&self, out: &mut BytesMut, item: &Item, keep: bool) -> Result<(), ApiError> {
        match self.output.media {
            Media::Json | Media::Yaml => {
                if self.output.view == View::Object && self.kind.is_stored_as_served() {
                    out.extend_from_slice(item.bytes());
                } else {
                    out.extend_from_slice(&self.json(item.bytes())?);
                }
            }
            Media::Protobuf => {
                let envelope = self.encoded(item, keep)?;
                let raw = wire::unwrap_envelope(&envelope)?;
                out.extend_from_slice(&wire::protobuf_item_head(raw.len()));
                out.extend_from_slice(raw);
            }
            Media::Cbor => out.extend_from_slice(wire::cbor_item(&self.encoded(item, keep)?)),
        }
        Ok(())
    }
}

enum Item {
    Stored(Arc<Entry>),
    /// Presented to this client only.
    Made(Bytes),
}

impl Item {
    fn bytes(&self) -> &Bytes {
        match self {
            Self::Stored(entry) => entry.bytes(),
            Self::Made(bytes) => bytes,
        }
    }
}

enum Entries {
    Walked(Items),
    Made(std::vec::IntoIter<Bytes>),
    /// `keep`: encodings stay with their objects.
    Counted {
        entries: std::vec::IntoIter<Item>,
        keep: bool,
    },
}

impl Entries {
    fn next(&mut self) -> Option<(Item, bool)> {
        match self {
            Self::Walked(items) => items.next().map(|entry| (Item::Stored(entry), false)),
            Self::Made(items) => items.next().map(|bytes| (Item::Made(bytes), false)),
            Self::Counted { entries, keep } => entries.next().map(|item| (item, *keep)),
        }
    }

    fn counted(mut self) -> (Vec<Item>, bool) {
        let entries: Vec<Item> = std::iter::from_fn(|| self.next().map(|(item, _)| item)).collect();
        let keep = entries.len() <= KEEP;
        (entries, keep)
    }
}

struct ListBody {
    head: Option<Vec<u8>>,
    items: Entries,
    /// None when it has been written.
    tail: Option<Vec<u8>>,
    /// What stands between two items.
    between: &'static [u8],
    shape: Shape,
    begun: bool,
}

impl ListBody {
    /// The next piece; `None` after the last.
    fn fill(&mut self) -> Result<Option<Bytes>, ApiError> {
        if self.tail.is_none() {
            return Ok(None);
        }
        let mut out = match self.head.take() {
            // Most lists are short, and this is all of them.
            Some(head) => BytesMut::from(head.as_slice()),
            None => BytesMut::with_capacity(CHUNK + CHUNK / 8),
        };
        loop {
            let Some((item, keep)) = self.items.next() else {
                out.extend_from_slice(&self.tail.take().unwrap_or_default());
                return Ok(Some(out.freeze()));
            };
            if out.capacity() < CHUNK && out.len() + item.bytes().len() > out.capacity() {
                out.reserve(out.capacity().max(4096));
            }
            if std::mem::replace(&mut self.begun, true) {
                out.extend_from_slice(self.between);
            }
            self.shape.push(&mut out, &item, keep)?;
            if out.len() >= CHUNK {
                return Ok(Some(out.freeze()));
            }
        }
    }
}

/// A list whose first piece is made.
struct Primed {
    first: Option<Bytes>,
    body: ListBody,
}

impl http_body::Body for Primed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        Poll::Ready(match self.body.fill() {
            Ok(chunk) => chunk.map(|chunk| Ok(Frame::data(chunk))),
            Err(error) => {
                tracing::error!(%error, "list ended early");
                Some(Err(error.into()))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.tail.is_none()
    }
}
