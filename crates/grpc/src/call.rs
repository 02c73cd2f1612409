//! One call on a connection: messages with a length before each, and the status at the end.

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode, Version};
use percent_encoding::percent_decode_str;
use prost::Message;

use crate::connect::Endpoint;
use crate::error::{Code, GrpcError};

/// One byte that says whether it is compressed, and four of length.
const HEADER: usize = 5;

/// The way to the service.
pub struct Sender {
    stream: SendStream<Bytes>,
}

/// The way back.
pub struct Receiver {
    state: State,
    buffer: BytesMut,
    limit: usize,
}

enum State {
    Asked(ResponseFuture),
    Answering(RecvStream),
    Ended,
}

pub(crate) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(HEADER + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.put_slice(&message.encode_to_vec());
    frame.freeze()
}

pub(crate) async fn start(
    send: SendRequest<Bytes>,
    endpoint: &Endpoint,
    (path, metadata): (&str, &[(&'static str, &'static str)]),
    deadline: Option<Duration>,
    limit: usize,
) -> Result<(Sender, Receiver), GrpcError> {
    let mut request = Request::post(format!("{}://{}{path}", endpoint.scheme(), endpoint.authority()))
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "tiphys");
    for (name, value) in metadata {
        request = request.header(*name, *value);
    }
    if let Some(deadline) = deadline {
        request = request.header("grpc-timeout", format!("{}m", deadline.as_millis().min(99_999_999)));
    }
    let request = request.body(()).map_err(|_| GrpcError::Protocol("the path cannot be asked for"))?;
    let mut send = send.ready().await.map_err(GrpcError::Broken)?;
    let (response, stream) = send.send_request(request, false).map_err(GrpcError::Broken)?;
    Ok((Sender { stream }, Receiver { state: State::Asked(response), buffer: BytesMut::new(), limit }))
}

// === impl Sender ===

impl Sender {
    pub async fn send(&mut self, message: &impl Message) -> Result<(), GrpcError> {
        self.send_frame(frame(message), false).await
    }

    pub(crate) async fn send_frame(&mut self, mut frame: Bytes, last: bool) -> Result<(), GrpcError> {
        while !frame.is_empty() {
            self.stream.reserve_capacity(frame.len());
            let room = match poll_fn(|cx| self.stream.poll_capacity(cx)).await {
                Some(room) => room.map_err(GrpcError::Broken)?,
                // The peer has ended the stream: its status says why.
                None => return Ok(()),
            };
            let piece = frame.split_to(room.min(frame.len()));
            let end = last && frame.is_empty();
            self.stream.send_data(piece, end).map_err(GrpcError::Broken)?;
        }
        Ok(())
    }
}

// === impl Receiver ===

impl Receiver {
    /// The next message. `None` when the service has ended the stream in order.
    pub async fn next<A: Message + Default>(&mut self) -> Result<Option<A>, GrpcError> {
        match self.bytes().await? {
            Some(bytes) => Ok(Some(A::decode(bytes)?)),
            None => Ok(None),
        }
    }

    pub(crate) async fn single(&mut self) -> Result<Bytes, GrpcError> {
        let answer = self.bytes().await?;
        // Behind it comes the status.
        match (answer, self.bytes().await?) {
            (Some(answer), None) => Ok(answer),
            (Some(_), Some(_)) => Err(GrpcError::Protocol("more than one answer")),
            (None, _) => Err(GrpcError::Protocol("no answer")),
        }
    }

    async fn bytes(&mut self) -> Result<Option<Bytes>, GrpcError> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            match &mut self.state {
                State::Ended => return Ok(None),
                State::Asked(response) => {
                    let (head, body) = response.await.map_err(GrpcError::Broken)?.into_parts();
                    if head.status != StatusCode::OK {
                        return Err(GrpcError::Protocol("the HTTP status is not 200"));
                    }
                    if let Some(status) = status(&head.headers) {
                        self.state = State::Ended;
                        status?;
                        continue;
                    }
                    self.state = State::Answering(body);
                }
                State::Answering(body) => match body.data().await {
                    Some(data) => {
                        let data = data.map_err(GrpcError::Broken)?;
                        body.flow_control().release_capacity(data.len()).map_err(GrpcError::Broken)?;
                        self.buffer.extend_from_slice(&data);
                    }
                    None => {
                        let trailers = body.trailers().await.map_err(GrpcError::Broken)?.unwrap_or_default();
                        self.state = State::Ended;
                        if !self.buffer.is_empty() {
                            return Err(GrpcError::Protocol("it ends within a message"));
                        }
                        status(&trailers).unwrap_or(Err(GrpcError::Protocol("it ends without a status")))?;
                    }
                },
            }
        }
    }

    /// A message that has arrived whole.
    fn buffered(&mut self) -> Result<Option<Bytes>, GrpcError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let [compressed, length @ ..] = *header;
        if compressed != 0 {
            return Err(GrpcError::Protocol("it is compressed, which nobody asked for"));
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > self.limit {
            return Err(GrpcError::TooLarge { bytes: length });
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        let message = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() && self.buffer.capacity() > 1 << 20 {
            self.buffer = BytesMut::new();
        }
        Ok(Some(message))
    }
}

/// What the headers or trailers say of how the call ended; `None` when they do not.
fn status(headers: &HeaderMap) -> Option<Result<(), GrpcError>> {
    let code = headers.get("grpc-status")?.to_str().ok().and_then(|code| code.parse().ok()).unwrap_or(Code::UNKNOWN.0);
    if code == 0 {
        return Some(Ok(()));
    }
    let message = headers.get("grpc-message").and_then(|message| message.to_str().ok()).unwrap_or_default();
    let message = percent_decode_str(message).decode_utf8_lossy().into_owned();
    Some(Err(GrpcError::Status { code: Code(code), message }))
}
