//! Tells whoever started the server that it is ready: systemd's protocol (`Type=notify`).

use std::os::unix::net::UnixDatagram;

use tracing::warn;

/// Sends a state (`READY=1`) to `NOTIFY_SOCKET`, where there is one.
pub(super) fn send(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let outcome = UnixDatagram::unbound().and_then(|socket| socket.send_to(state.as_bytes(), &path));
    if let Err(error) = outcome {
        warn!(%error, "could not notify the service manager");
    }
}
