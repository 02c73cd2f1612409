//! WATCH: framed events, made once and shared by all watchers of the same encoding.
//!
//! A watch that its client does not read costs its place in the history and nothing else; when what it would see next
//! is forgotten, it ends with 410. Upstream: `endpoints/handlers/watch.go`.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use apimachinery::ApiError;
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use registry::{
    Kind,
    options::ListOptions,
    pipeline::{EventType, Selection, WatchItem, WatchStream},
};
use serde_json::json;
use store::EventKind;
use tokio::time::Instant;

use super::{freshness, pace::Place, read, websocket};
use crate::{
    body::{Body, BoxError},
    encode,
    flow::Seats,
    metrics::{self, WatchCounters},
    negotiate::{CBOR_SEQUENCE, JSON, Media, Output, View},
    respond::{self, Answer},
    server::{ApiServer, Call},
    slots,
    table::{Include, Printer, metadata_only},
};

/// Frames that wait are sent together, up to so many bytes.
const TOGETHER: usize = 32 * 1024;
/// Larger frames go alone: copying them costs more than sending them.
const ALONE: usize = 8 * 1024;

pub(super) async fn watch(server: &ApiServer, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let output = read::output_of_watch(call, kind)?;
    let mut options = ListOptions::of_watch(&call.query, &kind.gvr)?;
    options.fields = super::with_name(call, options.fields.clone())?;
    let include = Include::parse(call.param("includeObject"))?;
    let selection = Selection::new(kind, options.labels.clone(), options.fields.clone())?;
    if options.wants_initial_events() {
        freshness::for_list(server, &options).await?;
    }
    let stream = server.registry().watch(kind, &call.info.namespace, selection, &options)?;
    let least = server.inner.options.min_request_timeout.as_secs().max(1);
    let seconds = options
        .timeout_seconds
        .filter(|seconds| *seconds > 0)
        .unwrap_or_else(|| least + u64::from(jiff::Timestamp::now().subsec_nanosecond().unsigned_abs()) % least);
    let end = Instant::now() + Duration::from_secs(seconds.min(u64::from(u32::MAX)));
    server.inner.metrics.watches.fetch_add(1, Ordering::Relaxed);
    let over_websocket = websocket::is_wanted(&call.parts.headers);
    let body = WatchBody {
        // A streaming list holds its seats until the list was sent.
        seats: call.seats.lock().take().filter(|_| stream.is_initializing()),
        listing: stream.is_initializing().then(|| Listing { began: Instant::now(), scope: scope(call) }),
        stream,
        together: !over_websocket,
        counters: WatchCounters::of(&kind.gvr.group, &kind.gvr.version, &kind.gvr.resource),
        framer: Framer { kind: Arc::clone(kind), output, include, with_columns: true },
        place: server.inner.pace.enter(options.allow_bookmarks, end),
        server: server.clone(),
        finished: false,
    };
    if over_websocket {
        return websocket::serve(server, call, body, output.media);
    }
    let content_type = match output.media {
        Media::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Media::Cbor => CBOR_SEQUENCE,
        Media::Json | Media::Yaml => JSON,
    };
    Ok(respond::with_type(200, content_type, Body::stream(body)))
}

/// A streaming list under way, for who counts.
struct Listing {
    began: Instant,
    scope: &'static str,
}

/// Upstream: `CleanScope`.
fn scope(call: &Call) -> &'static str {
    match (call.info.name.is_empty(), call.info.namespace.is_empty()) {
        (false, _) => "resource",
        (true, false) => "namespace",
        (true, true) => "cluster",
    }
}

struct WatchBody {
    seats: Option<Seats>,
    /// Set while the streaming list is being sent.
    listing: Option<Listing>,
    counters: WatchCounters,
    stream: WatchStream,
    /// Several frames may be one piece of the body. A message over WebSocket is one frame.
    together: bool,
    framer: Framer,
    place: Place,
    server: ApiServer,
    finished: bool,
}

impl http_body::Body for WatchBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.finished {
            return Poll::Ready(None);
        }
        let due = this.place.due(cx.waker());
        if due.end {
            this.finished = true;
            return Poll::Ready(None);
        }
        match this.stream.poll_next(cx) {
            Poll::Ready(Some(item)) => {
                return Poll::Ready(Some(this.frames(item).map(Frame::data).map_err(Into::into)));
            }
            Poll::Ready(None) => {
                this.finished = true;
                return Poll::Ready(None);
            }
            Poll::Pending => {}
        }
        match this.stream.bookmark().filter(|_| due.bookmark) {
            Some(bookmark) => Poll::Ready(Some(this.framer.frame(bookmark).map(Frame::data).map_err(Into::into))),
            None => Poll::Pending,
        }
    }
}

impl WatchBody {
    /// The frame of an item, and of those that are there already behind it.
    fn frames(&mut self, item: WatchItem) -> Result<Bytes, ApiError> {
        let frames = self.framed(item)?;
        if !self.stream.is_initializing() {
            self.seats = None;
            if let Some(Listing { began, scope }) = self.listing.take() {
                let gvr = &self.framer.kind.gvr;
                metrics::watch_list_sent(&gvr.group, &gvr.version, &gvr.resource, scope, began.elapsed());
            }
        }
        Ok(frames)
    }

