//! Further programs in containers, joining a container's own streams, and connections into a sandbox's network.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use cri::{
    AttachRequest, CriError, CriResult, Duplex, ExecRequest, ExecSyncResult, NamespaceMode, Session, TerminalSize,
};
use futures::FutureExt;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::stream::{self, Terminal};
use super::{Container, Runtime, blocking};
use crate::error::RuntimeError;
use crate::helper;
use crate::monitor::{Answer, Monitor};
use crate::record::{self, ContainerRecord};

/// What `exec_sync` keeps of each stream, as containerd does.
const OUTPUT_LIMIT: u64 = 16 << 20;
const RESIZE_BACKLOG: usize = 8;

/// A started program.
struct Started {
    id: String,
    monitor: Monitor,
    exit: oneshot::Receiver<i32>,
    terminal: Option<OwnedFd>,
}

/// Kills a program whose session was dropped before it ended.
struct KillOnDrop {
    runtime: Runtime,
    monitor: Monitor,
    id: String,
}

impl Runtime {
    pub(super) async fn run_to_end(
        &self,
        id: &str,
        command: &[String],
        timeout: Option<Duration>,
    ) -> CriResult<ExecSyncResult> {
        let (stdout, stdout_end) = stream::output()?;
        let (stderr, stderr_end) = stream::output()?;
        let started = self.start_program(id, command, false, "oe", vec![stdout_end, stderr_end]).await?;
        let guard = KillOnDrop::new(self, &started);
        let (mut exit, mut stdout, mut stderr) = (started.exit, Capture::new(stdout), Capture::new(stderr));
        let collect = async {
            let code = {
                let streams = async { tokio::join!(stdout.run(), stderr.run()) };
                tokio::pin!(streams);
                // A program may leave children behind that keep the streams open: its own end is what counts.
                tokio::select! {
                    code = &mut exit => code,
                    _ = &mut streams => exit.await,
                }
            };
            // All that it wrote is in the pipes by now.
            stdout.take_rest();
            stderr.take_rest();
            code
        };
        let code = match timeout.filter(|timeout| !timeout.is_zero()) {
            Some(timeout) => tokio::time::timeout(timeout, collect).await.map_err(|_| {
                CriError::DeadlineExceeded(format!(
                    "failed to exec in container: timeout {timeout:?} exceeded: context deadline exceeded"
                ))
            })?,
            None => collect.await,
        };
        guard.disarm();
        let exit_code = code.map_err(|_| CriError::from(RuntimeError::MonitorGone))?;
        Ok(ExecSyncResult { stdout: stdout.bytes, stderr: stderr.bytes, exit_code })
    }

    pub(super) async fn run_live(&self, request: &ExecRequest) -> CriResult<Session> {
        if request.command.is_empty() {
            return Err(CriError::InvalidArgument("command must not be empty".to_owned()));
        }
        let (mut flags, mut fds) = (String::new(), Vec::new());
        let (mut stdin, mut stdout, mut stderr) = (None, None, None);
        if !request.tty {
            if request.stdin {
                let (writer, end) = stream::input()?;
                stdin = Some(Box::new(writer) as cri::Writer);
                flags.push('i');
                fds.push(end);
            }
            for (wanted, flag, slot) in [(request.stdout, 'o', &mut stdout), (request.stderr, 'e', &mut stderr)] {
                if wanted {
                    let (reader, end) = stream::output()?;
                    *slot = Some(Box::new(reader) as cri::Reader);
                    flags.push(flag);
                    fds.push(end);
                }
            }
        }
        let started = self.start_program(&request.container_id, &request.command, request.tty, &flags, fds).await?;
        let guard = KillOnDrop::new(self, &started);
        let (resize, sizes) = mpsc::channel(RESIZE_BACKLOG);
        if let Some(master) = started.terminal {
            let terminal = Terminal::new(master)?;
            if request.stdin {
                stdin = Some(Box::new(terminal.clone()));
            }
            stdout = Some(Box::new(terminal.clone()));
            self.shared.supervisor.spawn("exec terminal sizes", apply_sizes(terminal, sizes));
        }
        let exit = started.exit;
        let exit = async move {
            let code = exit.await.map_err(|_| CriError::from(RuntimeError::MonitorGone));
            guard.disarm();
            code
        };
        Ok(Session { stdin, stdout, stderr, resize, exit: exit.boxed() })
    }

