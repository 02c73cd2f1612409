//! Settings in files that are read again when they change, told by the kernel.
//!
//! The directory is watched, not the file: editors and configuration systems replace files, and projected volumes
//! replace a link beside them. Upstream counterpart: `fsnotify` in `dynamiccertificates` and the configuration reloaders.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use metrics::{Counter, Family, Gauge, Stability};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use supervisor::Supervisor;
use tokio::io::unix::AsyncFd;
use tracing::{error, info};

const LABELS: [&str; 2] = ["apiserver_id_hash", "status"];
static AUTHENTICATION: Family<Counter, 2> = Family::new(
    "apiserver_authentication_config_controller_automatic_reloads_total",
    Stability::Beta,
    "Total number of automatic reloads of authentication configuration split by status and apiserver identity.",
    LABELS,
);
static AUTHENTICATION_LAST: Family<Gauge, 2> = Family::new(
    "apiserver_authentication_config_controller_automatic_reload_last_timestamp_seconds",
    Stability::Beta,
    "Timestamp of the last automatic reload of authentication configuration split by status and apiserver identity.",
    LABELS,
);
static AUTHORIZATION: Family<Counter, 2> = Family::new(
    "apiserver_authorization_config_controller_automatic_reloads_total",
    Stability::Beta,
    "Total number of automatic reloads of authorization configuration split by status and apiserver identity.",
    LABELS,
);
static AUTHORIZATION_LAST: Family<Gauge, 2> = Family::new(
    "apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds",
    Stability::Beta,
    "Timestamp of the last automatic reload of authorization configuration split by status and apiserver identity.",
    LABELS,
);

/// Counts how often a configuration was read again, in upstream's names.
/// Upstream: `server/options/{authenticationconfig,authorizationconfig}/metrics`.
#[derive(Clone)]
pub struct Reloads {
    total: &'static Family<Counter, 2>,
    last: &'static Family<Gauge, 2>,
    server: String,
}

impl Reloads {
    /// Of the authentication configuration of the API server with this identity.
    pub fn of_authentication(server: &str) -> Self {
        Self { total: &AUTHENTICATION, last: &AUTHENTICATION_LAST, server: hash(server) }
    }

    /// Of its authorization configuration.
    pub fn of_authorization(server: &str) -> Self {
        Self { total: &AUTHORIZATION, last: &AUTHORIZATION_LAST, server: hash(server) }
    }

    /// It was read again, and counts or cannot be used.
    pub fn note(&self, is_used: bool) {
        let labels = [self.server.as_str(), if is_used { "success" } else { "failure" }];
        self.total.with(labels).inc();
        self.last.with(labels).set(Timestamp::now().as_second());
    }
}

fn hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold("sha256:".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// Largest file that is read.
const MAX_BYTES: u64 = 4 << 20;

/// Owns the descriptor.
struct Watch(Inotify);

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Reads a file of settings.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    if std::fs::metadata(path)?.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {MAX_BYTES} bytes")));
    }
    std::fs::read_to_string(path)
}

/// Calls `apply` with the file's text whenever it is another than `known`. What cannot be read or applied is logged and
/// changes nothing.
pub fn watch_file(
    path: PathBuf,
    known: String,
    supervisor: &Supervisor,
    apply: impl Fn(&str) -> Result<(), String> + Send + 'static,
) {
    supervisor.spawn("settings file", async move {
        if let Err(error) = follow(&path, known, apply).await {
            error!(path = %path.display(), %error, "changes of the file will not be seen until the next start");
        }
    });
}

async fn follow(path: &Path, mut known: String, apply: impl Fn(&str) -> Result<(), String>) -> io::Result<()> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let flags = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_DELETE;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    inotify.add_watch(directory, flags)?;
    #[expect(deprecated, reason = "the replacement is an unsafe function; this descriptor is owned and never replaced")]
    let watch = AsyncFd::new(Watch(inotify))?;
    loop {
        // First what changed before the watch was there.
        match read(path) {
            Ok(text) if text != known => {
                match apply(&text) {
                    Ok(()) => info!(path = %path.display(), "settings read again"),
                    Err(why) => error!(path = %path.display(), error = why, "the changed file is not used"),
                }
                known = text;
            }
            Ok(_) => {}
            Err(error) => error!(path = %path.display(), %error, "the file cannot be read; what was read before holds"),
        }
        let mut ready = watch.readable().await?;
        // What the events say does not matter: the file is compared.
        let _events = ready.get_inner().0.read_events();
        ready.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_replaced_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("settings");
        std::fs::write(&path, "one").unwrap();
        let (sender, mut seen) = mpsc::unbounded_channel();
        let supervisor = Supervisor::new();
        watch_file(path.clone(), "one".into(), &supervisor, move |text| {
            sender.send(text.to_owned()).map_err(|error| error.to_string())
        });
        for text in ["two", "three"] {
            let temporary = directory.path().join("new");
            std::fs::write(&temporary, text).unwrap();
            std::fs::rename(&temporary, &path).unwrap();
            let next = tokio::time::timeout(Duration::from_secs(10), seen.recv()).await.unwrap();
            assert_eq!(next.as_deref(), Some(text));
        }
        supervisor.shutdown().await;
    }
}
