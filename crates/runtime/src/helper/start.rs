//! Starting a container: mount its root, find out who it runs as, let libcontainer make it, execute.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid, fchown};

use super::account::{self, Account};
use super::channel::Channel;
use super::launch::{LAUNCH_FILE, Launch};
use super::{executable, overlay, privileges, trace};
use crate::cgroup;
use crate::error::{Result, RuntimeError, chain};
use crate::record;

/// Marks the executor's message inside libcontainer's chain of errors.
const MARK: char = '\u{1}';

pub(super) fn run(directory: &Path, channel: &Channel) -> ExitCode {
    match start(directory, channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            channel.error(failure.kind, &failure.message);
            ExitCode::FAILURE
        }
    }
}

struct Failure {
    kind: &'static str,
    message: String,
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self { kind: "create", message: error.chain() }
    }
}

fn start(directory: &Path, channel: &Channel) -> std::result::Result<(), Failure> {
    trace::collect(directory);
    let path = directory.join(LAUNCH_FILE);
    let mut launch: Launch =
        record::load(&path)?.ok_or_else(|| RuntimeError::Invalid(format!("{} is missing", path.display())))?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(RuntimeError::errno("unshare mounts for", directory))?;
    overlay::mount_root(&launch)?;
    for image in &launch.image_mounts {
        overlay::mount_image(image)?;
    }
    let root = File::open(&launch.rootfs).map_err(RuntimeError::io("open", &launch.rootfs))?;
    let account =
        account::resolve(&launch.identity, root.as_fd()).map_err(|message| Failure { kind: "create", message })?;
    make_directories(root.as_fd(), &launch.working_dir)?;
    drop(root);
    complete(&mut launch.spec, &account);
    let filter = launch.filter.as_ref().map(|filter| filter.program()).transpose()?;
    if filter.is_some() {
        privileges::keep_for_filter(&mut launch.spec);
    }
    let config = directory.join("config.json");
    let bytes =
        serde_json::to_vec(&launch.spec).map_err(|source| RuntimeError::Record { path: config.clone(), source })?;
    fs::write(&config, bytes).map_err(RuntimeError::io("write", &config))?;
    if !launch.terminal {
        give_streams(&account);
    }
    create(directory, &launch, &account, filter, channel)
}

fn create(
    directory: &Path,
    launch: &Launch,
    account: &Account,
    filter: Option<Vec<u8>>,
    channel: &Channel,
) -> std::result::Result<(), Failure> {
    let console = directory.join("console.sock");
    let listener = if launch.terminal {
        // What is bound by a relative name is not bound by the length of a path.
        std::env::set_current_dir(directory).map_err(RuntimeError::io("enter", directory))?;
        Some(UnixListener::bind("console.sock").map_err(RuntimeError::io("bind", &console))?)
    } else {
        None
    };
    let executor = InContainer { channel: channel.number(), filter };
    let built = ContainerBuilder::new(launch.id.clone(), SyscallType::default())
        .with_executor(executor)
        .with_console_socket(launch.terminal.then_some(&console))
        .with_root_path(&launch.state)
        .map(|builder| builder.as_init(directory).with_systemd(false).with_detach(true).build());
    let mut container = match built {
        Ok(Ok(container)) => container,
        Ok(Err(error)) | Err(error) => return Err(failure(&error, directory)),
    };
    let terminal = match listener {
        Some(listener) => {
            Some(receive_terminal(&listener).map_err(RuntimeError::io("receive the terminal of", directory))?)
        }
        None => None,
    };
    let pid = container.pid().map_or(0, |pid| pid.as_raw());
    let result = before_start(launch, pid);
    if let Err(error) = result {
        // The container waits for its start signal and will never get it.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).ok();
        return Err(error.into());
    }
    let groups: Vec<String> = account.groups.iter().map(u32::to_string).collect();
    let fields = [
        pid.to_string(),
        account.uid.to_string(),
        account.gid.to_string(),
        groups.join(","),
        record::now().to_string(),
    ];
    channel.ok(&fields, terminal.as_ref());
    // From here the executor in the container reports what goes wrong.
    container.start().map_err(|error| Failure { kind: "start", message: chain(&error) })
}

/// What must be in place before the program runs: device rules, and the unified hierarchy beside the limits' one.
fn before_start(launch: &Launch, pid: i32) -> Result<()> {
    if let Some(group) = &launch.unified_cgroup {
        fs::create_dir_all(group).map_err(RuntimeError::io("create", group))?;
        let procs = group.join("cgroup.procs");
        fs::write(&procs, pid.to_string()).map_err(RuntimeError::io("join", &procs))?;
    }
    if let Some(group) = &launch.device_cgroup {
        cgroup::devices::attach(group, &launch.spec)?;
    }
    Ok(())
}

