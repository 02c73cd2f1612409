//! Audit events as lines of a file that is rotated, or of standard output.
//!
//! Upstream: `plugin/audit/log` over `natefinch/lumberjack`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use parking_lot::Mutex;

/// When a file is put aside, and how long those are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// `--audit-log-maxsize`, in bytes; 0 never.
    pub size: u64,
    /// `--audit-log-maxage`, 0 for ever.
    pub age: Duration,
    /// `--audit-log-maxbackup`: how many are kept, 0 all.
    pub backups: usize,
    /// `--audit-log-compress`.
    pub compress: bool,
}

/// Where lines go.
pub(super) struct LogFile {
    path: Option<PathBuf>,
    rotation: Rotation,
    state: Mutex<State>,
}

struct State {
    file: Option<File>,
    length: u64,
}

impl LogFile {
    /// `-` is standard output.
    pub(super) fn open(path: &str, rotation: Rotation) -> io::Result<Self> {
        let log = Self {
            path: (path != "-").then(|| PathBuf::from(path)),
            rotation,
            state: Mutex::new(State { file: None, length: 0 }),
        };
        if let Some(path) = &log.path {
            let mut state = log.state.lock();
            *state = begin(path)?;
        }
        Ok(log)
    }

    /// Appends whole lines.
    pub(super) fn write(&self, lines: &[u8]) -> io::Result<()> {
        let Some(path) = &self.path else { return io::stdout().lock().write_all(lines) };
        let mut state = self.state.lock();
        let length = lines.len() as u64;
        if self.rotation.size > 0 && state.length > 0 && state.length + length > self.rotation.size {
            state.file = None;
            self.put_aside(path)?;
        }
        if state.file.is_none() {
            *state = begin(path)?;
        }
        if let Some(file) = &mut state.file
            && let Err(error) = file.write_all(lines)
        {
            // The next line tries a new file.
            state.file = None;
            return Err(error);
        }
        state.length += length;
        Ok(())
    }

    fn put_aside(&self, path: &Path) -> io::Result<()> {
        let (stem, extension) = parts(path);
        let stamp = Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S.%3f");
        let mut aside = path.with_file_name(format!("{stem}-{stamp}{extension}"));
        for number in 1.. {
            if !aside.exists() {
                break;
            }
            aside = path.with_file_name(format!("{stem}-{stamp}-{number}{extension}"));
        }
        fs::rename(path, &aside)?;
        if self.rotation.compress {
            compress(&aside)?;
        }
        self.remove_old(path)
    }

    fn remove_old(&self, path: &Path) -> io::Result<()> {
        let (stem, _) = parts(path);
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut aside: Vec<(PathBuf, SystemTime)> = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_one = name
                .to_str()
                .and_then(|name| name.strip_prefix(&format!("{stem}-")))
                .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
            if is_one && entry.path() != path {
                aside.push((entry.path(), entry.metadata()?.modified()?));
            }
        }
        // The newest first: names grow with time.
        aside.sort_by(|(left, _), (right, _)| right.cmp(left));
        let now = SystemTime::now();
        for (index, (old, modified)) in aside.iter().enumerate() {
            let too_many = self.rotation.backups > 0 && index >= self.rotation.backups;
            let age = now.duration_since(*modified).unwrap_or_default();
            if too_many || (!self.rotation.age.is_zero() && age > self.rotation.age) {
                fs::remove_file(old)?;
            }
        }
        Ok(())
    }
}

fn parts(path: &Path) -> (String, String) {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    (stem, extension)
}

fn begin(path: &Path) -> io::Result<State> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let length = file.metadata()?.len();
    Ok(State { file: Some(file), length })
}

fn compress(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let mut packed = flate2::write::GzEncoder::new(File::create(&name)?, flate2::Compression::default());
    io::copy(&mut File::open(path)?, &mut packed)?;
    packed.finish()?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_rotated_and_old_ones_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/audit.log");
        let rotation = Rotation { size: 10, backups: 2, ..Rotation::default() };
        let log = LogFile::open(path.to_str().unwrap(), rotation).unwrap();
        for _ in 0..5 {
            log.write(b"12345678\n").unwrap();
        }
        let names = names(&directory.path().join("deep"));
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names[..2].iter().all(|name| name.starts_with("audit-2") && name.ends_with(".log")));
        assert_eq!(fs::read_to_string(&path).unwrap(), "12345678\n");
        // It goes on where it was.
        let log = LogFile::open(path.to_str().unwrap(), Rotation::default()).unwrap();
        log.write(b"more\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "12345678\nmore\n");
    }

    #[test]
    fn what_is_put_aside_can_be_compressed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let rotation = Rotation { size: 5, compress: true, ..Rotation::default() };
        let log = LogFile::open(path.to_str().unwrap(), rotation).unwrap();
        log.write(b"first\n").unwrap();
        log.write(b"second\n").unwrap();
        let names = names(directory.path());
        assert!(names.len() == 2 && names[0].ends_with(".log.gz"), "{names:?}");
    }
}