    async fn start_program(
        &self,
        id: &str,
        command: &[String],
        terminal: bool,
        flags: &str,
        fds: Vec<OwnedFd>,
    ) -> CriResult<Started> {
        let record = self.running(id)?;
        let monitor = self.monitor_of(&record.sandbox_id)?;
        let exec = record::new_id()?;
        let directory = self.shared.layout.container(id);
        let path = directory.join(format!("exec-{exec}.json"));
        let request = helper::ExecRequest {
            pid: record.pid,
            pid_started: record.pid_started,
            config: directory.join("config.json"),
            cgroups: self.shared.cgroups.procs_files(&record.cgroup),
            args: command.to_vec(),
            terminal,
            filter: self.shared.filter(&record)?,
        };
        let target = path.clone();
        blocking(move || record::save(&target, &request)).await?;
        let (sender, exit) = oneshot::channel();
        self.shared.state.lock().execs.insert(exec.clone(), sender);
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let helper = self.shared.helper_program.to_string_lossy();
        let outcome =
            monitor.request(&["exec", "exec", &exec, &helper, &path.to_string_lossy(), flags], &numbers).await;
        // The program has its own copies; ours would keep the streams open.
        drop(fds);
        let outcome = outcome.map_err(CriError::from).and_then(|outcome| {
            outcome.map_err(|failure| {
                CriError::StartContainer(format!(
                    "failed to exec in container: failed to start exec {exec:?}: OCI runtime exec failed: exec failed: \
                     unable to start container process: {}",
                    failure.message
                ))
            })
        });
        match outcome {
            Ok(Answer { mut fds, .. }) => Ok(Started { id: exec, monitor, exit, terminal: fds.pop() }),
            Err(error) => {
                self.shared.state.lock().execs.remove(&exec);
                Err(error)
            }
        }
    }

    pub(super) async fn join_streams(&self, request: &AttachRequest) -> CriResult<Session> {
        let record = self.running(&request.container_id)?;
        let container = self.container(&request.container_id)?;
        let monitor = self.monitor_of(&record.sandbox_id)?;
        let (mut flags, mut fds) = (String::new(), Vec::new());
        let (mut stdin, mut stdout, mut stderr) = (None, None, None);
        if request.stdin && (record.config.stdin || record.config.tty) {
            let (writer, end) = stream::input()?;
            stdin = Some(Box::new(writer) as cri::Writer);
            flags.push('i');
            fds.push(end);
        }
        let wanted_err = request.stderr && !record.config.tty;
        for (wanted, flag, slot) in [(request.stdout, 'o', &mut stdout), (wanted_err, 'e', &mut stderr)] {
            if wanted {
                let (reader, end) = stream::output()?;
                *slot = Some(Box::new(reader) as cri::Reader);
                flags.push(flag);
                fds.push(end);
            }
        }
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        monitor.order(&["attach", &request.container_id, &flags], &numbers).await?;
        drop(fds);
        let (resize, mut sizes) = mpsc::channel::<TerminalSize>(RESIZE_BACKLOG);
        let (resizer, id) = (monitor.clone(), request.container_id.clone());
        self.shared.supervisor.spawn("attach terminal sizes", async move {
            while let Some(size) = sizes.recv().await {
                let (width, height) = (size.width.to_string(), size.height.to_string());
                // A terminal that cannot be resized is still a terminal.
                drop(resizer.request(&["resize", &id, &width, &height], &[]).await);
            }
        });
        let exit = async move {
            container.wait().await;
            Ok(exit_code(&container))
        };
        Ok(Session { stdin, stdout, stderr, resize, exit: exit.boxed() })
    }

