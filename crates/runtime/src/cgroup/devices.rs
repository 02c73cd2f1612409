//! The device rules of version 2: a small program that the kernel asks at every open and mknod.
//!
//! libcontainer has this only with a C library and a raised memory limit; without it the rules are silently not
//! enforced, so this is ours. Upstream: runc `libcontainer/cgroups/devices/devicefilter.go`.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use serde::Deserialize;

use crate::error::{Result, RuntimeError};

/// A rule of the OCI configuration.
#[derive(Clone, Debug, Deserialize)]
struct Rule {
    allow: bool,
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    major: Option<i64>,
    #[serde(default)]
    minor: Option<i64>,
    #[serde(default)]
    access: Option<String>,
}

/// One instruction of the kernel's machine.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
const DEVICE_BLOCK: i32 = 1;
const DEVICE_CHARACTER: i32 = 2;

/// Attaches the rules of `spec` to a group.
pub(crate) fn attach(group: &Path, spec: &serde_json::Value) -> Result<()> {
    let rules = spec["linux"]["resources"]["devices"].clone();
    let rules: Vec<Rule> =
        serde_json::from_value(rules).map_err(|e| RuntimeError::Invalid(format!("device rules: {e}")))?;
    let directory = File::open(group).map_err(RuntimeError::io("open", group))?;
    let program = load(&compile(&rules)).map_err(RuntimeError::errno("load device rules for", group))?;
    attach_program(&directory, &program).map_err(RuntimeError::errno("attach device rules to", group))
}

/// The last rule that fits decides, so they are asked in reverse; nothing fitting refuses.
fn compile(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        // r2 = access << 16 | type; r3 = major; r4 = minor
        load_word(2, 0),
        move_register(3, 2),
        and(2, 0xffff),
        shift_right(3, 16),
        load_word(4, 4),
        load_word(5, 8),
    ];
    for rule in rules.iter().rev() {
        let mut block = Vec::new();
        match rule.kind.as_deref() {
            Some("b") => block.push(Jump::UnlessEqual(2, DEVICE_BLOCK)),
            Some("c" | "u") => block.push(Jump::UnlessEqual(2, DEVICE_CHARACTER)),
            _ => {}
        }
        let access = rule.access.as_deref().unwrap_or("rwm");
        let bits =
            [('m', 1), ('r', 2), ('w', 4)].into_iter().filter(|(c, _)| access.contains(*c)).map(|(_, b)| b).sum();
        if bits != 7 {
            // All that is asked for must be among what the rule speaks of.
            block.push(Jump::UnlessWithin(3, bits));
        }
        for (register, number) in [(4, rule.major), (5, rule.minor)] {
            if let Some(number) = number.and_then(|number| i32::try_from(number).ok()).filter(|number| *number >= 0) {
                block.push(Jump::UnlessEqual(register, number));
            }
        }
        emit(&mut program, &block, rule.allow);
        if block.is_empty() {
            return program;
        }
    }
    program.extend(answer(false));
    program
}

enum Jump {
    UnlessEqual(u8, i32),
    UnlessWithin(u8, i32),
}

/// Writes one rule: its conditions jump behind its answer.
fn emit(program: &mut Vec<Instruction>, block: &[Jump], allow: bool) {
    let length: usize = block.iter().map(|jump| if matches!(jump, Jump::UnlessWithin(..)) { 3 } else { 1 }).sum();
    let mut left = length + 2;
    for jump in block {
        let (mut instructions, size) = match jump {
            Jump::UnlessEqual(register, value) => (vec![jump_unless_equal(*register, *value)], 1),
            Jump::UnlessWithin(register, bits) => {
                // r1 = asked; r1 &= allowed; unless r1 == asked.
                (vec![move_register(1, *register), and(1, *bits), jump_unless_same(1, *register)], 3)
            }
        };
        left -= size;
        if let (Some(last), Ok(offset)) = (instructions.last_mut(), i16::try_from(left)) {
            last.offset = offset;
        }
        program.extend(instructions);
    }
    program.extend(answer(allow));
}

fn load_word(register: u8, offset: i16) -> Instruction {
    // BPF_LDX | BPF_MEM | BPF_W from the context in r1.
    Instruction { code: 0x61, registers: register | 1 << 4, offset, immediate: 0 }
}

fn move_register(to: u8, from: u8) -> Instruction {
    Instruction { code: 0xbc, registers: to | from << 4, offset: 0, immediate: 0 }
}

fn and(register: u8, value: i32) -> Instruction {
    Instruction { code: 0x54, registers: register, offset: 0, immediate: value }
}

fn shift_right(register: u8, value: i32) -> Instruction {
    Instruction { code: 0x74, registers: register, offset: 0, immediate: value }
}