fn failure(error: &libcontainer::error::LibcontainerError, directory: &Path) -> Failure {
    let text = chain(error);
    if let Some(message) = text.split(MARK).nth(1) {
        return Failure { kind: "start", message: message.to_owned() };
    }
    let message = match trace::first(directory) {
        Some(cause) => format!("{text}: {cause}"),
        None => text,
    };
    Failure { kind: "create", message }
}

/// Puts who it runs as into the configuration.
fn complete(spec: &mut serde_json::Value, account: &Account) {
    let process = &mut spec["process"];
    process["user"] = serde_json::json!({
        "uid": account.uid,
        "gid": account.gid,
        "additionalGids": account.groups,
    });
    if let Some(env) = process["env"].as_array_mut()
        && !env.iter().any(|entry| entry.as_str().is_some_and(|entry| entry.starts_with("HOME=")))
    {
        env.push(format!("HOME={}", account.home).into());
    }
}

/// The working directory is made where the image has none, as Docker does.
fn make_directories(root: impl AsFd, path: &str) -> Result<()> {
    let how = || {
        OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS)
    };
    let mut done = std::path::PathBuf::from("/");
    for component in Path::new(path).components() {
        let std::path::Component::Normal(name) = component else { continue };
        let parent = openat2(&root, &done, how()).map_err(RuntimeError::errno("open", &done))?;
        done.push(name);
        match openat2(&root, &done, how()) {
            Ok(_) => {}
            Err(nix::Error::ENOENT) => mkdirat(&parent, name, Mode::from_bits_truncate(0o755))
                .map_err(RuntimeError::errno("create working directory", &done))?,
            Err(errno) => return Err(RuntimeError::errno("open working directory", &done)(errno)),
        }
    }
    Ok(())
}

/// A user other than root can open `/dev/stdout` only if the pipe is his. Upstream: runc `fixStdioPermissions`.
fn give_streams(account: &Account) {
    let owner = (Some(Uid::from_raw(account.uid)), Some(Gid::from_raw(account.gid)));
    // Failing costs a convenience; `/dev/null` refuses in user namespaces.
    fchown(std::io::stdout(), owner.0, None).ok();
    fchown(std::io::stderr(), owner.0, None).ok();
    if nix::sys::stat::fstat(std::io::stdin()).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFIFO) {
        fchown(std::io::stdin(), owner.0, owner.1).ok();
    }
}

/// The master end of the terminal that libcontainer made inside the container.
#[expect(unsafe_code, reason = "descriptors arrive as plain numbers")]
fn receive_terminal(listener: &UnixListener) -> std::io::Result<OwnedFd> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
    use std::os::fd::FromRawFd;
    let (stream, _): (UnixStream, _) = listener.accept()?;
    let mut buffer = [0; 256];
    let mut control = nix::cmsg_space!(std::os::fd::RawFd);
    let mut iov = [std::io::IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<UnixAddr>(stream.as_raw_fd(), &mut iov, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for item in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = item
            && let Some(number) = numbers.first()
        {
            // SAFETY: the kernel just made this descriptor for us.
            return Ok(unsafe { OwnedFd::from_raw_fd(*number) });
        }
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

/// Runs inside the container, as its first process. Only plain system calls and the process's own memory.
#[derive(Clone)]
struct InContainer {
    channel: i32,
    filter: Option<Vec<u8>>,
}

impl Executor for InContainer {
    fn exec(&self, spec: &Spec) -> std::result::Result<(), ExecutorError> {
        let (args, environment) = command(spec);
        let message = match executable::find(args.first().map_or("", String::as_str), &environment) {
            Ok(path) => match self.confine(spec) {
                Ok(()) => executable::execute(&path, &args, &environment),
                Err(message) => message,
            },
            Err(message) => message,
        };
        if let Some(channel) = Channel::inherit(&self.channel.to_string()) {
            channel.error("start", &message);
        }
        Err(ExecutorError::Other(message))
    }

    fn validate(&self, spec: &Spec) -> std::result::Result<(), ExecutorValidationError> {
        let (args, environment) = command(spec);
        executable::find(args.first().map_or("", String::as_str), &environment)
            .map(drop)
            .map_err(|message| ExecutorValidationError::ArgValidationError(format!("{MARK}{message}{MARK}")))
    }

    /// The environment is passed to `execve` as it is written: a map would lose order and duplicates.
    fn setup_envs(
        &self,
        _envs: std::collections::HashMap<String, String>,
    ) -> std::result::Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

// === impl InContainer ===

impl InContainer {
    fn confine(&self, spec: &Spec) -> std::result::Result<(), String> {
        match (&self.filter, spec.process()) {
            (Some(program), Some(process)) => privileges::finish(process, program),
            _ => Ok(()),
        }
    }
}

fn command(spec: &Spec) -> (Vec<String>, Vec<String>) {
    let process = spec.process().as_ref();
    let args = process.and_then(|process| process.args().clone()).unwrap_or_default();
    let environment = process.and_then(|process| process.env().clone()).unwrap_or_default();
    (args, environment)
}
