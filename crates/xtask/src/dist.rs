//! The binary that is given away: one static file, in `target/<target>/release/tiphys`.

use crate::process;

/// Named, so that flags for the program do not reach build scripts and macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Static; and functions of equal code (one a kind, often) are kept once.
const FLAGS: &str = "-C target-feature=+crt-static -C link-arg=-Wl,--icf=all";

/// Builds it.
pub(crate) fn run() -> anyhow::Result<()> {
    let variables = [
        ("RUSTFLAGS", FLAGS),
        ("LIBSECCOMP_LINK_TYPE", "static"),
        ("LIBSECCOMP_LIB_PATH", "/usr/lib/x86_64-linux-gnu"),
    ];
    let arguments = ["build", "--release", "--locked", "--target", TARGET, "--package", "tiphys"];
    process::run_with("cargo", &arguments, &variables)
}
