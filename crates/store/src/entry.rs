//! One version of one object, and the change from one version to the next. Both are immutable and shared.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use engine::{Codec, EngineError, Mark, Record, Revision, Template};

use crate::key::Key;
use crate::memo::{Memo, Slot};

/// One version of one object.
pub struct Entry {
    key: Key,
    /// The canonical JSON with `metadata.resourceVersion` in its place.
    bytes: Bytes,
    /// Where the digits of the revision begin in `bytes`.
    hole: u32,
    /// How it is kept.
    mark: Mark,
    created: Revision,
    modified: Revision,
    memo: Memo,
}

/// Takes one value out of an object's bytes, such as `spec.nodeName`; empty when there is none.
pub(crate) type Index = dyn Fn(&[u8]) -> Box<str> + Send + Sync;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// One change of one object.
pub struct Event {
    kind: EventKind,
    entry: Arc<Entry>,
    previous: Option<Arc<Entry>>,
    memo: Memo,
}

// === impl Entry ===

impl Entry {
    pub(crate) fn new(key: Key, value: &Template, created: Revision, modified: Revision, mark: Mark) -> Entry {
        let mut digits = [0; 20];
        let digits = decimal(modified, &mut digits);
        let mut bytes = Vec::with_capacity(value.len() + digits.len());
        bytes.extend_from_slice(&value.head);
        bytes.extend_from_slice(digits);
        bytes.extend_from_slice(&value.tail);
        // The store refuses values of 4 GiB and more long before.
        let hole = u32::try_from(value.head.len()).unwrap_or(u32::MAX);
        Entry { key, bytes: bytes.into(), hole, mark, created, modified, memo: Memo::default() }
    }

    /// Of a record whose value was opened, and was kept as `mark` says.
    pub(crate) fn restored(record: &Record, mark: Mark) -> Entry {
        Entry::new(Key::from_path(Arc::clone(&record.path)), &record.value, record.created, record.modified, mark)
    }

    /// The last version with the revision of its deletion, as upstream's DELETED event shows it.
    pub(crate) fn deleted_at(&self, revision: Revision) -> Entry {
        Entry::new(self.key.clone(), &self.template(), self.created, revision, self.mark)
    }

    /// The bytes without the revision. Shares them.
    pub(crate) fn template(&self) -> Template {
        let hole = self.hole as usize;
        let digits = decimal(self.modified, &mut [0; 20]).len();
        Template { head: self.bytes.slice(..hole), tail: self.bytes.slice(hole + digits..) }
    }

    /// As an engine is to keep it.
    pub(crate) fn record(&self, resource: &Arc<str>, codec: &dyn Codec) -> Result<Record, EngineError> {
        let (value, _) = codec.seal(resource, self.key.as_str(), &self.template())?;
        Ok(Record {
            resource: Arc::clone(resource),
            path: Arc::clone(self.key.path()),
            value,
            created: self.created,
            modified: self.modified,
        })
    }

    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The canonical JSON with `metadata.resourceVersion` in its place.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    #[must_use]
    pub fn create_revision(&self) -> Revision {
        self.created
    }

    /// What `metadata.resourceVersion` says. Of a deleted object's last version, the revision of the deletion.
    #[must_use]
    pub fn mod_revision(&self) -> Revision {
        self.modified
    }

    /// Under which value the resource's index has it.
    pub(crate) fn indexed(&self, index: &Index) -> &str {
        self.memo.index.get_or_init(|| index(&self.bytes))
    }

    /// Another encoding of this version, made on first demand and kept with it.
    pub fn encoding<E>(&self, slot: Slot, encode: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        self.memo.encoding(slot, encode)
    }

    /// Another encoding of this version, if somebody has made it.
    #[must_use]
    pub fn encoded(&self, slot: Slot) -> Option<Bytes> {
        self.memo.encoded(slot)
    }

    /// A decoded view of this version, made on first demand and kept with it. One type for a resource.
    pub fn view<T: Send + Sync + 'static, E>(&self, decode: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        self.memo.view(decode)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the bytes: Secrets pass through here.
        write!(f, "{}@{}", self.key, self.modified)
    }
}

// === impl Event ===

impl Event {
    pub(crate) fn new(kind: EventKind, entry: Arc<Entry>, previous: Option<Arc<Entry>>) -> Event {
        Event { kind, entry, previous, memo: Memo::default() }
    }

    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.kind
    }

    #[must_use]
    pub fn key(&self) -> &Key {
        &self.entry.key
    }

    #[must_use]
    pub fn revision(&self) -> Revision {
        self.entry.modified
    }

    /// The object after the change; when deleted, its last version with the revision of the deletion.
    #[must_use]
    pub fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// The version that was replaced or deleted: what a selector needs to see an object come or go.
    #[must_use]
    pub fn previous(&self) -> Option<&Arc<Entry>> {
        self.previous.as_ref()
    }

    /// The framed watch event in some encoding, made on first demand and shared by all watchers.
    pub fn encoding<E>(&self, slot: Slot, encode: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        self.memo.encoding(slot, encode)
    }

    /// Under which values an index has the object before and after.
    pub(crate) fn indexed(&self, index: &Index) -> (Option<&str>, Option<&str>) {
        let before = self.previous.as_ref().map(|entry| entry.indexed(index));
        let after = (self.kind != EventKind::Deleted).then(|| self.entry.indexed(index));
        (before, after)
    }

    /// What the history holds because of this event.
    pub(crate) fn weight(&self) -> usize {
        // Of a deletion both are copies of the last version that nothing else keeps.
        let previous = self.previous.as_ref().map_or(0, |entry| entry.bytes.len());
        let entry = if self.kind == EventKind::Deleted { self.entry.bytes.len() } else { 0 };
        size_of::<Event>() + previous + entry
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.kind, self.entry)
    }
}

fn decimal(revision: Revision, buffer: &mut [u8; 20]) -> &[u8] {
    let mut rest = revision.0;
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &buffer[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_spliced_in_and_taken_out_again() {
        let template = Template::split(Bytes::from_static(br#"{"resourceVersion":""}"#), 20);
        for revision in [1, 9, 10, 99, 100, 12_345, u64::MAX] {
            let entry = Entry::new(Key::new("", "a").unwrap(), &template, Revision(1), Revision(revision), Mark(0));
            assert_eq!(entry.bytes(), format!(r#"{{"resourceVersion":"{revision}"}}"#).as_bytes());
            assert_eq!(entry.template(), template);
            let gone = entry.deleted_at(Revision(1_000));
            assert_eq!(gone.bytes(), br#"{"resourceVersion":"1000"}"#.as_slice());
        }
    }

    #[test]
    fn an_encoding_is_made_once() {
        let template = Template::split(Bytes::new(), 0);
        let entry = Entry::new(Key::new("", "a").unwrap(), &template, Revision(1), Revision(1), Mark(0));
        let slot = Slot::new(3).unwrap();
        let first: Result<Bytes, ()> = entry.encoding(slot, || Ok(Bytes::from_static(b"x")));
        let second: Result<Bytes, ()> = entry.encoding(slot, || Err(()));
        assert_eq!(first, second);
        let view: Result<Arc<u8>, ()> = entry.view(|| Ok(7));
        let again: Result<Arc<u8>, ()> = entry.view(|| Err(()));
        assert_eq!(view, again);
    }
}
