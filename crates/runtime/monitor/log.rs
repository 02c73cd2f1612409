//! Container output to log files in the CRI format: `<time> <stream> <F|P> <line>`.
//! Upstream: containerd `internal/cri/io/logger.go`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longer lines are cut into partial ones, as containerd does by default.
const LINE_LIMIT: usize = 16 << 10;

/// A log file that both streams of a container write to.
pub struct Log {
    path: Option<PathBuf>,
    file: Option<File>,
}

/// One stream's incomplete line.
pub struct Lines {
    name: &'static str,
    pending: Vec<u8>,
}

impl Log {
    pub fn open(path: &str) -> io::Result<Self> {
        let path = (!path.is_empty()).then(|| PathBuf::from(path));
        let mut log = Self { path, file: None };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the path anew, after somebody renamed the file.
    pub fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            use std::os::unix::fs::OpenOptionsExt;
            self.file = Some(OpenOptions::new().create(true).append(true).mode(0o640).open(path)?);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(file) = &mut self.file {
            // A full disk costs log lines, never the container.
            drop(file.write_all(bytes));
        }
    }
}

impl Lines {
    pub fn new(name: &'static str) -> Self {
        Self { name, pending: Vec::new() }
    }

    /// Adds output; complete lines are written with one system call.
    pub fn add(&mut self, log: &mut Log, mut bytes: &[u8]) {
        if log.file.is_none() {
            return;
        }
        let time = timestamp();
        let mut out = Vec::with_capacity(bytes.len() + 64);
        loop {
            let room = LINE_LIMIT - self.pending.len();
            match bytes.iter().take(room + 1).position(|b| *b == b'\n') {
                Some(end) => {
                    self.line(&mut out, &time, b'F', &bytes[..end]);
                    bytes = &bytes[end + 1..];
                }
                None if bytes.len() > room => {
                    self.line(&mut out, &time, b'P', &bytes[..room]);
                    bytes = &bytes[room..];
                }
                None => {
                    self.pending.extend_from_slice(bytes);
                    break;
                }
            }
        }
        if !out.is_empty() {
            log.write(&out);
        }
    }

    /// The stream has ended. What is left had no newline, and whoever reads the log must not see one.
    pub fn finish(&mut self, log: &mut Log) {
        if !self.pending.is_empty() {
            let mut out = Vec::with_capacity(self.pending.len() + 64);
            self.line(&mut out, &timestamp(), b'P', &[]);
            log.write(&out);
        }
    }

    fn line(&mut self, out: &mut Vec<u8>, time: &str, tag: u8, rest: &[u8]) {
        out.extend_from_slice(time.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&[b' ', tag, b' ']);
        out.extend_from_slice(&self.pending);
        out.extend_from_slice(rest);
        out.push(b'\n');
        // Given back, so that a single long line does not cost memory for ever.
        self.pending = Vec::new();
    }
}

/// RFC 3339 with nanoseconds, UTC.
fn timestamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = civil(now.as_secs() / 86_400);
    let second = now.as_secs() % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        now.subsec_nanos()
    )
}

/// Date of a day since 1970, proleptic Gregorian (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}