fn jump_unless_equal(register: u8, value: i32) -> Instruction {
    Instruction { code: 0x55, registers: register, offset: 0, immediate: value }
}

fn jump_unless_same(register: u8, other: u8) -> Instruction {
    Instruction { code: 0x5d, registers: register | other << 4, offset: 0, immediate: 0 }
}

fn answer(allow: bool) -> [Instruction; 2] {
    [
        Instruction { code: 0xb7, registers: 0, offset: 0, immediate: i32::from(allow) },
        Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 },
    ]
}

#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

#[expect(unsafe_code, reason = "no safe wrapper of bpf")]
fn load(program: &[Instruction]) -> nix::Result<OwnedFd> {
    let attributes = LoadAttributes {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadAttributes::default()
    };
    // SAFETY: the attributes, and what they point to, outlive the call and have the sizes they say.
    let number = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &attributes, size_of::<LoadAttributes>()) };
    let number = i32::try_from(Errno::result(number)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[expect(unsafe_code, reason = "no safe wrapper of bpf")]
fn attach_program(group: &File, program: &OwnedFd) -> nix::Result<()> {
    let number = |fd: i32| u32::try_from(fd).map_err(|_| Errno::EBADF);
    let attributes = AttachAttributes {
        target: number(group.as_raw_fd())?,
        program: number(program.as_raw_fd())?,
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the attributes outlive the call and have the size it says.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &attributes, size_of::<AttachAttributes>()) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    fn ask(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut r = [0_i32; 11];
        let mut at = 0;
        loop {
            let i = program[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            at += 1;
            match i.code {
                0x61 => r[to] = context[usize::try_from(i.offset).expect("offset") / 4],
                0xbc => r[to] = r[from],
                0x54 => r[to] &= i.immediate,
                0x74 => r[to] >>= i.immediate,
                0x55 if r[to] != i.immediate => at = at.strict_add_signed(i.offset.into()),
                0x5d if r[to] != r[from] => at = at.strict_add_signed(i.offset.into()),
                0x55 | 0x5d => {}
                0xb7 => r[to] = i.immediate,
                0x95 => return r[0] == 1,
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn the_last_fitting_rule_decides() {
        let rules: Vec<Rule> = serde_json::from_value(serde_json::json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "access": "m"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            {"allow": true, "type": "c", "major": 5, "minor": 1, "access": "r"},
            {"allow": true, "type": "b", "major": 7, "access": "rw"},
        ]))
        .expect("rules");
        let program = compile(&rules);
        assert!(ask(&program, DEVICE_CHARACTER, 6, 1, 3), "null");
        assert!(ask(&program, DEVICE_CHARACTER, 1, 10, 237), "mknod only");
        assert!(!ask(&program, DEVICE_CHARACTER, 2, 10, 237), "opening another device");
        assert!(!ask(&program, DEVICE_CHARACTER, 3, 10, 237), "mknod and open at once");
        assert!(ask(&program, DEVICE_CHARACTER, 2, 5, 1));
        assert!(!ask(&program, DEVICE_CHARACTER, 4, 5, 1), "writing where only reading is allowed");
        assert!(ask(&program, DEVICE_BLOCK, 6, 7, 9));
        assert!(!ask(&program, DEVICE_BLOCK, 6, 8, 0));
        let all: Vec<Rule> =
            serde_json::from_value(serde_json::json!([{"allow": true, "access": "rwm"}])).expect("rules");
        assert!(ask(&compile(&all), DEVICE_BLOCK, 7, 8, 0), "privileged");
    }

    /// Wherever there is a hierarchy of version 2, the kernel takes the program and obeys it. Needs root.
    #[test]
    fn the_kernel_obeys_the_rules() {
        let Some(group) = crate::cgroup::Hierarchies::detect()
            .expect("cgroups")
            .v2
            .map(|mount| mount.join(format!("tiphys-devices-{}", std::process::id())))
        else {
            return;
        };
        std::fs::create_dir(&group).expect("create group");
        let spec = serde_json::json!({"linux": {"resources": {"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "w"},
        ]}}});
        let attached = attach(&group, &spec);
        let script = "echo $$ > $0/cgroup.procs; exec 2>&1; echo x > /dev/null && echo null; \
                      : > /dev/zero && echo zero; head -c 1 < /dev/zero; : < /dev/full; exit 0";
        let output = std::process::Command::new("sh").args(["-c", script]).arg(&group).output();
        std::fs::remove_dir(&group).expect("remove group");
        attached.expect("attach");
        let text = String::from_utf8_lossy(&output.expect("run").stdout).into_owned();
        assert!(text.starts_with("null\nzero\n"), "{text}");
        assert_eq!(text.matches("Operation not permitted").count(), 2, "{text}");
    }
}
