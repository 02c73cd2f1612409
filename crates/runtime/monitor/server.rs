//! The loop: one agent at a time gives orders over a socket of packets; children end; output is copied.
//!
//! A packet is fields separated by NUL: a request number, a verb, arguments. Answers repeat the number, then `ok` or
//! `err`. Packets numbered 0 tell of ends: `exit <id> <code> <nanos>` and `exec-exit <id> <code>`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::container::{Container, Exec, Starting, What, duplicate, output_pipe};
use crate::log::Log;
use crate::sys::{self, POLLIN, POLLOUT, PollFd};

struct Server {
    listener: OwnedFd,
    agent: Option<OwnedFd>,
    /// Answers that did not fit into the socket.
    unsent: Vec<Vec<u8>>,
    containers: Vec<Container>,
    execs: Vec<Exec>,
    starting: Vec<Starting>,
    /// Requests for the list, which is given when it is known what runs.
    asked: Vec<u32>,
    /// Ends of processes whose helper has not yet said what they are.
    orphans: Vec<(i32, i32)>,
    quitting: bool,
}

const MAX_PACKET: usize = 32 << 10;
const MAX_ORPHANS: usize = 128;

pub fn run(listener: OwnedFd) -> io::Result<()> {
    sys::keep_heap_small();
    sys::setsid();
    sys::become_reaper(c"tiphys-monitor")?;
    sys::nonblocking(&listener)?;
    let signals = sys::child_signals()?;
    let mut server = Server {
        listener,
        agent: None,
        unsent: Vec::new(),
        containers: Vec::new(),
        execs: Vec::new(),
        starting: Vec::new(),
        asked: Vec::new(),
        orphans: Vec::new(),
        quitting: false,
    };
    let mut set: Vec<PollFd> = Vec::new();
    while !server.quitting {
        set.clear();
        server.poll_set(&mut set, &signals);
        sys::poll(&mut set)?;
        let ready = |fd: RawFd| set.iter().any(|polled| polled.fd == fd && polled.revents != 0);
        server.turn(&ready, &signals);
    }
    Ok(())
}

impl Server {
    fn poll_set(&self, set: &mut Vec<PollFd>, signals: &OwnedFd) {
        set.push(PollFd { fd: signals.as_raw_fd(), events: POLLIN, revents: 0 });
        set.push(PollFd { fd: self.listener.as_raw_fd(), events: POLLIN, revents: 0 });
        if let Some(agent) = &self.agent {
            let out = if self.unsent.is_empty() { 0 } else { POLLOUT };
            set.push(PollFd { fd: agent.as_raw_fd(), events: POLLIN | out, revents: 0 });
        }
        set.extend(self.starting.iter().map(|s| PollFd { fd: s.channel.as_raw_fd(), events: POLLIN, revents: 0 }));
        for container in &self.containers {
            container.poll_set(set);
        }
    }

    fn turn(&mut self, ready: &dyn Fn(RawFd) -> bool, signals: &OwnedFd) {
        for container in &mut self.containers {
            container.pump(ready);
        }
        // Helpers' answers come before ends, so that an end finds its container.
        self.hear_helpers();
        if ready(signals.as_raw_fd()) {
            sys::discard(signals);
            while let Some((pid, code)) = sys::reap() {
                self.ended(pid, code);
            }
            self.hear_helpers();
        }
        if self.agent.as_ref().is_some_and(|agent| ready(agent.as_raw_fd())) {
            self.flush();
            self.hear_agent();
        }
        if ready(self.listener.as_raw_fd())
            && let Ok(agent) = sys::accept(&self.listener)
        {
            // The newest agent is the one that lives.
            self.agent = Some(agent);
            self.unsent.clear();
            // Whoever asked has gone. Its numbers are the new agent's too, which must not take the answers for its own.
            self.asked.clear();
            self.starting.iter_mut().for_each(|starting| starting.request = 0);
        }
    }

    fn hear_agent(&mut self) {
        let mut buffer = vec![0; MAX_PACKET];
        while let Some(agent) = &self.agent {
            match sys::receive(agent.as_fd(), &mut buffer) {
                Ok((0, _)) => self.agent = None,
                Ok((n, fds)) => self.order(&buffer[..n], fds),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.agent = None,
            }
        }
    }

