//! Connection tracking: forget the entries that a predicate names.
//!
//! A UDP "connection" that was translated to an endpoint that is gone would be translated to it for as long as the
//! client keeps sending. Upstream: `pkg/proxy/conntrack`.

use std::net::IpAddr;

use crate::socket::{Error, Requests, Socket};
use crate::wire::{self, Attribute, Writer};

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
const CTA_FILTER_F_PROTO_NUM: u32 = 1 << 3;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

/// Requests a message: bounds the buffer, not the number of entries.
const DELETES_A_MESSAGE: usize = 256;

/// One direction of a tracked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub source_port: u16,
    pub destination_port: u16,
}

/// A tracked connection: as it came, and as its answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    pub original: Tuple,
    pub reply: Tuple,
    id: Option<u32>,
    zone: Option<u16>,
}

impl Connection {
    /// Where the connection was sent to, if its destination was translated.
    pub fn translated_to(&self) -> Option<(IpAddr, u16)> {
        let to = (self.reply.source, self.reply.source_port);
        (to != (self.original.destination, self.original.destination_port)).then_some(to)
    }
}

/// The connections of one protocol and both address families.
pub async fn list(socket: &mut Socket, protocol: u8) -> Result<Vec<Connection>, Error> {
    let mut connections = Vec::new();
    for family in [2_u8, 10] {
        let mut each = |_: u16, payload: &[u8]| {
            connections.extend(parse(payload).filter(|connection| connection.original.protocol == protocol));
        };
        let filtered = |writer: &mut Writer| {
            header(writer, family);
            writer.nested(CTA_TUPLE_ORIG, |writer| {
                writer.nested(CTA_TUPLE_PROTO, |writer| writer.u8(CTA_PROTO_NUM, protocol));
            });
            writer.nested(CTA_FILTER, |writer| {
                writer.u32(CTA_FILTER_ORIG_FLAGS, CTA_FILTER_F_PROTO_NUM);
                writer.u32(CTA_FILTER_REPLY_FLAGS, 0);
            });
        };
        match socket.dump(GET, "list connections", filtered, &mut each).await {
            // Kernels before 5.8 know no filter: all entries are looked at here.
            Err(error) if matches!(error.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                socket.dump(GET, "list connections", |writer| header(writer, family), &mut each).await?;
            }
            other => other?,
        }
    }
    Ok(connections)
}

/// Forgets every connection of the protocol that `stale` names; answers how many.
pub async fn forget(socket: &mut Socket, protocol: u8, stale: impl Fn(&Connection) -> bool) -> Result<usize, Error> {
    let mut connections = list(socket, protocol).await?;
    connections.retain(|connection| stale(connection));
    for chunk in connections.chunks(DELETES_A_MESSAGE) {
        let mut requests = Requests::new();
        for connection in chunk {
            requests.add(DELETE, 0, "delete a connection", |writer| {
                header(writer, crate::link::family(connection.original.source));
                tuple(writer, &connection.original);
                if let Some(zone) = connection.zone {
                    writer.be16(CTA_ZONE, zone);
                }
                // Another connection may have taken the tuple in between; the number tells.
                if let Some(id) = connection.id {
                    writer.be32(CTA_ID, id);
                }
            });
        }
        match socket.run(requests).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(connections.len())
}

fn header(writer: &mut Writer, family: u8) {
    writer.raw(&[family, 0, 0, 0]);
}

fn tuple(writer: &mut Writer, tuple: &Tuple) {
    let (source, destination) =
        if tuple.source.is_ipv4() { (CTA_IP_V4_SRC, CTA_IP_V4_DST) } else { (CTA_IP_V6_SRC, CTA_IP_V6_DST) };
    writer.nested(CTA_TUPLE_ORIG, |writer| {
        writer.nested(CTA_TUPLE_IP, |writer| {
            writer.attribute(source, &crate::link::octets(tuple.source));
            writer.attribute(destination, &crate::link::octets(tuple.destination));
        });
        writer.nested(CTA_TUPLE_PROTO, |writer| {
            writer.u8(CTA_PROTO_NUM, tuple.protocol);
            writer.be16(CTA_PROTO_SRC_PORT, tuple.source_port);
            writer.be16(CTA_PROTO_DST_PORT, tuple.destination_port);
        });
    });
}

fn parse(payload: &[u8]) -> Option<Connection> {
    let body = payload.get(4..)?;
    Some(Connection {
        original: parse_tuple(wire::find(body, CTA_TUPLE_ORIG)?)?,
        reply: parse_tuple(wire::find(body, CTA_TUPLE_REPLY)?)?,
        id: wire::find(body, CTA_ID).and_then(|id| id.be32()),
        zone: wire::find(body, CTA_ZONE).and_then(|zone| zone.be16()),
    })
}

fn parse_tuple(tuple: Attribute<'_>) -> Option<Tuple> {
    let addresses = wire::find(tuple.value, CTA_TUPLE_IP)?.value;
    let protocol = wire::find(tuple.value, CTA_TUPLE_PROTO)?.value;
    let address = |v4, v6| match wire::find(addresses, v4) {
        Some(found) => <[u8; 4]>::try_from(found.value).ok().map(IpAddr::from),
        None => <[u8; 16]>::try_from(wire::find(addresses, v6)?.value).ok().map(IpAddr::from),
    };
    let port = |kind| wire::find(protocol, kind).and_then(|port| port.be16()).unwrap_or_default();
    Some(Tuple {
        source: address(CTA_IP_V4_SRC, CTA_IP_V6_SRC)?,
        destination: address(CTA_IP_V4_DST, CTA_IP_V6_DST)?,
        protocol: *wire::find(protocol, CTA_PROTO_NUM)?.value.first()?,
        source_port: port(CTA_PROTO_SRC_PORT),
        destination_port: port(CTA_PROTO_DST_PORT),
    })
}

/// For the test that everything can be read.
#[cfg(test)]
pub(crate) fn read_noise(bytes: &[u8]) {
    let _ = parse(bytes);
}

#[cfg(test)]
mod tests;
