//! What of a request's body nobody read.
//!
//! On HTTP/1 an answer that comes before its request has been read ends the connection, and the client finds out with
//! its next request, which fails. Many clients send the head and the body in two pieces, so that it happens to every
//! refusal that needs no body. Therefore the rest is read first, if it is not much. Upstream: `net/http`, where
//! `chunkWriter.writeHeader` does the same up to `maxPostHandlerReadBytes`.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::{body::RequestBody, respond::Answer};

/// More than this is not worth a connection.
const LIMIT: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

type Slot = Arc<Mutex<Option<Incoming>>>;

/// Where the body of a request comes back to, when it is dropped before its end.
pub(crate) struct Unread {
    slot: Slot,
    /// The client sends the body only when it is asked to.
    expects: bool,
}

/// A body on loan.
struct Lent {
    body: Option<Incoming>,
    slot: Slot,
}

// === impl Unread ===

impl Unread {
    pub(crate) fn watch(request: Request<Incoming>) -> (Request<RequestBody>, Self) {
        let slot = Slot::default();
        let expects = request.headers().contains_key(header::EXPECT);
        // Streams of HTTP/2 end by themselves.
        let request = if request.version() < Version::HTTP_2 && !request.body().is_end_stream() {
            let lender = Arc::clone(&slot);
            request.map(|body| Lent { body: Some(body), slot: lender }.map_err(Into::into).boxed_unsync())
        } else {
            request.map(|body| body.map_err(Into::into).boxed_unsync())
        };
        (request, Self { slot, expects })
    }

    /// Reads what is left, or tells the client that the connection ends.
    pub(crate) async fn throw_away(self, answer: &mut Answer) {
        let left = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(left) = left.filter(|_| answer.status() != StatusCode::SWITCHING_PROTOCOLS) else { return };
        if self.expects || !tokio::time::timeout(PATIENCE, ends(left)).await.unwrap_or_default() {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Whether a body comes to its end within the limit.
async fn ends(mut body: Incoming) -> bool {
    let mut left = LIMIT;
    if body.size_hint().lower() > LIMIT as u64 {
        return false;
    }
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(length) else { return false };
        left = rest;
    }
    true
}

// === impl Lent ===

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}
