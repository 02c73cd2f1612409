//! SPDY/3.1 as Kubernetes uses it: many byte streams over one connection, opened by the client. Only what clients of
//! exec and port-forward send is understood; there is no flow control (upstream's library has none either), the
//! connection's own is enough. Upstream: moby/spdystream, apimachinery/pkg/util/httpstream/spdy.

mod dictionary;
mod frame;
mod headers;

use std::collections::HashMap;
use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use self::frame::{Frame, MAX_DATA, data_frame, goaway, ping, syn_reply};
use self::headers::{Compressor, Decompressor, Headers};

/// Streams of one connection at a time.
const MAX_STREAMS: usize = 512;
/// Frames that wait to be written, and chunks of one stream that wait to be read.
const QUEUE: usize = 16;

/// A stream that the client opened.
pub(super) struct Stream {
    pub headers: Headers,
    /// Ends when the client has closed its side.
    pub reader: mpsc::Receiver<Bytes>,
    pub writer: Writer,
}

/// The server's side of a stream; dropping it without closing resets nothing, closing says that no more will come.
#[derive(Clone)]
pub(super) struct Writer {
    id: u32,
    frames: mpsc::Sender<Bytes>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SpdyError {
    #[error("the client's connection")]
    Io(#[from] io::Error),
    #[error("the client broke the protocol: {0}")]
    Protocol(&'static str),
}

impl Writer {
    /// False when the connection is gone.
    pub(super) async fn write(&self, data: &[u8]) -> bool {
        for part in data.chunks(MAX_DATA) {
            if self.frames.send(data_frame(self.id, part, false)).await.is_err() {
                return false;
            }
        }
        true
    }

    pub(super) async fn close(&self) {
        // A connection that is gone is closed too.
        let _gone = self.frames.send(data_frame(self.id, &[], true)).await;
    }
}

/// Carries streams until the connection ends. New ones go to `opened`; when its receiver is dropped, the connection is
/// closed after everything written before has gone out.
pub(super) async fn serve<S>(connection: S, opened: mpsc::Sender<Stream>) -> Result<(), SpdyError>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (mut input, mut output) = tokio::io::split(connection);
    let (frames, mut queue) = mpsc::channel::<Bytes>(QUEUE);
    let writing = async {
        while let Some(frame) = queue.recv().await {
            output.write_all(&frame).await?;
            if queue.is_empty() {
                output.flush().await?;
            }
        }
        output.shutdown().await?;
        Ok::<(), SpdyError>(())
    };
    let closing = opened.clone();
    let goodbye = frames.clone();
    let reading = async move {
        let mut connection = Connection {
            streams: HashMap::new(),
            inflate: Decompressor::new(),
            deflate: Compressor::default(),
            last: 0,
        };
        loop {
            tokio::select! {
                frame = read_frame(&mut input) => match frame? {
                    Some(frame) => connection.take(frame, &frames, &opened).await?,
                    None => return Ok::<(), SpdyError>(()),
                },
                () = closing.closed() => {
                    let _gone = goodbye.send(goaway(connection.last)).await;
                    return Ok(());
                }
            }
        }
    };
    // When reading ends its sender is dropped; writing goes on until every stream's writer is dropped too.
    let (read, written) = tokio::join!(reading, writing);
    read.and(written)
}

struct Connection {
    streams: HashMap<u32, mpsc::Sender<Bytes>>,
    inflate: Decompressor,
    deflate: Compressor,
    last: u32,
}

impl Connection {
    async fn take(
        &mut self,
        frame: Frame,
        frames: &mpsc::Sender<Bytes>,
        opened: &mpsc::Sender<Stream>,
    ) -> Result<(), SpdyError> {
        match frame {
            Frame::SynStream { id, fin, block } => {
                // Every block must go through the decompressor, whose state spans all of them.
                let headers = self.inflate.headers(&block)?;
                if id <= self.last || id % 2 == 0 {
                    return Err(SpdyError::Protocol("stream number out of order"));
                }
                if self.streams.len() >= MAX_STREAMS {
                    return Err(SpdyError::Protocol("too many streams"));
                }
                self.last = id;
                let (sender, reader) = mpsc::channel(QUEUE);
                if !fin {
                    self.streams.insert(id, sender);
                }
                let reply = syn_reply(id, &self.deflate.empty_block());
                if frames.send(reply).await.is_ok() {
                    let stream = Stream { headers, reader, writer: Writer { id, frames: frames.clone() } };
                    // Nobody wants it any more: the connection is about to be closed.
                    let _closing = opened.send(stream).await;
                }
            }
            Frame::Headers { block } => {
                self.inflate.headers(&block)?;
            }
            Frame::Data { id, fin, data } => {
                if let Some(stream) = self.streams.get(&id).filter(|_| !data.is_empty()) {
                    // A reader that has gone takes no more.
                    let _gone = stream.send(data).await;
                }
                if fin {
                    self.streams.remove(&id);
                }
            }
            Frame::Reset { id } => {
                self.streams.remove(&id);
            }
            Frame::Ping { id } => {
                if id % 2 == 1 {
                    let _gone = frames.send(ping(id)).await;
                }
            }
            Frame::Other => {}
        }
        Ok(())
    }
}

async fn read_frame(input: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, SpdyError> {
    let mut head = [0; 8];
    match input.read_exact(&mut head).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let length = frame::length(&head)?;
    let mut payload = vec![0; length];
    input.read_exact(&mut payload).await?;
    Frame::parse(&head, Bytes::from(payload)).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What kubectl's library sends: the header block deflated against the dictionary, in stored form here.
    fn syn_stream(id: u32, pairs: &[(&str, &str)], first: bool) -> Vec<u8> {
        let mut block = Vec::new();
        block.extend_from_slice(&u32::try_from(pairs.len()).unwrap().to_be_bytes());
        for (name, value) in pairs {
            for text in [name, value] {
                block.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
                block.extend_from_slice(text.as_bytes());
            }
        }
        let mut packed = Vec::new();
        if first {
            packed.extend_from_slice(&[0x78, 0xf9]);
            packed.extend_from_slice(&0xe3c6_a7c2u32.to_be_bytes());
        }
        let length = u16::try_from(block.len()).unwrap();
        packed.push(0);
        packed.extend_from_slice(&length.to_le_bytes());
        packed.extend_from_slice(&(!length).to_le_bytes());
        packed.extend_from_slice(&block);
        packed.extend_from_slice(&[0, 0, 0, 0xff, 0xff]);
        let mut frame = vec![0x80, 3, 0, 1, 0];
        frame.extend_from_slice(&u32::try_from(packed.len() + 10).unwrap().to_be_bytes()[1..]);
        frame.extend_from_slice(&id.to_be_bytes());
        frame.extend_from_slice(&[0; 6]);
        frame.extend_from_slice(&packed);
        frame
    }

    #[tokio::test]
    async fn streams_are_opened_read_and_written() {
        let (mut client, server) = tokio::io::duplex(4096);
        let (opened, mut streams) = mpsc::channel(4);
        let serving = serve(server, opened);
        let using = async {
            client.write_all(&syn_stream(1, &[("streamtype", "error")], true)).await.unwrap();
            client.write_all(&syn_stream(3, &[("streamtype", "data"), ("port", "80")], false)).await.unwrap();
            client.write_all(&[0, 0, 0, 3, 1, 0, 0, 2, b'h', b'i']).await.unwrap();
            let error = streams.recv().await.unwrap();
            assert_eq!(error.headers.get("streamtype").map(String::as_str), Some("error"));
            let mut data = streams.recv().await.unwrap();
            assert_eq!(data.headers.get("port").map(String::as_str), Some("80"));
            assert_eq!(data.reader.recv().await.unwrap(), "hi");
            assert!(data.reader.recv().await.is_none(), "the client closed its side");
            assert!(data.writer.write(b"yo").await);
            data.writer.close().await;
            drop((error, data, streams));
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.unwrap();
            assert_eq!(&all[..4], [0x80, 3, 0, 2], "a reply to the first stream");
            let end = [0, 0, 0, 3, 0, 0, 0, 2, b'y', b'o', 0, 0, 0, 3, 1, 0, 0, 0];
            assert!(all.windows(end.len()).any(|window| window == end), "{all:?}");
        };
        let (served, ()) = tokio::join!(serving, using);
        served.unwrap();
    }

    #[tokio::test]
    async fn nonsense_is_an_error() {
        let (opened, _streams) = mpsc::channel(1);
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        drop(client);
        assert!(serve(server, opened).await.is_err());
    }
}
