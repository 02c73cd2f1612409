//! A container's streams and end.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::log::{Lines, Log};
use crate::sys::{self, POLLIN, POLLOUT, PollFd};

/// What somebody asked for that a program is being started for.
pub struct Starting {
    pub request: u32,
    pub helper: i32,
    pub channel: OwnedFd,
    /// What the helper said so far: `ok`, pid and more, or `err`.
    pub answer: Option<Vec<u8>>,
    pub terminal: Option<OwnedFd>,
    pub what: What,
}

#[derive(Clone, PartialEq, Eq)]
pub enum What {
    Container(String),
    Exec(String),
}

/// A process started inside a container.
pub struct Exec {
    pub id: String,
    pub pid: i32,
}

pub struct Container {
    pub id: String,
    pub directory: PathBuf,
    /// Zero until it runs.
    pub pid: i32,
    pub exit: Option<i32>,
    pub log: Log,
    pub streams: Vec<Stream>,
    pub input: Option<Input>,
    pub stdin_once: bool,
    pub terminal: Option<OwnedFd>,
}

/// One output stream and who else wants it.
pub struct Stream {
    source: File,
    lines: Lines,
    sinks: Vec<Sink>,
}

/// An attached reader. While it has something pending the container's output waits.
struct Sink {
    file: File,
    pending: Vec<u8>,
}

/// The container's standard input and the attached writer that feeds it.
pub struct Input {
    target: File,
    feeders: Vec<File>,
    pending: Vec<u8>,
}

const CHUNK: usize = 16 << 10;

impl Container {
    pub fn add_stream(&mut self, fd: OwnedFd, name: &'static str) -> io::Result<()> {
        sys::nonblocking(&fd)?;
        self.streams.push(Stream { source: File::from(fd), lines: Lines::new(name), sinks: Vec::new() });
        Ok(())
    }

    pub fn set_input(&mut self, fd: OwnedFd) -> io::Result<()> {
        sys::nonblocking(&fd)?;
        self.input = Some(Input { target: File::from(fd), feeders: Vec::new(), pending: Vec::new() });
        Ok(())
    }

    /// Joins a reader to the stream `index` (0: output, 1: errors).
    pub fn attach_output(&mut self, index: usize, fd: OwnedFd) -> io::Result<()> {
        sys::nonblocking(&fd)?;
        if let Some(stream) = self.streams.get_mut(index) {
            stream.sinks.push(Sink { file: File::from(fd), pending: Vec::new() });
        }
        Ok(())
    }

    pub fn attach_input(&mut self, fd: OwnedFd) -> io::Result<()> {
        sys::nonblocking(&fd)?;
        if let Some(input) = &mut self.input {
            input.feeders.push(File::from(fd));
        }
        Ok(())
    }

    pub fn poll_set(&self, set: &mut Vec<PollFd>) {
        for stream in &self.streams {
            let blocked = stream.sinks.iter().filter(|sink| !sink.pending.is_empty());
            let before = set.len();
            set.extend(blocked.map(|sink| PollFd { fd: sink.file.as_raw_fd(), events: POLLOUT, revents: 0 }));
            if set.len() == before {
                set.push(PollFd { fd: stream.source.as_raw_fd(), events: POLLIN, revents: 0 });
            }
            // Without events wanted, poll still tells when a reader has gone.
            set.extend(stream.sinks.iter().map(|sink| PollFd { fd: sink.file.as_raw_fd(), events: 0, revents: 0 }));
        }
        if let Some(input) = &self.input {
            if input.pending.is_empty() {
                set.extend(input.feeders.iter().map(|f| PollFd { fd: f.as_raw_fd(), events: POLLIN, revents: 0 }));
            } else {
                set.push(PollFd { fd: input.target.as_raw_fd(), events: POLLOUT, revents: 0 });
            }
        }
    }

