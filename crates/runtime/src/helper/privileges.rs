//! The last step before a program runs: the seccomp filter, then the capabilities.
//!
//! A filter may be loaded with `no_new_privs` or CAP_SYS_ADMIN. Where there is neither, the process keeps that one
//! capability until here, outside the bounding set, so that nothing it executes can have it.

use caps::{CapSet, CapsHashSet};
use libcontainer::capabilities::CapabilityExt;
use libcontainer::oci_spec::runtime::Process;
use serde_json::Value;

use super::seccomp;

const EXTRA: &str = "CAP_SYS_ADMIN";

/// Writes the extra capability into a configuration that goes to libcontainer.
pub(super) fn keep_for_filter(spec: &mut Value) {
    if spec["process"]["noNewPrivileges"] == true {
        return;
    }
    for set in ["effective", "permitted"] {
        if let Some(names) = spec["process"]["capabilities"][set].as_array_mut()
            && !names.iter().any(|name| name == EXTRA)
        {
            names.push(EXTRA.into());
        }
    }
}

/// Loads the filter and leaves exactly the capabilities of the bounding set.
pub(super) fn finish(process: &Process, program: &[u8]) -> Result<(), String> {
    seccomp::load(program).map_err(|errno| format!("load seccomp filter: {}", errno.desc().to_lowercase()))?;
    let wanted = bounding(process);
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &wanted).map_err(|e| format!("set capabilities: {e}"))?;
    }
    Ok(())
}

/// What the container may have; the three sets are the same in every configuration that we write.
pub(super) fn bounding(process: &Process) -> CapsHashSet {
    let names = process.capabilities().as_ref().and_then(|sets| sets.bounding().as_ref());
    names.into_iter().flatten().map(CapabilityExt::to_cap).collect()
}
