//! A netlink socket that waits on the reactor.
//!
//! The kernel works a request off inside `sendmsg`, so the answer is normally there at the first `recv`; only long
//! dumps ever wait. A socket keeps the network namespace it was opened in for life, whatever thread uses it.
//! A request abandoned half-way leaves answers behind; they carry an old sequence number and are skipped.

mod sys;

use std::io;

use tokio::io::unix::AsyncFd;

use crate::namespace::Namespace;
use crate::wire::{self, HEADER, Message, Writer, flags};

pub(crate) use sys::Descriptor;

/// Which kernel subsystem a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes, neighbours.
    Route,
    /// nf_tables and connection tracking.
    Netfilter,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open a netlink socket")]
    Open(#[source] io::Error),
    #[error("enter a network namespace")]
    Namespace(#[source] io::Error),
    #[error("send a netlink request")]
    Send(#[source] io::Error),
    #[error("receive a netlink answer")]
    Receive(#[source] io::Error),
    #[error("{operation}: {}{}", io::Error::from_raw_os_error(*.errno), detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default())]
    Refused { operation: String, errno: i32, detail: Option<String> },
    #[error("the kernel's answer is cut short")]
    Malformed,
}

impl Error {
    /// The kernel's error number, when it was the kernel that said no.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// What had to be removed is not there (any more).
    pub fn is_not_found(&self) -> bool {
        matches!(self.errno(), Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL))
    }

    /// What had to be made is there already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }
}

/// A message of the kernel's answer, owned.
#[derive(Debug, Clone)]
pub struct Reply {
    pub kind: u16,
    pub payload: Vec<u8>,
}

/// Requests in one buffer, each acknowledged on its own, sent by one system call.
#[derive(Debug, Default)]
pub struct Requests {
    pub(crate) writer: Writer,
    starts: Vec<usize>,
    operations: Vec<String>,
}

impl Requests {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a request; `operation` says what it does, for the error.
    pub fn add(&mut self, kind: u16, extra_flags: u16, operation: impl Into<String>, fill: impl FnOnce(&mut Writer)) {
        self.starts.push(self.writer.len());
        self.operations.push(operation.into());
        let mark = self.writer.message(kind, flags::REQUEST | flags::ACK | extra_flags);
        fill(&mut self.writer);
        self.writer.end_message(mark);
    }

    pub fn len(&self) -> usize {
        self.starts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}

#[derive(Debug)]
pub struct Socket {
    descriptor: AsyncFd<Descriptor>,
    sequence: u32,
    send_limit: usize,
    buffer: Vec<u8>,
}

/// Hears what changes in the kernel, whoever changed it.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
}

/// What can be listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Addresses of links, both families.
    Addresses,
}

impl Monitor {
    /// Begins to listen, in the calling thread's network namespace.
    pub fn open(topic: Topic) -> Result<Self, Error> {
        // RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR.
        let (protocol, groups) = match topic {
            Topic::Addresses => (Protocol::Route, [5, 9]),
        };
        let socket = Socket::open(protocol)?;
        socket.descriptor.get_ref().bind().map_err(Error::Open)?;
        for group in groups {
            socket.descriptor.get_ref().join(group).map_err(Error::Open)?;
        }
        Ok(Self { socket })
    }

    /// Ends when something has changed. What it was is for the caller to look up: notices may be lost, and then this
    /// ends too.
    pub async fn changed(&mut self) -> Result<(), Error> {
        match self.socket.receive().await {
            Err(Error::Receive(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

/// Tries of a dump that other processes' changes run into.
const DUMP_TRIES: usize = 16;
/// Large enough for any datagram of a dump.
const RECEIVE_BUFFER: usize = 64 * 1024;

impl Socket {
    /// Opens a socket in the calling thread's network namespace. Needs a reactor.
    pub fn open(protocol: Protocol) -> Result<Self, Error> {
        Self::from_descriptor(Descriptor::open(protocol).map_err(Error::Open)?)
    }

    /// Opens a socket that belongs to `namespace`, without the caller entering it.
    pub fn open_in(namespace: &Namespace, protocol: Protocol) -> Result<Self, Error> {
        let descriptor = namespace.run(move || Descriptor::open(protocol)).map_err(Error::Namespace)?;
        Self::from_descriptor(descriptor.map_err(Error::Open)?)
    }

    fn from_descriptor(descriptor: Descriptor) -> Result<Self, Error> {
        let send_limit = descriptor.send_buffer().map_err(Error::Open)?;
        let descriptor = descriptor.register().map_err(Error::Open)?;
        Ok(Self { descriptor, sequence: 0, send_limit, buffer: vec![0; RECEIVE_BUFFER] })
    }

    /// Runs all requests and answers with every message that came back other than acknowledgements. All are tried;
    /// the first failure is reported.
    pub async fn run(&mut self, requests: Requests) -> Result<Vec<Reply>, Error> {
        let Requests { mut writer, starts, operations } = requests;
        if starts.is_empty() {
            return Ok(Vec::new());
        }
        let first = self.next_sequences(starts.len());
        for (index, start) in starts.iter().enumerate() {
            writer.set_sequence(*start, sequence_at(first, index));
        }
        self.send(writer.bytes()).await?;

        let mut replies = Vec::new();
        let mut failure = None;
        let mut open = starts.len();
        while open > 0 {
            let length = self.receive().await?;
            for message in wire::messages(&self.buffer[..length]) {
                let index = message.sequence.wrapping_sub(first) as usize;
                if index >= starts.len() {
                    continue;
                }
                match Answer::of(&message)? {
                    Answer::Data => replies.push(Reply { kind: message.kind, payload: message.payload.to_vec() }),
                    Answer::Done => open -= 1,
                    Answer::Refused { errno, detail } => {
                        open -= 1;
                        failure.get_or_insert(Error::Refused { operation: operations[index].clone(), errno, detail });
                    }
                }
            }
        }
        failure.map_or(Ok(replies), Err)
    }

    /// Runs one dump; `each` sees every message of it as it comes. What changes meanwhile may be missed or seen twice.
    pub async fn dump(
        &mut self,
        kind: u16,
        operation: &str,
        fill: impl FnOnce(&mut Writer),
        each: impl FnMut(u16, &[u8]),
    ) -> Result<(), Error> {
        self.dump_once(kind, operation, fill, each).await.map(|_| ())
    }

    /// Runs a dump until nothing changed under it; answers the messages' payloads.
    pub(crate) async fn collect(
        &mut self,
        kind: u16,
        operation: &str,
        fill: impl Fn(&mut Writer),
    ) -> Result<Vec<Vec<u8>>, Error> {
        for _ in 0..DUMP_TRIES {
            let mut payloads = Vec::new();
            if self.dump_once(kind, operation, &fill, |_, payload| payloads.push(payload.to_vec())).await? {
                return Ok(payloads);
            }
        }
        Err(Error::Refused { operation: operation.to_owned(), errno: libc::EINTR, detail: None })
    }

    /// Whether the dump shows one state of things.
    async fn dump_once(
        &mut self,
        kind: u16,
        operation: &str,
        fill: impl FnOnce(&mut Writer),
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<bool, Error> {
        let mut writer = Writer::new();
        let mark = writer.message(kind, flags::REQUEST | flags::DUMP);
        fill(&mut writer);
        writer.end_message(mark);
        let sequence = self.next_sequences(1);
        writer.set_sequence(0, sequence);
        self.send(writer.bytes()).await?;
        let mut consistent = true;
        loop {
            let length = self.receive().await?;
            for message in wire::messages(&self.buffer[..length]) {
                if message.sequence != sequence {
                    continue;
                }
                consistent &= message.flags & flags::DUMP_INTERRUPTED == 0 || message.kind == NLMSG_ERROR;
                match Answer::of(&message)? {
                    Answer::Data => each(message.kind, message.payload),
                    Answer::Done => return Ok(consistent),
                    Answer::Refused { errno, detail } => {
                        return Err(Error::Refused { operation: operation.to_owned(), errno, detail });
                    }
                }
            }
        }
    }

    /// Sends a transaction (`nft::Batch`): its messages share one acknowledgement, asked for on the last one.
    /// The kernel reports every failing message before that, and a failed commit against the header.
    pub(crate) async fn transact(
        &mut self,
        writer: &mut Writer,
        starts: &[usize],
        describe: impl Fn(&Message<'_>) -> String,
    ) -> Result<(), Error> {
        if starts.len() < 3 {
            return Ok(());
        }
        let last = starts.len() - 2;
        let first = self.next_sequences(starts.len());
        for (index, start) in starts.iter().enumerate() {
            writer.set_sequence(*start, sequence_at(first, index));
        }
        writer.add_flags(starts[last], flags::ACK);
        self.send(writer.bytes()).await?;

        let mut failure: Option<Error> = None;
        loop {
            let length = self.receive().await?;
            for message in wire::messages(&self.buffer[..length]) {
                let index = message.sequence.wrapping_sub(first) as usize;
                if index >= starts.len() {
                    continue;
                }
                match Answer::of(&message)? {
                    Answer::Data => {}
                    Answer::Refused { errno, detail } => {
                        let operation = match wire::messages(&writer.bytes()[starts[index]..]).next() {
                            Some(_) if index == 0 => "commit".to_owned(),
                            Some(request) => describe(&request),
                            None => String::new(),
                        };
                        let refused = Error::Refused { operation, errno, detail };
                        // What is told against the header (no permission, no memory, a failed commit) ends it:
                        // what may still follow carries old sequence numbers for whoever reads next.
                        if index == 0 || index == last {
                            return Err(failure.unwrap_or(refused));
                        }
                        failure.get_or_insert(refused);
                    }
                    Answer::Done if index == last => return failure.map_or(Ok(()), Err),
                    Answer::Done => {}
                }
            }
        }
    }

    fn next_sequences(&mut self, count: usize) -> u32 {
        let first = self.sequence.wrapping_add(1);
        self.sequence = sequence_at(self.sequence, count);
        first
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        // A datagram larger than the send buffer is refused outright; half of it is the kernel's own overhead.
        if bytes.len() * 2 > self.send_limit {
            let wanted = bytes.len() * 2 + 64 * 1024;
            self.descriptor.get_ref().set_send_buffer(wanted).map_err(Error::Send)?;
            self.send_limit = wanted;
        }
        loop {
            match self.descriptor.get_ref().send(bytes) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.descriptor.writable().await.map_err(Error::Send)?.clear_ready();
                }
                Err(error) => return Err(Error::Send(error)),
            }
        }
    }

    async fn receive(&mut self) -> Result<usize, Error> {
        loop {
            match self.descriptor.get_ref().receive(&mut self.buffer) {
                Ok(length) if length > self.buffer.len() => return Err(Error::Malformed),
                Ok(length) => return Ok(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut guard = self.descriptor.readable().await.map_err(Error::Receive)?;
                    // An answer may have come between the two: readiness is only dropped if there is still none.
                    match self.descriptor.get_ref().receive(&mut self.buffer) {
                        Ok(length) if length > self.buffer.len() => return Err(Error::Malformed),
                        Ok(length) => return Ok(length),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(Error::Receive(error)),
                    }
                }
                Err(error) => return Err(Error::Receive(error)),
            }
        }
    }
}

fn sequence_at(first: u32, index: usize) -> u32 {
    first.wrapping_add(u32::try_from(index).unwrap_or(u32::MAX))
}

/// What one received message means for the request it answers.
enum Answer {
    Data,
    Done,
    Refused { errno: i32, detail: Option<String> },
}

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;

impl Answer {
    fn of(message: &Message<'_>) -> Result<Self, Error> {
        if message.kind != NLMSG_ERROR && message.kind != NLMSG_DONE {
            return Ok(Self::Data);
        }
        let code = match message.payload.first_chunk::<4>() {
            Some(code) => i32::from_ne_bytes(*code),
            None if message.kind == NLMSG_DONE => 0,
            None => return Err(Error::Malformed),
        };
        if code == 0 || (message.kind == NLMSG_DONE && code > 0) {
            return Ok(Self::Done);
        }
        let mut detail = None;
        if message.kind == NLMSG_ERROR && message.flags & flags::ACK_TLVS != 0 {
            // The request's header follows the code, and all of the request unless the answer is capped.
            let request = message.payload.get(4..).unwrap_or_default();
            let skip = match request.first_chunk::<4>() {
                Some(length) if message.flags & flags::CAPPED == 0 => u32::from_ne_bytes(*length) as usize,
                _ => HEADER,
            };
            let rest = request.get((skip + 3) & !3..).unwrap_or_default();
            detail = wire::find(rest, NLMSGERR_ATTR_MSG).map(|text| text.string().into_owned());
        }
        Ok(Self::Refused { errno: -code, detail })
    }
}
