//! Several streams over one WebSocket: every message begins with its channel's number. `v5.channel.k8s.io` adds a
//! message that closes one channel. Pure. Upstream: wsstream, client-go/tools/remotecommand/v5.go.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message;

pub(super) const STDIN: u8 = 0;
pub(super) const STDOUT: u8 = 1;
pub(super) const STDERR: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// Protocols of exec and attach, best first.
pub(super) const PROTOCOLS: [&str; 6] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];

/// How a connection writes its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Codec {
    base64: bool,
    /// The result of a command is a Status.
    pub status: bool,
    close: bool,
}

/// What came from the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Data { channel: u8, data: Bytes },
    CloseChannel(u8),
    Ignored,
}

impl Codec {
    pub(super) fn of(protocol: &str) -> Self {
        Codec {
            base64: protocol.contains("base64"),
            status: protocol.starts_with("v4.") || protocol.starts_with("v5."),
            close: protocol.starts_with("v5."),
        }
    }

    pub(super) fn encode(self, channel: u8, data: &[u8]) -> Message {
        if self.base64 {
            let mut text = String::with_capacity(1 + data.len().div_ceil(3) * 4);
            text.push(char::from(b'0' + channel % 10));
            STANDARD.encode_string(data, &mut text);
            return Message::text(text);
        }
        let mut frame = Vec::with_capacity(1 + data.len());
        frame.push(channel);
        frame.extend_from_slice(data);
        Message::binary(frame)
    }

    pub(super) fn decode(self, message: Message) -> Incoming {
        let data: Bytes = match message {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            _ => return Incoming::Ignored,
        };
        let Some(first) = data.first().copied() else { return Incoming::Ignored };
        let rest = data.slice(1..);
        if self.base64 {
            return match STANDARD.decode(&rest) {
                Ok(data) => Incoming::Data { channel: first.wrapping_sub(b'0'), data: data.into() },
                Err(_) => Incoming::Ignored,
            };
        }
        match (first, rest.first()) {
            (CLOSE, Some(channel)) if self.close => Incoming::CloseChannel(*channel),
            (CLOSE, _) => Incoming::Ignored,
            _ => Incoming::Data { channel: first, data: rest },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let v5 = Codec::of("v5.channel.k8s.io");
        assert_eq!(v5.encode(STDOUT, b"hi"), Message::binary(&b"\x01hi"[..]));
        assert_eq!(
            v5.decode(Message::binary(&b"\x00in"[..])),
            Incoming::Data { channel: STDIN, data: Bytes::from_static(b"in") }
        );
        assert_eq!(v5.decode(Message::binary(&b"\xff\x00"[..])), Incoming::CloseChannel(STDIN));
        assert_eq!(Codec::of("v4.channel.k8s.io").decode(Message::binary(&b"\xff\x00"[..])), Incoming::Ignored);
        assert_eq!(v5.decode(Message::binary(&b""[..])), Incoming::Ignored);
        let base64 = Codec::of("base64.channel.k8s.io");
        assert_eq!(base64.encode(STDERR, b"hi"), Message::text("2aGk="));
        assert_eq!(
            base64.decode(Message::text("0aGk=")),
            Incoming::Data { channel: STDIN, data: Bytes::from_static(b"hi") }
        );
        assert_eq!(base64.decode(Message::text("0!!")), Incoming::Ignored);
    }
}
