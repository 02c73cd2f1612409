//! The agent's side of a pod's monitor: requests and answers over a socket of packets, and news of ends.
//!
//! The program itself is in `monitor/` beside `src/`; the protocol is described in its `server.rs`.

mod socket;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use supervisor::Supervisor;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Result, RuntimeError};
pub(crate) use socket::{connect, listen, nonblocking};

/// The program, compiled by the build script.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/monitor"));

/// What a monitor tells without being asked.
#[derive(Debug)]
pub(crate) enum News {
    ContainerEnded {
        container: String,
        code: i32,
        at: cri::UnixNanos,
    },
    ExecEnded {
        exec: String,
        code: i32,
    },
    /// The connection is lost, which means that the monitor has died or was told to.
    Gone {
        sandbox: String,
    },
}

/// An answer: its fields after `ok`, and descriptors.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) fields: Vec<String>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// Why a request failed: who says so (`start`, `create`, `helper`, `monitor`), and the text.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: String,
    pub(crate) message: String,
}

type Waiter = oneshot::Sender<std::result::Result<Answer, Failure>>;

/// A connection to one monitor.
#[derive(Clone)]
pub(crate) struct Monitor {
    shared: Arc<Shared>,
}

struct Shared {
    socket: AsyncFd<OwnedFd>,
    next: AtomicU32,
    /// `None` once the connection is lost.
    waiting: Mutex<Option<HashMap<u32, Waiter>>>,
}

// === impl Monitor ===

impl Monitor {
    /// Takes over a connected socket; news go to `news`.
    pub(crate) fn new(
        sandbox: &str,
        socket: OwnedFd,
        supervisor: &Supervisor,
        news: mpsc::UnboundedSender<News>,
    ) -> Result<Self> {
        // SAFETY: an `OwnedFd` keeps its descriptor open until it is dropped, and is never replaced here.
        #[expect(unsafe_code, reason = "the safe constructor is deprecated")]
        let socket = unsafe { AsyncFd::register(socket) }
            .map_err(|error| RuntimeError::io("watch the monitor of", sandbox)(error.into_parts().1))?;
        let shared = Arc::new(Shared { socket, next: AtomicU32::new(1), waiting: Mutex::new(Some(HashMap::new())) });
        let (reader, sandbox) = (Arc::clone(&shared), sandbox.to_owned());
        supervisor.spawn("pod monitor", async move {
            reader.read(&news).await;
            // Whoever waits for an answer learns that there will be none.
            reader.waiting.lock().take();
            // Nobody listens when the runtime itself is going away.
            drop(news.send(News::Gone { sandbox }));
        });
        Ok(Self { shared })
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn request(&self, fields: &[&str], fds: &[RawFd]) -> Result<std::result::Result<Answer, Failure>> {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        match self.shared.waiting.lock().as_mut() {
            Some(waiting) => drop(waiting.insert(number, sender)),
            None => return Err(RuntimeError::MonitorGone),
        }
        let mut packet = number.to_string().into_bytes();
        for field in fields {
            packet.push(0);
            packet.extend_from_slice(field.as_bytes());
        }
        self.shared.send(&packet, fds).await?;
        receiver.await.map_err(|_| RuntimeError::MonitorGone)
    }

    /// A request whose failure is an internal error.
    pub(crate) async fn order(&self, fields: &[&str], fds: &[RawFd]) -> Result<Answer> {
        self.request(fields, fds).await?.map_err(|failure| RuntimeError::Invalid(failure.message))
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.shared.waiting.lock().is_some()
    }
}

// === impl Shared ===

impl Shared {
    async fn send(&self, packet: &[u8], fds: &[RawFd]) -> Result<()> {
        loop {
            let mut guard = self.socket.writable().await.map_err(|_| RuntimeError::MonitorGone)?;
            match guard.try_io(|socket| socket::send(socket.as_fd(), packet, fds)) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(_)) => return Err(RuntimeError::MonitorGone),
                Err(_would_block) => {}
            }
        }
    }

    async fn read(&self, news: &mpsc::UnboundedSender<News>) {
        let mut buffer = vec![0; socket::MAX_PACKET];
        loop {
            let Ok(mut guard) = self.socket.readable().await else { return };
            match guard.try_io(|socket| socket::receive(socket.as_fd(), &mut buffer)) {
                Ok(Ok((0, _))) | Ok(Err(_)) => return,
                Ok(Ok((n, fds))) => self.hear(&buffer[..n], fds, news),
                Err(_would_block) => {}
            }
        }
    }

    fn hear(&self, packet: &[u8], fds: Vec<OwnedFd>, news: &mpsc::UnboundedSender<News>) {
        let text = String::from_utf8_lossy(packet);
        let fields: Vec<&str> = text.split('\0').collect();
        match fields.as_slice() {
            ["0", "exit", container, code, at] => {
                let (Ok(code), Ok(at)) = (code.parse(), at.parse()) else { return };
                drop(news.send(News::ContainerEnded { container: (*container).to_owned(), code, at }));
            }
            ["0", "exec-exit", exec, code] => {
                let Ok(code) = code.parse() else { return };
                drop(news.send(News::ExecEnded { exec: (*exec).to_owned(), code }));
            }
            [number, verdict, rest @ ..] => {
                let Ok(number) = number.parse::<u32>() else { return };
                let sender = self.waiting.lock().as_mut().and_then(|waiting| waiting.remove(&number));
                let answer = if *verdict == "ok" {
                    Ok(Answer { fields: rest.iter().map(|field| (*field).to_owned()).collect(), fds })
                } else {
                    let kind = rest.first().copied().unwrap_or("monitor").to_owned();
                    let message = rest.get(1..).unwrap_or_default().join(" ");
                    Err(Failure { kind, message })
                };
                if let Some(sender) = sender {
                    // The asker may have given up.
                    drop(sender.send(answer));
                }
            }
            _ => {}
        }
    }
}

/// Puts the monitor program where it can be executed; its name carries its content, so versions do not mix.
pub(crate) fn install(bin: &Path) -> Result<PathBuf> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::os::unix::fs::PermissionsExt;
    let mut hasher = DefaultHasher::new();
    PROGRAM.hash(&mut hasher);
    let path = bin.join(format!("monitor-{:016x}", hasher.finish()));
    if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == PROGRAM.len() as u64) {
        return Ok(path);
    }
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, PROGRAM).map_err(RuntimeError::io("write", &temporary))?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o500))
        .map_err(RuntimeError::io("chmod", &temporary))?;
    std::fs::rename(&temporary, &path).map_err(RuntimeError::io("rename", &path))?;
    Ok(path)
}
