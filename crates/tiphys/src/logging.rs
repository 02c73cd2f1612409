//! Where log lines and errors go.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Log lines on standard error: for people on a terminal, one JSON object a line elsewhere. `TIPHYS_LOG` chooses what
/// is logged (`info`, `debug`, `kubelet=debug,info`).
/// `format` is `text` or `json`, where somebody has said; `verbosity` is klog's.
pub(crate) fn start(format: Option<&str>, verbosity: Option<u8>) {
    let level = match verbosity {
        None | Some(0..=3) => "info",
        Some(4 | 5) => "debug",
        Some(_) => "trace",
    };
    let filter = EnvFilter::try_from_env("TIPHYS_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    // A log that cannot be written (its disk is full) is no reason to panic, which complaining to the same place is.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let as_text = format.map_or_else(|| std::io::stderr().is_terminal(), |format| format == "text");
    if as_text {
        builder.init();
    } else {
        builder.json().flatten_event(true).init();
    }
}

/// An error with its causes, for the person who typed the command.
#[expect(clippy::print_stderr, reason = "the last word of a command")]
pub(crate) fn print_error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