    fn framed(&mut self, item: WatchItem) -> Result<Bytes, ApiError> {
        self.finished = matches!(item, WatchItem::Error(_));
        let first = self.framer.frame(item)?;
        self.counters.sent(first.len());
        if first.len() > ALONE || self.finished || !self.together {
            return Ok(first);
        }
        let Some(item) = self.stream.next_ready() else { return Ok(first) };
        let mut together = BytesMut::with_capacity(TOGETHER.min(first.len() * 8));
        together.extend_from_slice(&first);
        let mut next = Some(item);
        while let Some(item) = next {
            self.finished = matches!(item, WatchItem::Error(_));
            let frame = self.framer.frame(item)?;
            self.counters.sent(frame.len());
            together.extend_from_slice(&frame);
            next = if together.len() < TOGETHER && !self.finished { self.stream.next_ready() } else { None };
        }
        Ok(together.freeze())
    }
}

impl Drop for WatchBody {
    fn drop(&mut self) {
        self.server.inner.metrics.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Turns items into the client's frames.
struct Framer {
    kind: Arc<Kind>,
    output: Output,
    include: Include,
    /// Only the first table of a watch says its columns.
    with_columns: bool,
}

impl Framer {
    fn frame(&mut self, item: WatchItem) -> Result<Bytes, ApiError> {
        match item {
            WatchItem::Shared(event) => {
                let name = match event.kind() {
                    EventKind::Added => "ADDED",
                    EventKind::Modified => "MODIFIED",
                    EventKind::Deleted => "DELETED",
                };
                let bytes = event.entry().bytes();
                let slot = match (self.output.view, self.output.media) {
                    (View::Object, _) if !self.kind.is_stored_as_served() => None,
                    (View::Object, Media::Protobuf) => Some(slots::PROTOBUF),
                    (View::Object, Media::Cbor) => Some(slots::CBOR),
                    (View::Object, Media::Json | Media::Yaml) => Some(slots::JSON),
                    (View::Metadata | View::MetadataList, _) if self.output.beta => None,
                    (View::Metadata | View::MetadataList, Media::Protobuf) => Some(slots::METADATA_PROTOBUF),
                    (View::Metadata | View::MetadataList, Media::Cbor) => Some(slots::METADATA_CBOR),
                    (View::Metadata | View::MetadataList, Media::Json | Media::Yaml) => Some(slots::METADATA),
                    // Ages in it are of now.
                    (View::Table, _) => None,
                };
                match slot {
                    Some(slot) => event.encoding(slot, || self.own(name, bytes)),
                    None => self.own_or_table(name, bytes),
                }
            }
            WatchItem::Initial(entry) => self.own_or_table("ADDED", entry.bytes()),
            WatchItem::Own { event, bytes } => {
                let name = match event {
                    EventType::Added => "ADDED",
                    EventType::Modified => "MODIFIED",
                    EventType::Deleted => "DELETED",
                };
                self.own_or_table(name, &bytes)
            }
            WatchItem::Bookmark { revision, initial_end } => self.bookmark(revision.0, initial_end),
            WatchItem::Error(error) => {
                let status = error.to_status().to_json();
                self.plain("ERROR", &status)
            }
        }
    }

    fn own_or_table(&mut self, name: &str, bytes: &Bytes) -> Result<Bytes, ApiError> {
        if self.output.view != View::Table {
            return self.own(name, bytes);
        }
        let now = jiff::Timestamp::now();
        let printer = Printer::new(&self.kind, self.include, now, self.output.meta_version());
        let table = printer.single(bytes, std::mem::take(&mut self.with_columns))?;
        self.plain(name, &table)
    }

    /// A frame around the object, or around its metadata.
    fn own(&self, name: &str, bytes: &Bytes) -> Result<Bytes, ApiError> {
        match self.output.view {
            View::Metadata | View::MetadataList => self.plain(name, &metadata_only(bytes, self.output.meta_version())),
            View::Object | View::Table => self.plain(name, &self.kind.present(bytes)?),
        }
    }

    fn bookmark(&mut self, revision: u64, initial_end: bool) -> Result<Bytes, ApiError> {
        let info = self.kind.info();
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let (kind, api_version) = match self.output.view {
            View::Metadata | View::MetadataList => {
                ("PartialObjectMetadata".to_owned(), self.output.meta_version().to_owned())
            }
            View::Object | View::Table => (info.kind.to_string(), info.api_version()),
        };
        let object =
            Bytes::from(format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata}}}"));
        if self.output.view != View::Table {
            return self.plain("BOOKMARK", &object);
        }
        // A table without rows would lose the annotation: it travels in the row's object.
        let include = if initial_end && self.include == Include::None { Include::Metadata } else { self.include };
        let now = jiff::Timestamp::now();
        let printer = Printer::new(&self.kind, include, now, self.output.meta_version());
        let table = printer.single(&object, std::mem::take(&mut self.with_columns))?;
        self.plain("BOOKMARK", &table)
    }

    fn plain(&self, name: &str, bytes: &[u8]) -> Result<Bytes, ApiError> {
        match self.output.media {
            Media::Protobuf => Ok(registry::wire::watch_frame(name, &encode::protobuf(bytes)?)),
            Media::Cbor => Ok(registry::wire::cbor_frame(name, &encode::cbor(bytes)?)),
            Media::Json | Media::Yaml => Ok(json_frame(name, bytes)),
        }
    }
}

fn json_frame(name: &str, bytes: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(bytes.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"}\n");
    out.into()
}
