//! WATCH: framed events, made once and shared by all watchers of the same encoding.

use std::{
    future::Future as _,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use apimachinery::ApiError;
use bytes::Bytes;
use http_body::Frame;
use registry::{
    Kind,
    options::ListOptions,
    pipeline::{EventType, Selection, WatchItem, WatchStream},
};
use serde_json::json;
use store::EventKind;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{read, websocket};
use crate::{
    body::{Body, BoxError},
    negotiate::{Media, Output, View},
    respond::{self, Answer},
    server::{ApiServer, Call},
    slots,
    table::{Include, Printer, metadata_only},
};

/// Upstream's `bookmarkFrequency`.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Upstream's `--min-request-timeout`: a watch that names no timeout gets one to two of these.
const MIN_TIMEOUT: u64 = 1800;

pub(super) fn watch(server: &ApiServer, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let output = read::output(call)?;
    if output.media == Media::Yaml {
        return Err(ApiError::not_acceptable(&[crate::negotiate::JSON, crate::negotiate::PROTOBUF]));
    }
    let mut options = ListOptions::from_query(&call.query)?;
    if call.info.watch_prefix {
        options.watch = true;
        if !call.info.name.is_empty() {
            options.fields = apimachinery::fields::FieldSelector::parse(&format!("metadata.name={}", call.info.name))
                .map_err(|error| ApiError::bad_request(error.to_string()))?;
        }
    }
    let selection = Selection::new(kind, options.labels.clone(), options.fields.clone())?;
    let stream = server.registry().watch(kind, &call.info.namespace, selection, &options)?;
    let seconds = options.timeout_seconds.filter(|seconds| *seconds > 0).unwrap_or_else(|| {
        MIN_TIMEOUT + u64::from(jiff::Timestamp::now().subsec_nanosecond().unsigned_abs()) % MIN_TIMEOUT
    });
    let include = Include::parse(call.param("includeObject"))?;
    let framer = Framer { kind: Arc::clone(kind), output, include, with_columns: true };
    let end = Instant::now() + Duration::from_secs(seconds.min(u64::from(u32::MAX)));
    server.inner.metrics.watches.fetch_add(1, Ordering::Relaxed);
    let body = WatchBody {
        stream,
        framer,
        timer: Box::pin(tokio::time::sleep_until(next_wake(options.allow_bookmarks, end))),
        bookmarks: options.allow_bookmarks,
        end,
        shutdown: Box::pin(server.inner.shutdown.clone().cancelled_owned()),
        server: server.clone(),
        finished: false,
    };
    if websocket::is_wanted(&call.parts.headers) {
        return websocket::serve(server, call, body);
    }
    let content_type = match output.media {
        Media::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Media::Json | Media::Yaml => crate::negotiate::JSON,
    };
    Ok(respond::with_type(200, content_type, Body::stream(body)))
}

fn next_wake(bookmarks: bool, end: Instant) -> Instant {
    if bookmarks { (Instant::now() + BOOKMARK_EVERY).min(end) } else { end }
}

struct WatchBody {
    stream: WatchStream,
    framer: Framer,
    timer: Pin<Box<Sleep>>,
    bookmarks: bool,
    end: Instant,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
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
        match this.stream.poll_next(cx) {
            Poll::Ready(Some(item)) => {
                this.finished = matches!(item, WatchItem::Error(_));
                return Poll::Ready(Some(this.framer.frame(item).map(Frame::data).map_err(Into::into)));
            }
            Poll::Ready(None) => return this.finish(),
            Poll::Pending => {}
        }
        if this.shutdown.as_mut().poll(cx).is_ready() {
            return this.finish();
        }
        if this.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= this.end {
                return this.finish();
            }
            let next = next_wake(this.bookmarks, this.end);
            this.timer.as_mut().reset(next);
            // The timer must be polled once more to wake this task again.
            cx.waker().wake_by_ref();
            if let Some(bookmark) = this.stream.bookmark() {
                return Poll::Ready(Some(this.framer.frame(bookmark).map(Frame::data).map_err(Into::into)));
            }
        }
        Poll::Pending
    }
}

impl WatchBody {
    fn finish(&mut self) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.finished = true;
        Poll::Ready(None)
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
                if !self.kind.is_stored_as_served() {
                    return self.own(name, bytes);
                }
                match (self.output.view, self.output.media) {
                    (View::Object, Media::Protobuf) => event.encoding(slots::PROTOBUF, || {
                        let object = event.entry().encoding(slots::PROTOBUF, || crate::encode::protobuf(bytes))?;
                        Ok(registry::wire::watch_frame(name, &object))
                    }),
                    (View::Object, _) => event.encoding(slots::JSON, || Ok(json_frame(name, bytes))),
                    (View::Metadata, Media::Json) => {
                        event.encoding(slots::METADATA, || Ok(json_frame(name, &metadata_only(bytes))))
                    }
                    (View::Metadata | View::Table, _) => self.own(name, bytes),
                }
            }
            WatchItem::Initial(entry) => self.own("ADDED", entry.bytes()),
            WatchItem::Own { event, bytes } => {
                let name = match event {
                    EventType::Added => "ADDED",
                    EventType::Modified => "MODIFIED",
                    EventType::Deleted => "DELETED",
                };
                self.own(name, &bytes)
            }
            WatchItem::Bookmark { revision, initial_end } => self.bookmark(revision.0, initial_end),
            WatchItem::Error(error) => {
                let status = serde_json::to_vec(&error.to_status()).map_err(ApiError::internal)?;
                self.plain("ERROR", &status)
            }
        }
    }

    /// A frame that is not shared.
    fn own(&mut self, name: &str, bytes: &Bytes) -> Result<Bytes, ApiError> {
        match self.output.view {
            View::Object => self.plain(name, &self.kind.present(bytes)?),
            View::Metadata => self.plain(name, &metadata_only(bytes)),
            View::Table => {
                let printer = Printer::new(&self.kind, self.include, jiff::Timestamp::now());
                let table = printer.single(bytes, std::mem::take(&mut self.with_columns))?;
                self.plain(name, &table)
            }
        }
    }

    fn bookmark(&mut self, revision: u64, initial_end: bool) -> Result<Bytes, ApiError> {
        let info = self.kind.info();
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let (kind, api_version) = match self.output.view {
            View::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
            View::Object | View::Table => (info.kind, info.api_version()),
        };
        if self.output.view == View::Table {
            // A table without rows would lose the annotation: it travels in the row's object.
            let object = serde_json::to_vec(&json!({"kind": kind, "apiVersion": api_version, "metadata": metadata}))
                .map_err(ApiError::internal)?;
            return self.own("BOOKMARK", &object.into());
        }
        let object = format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata}}}");
        self.plain("BOOKMARK", object.as_bytes())
    }

    fn plain(&self, name: &str, bytes: &[u8]) -> Result<Bytes, ApiError> {
        match self.output.media {
            Media::Protobuf => protobuf_frame(name, bytes),
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

/// A length of four bytes, big end first, and a `WatchEvent` message around the object's envelope.
fn protobuf_frame(name: &str, bytes: &[u8]) -> Result<Bytes, ApiError> {
    Ok(registry::wire::watch_frame(name, &crate::encode::protobuf(bytes)?))
}