    pub(super) async fn connect_to(&self, sandbox_id: &str, port: u16) -> CriResult<Box<dyn Duplex>> {
        let sandbox = self.sandbox(sandbox_id)?;
        let own_network = sandbox.record.lock().config.namespaces.network != NamespaceMode::Node;
        let mut last = None;
        // As upstream: whatever listens on either loopback address.
        for address in [([127, 0, 0, 1], port).into(), ([0_u16, 0, 0, 0, 0, 0, 0, 1], port).into()] {
            let address: std::net::SocketAddr = address;
            let connected = if own_network {
                let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
                let monitor = self.monitor_of(sandbox_id)?;
                match monitor.order(&["socket", &family.to_string()], &[]).await?.fds.pop() {
                    // A socket belongs to the network it was made in, whoever connects it.
                    Some(fd) => TcpSocket::from_std_stream(fd.into()).connect(address).await,
                    None => continue,
                }
            } else {
                TcpStream::connect(address).await
            };
            match connected {
                Ok(connection) => return Ok(Box::new(connection)),
                Err(error) => last = Some(error),
            }
        }
        let reason = last.map(|error| error.to_string()).unwrap_or_default();
        Err(CriError::Internal(format!(
            "failed to connect to localhost:{port} inside namespace of sandbox {sandbox_id:?}: {reason}"
        )))
    }

    fn running(&self, id: &str) -> CriResult<ContainerRecord> {
        let container = self.container(id)?;
        if !container.is_running() {
            return Err(CriError::FailedPrecondition(format!("container {id:?} is not in running state")));
        }
        let record = container.record.lock().clone();
        Ok(record)
    }
}

fn exit_code(container: &Arc<Container>) -> i32 {
    container.record.lock().exit.as_ref().map_or(0, |exit| exit.code)
}

async fn apply_sizes(terminal: Terminal, mut sizes: mpsc::Receiver<TerminalSize>) {
    while let Some(size) = sizes.recv().await {
        terminal.resize(size);
    }
}

/// Output kept up to a limit; what is beyond is read and dropped, so that the program does not block.
struct Capture {
    stream: tokio::net::unix::pipe::Receiver,
    bytes: Vec<u8>,
}

impl Capture {
    fn new(stream: tokio::net::unix::pipe::Receiver) -> Self {
        Self { stream, bytes: Vec::new() }
    }

    /// Reads to the end of the stream.
    async fn run(&mut self) {
        let mut buffer = [0; 8192];
        loop {
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(n) => self.keep(n, &buffer),
            }
        }
    }

    /// Reads what is there now.
    fn take_rest(&mut self) {
        let mut buffer = [0; 8192];
        while let Ok(n @ 1..) = self.stream.try_read(&mut buffer) {
            self.keep(n, &buffer);
        }
    }

    fn keep(&mut self, n: usize, buffer: &[u8]) {
        let room = usize::try_from(OUTPUT_LIMIT).unwrap_or(usize::MAX).saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&buffer[..n.min(room)]);
    }
}

// === impl KillOnDrop ===

impl KillOnDrop {
    fn new(runtime: &Runtime, started: &Started) -> Self {
        Self { runtime: runtime.clone(), monitor: started.monitor.clone(), id: started.id.clone() }
    }

    fn disarm(mut self) {
        self.id = String::new();
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if self.id.is_empty() {
            return;
        }
        let (monitor, id) = (self.monitor.clone(), std::mem::take(&mut self.id));
        self.runtime.shared.state.lock().execs.remove(&id);
        self.runtime.shared.supervisor.spawn("end of an abandoned exec", async move {
            // Ended already is what we want.
            drop(monitor.request(&["signal", &id, "9"], &[]).await);
        });
    }
}
