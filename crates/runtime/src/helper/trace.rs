//! Keeps what libcontainer logs as errors: across its processes only the outermost message of an error comes back, and
//! the cause is what a user needs.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// A file in the container's directory; the descriptor is shared by everything forked from the helper.
struct ErrorFile {
    file: File,
}

const LOG_FILE: &str = "helper.log";

/// Starts collecting into `directory`.
pub(super) fn collect(directory: &Path) {
    if let Ok(file) = File::options().create(true).append(true).open(directory.join(LOG_FILE)) {
        // Another subscriber cannot exist in a helper.
        tracing::subscriber::set_global_default(ErrorFile { file }).ok();
    }
}

/// The first cause that was written, if any.
pub(super) fn first(directory: &Path) -> Option<String> {
    let text = std::fs::read_to_string(directory.join(LOG_FILE)).ok()?;
    text.lines().next().map(str::to_owned)
}

impl Subscriber for ErrorFile {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let line = format!("{}{}\n", text.message, text.fields);
        // One write, because several processes share the file.
        (&self.file).write_all(line.as_bytes()).ok();
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string cannot fail.
        if field.name() == "message" {
            write!(self.message, "{value:?}").ok();
        } else {
            write!(self.fields, " {}={value:?}", field.name()).ok();
        }
    }
}
