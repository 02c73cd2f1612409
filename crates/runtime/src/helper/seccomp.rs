//! Seccomp filters, compiled once.
//!
//! Compiling a profile of several hundred rules takes tens of milliseconds, loading the result less than one. So the
//! result is kept in a file named by the profile. Loading it is left to us only for profiles that let a process change
//! its capabilities afterwards; the agent says which.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Result, RuntimeError};

/// A profile and where its compiled form is, or will be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CachedFilter {
    pub(crate) profile: serde_json::Value,
    pub(crate) path: PathBuf,
}

const INSTRUCTION: usize = 8;
/// The kernel's own limit.
const MAX_INSTRUCTIONS: usize = 4096;

// === impl CachedFilter ===

impl CachedFilter {
    /// The compiled program.
    pub(super) fn program(&self) -> Result<Vec<u8>> {
        match fs::read(&self.path) {
            Ok(program) if is_plausible(&program) => return Ok(program),
            _ => {}
        }
        let profile: LinuxSeccomp = serde_json::from_value(self.profile.clone())
            .map_err(|source| RuntimeError::Record { path: self.path.clone(), source })?;
        let program = compile(&profile).map_err(|e| RuntimeError::Invalid(format!("seccomp profile: {e}")))?;
        if !is_plausible(&program) {
            return Err(RuntimeError::Invalid("seccomp profile: the filter is too long".to_owned()));
        }
        keep(&self.path, &program);
        Ok(program)
    }
}

/// Loads a compiled filter into this process. Needs `no_new_privs` or CAP_SYS_ADMIN.
#[expect(unsafe_code, reason = "no safe wrapper of seccomp")]
pub(super) fn load(program: &[u8]) -> nix::Result<()> {
    const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
    let length = u16::try_from(program.len() / INSTRUCTION).map_err(|_| Errno::E2BIG)?;
    // SAFETY: `sock_filter` is plain data of eight bytes without padding; a new vector is aligned for it.
    let mut filter: Vec<libc::sock_filter> = Vec::with_capacity(length.into());
    for chunk in program.chunks_exact(INSTRUCTION) {
        filter.push(libc::sock_filter {
            code: u16::from_ne_bytes([chunk[0], chunk[1]]),
            jt: chunk[2],
            jf: chunk[3],
            k: u32::from_ne_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]),
        });
    }
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its instructions outlive the call and have the length they say.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) };
    Errno::result(result).map(drop)
}

fn is_plausible(program: &[u8]) -> bool {
    !program.is_empty() && program.len().is_multiple_of(INSTRUCTION) && program.len() / INSTRUCTION <= MAX_INSTRUCTIONS
}

/// Not being able to keep it costs time, nothing else.
fn keep(path: &Path, program: &[u8]) {
    let temporary = path.with_extension(std::process::id().to_string());
    if fs::write(&temporary, program).is_err() || fs::rename(&temporary, path).is_err() {
        fs::remove_file(&temporary).ok();
    }
}

fn compile(profile: &LinuxSeccomp) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error>> {
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut context = ScmpFilterContext::new(default)?;
    for arch in profile.architectures().iter().flatten() {
        if let Some(arch) = architecture(*arch) {
            context.add_arch(arch)?;
        }
    }
    for rule in profile.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret());
        if action == default {
            continue;
        }
        let comparisons: Vec<ScmpArgCompare> = rule.args().iter().flatten().map(comparison).collect();
        for name in rule.names() {
            // What the library does not know, it cannot let through either.
            let Ok(call) = ScmpSyscall::from_name(name) else { continue };
            if comparisons.is_empty() {
                context.add_rule(action, call)?;
            } else {
                context.add_rule_conditional(action, call, &comparisons)?;
            }
        }
    }
    // A tree of comparisons instead of a list: the filter runs at every system call.
    context.set_ctl_optimize(2)?;
    let mut file = memory_file()?;
    context.export_bpf(&file)?;
    let mut program = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut program)?;
    Ok(program)
}

fn memory_file() -> nix::Result<File> {
    nix::sys::memfd::memfd_create(c"seccomp", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).map(File::from)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    match action {
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActErrno => {
            ScmpAction::Errno(errno.and_then(|errno| i32::try_from(errno).ok()).unwrap_or(libc::EPERM))
        }
        // The default profile has no others; what it does not mean to allow ends the process.
        _ => ScmpAction::KillProcess,
    }
}

fn architecture(arch: Arch) -> Option<ScmpArch> {
    match arch {
        Arch::ScmpArchX86_64 => Some(ScmpArch::X8664),
        Arch::ScmpArchX86 => Some(ScmpArch::X86),
        Arch::ScmpArchX32 => Some(ScmpArch::X32),
        Arch::ScmpArchAarch64 => Some(ScmpArch::Aarch64),
        Arch::ScmpArchArm => Some(ScmpArch::Arm),
        _ => None,
    }
}

fn comparison(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    let operator = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => ScmpCompareOp::NotEqual,
        LinuxSeccompOperator::ScmpCmpLt => ScmpCompareOp::Less,
        LinuxSeccompOperator::ScmpCmpLe => ScmpCompareOp::LessOrEqual,
        LinuxSeccompOperator::ScmpCmpEq => ScmpCompareOp::Equal,
        LinuxSeccompOperator::ScmpCmpGe => ScmpCompareOp::GreaterEqual,
        LinuxSeccompOperator::ScmpCmpGt => ScmpCompareOp::Greater,
        LinuxSeccompOperator::ScmpCmpMaskedEq => ScmpCompareOp::MaskedEqual(arg.value()),
    };
    // With a mask the first value is the mask and the second what is left to be compared with.
    let datum = match arg.op() {
        LinuxSeccompOperator::ScmpCmpMaskedEq => arg.value_two().unwrap_or(0),
        _ => arg.value(),
    };
    ScmpArgCompare::new(u32::try_from(arg.index()).unwrap_or(u32::MAX), operator, datum)
}
