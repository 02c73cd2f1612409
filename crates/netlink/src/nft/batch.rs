//! A transaction: messages between a BEGIN and an END, applied whole or not at all.

use super::expression::{DATA_VALUE, milliseconds};
use super::{BaseChain, Element, Expr, SUBSYSTEM, Set, SetValue, Table, Type, Value};
use crate::socket::{Error, Socket};
use crate::wire::{self, HEADER, Mark, Message, Writer, flags};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const NEW_TABLE: u16 = SUBSYSTEM;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const DELETE_CHAIN: u16 = SUBSYSTEM | 5;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const DELETE_RULE: u16 = SUBSYSTEM | 8;
const NEW_SET: u16 = SUBSYSTEM | 9;
const DELETE_SET: u16 = SUBSYSTEM | 11;
const NEW_ELEMENTS: u16 = SUBSYSTEM | 12;
const DELETE_ELEMENTS: u16 = SUBSYSTEM | 14;

const SET_MAP: u32 = 8;
const SET_INTERVAL: u32 = 4;
const SET_TIMEOUT: u32 = 0x10;
const SET_EVAL: u32 = 0x20;
const SET_CONCAT: u32 = 0x80;
const DATA_TYPE_VERDICT: u32 = 0xffff_ff00;
const ELEMENT_INTERVAL_END: u32 = 1;

/// A list of elements is one attribute, and an attribute's length has 16 bits.
const LIST_LIMIT: usize = 48 * 1024;

/// Operations of one transaction, encoded as they are added.
#[derive(Debug)]
pub struct Batch {
    writer: Writer,
    starts: Vec<usize>,
    /// Sets have numbers inside their transaction; names are used for references, so any distinct number does.
    set_number: u32,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    pub fn new() -> Self {
        let mut batch = Self { writer: Writer::new(), starts: Vec::new(), set_number: 0 };
        batch.bracket(BATCH_BEGIN);
        batch
    }

    /// Operations so far. A long list of elements counts more than once.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes so far.
    pub fn size(&self) -> usize {
        self.writer.len()
    }

    /// Makes the table, or leaves the one that is there.
    pub fn add_table(&mut self, table: &Table) {
        self.operation(NEW_TABLE, flags::CREATE, table, |writer| {
            writer.string(1, &table.name);
            writer.be32(2, 0);
        });
    }

    /// Removes the table with everything in it. It has to exist: add it first to be sure.
    pub fn delete_table(&mut self, table: &Table) {
        self.operation(DELETE_TABLE, 0, table, |writer| writer.string(1, &table.name));
    }

    /// Makes the chain, or leaves the one that is there.
    pub fn add_chain(&mut self, table: &Table, name: &str, base: Option<BaseChain>) {
        self.operation(NEW_CHAIN, flags::CREATE, table, |writer| {
            writer.string(1, &table.name);
            writer.string(3, name);
            if let Some(base) = base {
                writer.nested(4, |writer| {
                    writer.be32(1, base.hook.number());
                    writer.attribute(2, &base.priority.to_be_bytes());
                });
                writer.be32(5, 1);
                writer.string(7, base.kind.name());
            }
        });
    }

    /// Removes the chain; its rules have to be gone, and every reference to it.
    pub fn delete_chain(&mut self, table: &Table, name: &str) {
        self.operation(DELETE_CHAIN, 0, table, |writer| {
            writer.string(1, &table.name);
            writer.string(3, name);
        });
    }

    /// Removes all rules of the chain.
    pub fn flush_chain(&mut self, table: &Table, name: &str) {
        self.operation(DELETE_RULE, 0, table, |writer| {
            writer.string(1, &table.name);
            writer.string(2, name);
        });
    }

    /// Appends a rule.
    pub fn add_rule(&mut self, table: &Table, chain: &str, expressions: &[Expr]) {
        self.operation(NEW_RULE, flags::CREATE | flags::APPEND, table, |writer| {
            writer.string(1, &table.name);
            writer.string(2, chain);
            writer.nested(4, |writer| {
                for expression in expressions {
                    writer.nested(1, |writer| expression.encode(writer));
                }
            });
        });
    }

