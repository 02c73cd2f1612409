//! What a table has in the kernel. Asked once, at start: afterwards the shadow knows.

use super::{SUBSYSTEM, Table};
use crate::socket::{Error, Socket};
use crate::wire::{self, Writer};

const GET_CHAIN: u16 = SUBSYSTEM | 4;
const GET_SET: u16 = SUBSYSTEM | 10;
const GET_ELEMENTS: u16 = SUBSYSTEM | 13;

/// A table's chains and sets, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    pub chains: Vec<String>,
    pub sets: Vec<ListedSet>,
}

/// A set or map, as far as it tells whether it can be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSet {
    pub name: String,
    pub flags: u32,
    pub key_length: u32,
    pub data_length: u32,
}

/// Lists the table; one that does not exist has nothing.
pub async fn list(socket: &mut Socket, table: &Table) -> Result<Listed, Error> {
    let ask = |writer: &mut Writer| {
        writer.raw(&[table.family.number(), 0, 0, 0]);
        writer.string(1, &table.name);
    };
    // The kernel may list what is in other tables too.
    let ours = |payload: &Vec<u8>| {
        let body = payload.get(4..)?;
        (wire::find(body, 1)?.string() == table.name).then(|| body.to_vec())
    };
    let mut listed = Listed::default();
    let chains = absent_is_empty(socket.collect(GET_CHAIN, "list chains", ask).await)?;
    for chain in chains.iter().filter_map(ours) {
        listed.chains.extend(wire::find(&chain, 3).map(|name| name.string().into_owned()));
    }
    let sets = absent_is_empty(socket.collect(GET_SET, "list sets", ask).await)?;
    for set in sets.iter().filter_map(ours) {
        let number = |kind| wire::find(&set, kind).and_then(|found| found.be32()).unwrap_or_default();
        listed.sets.extend(wire::find(&set, 2).map(|name| ListedSet {
            name: name.string().into_owned(),
            flags: number(3),
            key_length: number(5),
            data_length: number(7),
        }));
    }
    Ok(listed)
}

/// The elements of a map to data: key and value. For maps that rules fill; the rest is known without asking.
pub async fn elements(socket: &mut Socket, table: &Table, map: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
    let mut elements = Vec::new();
    let ask = |writer: &mut Writer| {
        writer.raw(&[table.family.number(), 0, 0, 0]);
        writer.string(1, &table.name);
        writer.string(2, map);
    };
    socket
        .dump(GET_ELEMENTS, "list elements", ask, |_, payload| {
            let listed = wire::find(payload.get(4..).unwrap_or_default(), 3);
            for element in listed.iter().flat_map(|list| list.attributes()) {
                let part = |kind| wire::find(wire::find(element.value, kind)?.value, 1).map(|part| part.value.to_vec());
                elements.extend(part(1).zip(part(2)));
            }
        })
        .await?;
    Ok(elements)
}

fn absent_is_empty(result: Result<Vec<Vec<u8>>, Error>) -> Result<Vec<Vec<u8>>, Error> {
    match result {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        other => other,
    }
}
