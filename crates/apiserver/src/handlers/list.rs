//! LIST: a header, the stored bytes with commas between, a footer; made as the client reads.

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
};
use serde_json::{Map, Value};

use super::read;
use crate::{
    body::{Body, BoxError},
    encode,
    negotiate::{self, Media, Output, View},
    respond::{self, Answer},
    server::{ApiServer, Call},
    slots,
    table::{Include, Printer, metadata_only},
};

/// How much is spliced together before it is handed to the connection.
const CHUNK: usize = 128 * 1024;

pub(super) async fn list(server: &ApiServer, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let output = read::output(call)?;
    let options = ListOptions::from_query(&call.query)?;
    let selection = Selection::new(kind, options.labels.clone(), options.fields.clone())?;
    let page = server.registry().list(kind, &call.info.namespace, &selection, &options)?;
    let include = Include::parse(call.param("includeObject"))?;
    let metadata = metadata(&page);
    if (output.view, output.media) == (View::Object, Media::Protobuf) {
        return protobuf(kind, &metadata, page.items);
    }
    let (head, form) = match output.view {
        View::Object => {
            let (list_kind, api_version) = (kind.info().list_kind_name(), kind.info().api_version());
            let converted = (!kind.is_stored_as_served()).then(|| Arc::clone(kind));
            (head(&list_kind, &api_version, &metadata), converted.map_or(Form::Object, Form::Converted))
        }
        View::Metadata => (head("PartialObjectMetadataList", "meta.k8s.io/v1", &metadata), Form::Metadata),
        View::Table => {
            let now = jiff::Timestamp::now();
            let head = Printer::new(kind, include, now).head(&metadata, true);
            (head, Form::Table { kind: Arc::clone(kind), include, now })
        }
    };
    if kind.converts_outside() {
        // A webhook converts a page at once.
        let stored: Vec<Bytes> = page.items.map(|entry| entry.bytes().clone()).collect();
        let mut out = BytesMut::from(head.as_slice());
        for (index, item) in kind.present_all(stored).await?.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b",");
            }
            push(&mut out, item, &form)?;
        }
        out.extend_from_slice(b"]}");
        return respond::object(200, out.freeze(), output);
    }
    answer(ListBody { head: Some(head), items: Some(page.items), form, separator: false }, output)
}

/// Every item is encoded once, and kept with the stored object.
fn protobuf(kind: &Kind, metadata: &Value, items: Items) -> Result<Answer, ApiError> {
    let items: Vec<Bytes> = items
        .map(|entry| {
            if kind.is_stored_as_served() {
                entry.encoding(slots::PROTOBUF, || encode::protobuf(entry.bytes()))
            } else {
                encode::protobuf(&kind.present(entry.bytes())?)
            }
        })
        .collect::<Result<_, _>>()?;
    let (api_version, list_kind) = (kind.info().api_version(), kind.info().list_kind_name());
    let list = registry::wire::list(&api_version, &list_kind, metadata.to_string().as_bytes(), &items)?;
    Ok(respond::with_type(200, negotiate::PROTOBUF, Body::whole(list)))
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
    format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[").into_bytes()
}

/// JSON of a list whose items are at hand.
pub(super) fn whole(kind: &Kind, revision: u64, items: &[Bytes]) -> Bytes {
    let metadata = serde_json::json!({ "resourceVersion": revision.to_string() });
    let mut out = head(&kind.info().list_kind_name(), &kind.info().api_version(), &metadata);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item);
    }
    out.extend_from_slice(b"]}");
    out.into()
}

fn answer(mut body: ListBody, output: Output) -> Result<Answer, ApiError> {
    if output.media == Media::Json && !output.pretty {
        // A short list gets a length; a long one is streamed.
        let first = body.fill()?.unwrap_or_default();
        if body.items.is_none() {
            return Ok(respond::json(200, first));
        }
        return Ok(respond::with_type(200, negotiate::JSON, Body::stream(Primed { first: Some(first), body })));
    }
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.fill()? {
        whole.extend_from_slice(&chunk);
    }
    respond::object(200, whole.freeze(), output)
}

enum Form {
    Object,
    Converted(Arc<Kind>),
    Metadata,
    Table { kind: Arc<Kind>, include: Include, now: jiff::Timestamp },
}

struct ListBody {
    head: Option<Vec<u8>>,
    /// None when the footer has been written.
    items: Option<Items>,
    form: Form,
    separator: bool,
}

impl ListBody {
    /// The next piece; `None` after the last.
    fn fill(&mut self) -> Result<Option<Bytes>, ApiError> {
        let Some(items) = &mut self.items else { return Ok(None) };
        let mut out = match self.head.take() {
            // Most lists are short, and this is all of them.
            Some(head) => BytesMut::from(head.as_slice()),
            None => BytesMut::with_capacity(CHUNK + CHUNK / 8),
        };
        loop {
            let Some(entry) = items.next() else {
                out.extend_from_slice(b"]}");
                self.items = None;
                return Ok(Some(out.freeze()));
            };
            if out.capacity() < CHUNK && out.len() + entry.bytes().len() > out.capacity() {
                out.reserve(out.capacity().max(4096));
            }
            if self.separator {
                out.extend_from_slice(b",");
            }
            self.separator = true;
            push(&mut out, entry.bytes(), &self.form)?;
            if out.len() >= CHUNK {
                return Ok(Some(out.freeze()));
            }
        }
    }
}

fn push(out: &mut BytesMut, stored: &Bytes, form: &Form) -> Result<(), ApiError> {
    match form {
        Form::Object => out.extend_from_slice(stored),
        Form::Converted(kind) => out.extend_from_slice(&kind.present(stored)?),
        Form::Metadata => out.extend_from_slice(&metadata_only(stored)),
        Form::Table { kind, include, now } => {
            out.extend_from_slice(&Printer::new(kind, *include, *now).row(stored)?);
        }
    }
    Ok(())
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
        self.first.is_none() && self.body.items.is_none()
    }
}