    fn order(&mut self, packet: &[u8], fds: Vec<OwnedFd>) {
        let Ok(text) = std::str::from_utf8(packet) else { return };
        let fields: Vec<&str> = text.split('\0').collect();
        let Some(number) = fields.first().and_then(|n| n.parse().ok()) else { return };
        let verb = fields.get(1).copied().unwrap_or_default();
        let args = fields.get(2..).unwrap_or_default();
        let result = match verb {
            "start" => return self.begin(number, args, fds),
            "exec" => return self.begin(number, args, fds),
            "attach" => self.attach(args, fds),
            "resize" => self.resize(args),
            "signal" => self.signal(args),
            "reopen" => self.with(args, |container| container.log.reopen()),
            "forget" => {
                self.containers.retain(|container| args.first() != Some(&container.id.as_str()));
                Ok(())
            }
            "list" => {
                self.asked.push(number);
                return self.answer_lists();
            }
            "socket" => {
                let family = args.first().and_then(|family| family.parse().ok()).unwrap_or(2);
                match sys::tcp_socket(family) {
                    Ok(socket) => return self.tell(format!("{number}\0ok").as_bytes(), &[socket.as_raw_fd()]),
                    Err(e) => Err(e),
                }
            }
            "init" => match self.start_init(args) {
                Ok(pid) => return self.tell(format!("{number}\0ok\0{pid}").as_bytes(), &[]),
                Err(e) => Err(e),
            },
            "quit" => {
                self.quitting = true;
                Ok(())
            }
            _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
        };
        let answer = match result {
            Ok(()) => format!("{number}\0ok"),
            Err(e) => format!("{number}\0err\0monitor\0{e}"),
        };
        self.tell(answer.as_bytes(), &[]);
    }

