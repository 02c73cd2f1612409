//! Frames of SPDY/3.1, read and written. Pure.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::SpdyError;

/// Largest frame that is taken; clients send at most 64 KiB of data at once.
const MAX_FRAME: usize = 1 << 20;
/// Largest data frame that is sent.
pub(super) const MAX_DATA: usize = 32 * 1024;

const FLAG_FIN: u8 = 1;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    SynStream {
        id: u32,
        fin: bool,
        block: Bytes,
    },
    Headers {
        block: Bytes,
    },
    Reset {
        id: u32,
    },
    Ping {
        id: u32,
    },
    Data {
        id: u32,
        fin: bool,
        data: Bytes,
    },
    /// Settings, replies, window updates, farewells.
    Other,
}

/// Length of a frame's payload, from its first eight bytes.
pub(super) fn length(head: &[u8; 8]) -> Result<usize, SpdyError> {
    let length = usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]);
    if length > MAX_FRAME { Err(SpdyError::Protocol("frame too large")) } else { Ok(length) }
}

impl Frame {
    pub(super) fn parse(head: &[u8; 8], payload: Bytes) -> Result<Frame, SpdyError> {
        let fin = head[4] & FLAG_FIN != 0;
        if head[0] & 0x80 == 0 {
            let id = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            return Ok(Frame::Data { id, fin, data: payload });
        }
        if u16::from_be_bytes([head[0] & 0x7f, head[1]]) != 3 {
            return Err(SpdyError::Protocol("not version 3"));
        }
        let number = |at: usize| -> Result<u32, SpdyError> {
            let bytes = payload.get(at..at + 4).ok_or(SpdyError::Protocol("frame too short"))?;
            Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) & 0x7fff_ffff)
        };
        let rest = |from: usize| if payload.len() < from { Bytes::new() } else { payload.slice(from..) };
        Ok(match u16::from_be_bytes([head[2], head[3]]) {
            1 => Frame::SynStream { id: number(0)?, fin, block: rest(10) },
            3 => Frame::Reset { id: number(0)? },
            6 => Frame::Ping { id: number(0)? },
            8 => Frame::Headers { block: rest(4) },
            _ => Frame::Other,
        })
    }
}

fn control(kind: u16, flags: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + payload.len());
    frame.put_u16(0x8003);
    frame.put_u16(kind);
    frame.put_u32(u32::from(flags) << 24 | (payload.len() as u32 & 0x00ff_ffff));
    frame.put_slice(payload);
    frame.freeze()
}

pub(super) fn syn_reply(id: u32, block: &[u8]) -> Bytes {
    let mut payload = id.to_be_bytes().to_vec();
    payload.extend_from_slice(block);
    control(2, 0, &payload)
}

pub(super) fn ping(id: u32) -> Bytes {
    control(6, 0, &id.to_be_bytes())
}

pub(super) fn goaway(last: u32) -> Bytes {
    let mut payload = last.to_be_bytes().to_vec();
    payload.extend_from_slice(&[0; 4]);
    control(7, 0, &payload)
}

pub(super) fn data_frame(id: u32, data: &[u8], fin: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + data.len());
    frame.put_u32(id & 0x7fff_ffff);
    frame.put_u32(u32::from(if fin { FLAG_FIN } else { 0 }) << 24 | (data.len() as u32 & 0x00ff_ffff));
    frame.put_slice(data);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let ping = ping(7);
        let mut head = [0; 8];
        head.copy_from_slice(&ping[..8]);
        assert_eq!(length(&head).unwrap(), 4);
        assert_eq!(Frame::parse(&head, ping.slice(8..)).unwrap(), Frame::Ping { id: 7 });
        assert!(Frame::parse(&[0x80, 2, 0, 1, 0, 0, 0, 0], Bytes::new()).is_err(), "another version");
        assert!(Frame::parse(&[0x80, 3, 0, 1, 0, 0, 0, 0], Bytes::new()).is_err(), "too short");
        assert!(length(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff]).is_err(), "too large");
    }
}