    /// Makes the set or map, or leaves one of the same definition that is there.
    pub fn add_set(&mut self, table: &Table, set: &Set) {
        self.set_number += 1;
        let number = self.set_number;
        self.operation(NEW_SET, flags::CREATE, table, |writer| {
            writer.string(1, &table.name);
            writer.string(2, &set.name);
            writer.be32(3, set_flags(set));
            writer.be32(4, Type::concatenated(&set.key));
            writer.be32(5, Type::total(&set.key));
            match &set.value {
                SetValue::None => {}
                SetValue::Verdict => {
                    writer.be32(6, DATA_TYPE_VERDICT);
                    writer.be32(7, 16);
                }
                SetValue::Data(types) => {
                    writer.be32(6, Type::concatenated(types));
                    writer.be32(7, Type::total(types));
                }
            }
            writer.be32(10, number);
            let fields = set.interval && set.key.len() > 1;
            if set.size.is_some() || fields {
                writer.nested(9, |writer| {
                    if let Some(size) = set.size {
                        writer.be32(1, size);
                    }
                    if fields {
                        writer.nested(2, |writer| {
                            for part in &set.key {
                                writer.nested(1, |writer| writer.be32(1, part.length()));
                            }
                        });
                    }
                });
            }
            if let Some(Some(timeout)) = set.timeout {
                writer.be64(11, milliseconds(timeout));
            }
            let notes = byte_order_notes(set);
            if !notes.is_empty() {
                writer.attribute(13, &notes);
            }
        });
    }

    pub fn delete_set(&mut self, table: &Table, name: &str) {
        self.operation(DELETE_SET, 0, table, |writer| {
            writer.string(1, &table.name);
            writer.string(2, name);
        });
    }

    /// Removes all elements.
    pub fn flush_set(&mut self, table: &Table, name: &str) {
        self.operation(DELETE_ELEMENTS, 0, table, |writer| {
            writer.string(1, &table.name);
            writer.string(2, name);
        });
    }

    /// Adds elements; one that is there already with the same value is left, with another value it is an error.
    pub fn add_elements<'a>(&mut self, table: &Table, set: &Set, elements: impl IntoIterator<Item = &'a Element>) {
        self.elements(NEW_ELEMENTS, flags::CREATE, table, set, elements);
    }

    /// Removes elements; each has to be there.
    pub fn delete_elements<'a>(&mut self, table: &Table, set: &Set, elements: impl IntoIterator<Item = &'a Element>) {
        self.elements(DELETE_ELEMENTS, 0, table, set, elements);
    }

    /// Commits. On an error nothing was changed.
    pub async fn send(mut self, socket: &mut Socket) -> Result<(), Error> {
        self.bracket(BATCH_END);
        let Self { mut writer, starts, .. } = self;
        socket.transact(&mut writer, &starts, describe).await
    }

    /// The bytes of the operations, each with its header, without BEGIN and END.
    pub fn operations(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.starts.iter().skip(2).copied().chain([self.writer.len()]);
        self.starts.iter().skip(1).zip(ends).map(|(start, end)| &self.writer.bytes()[*start..end])
    }

    fn bracket(&mut self, kind: u16) {
        self.starts.push(self.writer.len());
        let mark = self.writer.message(kind, flags::REQUEST);
        self.writer.raw(&[0, 0, 0, 10]);
        self.writer.end_message(mark);
    }

    fn operation(&mut self, kind: u16, extra: u16, table: &Table, fill: impl FnOnce(&mut Writer)) {
        let mark = self.open(kind, extra, table);
        fill(&mut self.writer);
        self.writer.end_message(mark);
    }

    fn open(&mut self, kind: u16, extra: u16, table: &Table) -> Mark {
        self.starts.push(self.writer.len());
        let mark = self.writer.message(kind, flags::REQUEST | extra);
        self.writer.raw(&[table.family.number(), 0, 0, 0]);
        mark
    }

    fn elements<'a>(
        &mut self,
        kind: u16,
        extra: u16,
        table: &Table,
        set: &Set,
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        let mut elements = elements.into_iter().peekable();
        while elements.peek().is_some() {
            let message = self.open(kind, extra, table);
            self.writer.string(1, &table.name);
            self.writer.string(2, &set.name);
            let list = self.writer.open_nested(3);
            let begin = self.writer.len();
            while let Some(element) = elements.next_if(|_| self.writer.len() - begin < LIST_LIMIT) {
                encode_element(&mut self.writer, set, element, kind == NEW_ELEMENTS);
            }
            self.writer.close(list);
            self.writer.end_message(message);
        }
    }
}

