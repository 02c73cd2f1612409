//! The namespaces of a sandbox: made on a thread of their own, pinned by bind mounts, together with the pod's monitor.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cri::{NamespaceMode, PodSandboxConfig};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::error::{Result, RuntimeError};
use crate::layout::Layout;

mod files;

pub(crate) use files::write_files;

/// What to make.
pub(crate) struct Plan {
    pub(crate) pins: PathBuf,
    pub(crate) network: bool,
    pub(crate) ipc: bool,
    pub(crate) uts: bool,
    pub(crate) hostname: String,
    pub(crate) sysctls: Vec<(String, String)>,
    pub(crate) monitor: PathBuf,
    /// Where the monitor listens; already bound.
    pub(crate) listener: OwnedFd,
}

/// Names of the pins, which are also those below `/proc/<pid>/ns`.
pub(crate) const PINS: [&str; 3] = ["net", "ipc", "uts"];
pub(crate) const SHM: &str = "shm";
const SHM_OPTIONS: &str = "mode=1777,size=65536k";

// === impl Plan ===

impl Plan {
    pub(crate) fn new(
        layout: &Layout,
        id: &str,
        config: &PodSandboxConfig,
        monitor: PathBuf,
        listener: OwnedFd,
    ) -> Self {
        let own = |mode: NamespaceMode| mode != NamespaceMode::Node;
        let network = own(config.namespaces.network);
        let mut sysctls: Vec<(String, String)> = Vec::new();
        if network {
            // As containerd does: ports below 1024 and ping need no privilege inside a pod's own network.
            sysctls.push(("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned()));
            sysctls.push(("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned()));
        }
        sysctls.extend(config.sysctls.iter().map(|(name, value)| (name.clone(), value.clone())));
        Self {
            pins: layout.pins(id),
            network,
            ipc: own(config.namespaces.ipc),
            // The host name belongs to whoever owns the network.
            uts: network,
            hostname: config.hostname.clone(),
            sysctls,
            monitor,
            listener,
        }
    }

    /// Does it. Must not run on a thread that does anything afterwards: the thread has left the host's namespaces.
    pub(crate) fn carry_out(self) -> Result<()> {
        let mut flags = CloneFlags::empty();
        flags.set(CloneFlags::CLONE_NEWNET, self.network);
        flags.set(CloneFlags::CLONE_NEWIPC, self.ipc);
        flags.set(CloneFlags::CLONE_NEWUTS, self.uts);
        create_directory(&self.pins)?;
        if self.ipc {
            let shm = self.pins.join(SHM);
            create_directory(&shm)?;
            let options = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("shm"), &shm, Some("tmpfs"), options, Some(SHM_OPTIONS))
                .map_err(RuntimeError::errno("mount", &shm))?;
        }
        unshare(flags).map_err(RuntimeError::errno("unshare namespaces for", &self.pins))?;
        for (name, wanted) in PINS.into_iter().zip([self.network, self.ipc, self.uts]) {
            if wanted {
                pin(&self.pins.join(name), name)?;
            }
        }
        if self.uts && !self.hostname.is_empty() {
            nix::unistd::sethostname(&self.hostname).map_err(RuntimeError::errno("set hostname in", &self.pins))?;
        }
        for (name, value) in &self.sysctls {
            // `/proc/sys` shows the namespaces of whoever opens it, which is this thread.
            let path = PathBuf::from(format!("/proc/sys/{}", name.replace('.', "/")));
            fs::write(&path, value).map_err(RuntimeError::io("set sysctl", &path))?;
        }
        if self.network {
            loopback_up()?;
        }
        spawn_monitor(&self.monitor, self.listener)
    }
}

/// Starts the pod's monitor. It leaves a process behind that is nobody's child.
pub(crate) fn spawn_monitor(program: &Path, listener: OwnedFd) -> Result<()> {
    let status = Command::new(program)
        .arg0("tiphys-monitor")
        .arg("serve")
        .env_clear()
        .stdin(Stdio::from(listener))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(RuntimeError::io("start", program))?;
    if status.success() { Ok(()) } else { Err(RuntimeError::Invalid(format!("monitor: {status}"))) }
}

/// Makes `run/` a mount of its own that nothing propagates from or to.
pub(crate) fn prepare_run_directory(layout: &Layout) -> Result<()> {
    let run = layout.run();
    create_directory(&run)?;
    if !is_mount_point(&run)? {
        mount(Some(&run), &run, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(RuntimeError::errno("bind", &run))?;
    }
    mount(None::<&str>, &run, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(RuntimeError::errno("make private", &run))?;
    create_directory(&layout.rootfs())?;
    create_directory(&run.join("sandboxes"))
}

/// Where helpers execute `binary` from: a read-only mount of it. A container can reach the file its helper was
/// executed from (CVE-2019-5736) but never write to it, and replacing the file on disk does not disturb us.
pub(crate) fn protect_binary(binary: &Path, layout: &Layout) -> Result<PathBuf> {
    let target = layout.run().join("agent");
    detach(&target)?;
    File::create(&target).map_err(RuntimeError::io("create", &target))?;
    mount(Some(binary), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(RuntimeError::errno("bind", &target))?;
    let options = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    mount(None::<&str>, &target, None::<&str>, options, None::<&str>)
        .map_err(RuntimeError::errno("make read-only", &target))?;
    Ok(target)
}

/// Takes a sandbox's pins away; gone already is fine.
pub(crate) fn unpin(pins: &Path) -> Result<()> {
    for name in PINS.into_iter().chain([SHM]) {
        detach(&pins.join(name))?;
    }
    match fs::remove_dir_all(pins) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(RuntimeError::io("remove", pins)(e)),
        _ => Ok(()),
    }
}

/// Unmounts everything mounted on `path`.
pub(crate) fn detach(path: &Path) -> Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Not a mount point, or not there.
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(errno) => return Err(RuntimeError::errno("unmount", path)(errno)),
        }
    }
}

fn pin(path: &Path, name: &str) -> Result<()> {
    File::create(path).map_err(RuntimeError::io("create", path))?;
    let source = format!("/proc/thread-self/ns/{name}");
    mount(Some(source.as_str()), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(RuntimeError::errno("pin", path))
}

#[expect(unsafe_code, reason = "no safe wrapper of SIOCSIFFLAGS")]
fn loopback_up() -> Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    use std::os::fd::AsRawFd;
    let failed = || RuntimeError::errno("bring up", "lo");
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map_err(failed())?;
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request reads one `ifreq`, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) };
    nix::errno::Errno::result(result).map(drop).map_err(failed())
}

fn is_mount_point(path: &Path) -> Result<bool> {
    let path = fs::canonicalize(path).map_err(RuntimeError::io("resolve", path))?;
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(RuntimeError::io("read", "/proc/self/mountinfo"))?;
    let wanted = path.to_string_lossy().replace(' ', "\\040");
    Ok(table.lines().any(|line| line.split(' ').nth(4) == Some(wanted.as_str())))
}

/// A directory only for root.
pub(crate) fn create_directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o711).create(path).map_err(RuntimeError::io("create", path))
}
