//! Streams a log file to a reader, and with `follow` what is written later, told by the kernel (inotify) and by the
//! pod's task when the container ends. Survives rotation.

use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use super::options::LogOptions;
use super::record::Record;
use super::tail_start;

/// What is sent at once.
const BATCH: usize = 32 * 1024;
/// A record longer than this is not one that a runtime writes.
const MAX_RECORD: u64 = 1 << 20;

/// What to read, and how to know that nothing more will come.
pub(crate) struct Source {
    pub path: PathBuf,
    /// Changes whenever the container may have ended.
    pub changed: watch::Receiver<u64>,
    pub ended: Box<dyn Fn() -> bool + Send + Sync>,
}

struct Watch(Inotify);

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Renders records and counts what was sent.
struct Writer {
    options: LogOptions,
    left: Option<u64>,
    line_start: bool,
    out: Vec<u8>,
}

/// Sends the log; ends at its end, or with `follow` at the container's. An error is the caller's to report.
pub(crate) async fn stream(mut source: Source, options: LogOptions, sender: mpsc::Sender<Result<Bytes, io::Error>>) {
    if let Err(error) = run(&mut source, options, &sender).await {
        // The reader may have gone, which is no error.
        let _gone = sender.send(Err(error)).await;
    }
}

async fn run(
    source: &mut Source,
    options: LogOptions,
    sender: &mpsc::Sender<Result<Bytes, io::Error>>,
) -> io::Result<()> {
    let follow = options.follow;
    let watch = if follow { Some(watch_directory(&source.path)?) } else { None };
    let mut file = std::fs::File::open(&source.path)?;
    let start = match options.tail_lines {
        Some(lines) => tail_start(&mut file, lines)?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start))?;
    let mut inode = file.metadata()?.ino();
    let mut reader = BufReader::with_capacity(BATCH, file);
    let mut writer = Writer { left: options.limit_bytes, options, line_start: true, out: Vec::new() };
    let mut pending = Vec::new();
    loop {
        // Asked before reading to the end: what a container wrote before it ended is read after that was seen.
        let ended = (source.ended)();
        loop {
            let more = read_some(&mut reader, &mut pending, &mut writer)?;
            if !writer.out.is_empty() && sender.send(Ok(Bytes::from(std::mem::take(&mut writer.out)))).await.is_err() {
                return Ok(());
            }
            if writer.left == Some(0) {
                return Ok(());
            }
            if !more {
                break;
            }
        }
        let Some(watch) = &watch else { return Ok(()) };
        // After a rotation the name leads to a new file.
        match std::fs::File::open(&source.path) {
            Ok(fresh) if fresh.metadata()?.ino() != inode => {
                inode = fresh.metadata()?.ino();
                reader = BufReader::with_capacity(BATCH, fresh);
                pending.clear();
                continue;
            }
            _ => {}
        }
        if ended {
            return Ok(());
        }
        tokio::select! {
            ready = watch.readable() => {
                let mut ready = ready?;
                let _events = ready.get_inner().0.read_events();
                ready.clear_ready();
            }
            changed = source.changed.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
            () = sender.closed() => return Ok(()),
        }
    }
}

fn watch_directory(path: &Path) -> io::Result<AsyncFd<Watch>> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
    inotify.add_watch(path.parent().unwrap_or(Path::new("/")), flags)?;
    #[expect(deprecated, reason = "the replacement is an unsafe function; this descriptor is owned and never replaced")]
    AsyncFd::new(Watch(inotify))
}

/// Reads records until a batch is full or there is no more; true: there may be more.
fn read_some(reader: &mut BufReader<std::fs::File>, pending: &mut Vec<u8>, writer: &mut Writer) -> io::Result<bool> {
    loop {
        let room = MAX_RECORD.saturating_sub(pending.len() as u64);
        let count = reader.by_ref().take(room).read_until(b'\n', pending)?;
        if pending.last() == Some(&b'\n') || pending.len() as u64 >= MAX_RECORD {
            writer.record(pending);
            pending.clear();
        } else if count == 0 {
            // Half a record: the rest is yet to be written.
            return Ok(false);
        }
        if writer.left == Some(0) || writer.out.len() >= BATCH {
            return Ok(true);
        }
    }
}

impl Writer {
    fn record(&mut self, line: &[u8]) {
        let Some(record) = Record::parse(line) else { return };
        if self.options.stdout_only.is_some_and(|stdout| stdout != record.stdout) {
            return;
        }
        if let Some(since) = self.options.since
            && record.at().is_some_and(|at| at < since)
        {
            return;
        }
        let before = self.out.len();
        if self.options.timestamps && self.line_start {
            self.out.extend_from_slice(record.time.as_bytes());
            self.out.push(b' ');
        }
        self.out.extend_from_slice(record.text);
        if record.full {
            self.out.push(b'\n');
        }
        self.line_start = record.full;
        if let Some(left) = &mut self.left {
            let grown = (self.out.len() - before) as u64;
            if grown > *left {
                self.out.truncate(before + usize::try_from(*left).unwrap_or(0));
                *left = 0;
            } else {
                *left -= grown;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const LINES: &str = "2024-01-01T00:00:01Z stdout F one\n2024-01-01T00:00:02Z stderr P tw\n2024-01-01T00:00:02Z stderr F o\n2024-01-01T00:00:03Z stdout F three\n";

    async fn read(options: LogOptions) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LINES).unwrap();
        let (_sender, changed) = watch::channel(0);
        let (out, mut chunks) = mpsc::channel(8);
        stream(Source { path, changed, ended: Box::new(|| true) }, options, out).await;
        let mut text = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            text.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn options_apply() {
        assert_eq!(read(LogOptions::default()).await, "one\ntwo\nthree\n");
        assert_eq!(read(LogOptions { tail_lines: Some(1), ..LogOptions::default() }).await, "three\n");
        assert_eq!(read(LogOptions { limit_bytes: Some(5), ..LogOptions::default() }).await, "one\nt");
        assert_eq!(read(LogOptions { stdout_only: Some(false), ..LogOptions::default() }).await, "two\n");
        let since = Some("2024-01-01T00:00:03Z".parse().unwrap());
        assert_eq!(
            read(LogOptions { since, timestamps: true, ..LogOptions::default() }).await,
            "2024-01-01T00:00:03Z three\n"
        );
    }

    #[tokio::test]
    async fn follows_through_a_rotation_until_the_container_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, "2024-01-01T00:00:01Z stdout F one\n").unwrap();
        let (changes, changed) = watch::channel(0);
        let ended = Arc::new(AtomicBool::new(false));
        let (out, mut chunks) = mpsc::channel(8);
        let source = Source {
            path: path.clone(),
            changed,
            ended: Box::new({
                let ended = ended.clone();
                move || ended.load(Ordering::SeqCst)
            }),
        };
        let reading = stream(source, LogOptions { follow: true, ..LogOptions::default() }, out);
        let writing = async {
            assert_eq!(chunks.recv().await.unwrap().unwrap(), "one\n");
            let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(b"2024-01-01T00:00:01Z stdout F two\n").unwrap();
            assert_eq!(chunks.recv().await.unwrap().unwrap(), "two\n");
            std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
            std::fs::write(&path, "2024-01-01T00:00:01Z stdout F three\n").unwrap();
            assert_eq!(chunks.recv().await.unwrap().unwrap(), "three\n");
            ended.store(true, Ordering::SeqCst);
            changes.send(1).unwrap();
            assert!(chunks.recv().await.is_none());
        };
        tokio::join!(reading, writing);
    }
}
