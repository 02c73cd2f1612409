//! Running a further program in a container.
//!
//! libcontainer's own way cannot be used: it refuses containers with a seccomp profile. The steps are those of runc's
//! `setns_init_linux.go`; users, limits and filters of the node's own are applied by libcontainer's functions.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use caps::CapSet;
use libcontainer::capabilities::reset_effective;
use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::syscall::syscall::create_syscall;
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};
use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::seccomp::CachedFilter;
use super::{executable, privileges};
use crate::{process, record};

/// What to run and where.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecRequest {
    /// First process of the container, and its start time, which together name it.
    pub(crate) pid: i32,
    pub(crate) pid_started: u64,
    /// The container's OCI configuration.
    pub(crate) config: PathBuf,
    /// `cgroup.procs` files to write to.
    pub(crate) cgroups: Vec<PathBuf>,
    pub(crate) args: Vec<String>,
    pub(crate) terminal: bool,
    /// The default seccomp filter, where the container has it.
    pub(crate) filter: Option<CachedFilter>,
}

pub(super) fn run(path: &Path, channel: &Channel) -> ExitCode {
    match exec(path, channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            channel.error("start", &message);
            ExitCode::FAILURE
        }
    }
}

fn exec(path: &Path, channel: &Channel) -> Result<(), String> {
    let request: ExecRequest =
        record::load(path).map_err(|e| e.chain())?.ok_or_else(|| format!("{} is missing", path.display()))?;
    // Best effort: the directory goes with the container anyway.
    drop(fs::remove_file(path));
    let spec = Spec::load(&request.config).map_err(|e| format!("read configuration: {e}"))?;
    let settings = spec.process().as_ref().ok_or("configuration has no process")?;
    let filter = request.filter.as_ref().map(CachedFilter::program).transpose().map_err(|e| e.chain())?;
    let target = process::open(request.pid).map_err(step("open process"))?;
    if process::started(request.pid) != Some(request.pid_started) {
        return Err("container is not running".to_owned());
    }
    // What a container can see of us must not be open to it.
    nix::sys::prctl::set_dumpable(false).map_err(step("hide"))?;
    if let Some(score) = settings.oom_score_adj() {
        set_oom_score(score);
    }
    for procs in &request.cgroups {
        fs::write(procs, "0").map_err(|e| format!("join {}: {e}", procs.display()))?;
    }
    enter_namespaces(&target).map_err(step("enter namespaces"))?;
    drop(target);
    let terminal = if request.terminal { Some(open_terminal().map_err(step("open terminal"))?) } else { None };
    // The new pid namespace is for children only.
    match fork_child().map_err(step("fork"))? {
        ForkResult::Parent { child } => {
            channel.ok(&[child.to_string()], terminal.as_ref().map(|(master, _)| master));
            Ok(())
        }
        ForkResult::Child => {
            let message = match become_process(&spec, settings, terminal, filter.as_deref()) {
                Ok(()) => run_program(settings, &request.args),
                Err(message) => message,
            };
            channel.error("start", &message);
            std::process::exit(if message.contains("executable file not found") { 127 } else { 126 })
        }
    }
}

fn run_program(process: &Process, args: &[String]) -> String {
    let environment = process.env().clone().unwrap_or_default();
    match executable::find(args.first().map_or("", String::as_str), &environment) {
        Ok(path) => executable::execute(&path, args, &environment),
        Err(message) => message,
    }
}