    fn begin(&mut self, number: u32, args: &[&str], fds: Vec<OwnedFd>) {
        let begun = match args {
            ["container", id, helper, directory, log, flags] => {
                self.begin_container(number, id, helper, directory, log, flags)
            }
            ["exec", id, helper, directory, flags] => self.begin_exec(number, id, helper, directory, flags, fds),
            _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        if let Err(e) = begun {
            self.tell(format!("{number}\0err\0monitor\0{e}").as_bytes(), &[]);
        }
    }

    fn begin_container(
        &mut self,
        request: u32,
        id: &str,
        helper: &str,
        directory: &str,
        log: &str,
        flags: &str,
    ) -> io::Result<()> {
        let mut container = Container {
            id: id.to_owned(),
            directory: PathBuf::from(directory),
            pid: 0,
            exit: None,
            log: Log::open(log)?,
            streams: Vec::new(),
            input: None,
            stdin_once: flags.contains('o'),
            terminal: None,
        };
        let mut stdio = [Stdio::null(), Stdio::null(), Stdio::null()];
        if !flags.contains('t') {
            for (index, name) in [(1, "stdout"), (2, "stderr")] {
                let (reader, writer) = output_pipe()?;
                container.add_stream(reader, name)?;
                stdio[index] = Stdio::from(writer);
            }
            if flags.contains('i') {
                let (reader, writer) = output_pipe()?;
                container.set_input(writer)?;
                stdio[0] = Stdio::from(reader);
            }
        }
        let (channel, helper) = spawn(helper, "start", directory, stdio)?;
        self.containers.retain(|other| other.id != container.id);
        self.containers.push(container);
        let what = What::Container(id.to_owned());
        self.starting.push(Starting { request, helper, channel, answer: None, terminal: None, what });
        Ok(())
    }

    fn begin_exec(
        &mut self,
        request: u32,
        id: &str,
        helper: &str,
        directory: &str,
        flags: &str,
        fds: Vec<OwnedFd>,
    ) -> io::Result<()> {
        let mut fds = fds.into_iter();
        let mut stdio = [Stdio::null(), Stdio::null(), Stdio::null()];
        for (index, flag) in ['i', 'o', 'e'].into_iter().enumerate() {
            if flags.contains(flag)
                && let Some(fd) = fds.next()
            {
                stdio[index] = Stdio::from(fd);
            }
        }
        let (channel, helper) = spawn(helper, "exec", directory, stdio)?;
        let what = What::Exec(id.to_owned());
        self.starting.push(Starting { request, helper, channel, answer: None, terminal: None, what });
        Ok(())
    }

    /// Reads what helpers say. A channel that ends means that the program itself has been executed, or never will be.
    fn hear_helpers(&mut self) {
        let mut done = Vec::new();
        let mut buffer = [0; 8192];
        for (index, starting) in self.starting.iter_mut().enumerate() {
            loop {
                match sys::receive(starting.channel.as_fd(), &mut buffer) {
                    Ok((0, _)) => {
                        done.push(index);
                        break;
                    }
                    Ok((n, mut fds)) => {
                        starting.terminal = fds.pop().or(starting.terminal.take());
                        // A failure after the first answer replaces it.
                        starting.answer = Some(buffer[..n].to_vec());
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {
                        done.push(index);
                        break;
                    }
                }
            }
        }
        for index in done.into_iter().rev() {
            let starting = self.starting.remove(index);
            self.started(starting);
        }
        if self.starting.is_empty() {
            self.orphans = Vec::new();
        }
        self.answer_lists();
    }

    /// A container whose start an earlier agent began is neither running nor not: its helper ends soon.
    fn answer_lists(&mut self) {
        if self.starting.iter().any(|starting| matches!(starting.what, What::Container(_))) {
            return;
        }
        for number in std::mem::take(&mut self.asked) {
            let items = self.containers.iter().map(|c| format!("\0{} {} {}", c.id, c.pid, c.exit.unwrap_or(-1)));
            let answer = format!("{number}\0ok{}", items.collect::<String>());
            self.tell(answer.as_bytes(), &[]);
        }
    }

    fn started(&mut self, starting: Starting) {
        let answer =
            starting.answer.unwrap_or_else(|| b"err\0helper\0the helper process ended without an answer".to_vec());
        let pid = answer.strip_prefix(b"ok\0").and_then(|rest| {
            let digits = rest.split(|b| *b == 0).next()?;
            std::str::from_utf8(digits).ok()?.parse::<i32>().ok()
        });
        let mut packet = format!("{}\0", starting.request).into_bytes();
        packet.extend_from_slice(&answer);
        let ended = pid.and_then(|pid| {
            let at = self.orphans.iter().position(|(orphan, _)| *orphan == pid)?;
            Some((pid, self.orphans.swap_remove(at).1))
        });
        match (starting.what, pid) {
            (What::Container(id), Some(pid)) => {
                if let Some(container) = self.containers.iter_mut().find(|c| c.id == id) {
                    container.pid = pid;
                    if let Some(terminal) = starting.terminal {
                        // Failing here costs the output, not the container.
                        if let (Ok(output), Ok(input)) = (duplicate(&terminal), duplicate(&terminal)) {
                            drop(container.add_stream(output, "stdout"));
                            drop(container.set_input(input));
                        }
                        container.terminal = Some(terminal);
                    }
                    // So that a new agent finds what runs, whatever it had written down itself.
                    drop(std::fs::write(container.directory.join("pid"), pid.to_string()));
                }
                self.tell(&packet, &[]);
            }
            (What::Container(id), None) => {
                self.containers.retain(|container| container.id != id);
                self.tell(&packet, &[]);
            }
            (What::Exec(id), Some(pid)) => {
                let fds: Vec<RawFd> = starting.terminal.iter().map(AsRawFd::as_raw_fd).collect();
                self.tell(&packet, &fds);
                self.execs.push(Exec { id, pid });
            }
            (What::Exec(_), None) => self.tell(&packet, &[]),
        }
        if let Some((pid, code)) = ended {
            self.ended(pid, code);
        }
    }

    fn ended(&mut self, pid: i32, code: i32) {
        if let Some(container) = self.containers.iter_mut().find(|c| c.pid == pid && c.exit.is_none()) {
            container.drain();
            let nanos = container.record_exit(code);
            let event = format!("0\0exit\0{}\0{code}\0{nanos}", container.id);
            self.tell(event.as_bytes(), &[]);
        } else if let Some(at) = self.execs.iter().position(|exec| exec.pid == pid) {
            let exec = self.execs.swap_remove(at);
            self.tell(format!("0\0exec-exit\0{}\0{code}", exec.id).as_bytes(), &[]);
        } else if !self.starting.is_empty() && !self.starting.iter().any(|s| s.helper == pid) {
            if self.orphans.len() >= MAX_ORPHANS {
                self.orphans.remove(0);
            }
            self.orphans.push((pid, code));
        }
    }

    fn with(&mut self, args: &[&str], work: impl FnOnce(&mut Container) -> io::Result<()>) -> io::Result<()> {
        let id = args.first().copied().unwrap_or_default();
        match self.containers.iter_mut().find(|container| container.id == id) {
            Some(container) => work(container),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn attach(&mut self, args: &[&str], fds: Vec<OwnedFd>) -> io::Result<()> {
        let flags = args.get(1).copied().unwrap_or_default().to_owned();
        self.with(args, |container| {
            let mut fds = fds.into_iter();
            for flag in flags.chars() {
                let Some(fd) = fds.next() else { break };
                match flag {
                    'i' => container.attach_input(fd)?,
                    'o' => container.attach_output(0, fd)?,
                    _ => container.attach_output(1, fd)?,
                }
            }
            Ok(())
        })
    }

    fn resize(&mut self, args: &[&str]) -> io::Result<()> {
        let number = |at: usize| args.get(at).and_then(|n| n.parse::<u16>().ok()).unwrap_or(0);
        let (columns, rows) = (number(1), number(2));
        self.with(args, |container| match &container.terminal {
            Some(terminal) => sys::set_window(terminal, columns, rows),
            None => Ok(()),
        })
    }

    /// Signals a process that has not been reaped, so its pid cannot belong to another one.
    fn signal(&mut self, args: &[&str]) -> io::Result<()> {
        let id = args.first().copied().unwrap_or_default();
        let signal = args.get(1).and_then(|n| n.parse().ok()).unwrap_or(sys::SIGKILL);
        let container = self.containers.iter().find(|c| c.id == id && c.exit.is_none()).map(|c| c.pid);
        let exec = || self.execs.iter().find(|exec| exec.id == id).map(|exec| exec.pid);
        match container.or_else(exec) {
            Some(pid) if pid > 0 => sys::kill(pid, signal),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Starts the first process of a pid namespace that the pod's containers share.
    fn start_init(&mut self, args: &[&str]) -> io::Result<i32> {
        let program = args.first().copied().unwrap_or_default();
        let (mut ready, told) = io::pipe()?;
        match sys::fork_pid_namespace()? {
            0 => {
                use std::os::unix::process::CommandExt;
                let mut command = Command::new(program);
                command.arg("init").stdin(Stdio::null()).stdout(told).stderr(Stdio::null());
                drop(command.exec());
                std::process::exit(127)
            }
            pid => {
                drop(told);
                // It is locked in when it says so; should it die instead, the pipe ends.
                let mut answer = [0];
                io::Read::read_exact(&mut ready, &mut answer)?;
                Ok(pid)
            }
        }
    }

    fn tell(&mut self, packet: &[u8], fds: &[RawFd]) {
        let Some(agent) = &self.agent else { return };
        if !self.unsent.is_empty() && fds.is_empty() {
            self.unsent.push(packet.to_vec());
            return;
        }
        match sys::send(agent.as_fd(), packet, fds) {
            Ok(()) => {}
            // Descriptors cannot wait; the agent takes a missing answer for a lost connection.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && fds.is_empty() => self.unsent.push(packet.to_vec()),
            Err(_) => self.agent = None,
        }
    }

    fn flush(&mut self) {
        while let (Some(agent), Some(packet)) = (&self.agent, self.unsent.first()) {
            match sys::send(agent.as_fd(), packet, &[]) {
                Ok(()) => drop(self.unsent.remove(0)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.agent = None,
            }
        }
    }
}

/// Starts the agent's binary as a helper: streams as given, descriptor number of its channel as last argument.
fn spawn(program: &str, verb: &str, directory: &str, stdio: [Stdio; 3]) -> io::Result<(OwnedFd, i32)> {
    use std::os::unix::process::CommandExt;
    let (ours, theirs) = sys::channel()?;
    let [stdin, stdout, stderr] = stdio;
    let mut command = Command::new(program);
    command.arg0("tiphys-runtime").arg(verb).arg(directory).arg(theirs.as_raw_fd().to_string());
    command.env_clear().stdin(stdin).stdout(stdout).stderr(stderr).current_dir("/");
    let child = command.spawn()?;
    // Reaped with everybody else, never through this handle.
    let pid = i32::try_from(child.id()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((ours, pid))
}
