//! Bodies of requests and responses. Everything that is read has a limit.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};

use apimachinery::ApiError;

/// Upstream's `MaxRequestBodyBytes`.
pub(crate) const MAX_REQUEST_BYTES: usize = 3 * 1024 * 1024;

const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How much of a body that is too large is still read.
const DRAIN_BYTES: usize = 16 * 1024 * 1024;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, whatever it came over.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// The body of a response: bytes at hand, or a stream.
pub struct Body(Kind, Guard);

/// What lives as long as the body.
type Guard = Option<Box<dyn std::any::Any + Send>>;

enum Kind {
    Whole(Option<Bytes>),
    Long(UnsyncBoxBody<Bytes, BoxError>),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self(Kind::Whole(None), None)
    }

    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty())), None)
    }

    /// The body, where it is at hand.
    pub(crate) fn bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Kind::Whole(bytes) => bytes.as_ref(),
            Kind::Long(_) | Kind::Stream(_) => None,
        }
    }

    /// Whether the body is a document, and known to be longer than is worth compressing.
    pub(crate) fn is_long(&self, threshold: usize) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.as_ref().is_some_and(|bytes| bytes.len() > threshold),
            Kind::Long(_) => true,
            Kind::Stream(_) => false,
        }
    }

    /// Whether there is more than what is at hand.
    pub(crate) fn is_made_while_sent(&self) -> bool {
        !matches!(self.0, Kind::Whole(_))
    }

    /// The same body, with something that is dropped with it.
    pub(crate) fn holding(self, guard: impl std::any::Any + Send) -> Self {
        Self(self.0, Some(Box::new((self.1, guard))))
    }

    /// A long document that is made while it is read.
    pub(crate) fn long<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Kind::Long(body.map_err(Into::into).boxed_unsync()), None)
    }

    pub(crate) fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Kind::Stream(body.map_err(Into::into).boxed_unsync()), None)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Long(body) | Kind::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Long(body) | Kind::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Long(body) | Kind::Stream(body) => body.size_hint(),
        }
    }
}

/// Reads a request's body up to the limit, in the time that upstream gives a whole request.
pub(crate) async fn read(body: RequestBody) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(READ_TIMEOUT, read_all(body)).await {
        Ok(read) => read,
        Err(_) => Err(ApiError::timeout("request did not complete within the allotted timeout", 0)),
    }
}

async fn read_all(mut body: RequestBody) -> Result<Bytes, ApiError> {
    if body.size_hint().lower() > MAX_REQUEST_BYTES as u64 {
        drain(body).await;
        return Err(too_large());
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| ApiError::bad_request(format!("unable to read the request body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = first.as_ref().map_or(0, Bytes::len) + rest.len() + data.len();
        if length > MAX_REQUEST_BYTES {
            drain(body).await;
            return Err(too_large());
        }
        // A body of one piece is not copied.
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            None => rest.extend_from_slice(&data),
            Some(piece) => {
                rest.extend_from_slice(&piece);
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

/// Throws away what is still coming, within reason, so that the client gets to read the answer.
async fn drain(mut body: RequestBody) {
    let mut left = DRAIN_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

fn too_large() -> ApiError {
    ApiError::request_too_large(format!("Request entity too large: limit is {MAX_REQUEST_BYTES}"))
}