/// Gives up everything that the container's own process does not have either, in runc's order.
fn become_process(
    spec: &Spec,
    process: &Process,
    terminal: Option<(OwnedFd, OwnedFd)>,
    filter: Option<&[u8]>,
) -> Result<(), String> {
    let syscall = create_syscall();
    setsid().map_err(step("setsid"))?;
    if let Some((master, slave)) = terminal {
        drop(master);
        take_terminal(&slave).map_err(step("take terminal"))?;
    }
    for limit in process.rlimits().iter().flatten() {
        syscall.set_rlimit(limit).map_err(|e| format!("set limit: {e}"))?;
    }
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    if no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(step("set no_new_privs"))?;
    }
    if let Some(umask) = process.user().umask() {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(umask));
    }
    // Before the user is changed: root may enter directories that the user may not, and the other way round below.
    let entered = chdir(process.cwd()).is_ok();
    syscall.close_range(0).map_err(|e| format!("close descriptors: {e}"))?;
    let user = process.user();
    let groups: Vec<_> = user.additional_gids().iter().flatten().copied().collect();
    set_groups(&groups).map_err(step("set groups"))?;
    set_user(user.uid(), user.gid()).map_err(step("set user"))?;
    // Leaving user 0 emptied the effective set; the seccomp filter below may need it.
    reset_effective(&*syscall).map_err(|e| format!("reset capabilities: {e}"))?;
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    if let Some(profile) = seccomp.filter(|_| !no_new_privileges) {
        libcontainer::seccomp::initialize_seccomp(profile).map_err(|e| crate::error::chain(&e))?;
    }
    drop_bounding(process).map_err(|e| format!("drop capabilities: {e}"))?;
    if !entered {
        chdir(process.cwd()).map_err(|e| format!("chdir to cwd ({:?}): {}", process.cwd(), e.desc().to_lowercase()))?;
    }
    if let Some(program) = filter {
        return privileges::finish(process, program);
    }
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &privileges::bounding(process)).map_err(|e| format!("set capabilities: {e}"))?;
    }
    if let Some(profile) = seccomp.filter(|_| no_new_privileges) {
        libcontainer::seccomp::initialize_seccomp(profile).map_err(|e| crate::error::chain(&e))?;
    }
    Ok(())
}

/// Nothing executed from here can have more than the container.
fn drop_bounding(process: &Process) -> Result<(), caps::errors::CapsError> {
    let wanted = privileges::bounding(process);
    for capability in caps::read(None, CapSet::Bounding)?.difference(&wanted) {
        caps::drop(None, CapSet::Bounding, *capability)?;
    }
    caps::set(None, CapSet::Inheritable, &caps::CapsHashSet::default())?;
    caps::clear(None, CapSet::Ambient)
}

/// Changes the user without losing the capabilities, which are then set one by one.
fn set_user(uid: u32, gid: u32) -> nix::Result<()> {
    use nix::unistd::{Gid, Uid, setresgid, setresuid};
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    nix::sys::prctl::set_keepcaps(true)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    nix::sys::prctl::set_keepcaps(false)
}

fn step(name: &'static str) -> impl Fn(Errno) -> String {
    move |errno| format!("{name}: {}", errno.desc().to_lowercase())
}

fn set_oom_score(score: i32) {
    // Lowering it needs a privilege that the machine may not have; the program runs all the same.
    if let Ok(mut file) = OpenOptions::new().write(true).open("/proc/self/oom_score_adj") {
        use std::io::Write;
        drop(write!(file, "{score}"));
    }
}

fn enter_namespaces(process: &OwnedFd) -> nix::Result<()> {
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    nix::sched::setns(process, all)
}

#[expect(unsafe_code, reason = "fork")]
fn fork_child() -> nix::Result<ForkResult> {
    // SAFETY: a helper has one thread.
    unsafe { fork() }
}

/// A terminal of the container's own devpts, so that its name exists there.
#[expect(unsafe_code, reason = "no safe wrappers of the terminal requests")]
fn open_terminal() -> nix::Result<(OwnedFd, OwnedFd)> {
    let open = || -> std::io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt;
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC).open("/dev/pts/ptmx")
    };
    let master = OwnedFd::from(open().map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?);
    let unlocked: libc::c_int = 0;
    // SAFETY: the request reads one integer, which outlives the call.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &unlocked) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the request takes plain flags and makes a descriptor for us.
    let slave = unsafe {
        let number = Errno::result(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags))?;
        OwnedFd::from_raw_fd(number)
    };
    Ok((master, slave))
}

#[expect(unsafe_code, reason = "no safe wrapper of TIOCSCTTY")]
fn take_terminal(slave: &OwnedFd) -> nix::Result<()> {
    // SAFETY: the request takes a plain number.
    Errno::result(unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0) })?;
    dup2_stdin(slave)?;
    dup2_stdout(slave)?;
    dup2_stderr(slave)
}

fn set_groups(groups: &[u32]) -> nix::Result<()> {
    let groups: Vec<nix::unistd::Gid> = groups.iter().map(|gid| nix::unistd::Gid::from_raw(*gid)).collect();
    nix::unistd::setgroups(&groups)
}
