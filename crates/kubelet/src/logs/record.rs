//! One line of a log file.

use jiff::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub time: &'a str,
    pub stdout: bool,
    /// Ends a line of the container's; otherwise the line goes on in the next record.
    pub full: bool,
    pub text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a line, with or without its newline. Lines of another form are skipped by the caller.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let (time, rest) = split(line)?;
        let (stream, rest) = split(rest)?;
        let (tags, text) = split(rest).unwrap_or((rest, b""));
        let stdout = match stream {
            b"stdout" => true,
            b"stderr" => false,
            _ => return None,
        };
        let full = tags.split(|byte| *byte == b':').next() != Some(b"P");
        Some(Record { time: std::str::from_utf8(time).ok()?, stdout, full, text })
    }

    pub(super) fn at(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|byte| *byte == b' ')?;
    Some((&text[..position], &text[position + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let record = Record::parse(b"2024-01-01T00:00:00.5Z stderr P a b\n").unwrap();
        assert_eq!((record.stdout, record.full, record.text), (false, false, &b"a b"[..]));
        assert!(record.at().is_some());
        assert_eq!(Record::parse(b"2024-01-01T00:00:00Z stdout F ").unwrap().text, b"");
        assert_eq!(Record::parse(b"2024-01-01T00:00:00Z stdout F").unwrap().text, b"");
        assert_eq!(Record::parse(b"nonsense"), None);
        assert_eq!(Record::parse(b"t other F x"), None);
    }
}