fn encode_element(writer: &mut Writer, set: &Set, element: &Element, with_value: bool) {
    let length = Type::total(&set.key) as usize;
    let concatenated_range = set.interval && set.key.len() > 1;
    writer.nested(1, |writer| {
        writer.nested(1, |writer| writer.attribute(DATA_VALUE, &element.key.padded(length)));
        if concatenated_range {
            let end = element.end.as_ref().unwrap_or(&element.key);
            writer.nested(10, |writer| writer.attribute(DATA_VALUE, &end.padded(length)));
        }
        if with_value {
            match &element.value {
                Value::None => {}
                Value::Data(value) => {
                    let length = match &set.value {
                        SetValue::Data(types) => Type::total(types) as usize,
                        SetValue::None | SetValue::Verdict => value.bytes().len(),
                    };
                    writer.nested(2, |writer| writer.attribute(DATA_VALUE, &value.padded(length)));
                }
                Value::Verdict(verdict) => writer.nested(2, |writer| verdict.encode(writer)),
            }
            if let Some(timeout) = element.timeout {
                writer.be64(4, milliseconds(timeout));
            }
        }
    });
    if set.interval
        && !concatenated_range
        && let Some(past) = element.end.as_ref().unwrap_or(&element.key).successor()
    {
        writer.nested(1, |writer| {
            writer.nested(1, |writer| writer.attribute(DATA_VALUE, past.bytes()));
            writer.be32(3, ELEMENT_INTERVAL_END);
        });
    }
}

pub(super) fn set_flags(set: &Set) -> u32 {
    let mut bits = 0;
    if set.interval {
        bits |= SET_INTERVAL;
        if set.key.len() > 1 {
            bits |= SET_CONCAT;
        }
    }
    if set.value != SetValue::None {
        bits |= SET_MAP;
    }
    if set.timeout.is_some() {
        bits |= SET_TIMEOUT;
    }
    if set.dynamic {
        bits |= SET_EVAL;
    }
    bits
}

/// What `nft` leaves itself in a set's user data, to show numbers in the machine's byte order. For concatenations it
/// goes by the types.
fn byte_order_notes(set: &Set) -> Vec<u8> {
    const KEY: u8 = 0;
    const DATA: u8 = 1;
    const HOST: u32 = 1;
    let mut notes = Vec::new();
    let mut note = |kind, types: &[Type]| {
        if types == [Type::Mark] {
            notes.extend_from_slice(&[kind, 4]);
            notes.extend_from_slice(&HOST.to_ne_bytes());
        }
    };
    note(KEY, &set.key);
    if let SetValue::Data(types) = &set.value {
        note(DATA, types);
    }
    notes
}

/// Says what a request wanted, from its own bytes: nothing is kept for errors that do not happen.
fn describe(request: &Message<'_>) -> String {
    let body = request.payload.get(4..).unwrap_or_default();
    let text = |kind| wire::find(body, kind).map(|name| name.string().into_owned()).unwrap_or_default();
    let table = text(1);
    match request.kind {
        NEW_TABLE => format!("add table {table}"),
        DELETE_TABLE => format!("delete table {table}"),
        NEW_CHAIN => format!("add chain {table} {}", text(3)),
        DELETE_CHAIN => format!("delete chain {table} {}", text(3)),
        NEW_RULE => format!("add rule {table} {}", text(2)),
        DELETE_RULE => format!("delete rules {table} {}", text(2)),
        NEW_SET => format!("add set {table} {}", text(2)),
        DELETE_SET => format!("delete set {table} {}", text(2)),
        NEW_ELEMENTS => format!("add elements {table} {}", text(2)),
        DELETE_ELEMENTS => format!("delete elements {table} {}", text(2)),
        kind => format!("nf_tables message {kind} of {} bytes", request.payload.len() + HEADER),
    }
}