    /// Moves what can be moved, given the descriptors that are ready.
    pub fn pump(&mut self, ready: &dyn Fn(RawFd) -> bool) {
        let log = &mut self.log;
        self.streams.retain_mut(|stream| stream.pump(log, ready));
        if let Some(input) = &mut self.input
            && !input.pump(ready, self.stdin_once)
        {
            self.input = None;
        }
    }

    /// The first process has ended: all it wrote is in the pipes and goes to the log before anybody hears of the end.
    pub fn drain(&mut self) {
        let log = &mut self.log;
        self.streams.retain_mut(|stream| {
            stream.sinks.iter_mut().for_each(Sink::flush);
            stream.pump_all(log)
        });
    }

    /// Writes the exit file: complete or not there.
    pub fn record_exit(&mut self, code: i32) -> i64 {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
        self.exit = Some(code);
        let (temporary, path) = (self.directory.join("exit.tmp"), self.directory.join("exit"));
        if fs::write(&temporary, format!("{code} {nanos}\n")).is_ok() {
            drop(fs::rename(&temporary, &path));
        }
        nanos
    }
}

impl Stream {
    /// False when the stream has ended.
    fn pump(&mut self, log: &mut Log, ready: &dyn Fn(RawFd) -> bool) -> bool {
        self.sinks.retain_mut(|sink| {
            if ready(sink.file.as_raw_fd()) {
                sink.flush();
            }
            !sink.is_gone()
        });
        let blocked = self.sinks.iter().any(|sink| !sink.pending.is_empty());
        if blocked || !ready(self.source.as_raw_fd()) {
            return true;
        }
        self.copy_once(log).is_some()
    }

    fn pump_all(&mut self, log: &mut Log) -> bool {
        loop {
            match self.copy_once(log) {
                None => return false,
                Some(0) => return true,
                Some(_) => {}
            }
        }
    }

    /// Copies one chunk: bytes read, zero when there are none now, `None` at the end.
    fn copy_once(&mut self, log: &mut Log) -> Option<usize> {
        let mut buffer = [0; CHUNK];
        match self.source.read(&mut buffer) {
            // The last writer of a terminal leaves EIO behind.
            Ok(0) => {}
            Ok(n) => {
                self.lines.add(log, &buffer[..n]);
                for sink in &mut self.sinks {
                    sink.pending.extend_from_slice(&buffer[..n]);
                    sink.flush();
                }
                return Some(n);
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return Some(0),
            Err(_) => {}
        }
        self.lines.finish(log);
        None
    }
}

impl Sink {
    fn flush(&mut self) {
        while !self.pending.is_empty() {
            match self.file.write(&self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The reader went away; what it did not read nobody will.
                Err(_) => self.pending = Vec::new(),
            }
        }
        self.pending = Vec::new();
    }

    fn is_gone(&self) -> bool {
        let mut fds = [PollFd { fd: self.file.as_raw_fd(), events: 0, revents: 0 }];
        sys::poll_now(&mut fds) && fds[0].revents & (sys::POLLERR | sys::POLLHUP) != 0
    }
}

impl Input {
    /// False when the container's input is closed.
    fn pump(&mut self, ready: &dyn Fn(RawFd) -> bool, once: bool) -> bool {
        let mut closed = false;
        if self.pending.is_empty() {
            let (pending, mut buffer) = (&mut self.pending, [0; 4096]);
            self.feeders.retain_mut(|feeder| {
                if !ready(feeder.as_raw_fd()) {
                    return true;
                }
                match feeder.read(&mut buffer) {
                    Ok(0) => {
                        closed = true;
                        false
                    }
                    Ok(n) => {
                        pending.extend_from_slice(&buffer[..n]);
                        true
                    }
                    Err(e) => e.kind() == io::ErrorKind::WouldBlock,
                }
            });
        }
        while !self.pending.is_empty() {
            match self.target.write(&self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        !(closed && once && self.pending.is_empty())
    }
}

/// A pipe whose reading end is ours.
pub fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}

/// A terminal's master serves as output and input: two descriptors of the same thing.
pub fn duplicate(fd: &OwnedFd) -> io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}
