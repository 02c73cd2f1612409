//! Container logs: the files the runtime writes, one record a line (`<time> <stream> <F|P> <text>`), read with all of
//! `PodLogOptions` and rotated. Upstream: pkg/kubelet/kuberuntime/logs, pkg/kubelet/logs.

mod follow;
mod options;
mod record;
mod rotate;

use std::io::{self, Read as _, Seek as _, SeekFrom};

pub(crate) use follow::{Source, stream};
pub(crate) use options::LogOptions;
pub(crate) use rotate::{Rotation, rotate};

use self::record::Record;

const CHUNK: u64 = 64 * 1024;

/// Where the last `lines` lines of a file begin.
pub(crate) fn tail_start(file: &mut std::fs::File, lines: u64) -> io::Result<u64> {
    let size = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(size);
    }
    let mut found = 0;
    let mut position = size;
    let mut buffer = Vec::new();
    while position > 0 {
        let length = CHUNK.min(position);
        position -= length;
        file.seek(SeekFrom::Start(position))?;
        buffer.resize(usize::try_from(length).unwrap_or(0), 0);
        file.read_exact(&mut buffer)?;
        for (index, byte) in buffer.iter().enumerate().rev() {
            let at = position + index as u64;
            // A newline at the very end ends the last line, it does not begin another.
            if *byte == b'\n' && at + 1 < size {
                found += 1;
                if found == lines {
                    return Ok(at + 1);
                }
            }
        }
    }
    Ok(0)
}

/// The end of a log as text, for termination messages.
pub(crate) fn last_lines(path: &str, lines: usize, bytes: usize) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let start = tail_start(&mut file, lines as u64)?;
    // Times and stream names are not part of the text: some slack for them.
    let size = file.metadata()?.len();
    let start = start.max(size.saturating_sub((bytes + lines * 64) as u64));
    file.seek(SeekFrom::Start(start))?;
    let mut content = Vec::new();
    file.take((bytes + lines * 64) as u64).read_to_end(&mut content)?;
    let mut text = Vec::new();
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        if let Some(record) = Record::parse(line) {
            text.extend_from_slice(record.text);
            if record.full {
                text.push(b'\n');
            }
        }
    }
    let from = text.len().saturating_sub(bytes);
    Ok(String::from_utf8_lossy(&text[from..]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"a\nbb\nccc\n").unwrap();
        assert_eq!(tail_start(&mut file, 0).unwrap(), 9);
        assert_eq!(tail_start(&mut file, 1).unwrap(), 5);
        assert_eq!(tail_start(&mut file, 2).unwrap(), 2);
        assert_eq!(tail_start(&mut file, 9).unwrap(), 0);
    }

    #[test]
    fn last_words_from_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, "2024-01-01T00:00:00Z stdout F one\n2024-01-01T00:00:00Z stderr F two\n").unwrap();
        assert_eq!(last_lines(path.to_str().unwrap(), 1, 100).unwrap(), "two\n");
        assert_eq!(last_lines(path.to_str().unwrap(), 9, 5).unwrap(), "\ntwo\n");
    }
}
