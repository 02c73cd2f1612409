//! Gzip of long documents, made while they are sent. Upstream: `endpoints/handlers/responsewriters`
//! (`APIResponseCompression`): from 128 KiB on, never of watches or logs.

use std::{
    io::Write as _,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;

use crate::{
    body::{Body, BoxError},
    respond::Answer,
};

/// Upstream's `defaultGzipThresholdBytes`.
const THRESHOLD: usize = 128 * 1024;
/// Upstream's `defaultGzipContentEncodingLevel`: the fastest.
const LEVEL: u32 = 1;
/// A whole document goes through the compressor in pieces of this size, so that its client paces it.
const PIECE: usize = 256 * 1024;

/// Whether the client takes gzip: says so in one word. Upstream: `negotiateContentEncoding`.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    let value = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(',').any(|token| token.trim() == "gzip")
}

/// Compresses a long document for a client that takes it.
pub(crate) fn apply(answer: &mut Answer, request: &HeaderMap) {
    if !answer.body().is_long(THRESHOLD)
        || answer.headers().contains_key(header::CONTENT_ENCODING)
        || !is_wanted(request)
    {
        return;
    }
    let body = std::mem::replace(answer.body_mut(), Body::empty());
    *answer.body_mut() = Body::long(Gzip {
        inner: body,
        rest: Bytes::new(),
        encoder: Some(GzEncoder::new(Vec::with_capacity(PIECE / 4), Compression::new(LEVEL))),
    });
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
}

struct Gzip {
    inner: Body,
    /// Taken from `inner`, not yet compressed.
    rest: Bytes,
    /// None when the trailer has been written.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl http_body::Body for Gzip {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            let Some(encoder) = &mut this.encoder else { return Poll::Ready(None) };
            if this.rest.is_empty() {
                match Pin::new(&mut this.inner).poll_frame(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(Some(Ok(frame))) => this.rest = frame.into_data().unwrap_or_default(),
                    Poll::Ready(None) => {
                        let last = this.encoder.take().map(GzEncoder::finish);
                        return Poll::Ready(
                            last.map(|last| last.map(|bytes| Frame::data(bytes.into())).map_err(Into::into)),
                        );
                    }
                }
            }
            let piece = this.rest.split_to(this.rest.len().min(PIECE));
            if let Err(error) = encoder.write_all(&piece) {
                return Poll::Ready(Some(Err(error.into())));
            }
            let made = encoder.get_mut();
            if !made.is_empty() {
                let bytes = Bytes::copy_from_slice(made);
                made.clear();
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http_body_util::BodyExt as _;

    use super::*;
    use crate::respond;

    async fn check(length: usize, accept: Option<&str>, compressed: bool) {
        let text = "0123456789abcdef".repeat(length / 16);
        let mut answer = respond::json(200, text.clone());
        let mut request = HeaderMap::new();
        if let Some(accept) = accept {
            request.insert(header::ACCEPT_ENCODING, accept.parse().unwrap());
        }
        apply(&mut answer, &request);
        assert_eq!(answer.headers().contains_key(header::CONTENT_ENCODING), compressed, "{length} {accept:?}");
        assert_eq!(answer.headers().contains_key(header::VARY), compressed);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let mut plain = String::new();
        if compressed {
            assert!(body.len() < length / 10);
            flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut plain).unwrap();
        } else {
            plain = String::from_utf8(body.to_vec()).unwrap();
        }
        assert!(plain == text);
    }

    #[tokio::test]
    async fn long_documents_are_compressed_for_who_takes_it() {
        check(128 * 1024, Some("gzip"), false).await;
        check(128 * 1024 + 16, Some("gzip"), true).await;
        check(1024 * 1024, Some("br, gzip ,deflate"), true).await;
        check(1024 * 1024, Some("br, gzip;q=0.5"), false).await;
        check(1024 * 1024, Some("*"), false).await;
        check(1024 * 1024, Some("br"), false).await;
        check(1024 * 1024, Some("gzip;q=0"), false).await;
        check(1024 * 1024, None, false).await;
    }
}
