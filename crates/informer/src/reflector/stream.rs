//! One open watch: lines of JSON, each an event. A bad object is told apart from a bad answer, so that one object
//! that cannot be decoded does not end the watch of all others.

use std::{collections::BTreeMap, pin::Pin};

use futures::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};
use kube::{Client, core::Status};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Failure;
use crate::Object;

/// No object is larger than 1.5 MiB stored; escaped twice over it still fits. Bounds what a broken server can make
/// us keep.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;

/// A buffer that grew for one large object is given back.
const KEPT_BUFFER: usize = 64 * 1024;

/// An open watch.
pub(super) struct Events {
    reader: Pin<Box<dyn AsyncBufRead + Send>>,
    line: Vec<u8>,
}

/// What a watch tells.
pub(super) enum Event<K> {
    Present(K),
    Gone(K),
    Bookmark { revision: String, ends_list: bool },
    Undecodable(serde_json::Error),
    Error(Box<Status>),
}

/// The bookmark that ends the initial events. Upstream: meta/v1 `InitialEventsAnnotationKey`.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: BookmarkMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMeta {
    resource_version: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Events {
    pub(super) async fn open(client: &Client, mut request: http::Request<Vec<u8>>) -> Result<Self, kube::Error> {
        // Events are small and latency counts: nothing is gained by compressing them.
        request.headers_mut().insert(http::header::ACCEPT_ENCODING, http::HeaderValue::from_static("identity"));
        let reader = client.request_stream(request).await?;
        Ok(Self { reader: Box::pin(reader), line: Vec::new() })
    }

    /// The next event; `None` when the server ended the watch.
    pub(super) async fn next<K: Object>(&mut self) -> Result<Option<Event<K>>, Failure> {
        loop {
            self.line.clear();
            self.line.shrink_to(KEPT_BUFFER);
            let mut bounded = self.reader.as_mut().take(LONGEST_LINE);
            let length = bounded.read_until(b'\n', &mut self.line).await.map_err(Failure::Broken)?;
            if length == 0 {
                return Ok(None);
            }
            if self.line.last() != Some(&b'\n') && u64::try_from(length).is_ok_and(|length| length >= LONGEST_LINE) {
                return Err(Failure::TooLong);
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let line: Line<'_> = match serde_json::from_slice(&self.line) {
            Ok(line) => line,
            // The connection broke in the middle of a line; what came before it is whole.
            Err(error) if error.is_eof() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(match line.kind {
            "ADDED" | "MODIFIED" => match K::decode(line.object) {
                Ok(object) => Event::Present(object),
                Err(error) => Event::Undecodable(error),
            },
            "DELETED" => match K::decode(line.object) {
                Ok(object) => Event::Gone(object),
                Err(error) => Event::Undecodable(error),
            },
            "BOOKMARK" => {
                let bookmark: Bookmark = serde_json::from_str(line.object.get())?;
                let ends_list =
                    bookmark.metadata.annotations.get(INITIAL_EVENTS_END).is_some_and(|value| value == "true");
                Event::Bookmark { revision: bookmark.metadata.resource_version, ends_list }
            }
            // Upstream knows one more kind only; what a later version adds is treated as an error, as client-go does.
            _ => Event::Error(serde_json::from_str(line.object.get())?),
        }))
    }
}
