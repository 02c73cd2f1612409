//! `--encryption-provider-config-automatic-reload`: the file is read again when it changes, told by the kernel. A file
//! that is wrong changes nothing.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use supervisor::Supervisor;
use tokio::io::unix::AsyncFd;

use crate::at_rest::AtRest;
use crate::config::Configuration;

struct Watch(Inotify);

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Keeps a configuration as its file is, for as long as the process runs. `after` is told of every change.
pub fn reload_with_file(
    at_rest: Arc<AtRest>,
    path: PathBuf,
    supervisor: &Supervisor,
    after: impl Fn() + Send + Sync + 'static,
) {
    supervisor.spawn("encryption configuration", async move {
        if let Err(error) = follow(&at_rest, &path, &after).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the encryption configuration is not followed");
            // What is configured goes on; a restart is what reads the file then.
            std::future::pending::<()>().await;
        }
    });
}

async fn follow(at_rest: &Arc<AtRest>, path: &Path, after: &(impl Fn() + Sync)) -> io::Result<()> {
    // The directory: a mounted Secret, and most editors, replace the file, or a link on the way to it.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let events = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
    inotify.add_watch(directory, events)?;
    let watch = watched(inotify)?;
    let mut known = std::fs::read(path).unwrap_or_default();
    loop {
        let mut ready = watch.readable().await?;
        match watch.get_ref().0.read_events() {
            Ok(events) => {
                let about_it =
                    |name: &OsStr| Some(name) == path.file_name() || name.as_encoded_bytes().starts_with(b"..");
                if !events.iter().any(|event| event.name.as_deref().is_none_or(about_it)) {
                    continue;
                }
            }
            Err(nix::errno::Errno::EAGAIN) => {
                ready.clear_ready();
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        let Ok(text) = std::fs::read(path) else { continue };
        if text == known {
            continue;
        }
        let at_rest = Arc::clone(at_rest);
        let file = path.to_owned();
        // A KMS plugin is waited for.
        let replaced = tokio::task::spawn_blocking(move || at_rest.replace(&Configuration::read(&file)?)).await;
        match replaced {
            Ok(Ok(())) => {
                known = text;
                tracing::info!(path = %path.display(), "the encryption configuration was read again");
                after();
            }
            Ok(Err(error)) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the encryption configuration has changed and cannot be used; the one before goes on"
            ),
            Err(error) => tracing::error!(%error, "reading the encryption configuration panicked"),
        }
    }
}

fn watched(inotify: Inotify) -> io::Result<AsyncFd<Watch>> {
    #[expect(deprecated, reason = "the replacement is an unsafe function; this descriptor is owned and never replaced")]
    AsyncFd::new(Watch(inotify))
}
